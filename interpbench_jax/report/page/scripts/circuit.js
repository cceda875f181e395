// Drawings of circuits, from the embeddings at the bottom to the output at the top.

const FINDINGS = {
  constant: "constant, not scored",
  extra: "found, not in the circuit",
  missed: "in the circuit, not found",
  hit: "in the circuit and found",
};
const GUTTER = 58;
const ROW = 70;
const HALF_HEIGHT = 17;
// How far curves may bend, in columns; the least comes first.
const BENDS = [0, -0.3, 0.3, -0.6, 0.6, -0.9, 0.9];
const PORTS = { query: -1, key: 0, value: 1 };

/** The component to which a node belongs: a query, key or value input belongs to its head. */
function componentOf(node) {
  return node.kind in PORTS ? `head ${node.layer}.${node.head}` : node.label;
}

/** The short name inside a node's box. */
function shortName(node) {
  if (node.kind in PORTS || node.kind === "head") return `${node.layer}.${node.head}`;
  return { token: "tokens", position: "positions" }[node.kind] ?? node.label;
}

/** The place of every component: columns are heads, rows are counted from the embeddings. */
function placeComponents(shape, edges) {
  const places = new Map();
  const nodes = edges.flat().map((index) => shape.nodes[index]);
  const hasTwo = nodes.some((node) => node.kind === "position");
  for (const node of nodes) {
    const isHead = node.kind in PORTS || node.kind === "head";
    let [column, row] = [0, 0];
    if (isHead) [column, row] = [node.head - (shape.heads - 1) / 2, 1 + 2 * node.layer];
    else if (node.kind === "mlp") row = 2 + 2 * node.layer;
    else if (node.kind === "output") row = 1 + 2 * shape.layers;
    else if (hasTwo) column = node.kind === "token" ? -0.7 : 0.7;
    const known = places.get(componentOf(node));
    const hasPorts = node.kind in PORTS || (known ? known.hasPorts : false);
    places.set(componentOf(node), { column, row, name: shortName(node), hasPorts });
  }
  return places;
}

/** A cubic curve as its four points: it leaves upwards, arrives upwards, and bends to one side. */
function edgeCurve(start, end, bend) {
  const lift = (start.y - end.y) * (bend ? 0.3 : 0.5);
  return [
    start,
    { x: start.x + bend, y: start.y - lift },
    { x: end.x + bend, y: end.y + lift },
    end,
  ];
}

function pointOf(curve, share) {
  const rest = 1 - share;
  const weights = [rest ** 3, 3 * rest ** 2 * share, 3 * rest * share ** 2, share ** 3];
  const sum = (axis) => weights.reduce((total, each, index) => total + each * curve[index][axis], 0);
  return { x: sum("x"), y: sum("y") };
}

/** Whether a curve crosses one of the boxes, whose centers are given. */
function crosses(curve, boxes, halfWidth) {
  for (let step = 1; step < 24; step += 1) {
    const { x, y } = pointOf(curve, step / 24);
    if (boxes.some((box) =>
      Math.abs(x - box.x) < halfWidth + 5 && Math.abs(y - box.y) < HALF_HEIGHT + 4)) return true;
  }
  return false;
}

/** The columns in which edges may pass many rows: between the heads, and outside them. */
function corridors(heads) {
  return Array.from({ length: heads + 1 }, (_, index) => index - heads / 2)
    .filter((column) => column !== 0);
}

/** The tracks of all corridors: each edge in a corridor is drawn beside those before it. */
function makeTracks(shape, center, pitch, halfWidth) {
  const used = new Map();
  const spacing = Math.min(6, (pitch - 2 * halfWidth) / 7);
  return (startX, endX) => {
    const way = (column) => {
      const x = center + column * pitch;
      return Math.abs(x - startX) + Math.abs(x - endX);
    };
    const column = corridors(shape.heads).reduce((best, each) => (way(each) < way(best) ? each : best));
    const count = used.get(column) ?? 0;
    used.set(column, count + 1);
    const place = count % 7;
    return center + column * pitch + (place % 2 ? 1 : -1) * Math.ceil(place / 2) * spacing;
  };
}

const pair = ({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`;

/** The path of an edge: a curve if one passes the boxes between its ends, or else by a corridor. */
function edgePath(start, end, between, pitch, halfWidth, trackBetween) {
  const curve = BENDS.map((bend) => edgeCurve(start, end, bend * pitch))
    .find((each) => !crosses(each, between, halfWidth));
  if (curve) return `M${pair(curve[0])}C${curve.slice(1).map(pair).join(" ")}`;
  const x = trackBetween(start.x, end.x);
  const gap = ROW - 2 * HALF_HEIGHT;
  return `M${pair(start)}${stepAside(start, { x, y: start.y - gap })}`
    + `V${(end.y + gap).toFixed(1)}${stepAside({ x, y: end.y + gap }, end)}`;
}

/** A curve to a neighboring column within the space between two rows. */
function stepAside(from, to) {
  const middle = (from.y + to.y) / 2;
  return `C${pair({ x: from.x, y: middle })} ${pair({ x: to.x, y: middle })} ${pair(to)}`;
}

function arrowheads() {
  return svg("defs", {}, Object.keys(FINDINGS).map((finding) =>
    svg("marker", {
      id: `arrow-${finding}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8,
      markerUnits: "userSpaceOnUse", orient: "auto",
    }, svg("path", { class: `head-${finding}`, d: "M0,0.5L8,4L0,7.5Z" }))));
}

