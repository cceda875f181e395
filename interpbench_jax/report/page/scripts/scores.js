// Scores of edges: their promotion to coarser universes, rankings, ROC curves and findings.

const TRUE = "i";
const CONSTANT = "c";

/** The scores in a coarser universe: of each edge, the largest of the fine edges it merges. */
function promote(values, groups) {
  if (groups === null) return values;
  return groups.map((group) => group.reduce((most, index) => Math.max(most, values[index]), -Infinity));
}

/** The scored edges, best first; of equal scores, the first edge of the universe is first. */
function rankEdges(values, truths) {
  return [...values.keys()]
    .filter((index) => truths[index] !== CONSTANT)
    .sort((a, b) => values[b] - values[a] || a - b);
}

function countTrue(truths) {
  return [...truths].filter((truth) => truth === TRUE).length;
}

/** The points of the ROC curve and its area; null if the circuit has all edges or none. */
function rocCurve(values, truths) {
  const ranked = rankEdges(values, truths);
  const positives = countTrue(truths);
  const negatives = ranked.length - positives;
  if (!positives || !negatives) return null;
  const points = [[0, 0]];
  let [found, wrong, twiceArea] = [0, 0, 0];
  for (let start = 0; start < ranked.length;) {
    const [foundBefore, wrongBefore] = [found, wrong];
    let end = start;
    // Edges of one score enter together, as one straight piece of the curve.
    for (; end < ranked.length && values[ranked[end]] === values[ranked[start]]; end += 1) {
      if (truths[ranked[end]] === TRUE) found += 1;
      else wrong += 1;
    }
    twiceArea += (wrong - wrongBefore) * (found + foundBefore);
    points.push([wrong / negatives, found / positives]);
    start = end;
  }
  return { points, area: twiceArea / (2 * positives * negatives) };
}

/** What became of every edge: "hit", "missed", "extra", "constant" or null. */
function findEdges(values, truths, count) {
  const lowest = values.reduce((least, value) => Math.min(least, value), 0);
  const chosen = new Set(
    rankEdges(values, truths).slice(0, count).filter((index) => values[index] > lowest));
  return values.map((_, index) => {
    if (truths[index] === CONSTANT) return "constant";
    if (chosen.has(index)) return truths[index] === TRUE ? "hit" : "extra";
    return truths[index] === TRUE ? "missed" : null;
  });
}

/** The area under a curve of points by the trapezoidal rule. */
function areaUnder(points) {
  return points.slice(1).reduce(
    (sum, [x, y], index) => sum + ((x - points[index][0]) * (y + points[index][1])) / 2, 0);
}
