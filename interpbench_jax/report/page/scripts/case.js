// The view of one case: its circuit and what each method found, as drawings, curves and tables.

// More edges than these cannot be told apart, and take long to draw.
const MOST_DRAWN = 1500;

/** Everything about the case shown, in the universe shown; null if there is nothing to draw. */
function caseView() {
  const own = PAGE.cases.find((each) => each.id === state.case);
  const runs = (own.drawing?.runs ?? []).filter((run) => {
    const { ablation } = PAGE.contenders[run.contender];
    return state.ablation === ALL || state.ablation === `is:${ablation}`;
  });
  if (!runs.length) return { own, runs, chosen: null };
  const chosen = runs.find((run) => labelOf(run) === state.method) ?? runs[0];
  const shape = PAGE.shapes[own.drawing.shape];
  const universe = shape.universes[state.universe];
  const truths = own.drawing.truths[state.universe];
  const valuesOf = (run) => promote(run.values, universe.groups);
  const { ablation } = PAGE.contenders[chosen.contender];
  const exact = own.drawing.runs.find((run) => {
    const contender = PAGE.contenders[run.contender];
    return contender.method === PAGE.reference && contender.ablation === ablation;
  });
  return {
    own, runs, chosen, shape, universe, truths, valuesOf,
    values: valuesOf(chosen),
    exact: exact ? valuesOf(exact) : null,
  };
}

function labelOf(run) {
  return PAGE.contenders[run.contender].label;
}

function renderCase() {
  const section = document.getElementById("cases");
  if (!section || !PAGE.cases.length) return;
  const view = caseView();
  const focused = document.activeElement?.dataset.control;
  section.replaceChildren(
    html("h2", { id: "case-title", tabindex: -1 }, `Case ${view.own.id}`),
    caseControls(view),
    caseText(view));
  if (view.chosen) {
    const panel = () => html("div", { class: "panel" });
    const [circuit, effects, roc, faithfulness] = [panel(), panel(), panel(), panel()];
    // A chart is as wide as its panel, which is known once the panel is on the page.
    section.append(
      html("div", { class: "two" }, circuit, html("div", {}, rankingPanel(view), effects)),
      html("div", { class: "two" }, roc, faithfulness));
    fillCircuit(circuit, view);
    fillEffects(effects, view);
    fillRoc(roc, view);
    fillFaithfulness(faithfulness, view);
  } else {
    section.append(html("p", { class: "notice" }, whyNothing(view.own)));
  }
  if (focused) section.querySelector(`[data-control="${focused}"]`)?.focus();
}

function whyNothing(own) {
  if (!PAGE.hasScores) return "Without the scores of edges there is nothing to draw.";
  if (own.drawing) return "No method was run with this ablation.";
  return "The scores of this case are missing, or are not those of a transformer's edges.";
}

function caseControls(view) {
  const place = PAGE.cases.indexOf(view.own);
  const named = (label, control) => {
    label.querySelector("select").dataset.control = control;
    return label;
  };
  const step = (text, to) => html("button", {
    type: "button", "data-control": text, disabled: !PAGE.cases[to],
    click: () => go({ case: PAGE.cases[to].id, edges: "" }),
  }, text);
  return html("form", {
    class: "controls", "aria-label": "Case", submit: (event) => event.preventDefault(),
  },
    named(choice("Case", PAGE.cases.map((each) => [each.id, each.id]), view.own.id,
      (value) => go({ case: value, edges: "" })), "case"),
    view.chosen && named(choice("Method", view.runs.map((run) => [labelOf(run), labelOf(run)]),
      labelOf(view.chosen), (value) => go({ method: value })), "method"),
    named(choice("Universe", PAGE.universes.map((each) => [each, each]), state.universe,
      (value) => go({ universe: value, edges: "" })), "universe"),
    html("div", { class: "steps" }, step("Previous case", place - 1), step("Next case", place + 1)));
}

function caseText({ own, chosen }) {
  const facts = own.facts.map(([name, value]) =>
    html("div", {}, html("dt", {}, name), html("dd", {}, html("code", {}, value))));
  return html("div", { class: "case-text" },
    own.description ? html("p", { class: "description" }, own.description) : null,
    html("p", { class: "note" }, `Tier: ${own.tier || "not known"}. Release: ${own.releases.join(", ") || "not known"}.`),
    own.note ? html("p", { class: "note" }, own.note) : null,
    chosen && chosen.of > 1 ? html("p", { class: "note" },
      `Drawings and curves show the run with seed ${chosen.seed} and edge order ${chosen.order}, one of `
      + `${chosen.of}; the tables above show means over all runs.`) : null,
    own.program
      ? html("details", {}, html("summary", {}, "The program"), html("pre", {}, own.program)) : null,
    facts.length
      ? html("details", {},
        html("summary", {}, "Inputs and digests"), html("dl", { class: "facts wide" }, facts))
      : null);
}

