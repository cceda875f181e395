// Scales and axes of charts. Charts are drawn at the width that they have on the screen, so that
// their text keeps its size.

const MARGIN = { top: 10, right: 14, bottom: 44, left: 54 };

function linearScale([low, high], [start, end]) {
  const scale = (value) => start + ((value - low) / (high - low)) * (end - start);
  return Object.assign(scale, { ticks: linearTicks(low, high), text: tickText });
}

function logScale([low, high], [start, end]) {
  const [first, last] = [Math.log10(low), Math.log10(high)];
  const scale = (value) => start + ((Math.log10(value) - first) / (last - first)) * (end - start);
  const isShort = first > -3.5 && last < 3.5;
  return Object.assign(scale, {
    ticks: logTicks(first, last), text: isShort ? tickText : powerText,
  });
}

function linearTicks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const start = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - start + 1;
  return Array.from({ length: count }, (_, index) => (start + index) * step);
}

function logTicks(first, last) {
  const [from, to] = [Math.ceil(first - 1e-9), Math.floor(last + 1e-9)];
  const step = Math.max(1, Math.ceil((to - from) / 5));
  const ticks = [];
  for (let power = to; power >= from; power -= step) ticks.unshift(10 ** power);
  return ticks;
}

function tickText(value) {
  return String(Number(value.toFixed(6)));
}

function powerText(value) {
  const power = Math.round(Math.log10(value));
  if (power === 0) return "1";
  const digits = [...String(power)].map((each) => (each === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[each]));
  return `10${digits.join("")}`;
}

/** The frame of a chart: its SVG element and where its data lie. */
function chartFrame(width, height, label) {
  const element = svg("svg", {
    class: "chart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": label,
  });
  return {
    element,
    x: [MARGIN.left, width - MARGIN.right],
    y: [height - MARGIN.bottom, MARGIN.top],
  };
}

/** Draw both axes with their ticks, a grid, and titles. */
function drawAxes(frame, x, y, xTitle, yTitle) {
  const [left, right] = frame.x;
  const [bottom, top] = frame.y;
  const axis = svg("g", { class: "axis", "aria-hidden": true });
  for (const tick of x.ticks) {
    axis.append(
      svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: bottom, y2: top }),
      svg("text", { x: x(tick), y: bottom + 17, "text-anchor": "middle" }, x.text(tick)));
  }
  for (const tick of y.ticks) {
    axis.append(
      svg("line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }),
      svg("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, y.text(tick)));
  }
  const middle = (top + bottom) / 2;
  axis.append(
    svg("path", { d: `M${left},${top}V${bottom}H${right}` }),
    svg("text", { x: (left + right) / 2, y: bottom + 37, "text-anchor": "middle" }, xTitle),
    svg("text", {
      x: 13, y: middle, transform: `rotate(-90 13 ${middle})`, "text-anchor": "middle",
    }, yTitle));
  frame.element.append(axis);
}
