"""Drawings of circuits: what the truth has, and what a method found of it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from interpbench_jax.circuit import Circuit
from interpbench_jax.extras import needs_extra
from interpbench_jax.names import UniverseName
from interpbench_jax.pictures.canvas import axes_for, set_title, short_name
from interpbench_jax.pictures.routes import (
    HALF_HEIGHT,
    HALF_WIDTH,
    PORTS,
    Places,
    Point,
    place_nodes,
    route_edges,
)
from interpbench_jax.report.colors import BLUE, GREEN, GREY, ORANGE, PALE
from interpbench_jax.report.figures import encode_figure, house_style, new_figure
from interpbench_jax.scores.levels import (
    Ranking,
    component_of,
    heard,
    only_edges,
    promote_scores,
    read_values,
)
from interpbench_jax.sites import Edge, Node
from interpbench_jax.texts import count
from interpbench_jax.universes import Universe, universe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Finding = Literal["hit", "missed", "extra", "constant"]
Dash = Literal["solid", "dotted"] | tuple[int, tuple[float, ...]]

# The color, the dash and the width of an edge; without colors, dashes and widths tell them apart.
_STYLES: Mapping[Finding, tuple[str, Dash, float]] = {
    "constant": (GREY, "dotted", 1.0),
    "extra": (ORANGE, (0, (4, 1.5, 1, 1.5)), 1.1),
    "missed": (BLUE, (0, (5, 2)), 2.0),
    "hit": (GREEN, "solid", 2.0),
}
_LABELS: Mapping[Finding, str] = {
    "hit": "in the circuit and found",
    "missed": "in the circuit, not found",
    "extra": "found, not in the circuit",
    "constant": "constant, not scored",
}
_TRUTH_LABEL = "in the circuit"
# Points, at the drawing's full size.
_FONT_SIZE, _PORT_FONT_SIZE = 8.0, 5.0


def encode_circuit(
    circuit: Circuit,
    found: Circuit | Collection[Edge] | Ranking | None = None,
    *,
    universe: UniverseName = "head",
    title: str | None = None,
    kind: Literal["png", "svg"] = "svg",
) -> bytes:
    """The content of a picture file of a circuit, in one style whatever the user's is.

    Args:
        circuit: see `draw_circuit`, as for the next three.
        found: what was found of it.
        universe: the universe of the edges.
        title: the title.
        kind: the kind of file.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: as `draw_circuit` does.
    """
    with house_style():
        figure, axes = new_figure(*drawing_size(circuit))
        draw_circuit(circuit, found, universe=universe, title=title, ax=axes)
        return encode_figure(figure, kind)


def draw_circuit(
    circuit: Circuit,
    found: Circuit | Collection[Edge] | Ranking | None = None,
    *,
    universe: UniverseName = "head",
    n_edges: int | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a circuit from the embeddings at the bottom to the output at the top.

    With `found`, edges are drawn as hits, as missed, or as extra ones. Constant edges, which no
    method that resamples can see, are dotted in either case.

    Args:
        circuit: the known circuit.
        found: another circuit, or edges of the universe; or a sweep's result or a method's
            scores, whose best edges are drawn.
        universe: the universe of the edges. In `"qkv"` the arrows into a head end at its queries
            (left), keys (middle) or values (right).
        n_edges: how many of the best edges of a result are drawn; the default is as many as the
            circuit has, without constant ones.
        title: the title; the default counts the edges.
        ax: the Axes to draw on; the default is a new figure.

    Returns:
        The Axes.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if an edge is not one of the universe, or the result is not of edges.
    """
    space = _universe_of(circuit, universe)
    truths = circuit.edge_truths(universe)
    chosen = None if found is None else _found_edges(found, circuit, space, n_edges)
    drawn: dict[Edge, Finding] = {}
    for edge, truth in truths.items():
        finding = _finding(truth, edge, chosen)
        if finding is not None:
            drawn[edge] = finding
    places = place_nodes(space)
    width, height = _size(places)
    is_new = ax is None
    ax = axes_for(ax, max(width, 4.0), height + 0.8)
    _set_limits(ax, places)
    scale = 1.0 if is_new else _scale(ax, width, height)
    routes = route_edges(drawn, places)
    # Later ones lie on top.
    for kind in _STYLES:
        for edge in (edge for edge, finding in drawn.items() if finding == kind):
            _draw_edge(ax, edge, kind, routes[edge], scale)
    touched = {component_of(node) for edge in drawn for node in (edge.src, edge.dst)}
    with_ports = {component_of(edge.dst) for edge in drawn if edge.dst.kind in PORTS}
    for node, place in places.centers.items():
        _draw_node(ax, node, place, node in touched, scale)
        if node in with_ports:
            _name_ports(ax, place, scale)
    _explain(ax, drawn, chosen is not None)
    n_true = sum(truth == "in" for truth in truths.values())
    default = f"{count(n_true, 'edge')} of {len(space.edges)} (universe {universe})"
    set_title(ax, default if title is None else title)
    return ax


def _universe_of(circuit: Circuit, name: UniverseName) -> Universe:
    return universe(name, circuit.n_layers, circuit.n_heads)


def _found_edges(
    found: Circuit | Collection[Edge] | Ranking,
    circuit: Circuit,
    space: Universe,
    n_edges: int | None,
) -> frozenset[Edge]:
    if isinstance(found, Circuit):
        return found.in_universe(space.name)
    if hasattr(found, "values") and hasattr(found, "universe"):
        return _best_edges(cast("Ranking", found), circuit, space, n_edges)
    edges = frozenset(cast("Iterable[Edge]", found))
    unknown = edges - set(space.edges)
    if unknown:
        raise ValueError(
            f"Expected edges of universe {space.name!r}, got {next(iter(unknown))}; pass a "
            "Circuit, which is converted, or choose the universe of the edges."
        )
    return edges