/**
 * Draw a circuit.
 *
 * `shape`: the model's shape; `universe`: its edges and groups; `findings`: what became of each
 * edge, or null for edges that are not drawn; `label`: a summary for screen readers.
 */
function drawCircuit(shape, universe, findings, width, label) {
  const places = placeComponents(shape, universe.edges);
  const pitch = Math.min(130, Math.max(52, (width - GUTTER - 16) / (shape.heads + 0.5)));
  const full = Math.max(width, GUTTER + 16 + pitch * (shape.heads + 0.5));
  const center = GUTTER + (full - GUTTER) / 2;
  const lowest = Math.min(...[...places.values()].map((place) => place.row));
  const height = ROW * (2 * shape.layers + 1 - lowest) + 2 * HALF_HEIGHT + 12;
  const point = ({ column, row }) =>
    ({ x: center + column * pitch, y: height - HALF_HEIGHT - 6 - (row - lowest) * ROW });
  const halfWidth = Math.min(34, pitch * 0.37);
  const picture = svg("svg", {
    class: "chart circuit", width: full, height, viewBox: `0 0 ${full} ${height}`, role: "img",
    "aria-label": label,
  }, arrowheads(), layerLines(shape, full, point));
  const touched = new Set();
  const trackBetween = makeTracks(shape, center, pitch, halfWidth);
  for (const finding of Object.keys(FINDINGS)) {
    universe.edges.forEach(([src, dst], index) => {
      if (findings[index] !== finding) return;
      const [source, target] = [shape.nodes[src], shape.nodes[dst]];
      const [from, to] = [places.get(componentOf(source)), places.get(componentOf(target))];
      touched.add(from).add(to);
      const [start, end] = [point(from), point(to)];
      const port = (PORTS[target.kind] ?? 0) * halfWidth * 0.6;
      picture.append(svg("path", {
        class: `edge ${finding}`,
        "marker-end": `url(#arrow-${finding})`,
        d: edgePath(
          { x: start.x, y: start.y - HALF_HEIGHT },
          { x: end.x + port, y: end.y + HALF_HEIGHT + 1 },
          [...places.values()].filter(({ row }) => row > from.row && row < to.row).map(point),
          pitch, halfWidth, trackBetween),
      }, svg("title", {}, `${edgeName(shape, universe, index)}: ${FINDINGS[finding]}`)));
    });
  }
  for (const place of places.values()) {
    picture.append(drawNode(place, point(place), halfWidth, touched.has(place)));
  }
  return picture;
}

function drawNode(place, { x, y }, halfWidth, isTouched) {
  const half = place.name.length > 6 ? Math.max(halfWidth, 36) : halfWidth;
  const ports = !place.hasPorts ? [] : Object.entries(PORTS).map(([name, side]) =>
    svg("text", { class: "port", x: x + side * halfWidth * 0.6, y: y + 13 }, name[0]));
  return svg("g", { class: `node${isTouched ? " touched" : ""}`, "aria-hidden": true },
    svg("rect", {
      x: x - half, y: y - HALF_HEIGHT, width: 2 * half, height: 2 * HALF_HEIGHT, rx: 5,
    }),
    svg("text", { x, y: place.hasPorts ? y - 1 : y + 4 }, place.name),
    ports);
}

/** A line and a name for every layer. */
function layerLines(shape, width, point) {
  const lines = Array.from({ length: shape.layers }, (_, layer) => {
    const bottom = point({ column: 0, row: 0.5 + 2 * layer }).y;
    return [
      svg("line", { class: "grid", x1: 0, x2: width, y1: bottom, y2: bottom }),
      svg("text", { x: 0, y: bottom - ROW + 4 }, `layer ${layer}`),
    ];
  });
  const top = point({ column: 0, row: 0.5 + 2 * shape.layers }).y;
  lines.push(svg("line", { class: "grid", x1: 0, x2: width, y1: top, y2: top }));
  return svg("g", { "aria-hidden": true }, lines.flat());
}

function edgeName(shape, universe, index) {
  const [src, dst] = universe.edges[index];
  return `${shape.nodes[src].label} → ${shape.nodes[dst].label}`;
}

/** The lines of a drawing and what they mean, with the number of each. */
function circuitLegend(findings) {
  const items = Object.keys(FINDINGS).reverse().map((finding) => {
    const count = findings.filter((each) => each === finding).length;
    return html("li", {},
      svg("svg", { class: "chart", width: 36, height: 12, "aria-hidden": true },
        svg("line", { class: finding, x1: 1, x2: 35, y1: 6, y2: 6 })),
      `${FINDINGS[finding]}: ${count}`);
  });
  return html("ul", { class: "legend" }, items);
}
