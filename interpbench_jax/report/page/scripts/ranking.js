// The tables of one case: the highest-ranked edges, and all of them.

const SHOWN_EDGES = 10;

/** The edges with these places in the ranking, with scores, truth and exact effects. */
function edgeTable(view, indices) {
  const headers = ["#", "Edge", "Score", "In the circuit"];
  if (view.exact) headers.push("Exact effect");
  const rows = indices.map((index, place) => [
    String(place + 1),
    edgeName(view.shape, view.universe, index),
    significant(view.values[index]),
    view.truths[index] === TRUE ? "◆ yes" : "○ no",
    ...(view.exact ? [significant(view.exact[index])] : []),
  ]);
  return plainTable(headers, rows, [1, 3]);
}

function rankingPanel(view) {
  const ranked = rankEdges(view.values, view.truths);
  const title = `The ${Math.min(SHOWN_EDGES, ranked.length)} highest-ranked edges`;
  const constant = view.truths.length - ranked.length;
  return html("div", { class: "panel" },
    html("h3", {}, title),
    scrollingTable(title, edgeTable(view, ranked.slice(0, SHOWN_EDGES))),
    lazyDetails(`All ${ranked.length} edges in their order`, () =>
      scrollingTable("All edges in their order", edgeTable(view, ranked))),
    constant ? html("p", { class: "note" }, `Constant edges are not ranked: ${constant}.`) : null);
}