def _best_edges(
    result: Ranking, circuit: Circuit, space: Universe, n_edges: int | None
) -> frozenset[Edge]:
    values, name, level = read_values(result, None, None)
    only_edges(level)
    sizes = np.abs(heard(result, values))
    sizes = promote_scores(sizes, name, space.name, circuit.n_layers, circuit.n_heads)
    truths = circuit.edge_truths(space.name)
    if n_edges is None:
        n_edges = sum(truth == "in" for truth in truths.values())
    scored = [i for i, edge in enumerate(space.edges) if truths[edge] != "constant"]
    order = sorted(scored, key=lambda i: -sizes[i])
    return frozenset(space.edges[i] for i in order[:n_edges] if sizes[i] > 0)


def _finding(truth: str, edge: Edge, chosen: frozenset[Edge] | None) -> Finding | None:
    if truth == "constant":
        return "constant"
    if chosen is None:
        return "hit" if truth == "in" else None
    if edge in chosen:
        return "hit" if truth == "in" else "extra"
    return "missed" if truth == "in" else None


def drawing_size(circuit: Circuit, universe: UniverseName = "head") -> tuple[float, float]:
    """The width and height in inches at which a circuit's drawing has its full size."""
    width, height = _size(place_nodes(_universe_of(circuit, universe)))
    return max(width, 4.0), height + 0.8


def _size(places: Places) -> tuple[float, float]:
    xs, ys = zip(*places.centers.values(), strict=True)
    # Edges that pass all nodes of a row need room beside them.
    return max(xs) - min(xs) + 1.5, max(ys) - min(ys) + 2.5 * HALF_HEIGHT


def _set_limits(ax: "Axes", places: Places) -> None:
    xs, ys = zip(*places.centers.values(), strict=True)
    ax.set_xlim(min(xs) - 0.75, max(xs) + 0.75)
    ax.set_ylim(min(ys) - 1.25 * HALF_HEIGHT, max(ys) + 1.25 * HALF_HEIGHT)
    ax.set_aspect("equal")
    ax.set_axis_off()


def _scale(ax: "Axes", width: float, height: float) -> float:
    """How much smaller than its full size a drawing on given Axes is, at most 1."""
    box, dpi = ax.get_window_extent(), ax.figure.dpi
    fits = min(box.width / dpi / width, box.height / dpi / height)
    return min(1.0, max(0.4, 1.1 * fits))


def _draw_edge(
    ax: "Axes", edge: Edge, finding: Finding, points: Sequence[Point], scale: float
) -> None:
    with needs_extra("bench", "Drawing pictures"):
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path

    color, dash, width = _STYLES[finding]
    vertices, codes = [points[0]], [Path.MOVETO]
    for (x, y), (to_x, to_y) in pairwise(points):
        # Upright at both ends, so that the line keeps off the nodes.
        rise = 0.6 * (to_y - y)
        vertices += [(x, y + rise), (to_x, to_y - rise), (to_x, to_y)]
        codes += [Path.CURVE4] * 3
    arrow = FancyArrowPatch(
        path=Path(vertices, codes),
        arrowstyle="-|>",
        mutation_scale=8 * scale,
        color=color,
        linestyle=dash,
        linewidth=width * scale,
        shrinkA=0,
        shrinkB=1,
        zorder=1,
    )
    arrow.set_gid(f"{finding}: {edge}")
    ax.add_patch(arrow)


def _draw_node(ax: "Axes", node: Node, place: Point, is_touched: bool, scale: float) -> None:
    with needs_extra("bench", "Drawing pictures"):
        from matplotlib.patches import FancyBboxPatch

    x, y = place
    box = FancyBboxPatch(
        (x - HALF_WIDTH, y - HALF_HEIGHT),
        2 * HALF_WIDTH,
        2 * HALF_HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor="white",
        edgecolor="black" if is_touched else PALE,
        linewidth=0.9 * scale,
        zorder=2,
    )
    ax.add_patch(box)
    ax.text(
        x,
        y,
        short_name(node),
        ha="center",
        va="center",
        fontsize=_FONT_SIZE * scale,
        color="black" if is_touched else GREY,
        parse_math=False,
        zorder=3,
    )


def _name_ports(ax: "Axes", place: Point, scale: float) -> None:
    """Write q, k and v where the arrows into a head end."""
    x, y = place
    for kind, shift in PORTS.items():
        letter = kind.name[0].lower()
        size = _PORT_FONT_SIZE * scale
        bottom = y - HALF_HEIGHT + 0.01
        ax.text(x + shift, bottom, letter, ha="center", va="bottom", fontsize=size, zorder=3)


def _explain(ax: "Axes", drawn: Mapping[Edge, Finding], has_found: bool) -> None:
    """Explain the lines that are there, below the drawing."""
    with needs_extra("bench", "Drawing pictures"):
        from matplotlib.lines import Line2D

    present = set(drawn.values())
    labels = dict(_LABELS) if has_found else {**_LABELS, "hit": _TRUTH_LABEL}
    handles = [
        Line2D([], [], color=color, linestyle=dash, linewidth=width, label=labels[finding])
        for finding, (color, dash, width) in reversed(list(_STYLES.items()))
        if finding in present
    ]
    if handles:
        ax.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=2,
            handlelength=3,
            frameon=False,
            fontsize=8,
        )
