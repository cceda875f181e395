// Elements of HTML and SVG. Text becomes the content of text nodes and is never parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Fill an element: functions listen to events, other attributes are set, children are added. */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return add(element, ...children);
}

/** Add children, texts and lists of them; what is null is left out. */
function add(element, ...children) {
  const present = children.flat().filter((child) => child !== null && child !== undefined);
  element.append(...present.map((child) => (typeof child === "string" ? visible(child) : child)));
  return element;
}

/** A text without characters that are invisible or turn the direction of others. */
function visible(text) {
  return text.replace(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, " ");
}

function html(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** A labelled list of choices; `choices` are pairs of a value and a text. */
function choice(label, choices, chosen, choose) {
  const options = choices.map(([value, text]) =>
    html("option", { value, selected: value === chosen }, text));
  const select = html("select", { change: () => choose(select.value) }, options);
  return html("label", {}, label, select);
}

/** A table in a region that scrolls by itself and that the keyboard can reach. */
function scrollingTable(label, table) {
  return html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table);
}

/** A table of texts; the columns in `words` hold words, all others numbers. */
function plainTable(headers, rows, words = []) {
  const style = (index) => (words.includes(index) ? null : "number");
  const head = headers.map((text, index) =>
    html("th", { scope: "col", class: style(index) }, text));
  const body = rows.map((cells) =>
    html("tr", {}, cells.map((cell, index) => html("td", { class: style(index) }, cell))));
  return html("table", {}, html("thead", {}, html("tr", {}, head)), html("tbody", {}, body));
}

/** Details whose content is made when they are first opened. */
function lazyDetails(title, make) {
  const details = html("details", {
    toggle: () => {
      if (details.open && details.childElementCount === 1) details.append(make());
    },
  }, html("summary", {}, title));
  return details;
}