function widthOf(panel) {
  return Math.max(260, panel.clientWidth);
}

function chartSize(panel) {
  const width = Math.min(widthOf(panel), 620);
  return { width, height: Math.min(Math.max(0.66 * width, 260), 380) };
}

/** The circuit with a slider for the number of edges that the method is asked for. */
function fillCircuit(panel, view) {
  const most = Math.min(rankEdges(view.values, view.truths).length, MOST_DRAWN);
  const trueSize = countTrue(view.truths);
  const slider = html("input", {
    type: "range", id: "edges", min: 0, max: most, "data-control": "edges",
    value: state.edges === "" ? trueSize : Math.min(Number(state.edges), most),
  });
  const output = html("output", { for: "edges", role: "status" });
  const reset = html("button", { type: "button", "data-control": "true size" }, `True size: ${trueSize}`);
  const drawing = html("div", {
    class: "scroll", tabindex: 0, role: "region", "aria-label": "Drawing of the circuit",
  });
  const legend = html("div");
  const draw = () => {
    const findings = findEdges(view.values, view.truths, Number(slider.value));
    const summary = findingsText(findings, Number(slider.value));
    output.textContent = summary;
    legend.replaceChildren(circuitLegend(findings));
    drawing.replaceChildren(
      drawCircuit(view.shape, view.universe, findings, widthOf(panel), summary));
  };
  slider.addEventListener("input", draw);
  slider.addEventListener("change", () => replaceAddress({ edges: slider.value }));
  reset.addEventListener("click", () => {
    slider.value = trueSize;
    replaceAddress({ edges: "" });
    draw();
  });
  add(panel,
    html("h3", {}, `The circuit and the edges found by ${labelOf(view.chosen)}`),
    html("div", { class: "slider" },
      html("label", { for: "edges" }, "Number of edges"), slider, reset, output),
    legend, drawing);
  draw();
}

function findingsText(findings, asked) {
  const count = (finding) => findings.filter((each) => each === finding).length;
  const [hits, extra, all] = [count("hit"), count("extra"), count("hit") + count("missed")];
  const chosen = hits + extra;
  const fewer = chosen < asked ? " (no other has a score above the lowest)" : "";
  const precision = chosen ? `; precision ${fixed(hits / chosen, 2)}` : "";
  return `${chosen} ${chosen === 1 ? "edge" : "edges"} chosen${fewer}: `
    + `${hits} of the circuit's ${all}, and ${extra} outside it${precision}.`;
}

/** ROC curves of all methods, with their areas and those of chance. */
function fillRoc(panel, view) {
  const curves = view.runs.map((run) => ({ run, curve: rocCurve(view.valuesOf(run), view.truths) }));
  panel.append(html("h3", {}, "ROC curves"));
  if (!curves[0].curve) {
    panel.append(html("p", {}, "All scored edges of this universe are on one side of the circuit."));
    return;
  }
  const chance = (run) => {
    const key = `edge/${run.contender}/${view.own.id}`;
    return mean(RESULTS.get(key)?.universes[state.universe]?.chance ?? []);
  };
  const lines = curves.map(({ run, curve }) =>
    ({ index: run.contender, isChosen: run === view.chosen, points: curve.points }));
  const best = curves.reduce((a, b) => (b.curve.area > a.curve.area ? b : a));
  add(panel,
    lineChart(lines, {
      ...chartSize(panel), xTitle: "false positive rate",
      yTitle: "true positive rate", xDomain: [0, 1], yDomain: [0, 1], reference: [[0, 0], [1, 1]],
      label: `ROC curves of ${curves.length} methods in universe ${state.universe}. The largest area, `
        + `${fixed(best.curve.area)}, has ${labelOf(best.run)}.`,
    }),
    methodLegend(view, ["ROC-AUC", "Chance"], (run) => {
      const { area } = curves.find((each) => each.run === run).curve;
      return [area, chance(run)];
    }, "areas"),
    lazyDetails(`Points of the curve of ${labelOf(view.chosen)}`, () => scrollingTable("Points",
      plainTable(["False positive rate", "True positive rate"],
        curves.find((each) => each.run === view.chosen).curve.points.map((point) =>
          point.map((value) => fixed(value)))))));
}

/** A legend as a table: the line of each method, its name, which chooses it, and its numbers. */
function methodLegend(view, headers, numbersOf, name) {
  const rows = [...view.runs].map((run) => ({ run, numbers: numbersOf(run) }));
  rows.sort((a, b) => compare(b.numbers[0], a.numbers[0]) || a.run.contender - b.run.contender);
  const head = html("tr", {},
    html("th", { scope: "col" }, "Line"), html("th", { scope: "col" }, "Method"),
    headers.map((text) => html("th", { scope: "col", class: "number" }, text)));
  const body = rows.map(({ run, numbers }) => {
    const isChosen = run === view.chosen;
    const button = html("button", {
      type: "button", class: "plain", "aria-pressed": String(isChosen),
      "data-control": `${name}-${run.contender}`, click: () => go({ method: labelOf(run) }),
    }, labelOf(run));
    return html("tr", { class: isChosen ? "chosen" : null, "data-contender": run.contender },
      html("td", {}, swatch(run.contender, isChosen)),
      html("th", { scope: "row" }, button),
      numbers.map((value) => html("td", { class: "number", "data-value": value }, fixed(value))));
  });
  return scrollingTable(`Methods and their ${name}`,
    html("table", { class: name }, html("thead", {}, head), html("tbody", {}, body)));
}

