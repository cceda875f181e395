// The table of methods and the matrix of methods and cases, filtered and sorted.

const HALF_STEPS = 6;
const SMALLER_FIRST = ["rank", "method", "ablation", "cmd", "seconds"];

// The rows of both tables by rank, for the current state.
let summary = [];
let sorting = { key: "rank", isAscending: true };

const RESULTS = new Map(
  PAGE.results.map((each) => [`${each.level}/${each.contender}/${each.case}`, each]));

function resultOf(contender, caseId) {
  return RESULTS.get(`${state.level}/${contender}/${caseId}`);
}

/** A value of a result in the universe shown: one number per run that has it. */
function runsOf(result, name) {
  const own = result?.universes[state.universe];
  return own ? own[name].filter((value) => value !== null) : [];
}

function shownCases() {
  return PAGE.cases.filter((each) =>
    (state.tier === ALL || state.tier === `is:${each.tier}`)
    && (state.release === ALL || each.releases.includes(state.release)));
}

function isUnfiltered() {
  return state.tier === ALL && state.release === ALL;
}

/** One row per contender: its means over the cases shown, in the order of their ranks. */
function summarize() {
  const cases = shownCases();
  const rows = PAGE.contenders.map((contender, index) => {
    const results = cases.map((each) => resultOf(index, each.id)).filter(Boolean);
    const areas = results.map((each) => runsOf(each, "area")).filter((runs) => runs.length);
    const ofRuns = (name) => mean(results.map((each) => mean(each[name])));
    const interval = isUnfiltered()
      ? PAGE.intervals[state.level]?.[state.universe][index]
      : bootstrapInterval(areas);
    return {
      index,
      method: contender.method,
      ablation: contender.ablation,
      label: contender.label,
      cases: results.length,
      area: mean(areas.map(mean)),
      interval,
      head: mean(results.map((each) => mean(each.universes.head?.area ?? []))),
      precision: mean(results.map((each) => mean(runsOf(each, "precision")))),
      paper: ofRuns("paper"),
      cpr: ofRuns("cpr"),
      cmd: ofRuns("cmd"),
      seconds: ofRuns("seconds"),
    };
  }).filter((row) => row.cases && (state.ablation === ALL || state.ablation === `is:${row.ablation}`));
  rows.sort((a, b) => b.cases - a.cases || compare(b.area, a.area) || compare(b.head, a.head)
    || compare(a.method, b.method) || compare(a.ablation, b.ablation));
  rows.forEach((row, place) => { row.rank = place + 1; });
  return rows;
}

/** Compare numbers or texts; null comes before everything. */
function compare(a, b) {
  if (a === b) return 0;
  if (a === null) return -1;
  if (b === null) return 1;
  return a < b ? -1 : 1;
}

/** The mean area of random rankings on a case; null if it is not defined. */
function chanceOf(caseId) {
  return mean(PAGE.contenders.flatMap((_, index) => runsOf(resultOf(index, caseId), "chance")));
}

function renderFilters(form) {
  const tiers = [...new Set(PAGE.cases.map((each) => each.tier))];
  const releases = [...new Set(PAGE.cases.flatMap((each) => each.releases))];
  const ablations = [...new Set(PAGE.contenders.map((each) => each.ablation))];
  const named = (values) => values.map((value) => [value, value]);
  const set = (name) => (value) => go({ [name]: value });
  const controls = [
    choice("Universe", named(PAGE.universes), state.universe, set("universe")),
    choice("Tier", [[ALL, "all tiers"], ...PAGE.tiers.map((each) => [`is:${each}`, each || "no tier"])],
      state.tier, set("tier")),
    choice("Release", [[ALL, "all releases"], ...named(releases)], state.release, set("release")),
  ];
  if (PAGE.levels.length > 1) {
    const texts = { edge: "edges", node: "nodes" };
    controls.push(choice("Scores of", PAGE.levels.map((each) => [each, texts[each]]),
      state.level, set("level")));
  }
  if (ablations.length > 1) {
    controls.push(choice("Ablation",
      [[ALL, "all ablations"], ...ablations.map((each) => [`is:${each}`, each || "not known"])],
      state.ablation, set("ablation")));
  }
  const focused = [...form.querySelectorAll("select")].indexOf(document.activeElement);
  form.replaceChildren(...controls);
  if (focused >= 0) form.querySelectorAll("select")[focused]?.focus();
}

function renderMethods() {
  const table = document.getElementById("methods-table");
  const cases = shownCases();
  const chance = mean(cases.map((each) => chanceOf(each.id)));
  document.getElementById("methods-status").textContent =
    `Mean ROC-AUC of ${state.level}s in universe ${state.universe}, over `
    + (isUnfiltered() ? `${cases.length} cases.`
      : `${cases.length} of ${PAGE.cases.length} cases; intervals are computed again.`);
  const rows = [...summary].sort((a, b) => {
    const [first, second] = sorting.isAscending ? [a, b] : [b, a];
    const isUnknown = (row) => Number(row[sorting.key] === null);
    return isUnknown(a) - isUnknown(b) || compare(first[sorting.key], second[sorting.key])
      || a.rank - b.rank;
  });
  renderHeaders(table.tHead.rows[0]);
  table.tBodies[0].replaceChildren(...rows.map((row) => methodRow(row, chance)));
  if (table.tFoot) table.deleteTFoot();
  if (chance !== null) table.append(html("tfoot", {}, chanceRow(chance)));
}

