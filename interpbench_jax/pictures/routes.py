"""Where the nodes of a circuit's drawing lie, and the ways of its edges between them.

One unit is one inch of the drawing at its full size. Rows, from the bottom: the embeddings; the
heads and the MLP of each layer; the output. An edge that passes a row goes through one of the gaps
between its nodes, so that no edge crosses a node.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from interpbench_jax.scores.levels import component_of
from interpbench_jax.sites import EMBEDDING_SOURCES, Edge, Kind, Node
from interpbench_jax.universes import Universe

Point = tuple[float, float]

# Half the width and half the height of a node.
HALF_WIDTH, HALF_HEIGHT = 0.3, 0.15
ROW_HEIGHT = 0.68
# Where the arrows into a head end: its queries on the left, its values on the right.
PORTS = {Kind.Q_INPUT: -0.2, Kind.K_INPUT: 0.0, Kind.V_INPUT: 0.2}
# The room for all arrows that leave a node, enter one, or enter one port of a head.
_SPREAD, _PORT_SPREAD = 0.4, 0.1
# Between edges in one gap, and between the outermost of them.
_BETWEEN, _GAP = 0.08, 0.26
# How much an edge prefers a gap that others do not use, in squared units of bending.
_CROWDED = 0.08


@dataclass(frozen=True)
class Places:
    """The places of a drawing's nodes.

    Attributes:
        centers: the center of each component.
        rows: the nodes of each row, from the bottom, from left to right.
    """

    centers: Mapping[Node, Point]
    rows: tuple[tuple[Node, ...], ...]

    @property
    def lanes(self) -> tuple[float, ...]:
        """The x coordinates between and beside the columns of nodes, and those of the columns."""
        xs = sorted({x for x, _ in self.centers.values()})
        first, last = xs[0] - 0.5, xs[-1] + 0.5
        return tuple(sorted({*xs, *((a + b) / 2 for a, b in pairwise(xs)), first, last}))

    def free_lanes(self, row: int) -> list[float]:
        """The lanes that pass all nodes of a row, with room beside them."""
        taken = [self.centers[node][0] for node in self.rows[row]]
        room = HALF_WIDTH + _GAP / 2
        return [x for x in self.lanes if all(abs(x - each) >= room for each in taken)]


def place_nodes(space: Universe) -> Places:
    """Lay out every component of a universe."""
    nodes = list(dict.fromkeys(component_of(node) for node in space.nodes))
    rows: dict[int, list[Node]] = {}
    for node in nodes:
        layer = node.layer or 0
        if node.kind in EMBEDDING_SOURCES:
            row = 0
        elif node.kind is Kind.RESID_POST:
            row = 1 + 2 * space.n_layers
        else:
            row = 1 + 2 * layer + (node.kind is Kind.MLP_OUT)
        rows.setdefault(row, []).append(node)
    if 0 not in rows:
        rows = {row - 1: own for row, own in rows.items()}
    centers = {
        node: (index - (len(own) - 1) / 2, ROW_HEIGHT * row)
        for row, own in rows.items()
        for index, node in enumerate(sorted(own, key=lambda node: node.head or 0))
    }
    return Places(centers, tuple(tuple(rows[row]) for row in sorted(rows)))


def route_edges(edges: Collection[Edge], places: Places) -> dict[Edge, list[Point]]:
    """Return the points through which each edge goes upwards, vertically at each of them.

    Two points for each row that is passed, at the heights at which the nodes of the row begin and
    end; so no node is crossed if the lines between rows stay between them.
    """
    row_of = {node: row for row, own in enumerate(places.rows) for node in own}
    ends = {edge: (component_of(edge.src), component_of(edge.dst)) for edge in edges}
    lanes: dict[Edge, list[float]] = {}
    used: dict[tuple[int, float], int] = {}
    # Short edges first: they have the fewest ways to choose from.
    for edge in sorted(edges, key=lambda e: (row_of[ends[e][1]] - row_of[ends[e][0]], str(e))):
        src, dst = ends[edge]
        rows = range(row_of[src] + 1, row_of[dst])
        x, to_x = places.centers[src][0], places.centers[dst][0] + PORTS.get(edge.dst.kind, 0.0)
        lanes[edge] = _cheapest_lanes(
            x, to_x, [(row, places.free_lanes(row)) for row in rows], used
        )
        for row, lane in zip(rows, lanes[edge], strict=True):
            used[row, lane] = used.get((row, lane), 0) + 1
    inner = _spread_lanes(lanes, ends, places)
    starts, stops = _spread_ends(inner, ends, places)
    routes = {}
    for edge, (src, dst) in ends.items():
        (_, y), (_, to_y) = places.centers[src], places.centers[dst]
        points = [(starts[edge], y + HALF_HEIGHT)]
        for row, x in enumerate(inner[edge], row_of[src] + 1):
            middle = places.centers[places.rows[row][0]][1]
            points += [(x, middle - HALF_HEIGHT), (x, middle + HALF_HEIGHT)]
        routes[edge] = [*points, (stops[edge], to_y - HALF_HEIGHT)]
    return routes


def _cheapest_lanes(
    x: float,
    to_x: float,
    rows: Sequence[tuple[int, Sequence[float]]],
    used: Mapping[tuple[int, float], int],
) -> list[float]:
    """Return a lane for each row that is passed, with the least bending, by dynamic programming."""
    best: dict[float, tuple[float, list[float]]] = {x: (0.0, [])}
    for row, lanes in rows:
        best = {
            lane: min(
                (cost + (lane - last) ** 2 + _CROWDED * used.get((row, lane), 0), [*way, lane])
                for last, (cost, way) in best.items()
            )
            for lane in lanes
        }
    return min((cost + (to_x - last) ** 2, way) for last, (cost, way) in best.items())[1]


def _spread_lanes(
    lanes: Mapping[Edge, Sequence[float]],
    ends: Mapping[Edge, tuple[Node, Node]],
    places: Places,
) -> dict[Edge, list[float]]:
    """Give each edge its own place in every lane, ordered by where edges come from and go to."""
    users: dict[float, list[Edge]] = {}
    for edge, own in lanes.items():
        for lane in set(own):
            users.setdefault(lane, []).append(edge)
    shifts: dict[tuple[Edge, float], float] = {}
    for lane, own in users.items():
        own.sort(key=lambda edge: (sum(places.centers[node][0] for node in ends[edge]), str(edge)))
        step = min(_BETWEEN, _GAP / max(len(own) - 1, 1))
        for index, edge in enumerate(own):
            shifts[edge, lane] = (index - (len(own) - 1) / 2) * step
    return {edge: [lane + shifts[edge, lane] for lane in own] for edge, own in lanes.items()}


def _spread_ends(
    inner: Mapping[Edge, Sequence[float]],
    ends: Mapping[Edge, tuple[Node, Node]],
    places: Places,
) -> tuple[dict[Edge, float], dict[Edge, float]]:
    """Return the x coordinate at which each edge leaves its writer, and enters its reader."""
    leaving: dict[Node, list[tuple[float, Edge]]] = {}
    entering: dict[Node, list[tuple[float, Edge]]] = {}
    for edge, (src, dst) in ends.items():
        first = inner[edge][0] if inner[edge] else places.centers[dst][0]
        last = inner[edge][-1] if inner[edge] else places.centers[src][0]
        leaving.setdefault(src, []).append((first + PORTS.get(edge.dst.kind, 0.0) / 10, edge))
        entering.setdefault(edge.dst, []).append((last, edge))
    starts = {
        edge: places.centers[node][0] + shift
        for node, own in leaving.items()
        for edge, shift in _side_by_side(own, _SPREAD)
    }
    stops = {}
    for reader, own in entering.items():
        middle = places.centers[component_of(reader)][0] + PORTS.get(reader.kind, 0.0)
        room = _PORT_SPREAD if reader.kind in PORTS else _SPREAD
        stops |= {edge: middle + shift for edge, shift in _side_by_side(own, room)}
    return starts, stops


def _side_by_side(edges: list[tuple[float, Edge]], room: float) -> list[tuple[Edge, float]]:
    """Order edges by their other ends and return how far each lies from the middle."""
    ordered = sorted(edges, key=lambda pair: (pair[0], str(pair[1])))
    step = min(0.14, room / max(len(ordered) - 1, 1))
    return [
        (edge, (index - (len(ordered) - 1) / 2) * step) for index, (_, edge) in enumerate(ordered)
    ]