/** Exact effects against the chosen method's scores. */
function fillEffects(panel, view) {
  panel.append(html("h3", {}, "Exact effect and score"));
  if (!view.exact) {
    panel.append(html("p", {},
      "There are no exact effects here; they are the scores of a benchmark's method exact."));
    return;
  }
  const points = [...view.values.keys()]
    .filter((index) => view.truths[index] !== CONSTANT)
    .map((index) => ({
      x: Math.abs(view.exact[index]), y: Math.abs(view.values[index]),
      isTrue: view.truths[index] === TRUE,
    }));
  const xDomain = powersAround(points.map((point) => point.x));
  const yDomain = powersAround(points.map((point) => point.y));
  const below = points.filter((point) => point.x < xDomain[0] || point.y < yDomain[0]).length;
  const key = [[true, "in the circuit"], [false, "not in the circuit"]].map(([isTrue, text]) =>
    html("li", {}, svg("svg", { class: "chart", width: 14, height: 14, "aria-hidden": true },
      marker(isTrue, 7, 7)), text));
  add(panel,
    html("ul", { class: "legend" }, key),
    scatterPlot(points, {
      ...chartSize(panel), xTitle: "exact effect of patching the edge",
      yTitle: `score by ${shorten(labelOf(view.chosen))}`,
      xDomain,
      yDomain,
      label: `Exact effects and scores by ${labelOf(view.chosen)} of ${points.length} edges, of which `
        + `${countTrue(view.truths)} are in the circuit. The table of all edges has the numbers.`,
    }),
    html("p", { class: "note" }, "Both axes are logarithmic and show absolute values."
      + (below ? ` Edges with smaller values, or none, are drawn at the lower ends: ${below}.` : "")));
}

function shorten(text) {
  return text.length > 24 ? `${text.slice(0, 23)}…` : text;
}

/** Faithfulness of circuits of growing size. */
function fillFaithfulness(panel, view) {
  panel.append(html("h3", {}, "Faithfulness"));
  const known = view.runs.filter((run) => run.curves);
  if (!known.length) {
    panel.append(html("p", {}, PAGE.hasCurves
      ? "Faithfulness is not defined here, or its curves were not stored."
      : "This benchmark has no stored faithfulness curves: it was run by an earlier release, or "
        + "holds submissions."));
    return;
  }
  const pointsOf = (run, kind) => run.curves[kind].map(([share, , value]) => [share, value]);
  const lines = known.map((run) =>
    ({ index: run.contender, isChosen: run === view.chosen, points: pointsOf(run, "absolute") }));
  const heights = lines.flatMap((line) => line.points.map(([, value]) => value));
  const low = Math.max(Math.min(0, ...heights), -1);
  const high = Math.min(Math.max(1, ...heights), 2);
  const shares = lines.flatMap((line) => line.points.map(([share]) => share)).filter((each) => each > 0);
  const first = Math.min(...shares);
  const isCut = heights.some((value) => value < low || value > high);
  add(panel,
    lineChart(lines.map((line) => ({ ...line, points: line.points.filter(([share]) => share > 0) })), {
      ...chartSize(panel), isLog: true, xDomain: [first, 1], yDomain: [low, high],
      xTitle: "share of the edges that is kept", yTitle: "faithfulness",
      reference: [[first, 1], [1, 1]],
      label: `Faithfulness of circuits of growing size by ${known.length} methods, from ${first} of all `
        + "edges to all of them. The tables have the numbers.",
    }),
    isCut ? html("p", { class: "note" }, "Values outside the chart are drawn at its edge.") : null,
    methodLegend({ ...view, runs: known }, ["CPR", "CMD"], (run) => [
      areaUnder(pointsOf(run, "signed")),
      areaUnder(pointsOf(run, "absolute").map(([share, value]) => [share, Math.abs(1 - value)])),
    ], "faithfulness"),
    html("p", { class: "note" },
      "Edges of universe qkv, chosen by absolute scores. At 1 a circuit behaves as the whole model does, "
      + "at 0 as the model without any edge. CPR is of circuits that signed scores choose."),
    lazyDetails("Faithfulness as a table", () => scrollingTable("Faithfulness", plainTable(
      ["Share", ...known.map(labelOf)],
      known[0].curves.absolute.map(([share], place) => [
        tickText(share), ...known.map((run) => fixed(run.curves.absolute[place]?.[2])),
      ])))));
}