/** Give every header a button, and say by which column the table is sorted. */
function renderHeaders(row) {
  PAGE.columns.forEach((column, index) => {
    const header = row.cells[index];
    const isSorted = column.key === sorting.key;
    if (isSorted) {
      header.setAttribute("aria-sort", sorting.isAscending ? "ascending" : "descending");
    } else {
      header.removeAttribute("aria-sort");
    }
    if (header.querySelector("button")) return;
    header.replaceChildren(html("button", {
      type: "button",
      click: () => {
        const isAgain = sorting.key === column.key;
        const isAscending = isAgain ? !sorting.isAscending : SMALLER_FIRST.includes(column.key);
        sorting = { key: column.key, isAscending };
        renderMethods();
      },
    }, column.header));
  });
}

function methodRow(row, chance) {
  const texts = {
    rank: String(row.rank),
    cases: String(row.cases),
    ablation: row.ablation,
    seconds: fixed(row.seconds, 2),
  };
  return html("tr", {}, PAGE.columns.map((column) => {
    if (column.key === "method") return html("th", { scope: "row" }, row.method);
    if (column.key === "area") return areaCell(row, chance);
    const text = texts[column.key] ?? fixed(row[column.key]);
    return html("td", { class: column.isText ? null : "number" }, text);
  }));
}

function areaCell(row, chance) {
  const [low, high] = row.interval ?? [null, null];
  const brackets = low === null ? "" : `[${fixed(low)}, ${fixed(high)}]`;
  return html("td", { class: "number area", "data-value": row.area },
    html("span", { class: "mean" }, fixed(row.area)), " ",
    html("span", { class: "interval" }, brackets), " ",
    row.area === null ? null : intervalPicture(row.area, low, high, chance));
}

function intervalPicture(value, low, high, chance) {
  const level = (name, from, to) =>
    svg("line", { class: name, x1: from * 100, x2: to * 100, y1: 6, y2: 6 });
  return svg("svg", {
    class: "interval-picture", width: 108, height: 12, viewBox: "-4 0 108 12", "aria-hidden": true,
  },
  level("track", 0, 1),
  chance === null ? null
    : svg("line", { class: "chance-mark", x1: chance * 100, x2: chance * 100, y1: 0, y2: 12 }),
  low === null ? null : level("span", low, high),
  svg("circle", { class: "point", cx: value * 100, cy: 6, r: 3 }));
}

function chanceRow(chance) {
  return html("tr", { class: "chance" }, PAGE.columns.map((column) => {
    if (column.key === "method") return html("th", { scope: "row" }, "chance");
    if (column.key !== "area") return html("td", {});
    return html("td", { class: "number area" }, html("span", { class: "mean" }, fixed(chance)));
  }));
}

function renderMatrix() {
  const table = document.getElementById("matrix-table");
  const cases = shownCases();
  document.getElementById("matrix-status").textContent =
    `ROC-AUC of ${state.level}s in universe ${state.universe}. A degree sign marks an area that `
    + "random rankings reach, too. Every number leads to its case.";
  const heads = cases.map((each) => html("th", { scope: "col", class: "number" },
    html("a", { href: addressOf({ case: each.id, edges: "" }), click: leadToCase,
      "aria-label": `case ${each.id}` }, each.id)));
  table.tHead.replaceChildren(html("tr", {},
    html("th", { scope: "col" }, "Method"), heads,
    html("th", { scope: "col", class: "number" }, "Mean")));
  table.tBodies[0].replaceChildren(...summary.map((row) => html("tr", {},
    html("th", { scope: "row" }, row.label),
    cases.map((each) => heatCell(row, each.id)),
    html("td", { class: "number total" }, fixed(row.area)))));
  const chances = cases.map((each) => chanceOf(each.id));
  table.tFoot.replaceChildren(html("tr", { class: "chance" },
    html("th", { scope: "row" }, "chance"),
    chances.map((chance) => html("td", { class: "number" }, fixed(chance, 2))),
    html("td", { class: "number total" }, fixed(mean(chances)))));
}

function heatCell(row, caseId) {
  const result = resultOf(row.index, caseId);
  const area = mean(runsOf(result, "area"));
  if (area === null) return html("td", { class: "number" }, "-");
  const high = mean(runsOf(result, "chanceHigh"));
  const isChance = high !== null && area <= high;
  const shade = Math.min(Math.floor(area * 2 * HALF_STEPS), 2 * HALF_STEPS - 1);
  return html("td", { class: `number shade-${shade}` },
    html("a", {
      href: addressOf({ case: caseId, method: row.label, edges: "" }), click: leadToCase,
    }, `${fixed(area, 2)}${isChance ? "°" : ""}`));
}
