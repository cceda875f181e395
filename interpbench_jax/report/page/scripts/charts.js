// Line charts and scatter plots.

const DASHES = [null, "8 4", "2 3", "8 3 2 3"];
const N_COLORS = 7;

/** The class and the dash of the line with this number; no two of the first 28 are alike. */
function lineStyle(index) {
  return { class: `line line-${index % N_COLORS}`, "stroke-dasharray": DASHES[index % DASHES.length] };
}

/** A short piece of a line, for legends. */
function swatch(index, isChosen) {
  const style = lineStyle(index);
  return svg("svg", { class: "chart swatch", width: 34, height: 12, "aria-hidden": true },
    svg("line", { ...style, class: `${style.class}${isChosen ? " chosen" : ""}`,
      x1: 1, x2: 33, y1: 6, y2: 6 }));
}

/**
 * A line chart.
 *
 * `lines`: {index, isChosen, points}, of which the chosen one is drawn last and thickest.
 * `options`: width, height, label, xTitle, yTitle, xDomain, yDomain, isLog, reference (points).
 */
function lineChart(lines, options) {
  const frame = chartFrame(options.width, options.height, options.label);
  const x = (options.isLog ? logScale : linearScale)(options.xDomain, frame.x);
  const y = linearScale(options.yDomain, frame.y);
  drawAxes(frame, x, y, options.xTitle, options.yTitle);
  const inside = (value) => Math.min(Math.max(value, options.yDomain[0]), options.yDomain[1]);
  const path = (points) =>
    `M${points.map(([a, b]) => `${x(a).toFixed(1)},${y(inside(b)).toFixed(1)}`).join("L")}`;
  frame.element.append(svg("path", { class: "reference", d: path(options.reference) }));
  const ordered = [...lines].sort((a, b) => Number(a.isChosen) - Number(b.isChosen));
  for (const line of ordered) {
    const style = lineStyle(line.index);
    frame.element.append(svg("path", {
      ...style,
      class: `${style.class}${line.isChosen ? " chosen" : ""}`,
      d: path(line.points),
    }));
  }
  return frame.element;
}

/**
 * A scatter plot with logarithmic axes.
 *
 * `points`: {x, y, isTrue}. What is below the smallest power of ten shown is drawn at it.
 * `options`: width, height, label, xTitle, yTitle, xDomain, yDomain.
 */
function scatterPlot(points, options) {
  const frame = chartFrame(options.width, options.height, options.label);
  const x = logScale(options.xDomain, frame.x);
  const y = logScale(options.yDomain, frame.y);
  drawAxes(frame, x, y, options.xTitle, options.yTitle);
  const ordered = [...points].sort((a, b) => Number(a.isTrue) - Number(b.isTrue));
  for (const point of ordered) {
    frame.element.append(marker(
      point.isTrue,
      x(Math.max(point.x, options.xDomain[0])),
      y(Math.max(point.y, options.yDomain[0]))));
  }
  return frame.element;
}

/** A filled diamond for an edge of the circuit, a ring for one outside it. */
function marker(isTrue, x, y) {
  if (!isTrue) return svg("circle", { class: "mark-out", cx: x.toFixed(1), cy: y.toFixed(1), r: 3.2 });
  const top = `${x.toFixed(1)},${(y - 5.5).toFixed(1)}`;
  return svg("path", { class: "mark-in", d: `M${top}l5.5,5.5l-5.5,5.5l-5.5,-5.5Z` });
}

/** Powers of ten around positive values; at most nine, so that tiny values do not fill the axis. */
function powersAround(values) {
  const positive = values.filter((value) => value > 0);
  if (!positive.length) return [0.1, 1];
  const last = Math.ceil(Math.log10(positive.reduce((a, b) => Math.max(a, b))) + 1e-9);
  const smallest = positive.reduce((a, b) => Math.min(a, b));
  const first = Math.max(Math.floor(Math.log10(smallest)), last - 9);
  return [10 ** Math.min(first, last - 1), 10 ** last];
}
