"""Drawings of circuits: what the truth has, and what a method found of it."""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from interpbench_jax.circuit import Circuit
from interpbench_jax.extras import needs_extra
from interpbench_jax.names import UniverseName
from interpbench_jax.pictures.canvas import (
    BLUE,
    EMBEDDINGS,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    axes_for,
    set_title,
)
from interpbench_jax.scores.levels import (
    Ranking,
    component_of,
    heard,
    only_edges,
    promote_scores,
    read_values,
)
from interpbench_jax.sites import Edge, Kind, Node
from interpbench_jax.texts import count
from interpbench_jax.universes import Universe, universe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Finding = Literal["hit", "missed", "extra", "constant"]
Dash = Literal["solid", "dashed", "dotted"]
Point = tuple[float, float]

# The color, the dash and the width of an edge.
_STYLES: Mapping[Finding, tuple[str, Dash, float]] = {
    "constant": (GREY, "dotted", 1.0),
    "extra": (ORANGE, "dashed", 1.2),
    "missed": (BLUE, "dashed", 1.8),
    "hit": (GREEN, "solid", 1.8),
}
_LABELS: Mapping[Finding, str] = {
    "hit": "in the circuit and found",
    "missed": "in the circuit, not found",
    "extra": "found, not in the circuit",
    "constant": "constant, not scored",
}
_TRUTH_LABEL = "in the circuit"
# Half the width and height of a node.
_HALF_WIDTH, _HALF_HEIGHT = 0.36, 0.2
# Where the arrows into a head end: its queries on the left, its values on the right.
_PORTS = {Kind.Q_INPUT: -0.22, Kind.K_INPUT: 0.0, Kind.V_INPUT: 0.22}


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
    places = _places(space)
    width = max(4.0, circuit.n_heads + 1.5)
    ax = axes_for(ax, width, 0.85 * (2 * circuit.n_layers + 2) + 1.2)
    # Later ones lie on top.
    for kind in _STYLES:
        for edge in (edge for edge, finding in drawn.items() if finding == kind):
            _draw_edge(ax, edge, kind, places)
    touched = {component_of(node) for edge in drawn for node in (edge.src, edge.dst)}
    for node, place in places.items():
        _draw_node(ax, node, place, node in touched)
    _finish(ax, places, drawn, chosen is not None)
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


def _places(space: Universe) -> dict[Node, Point]:
    """The place of each component: embeddings at the bottom, layers above, the output on top."""
    nodes = list(dict.fromkeys(component_of(node) for node in space.nodes))
    embeddings = [node for node in nodes if node.kind in EMBEDDINGS]
    places = {
        node: (index - (len(embeddings) - 1) / 2, 0.0) for index, node in enumerate(embeddings)
    }
    for node in nodes:
        if node.kind is Kind.HEAD:
            assert node.layer is not None and node.head is not None
            places[node] = (node.head - (space.n_heads - 1) / 2, 1.0 + 2 * node.layer)
        elif node.kind is Kind.MLP_OUT:
            assert node.layer is not None
            places[node] = (0.0, 2.0 + 2 * node.layer)
        elif node.kind is Kind.RESID_POST:
            places[node] = (0.0, 1.0 + 2 * space.n_layers)
    return places


def _draw_edge(ax: "Axes", edge: Edge, finding: Finding, places: Mapping[Node, Point]) -> None:
    with needs_extra("bench", "Drawing pictures"):
        from matplotlib.patches import FancyArrowPatch

    color, dash, width = _STYLES[finding]
    (x, y), (to_x, to_y) = places[component_of(edge.src)], places[component_of(edge.dst)]
    # An arrow past other nodes is bent, to the side on which it starts.
    bend = 0.0 if to_y - y <= 1 else 0.2 if x <= to_x else -0.2
    arrow = FancyArrowPatch(
        (x, y + _HALF_HEIGHT),
        (to_x + _PORTS.get(edge.dst.kind, 0.0), to_y - _HALF_HEIGHT),
        connectionstyle=f"arc3,rad={bend}",
        arrowstyle="-|>",
        mutation_scale=9,
        color=color,
        linestyle=dash,
        linewidth=width,
        shrinkA=0,
        shrinkB=0,
    )
    arrow.set_gid(f"{finding}: {edge}")
    ax.add_patch(arrow)


def _draw_node(ax: "Axes", node: Node, place: Point, is_touched: bool) -> None:
    x, y = place
    ax.text(
        x,
        y,
        _name(node),
        ha="center",
        va="center",
        fontsize=8,
        color="black" if is_touched else GREY,
        bbox={
            "boxstyle": "round,pad=0.3",
            "facecolor": "white",
            "edgecolor": "black" if is_touched else PALE,
        },
        parse_math=False,
    )


def _name(node: Node) -> str:
    match node.kind:
        case Kind.HEAD:
            return f"{node.layer}.{node.head}"
        case Kind.MLP_OUT:
            return f"MLP {node.layer}"
        case Kind.RESID_POST:
            return "output"
        case Kind.POS_EMBED:
            return "position"
        case _:
            return "embed"


def _finish(
    ax: "Axes",
    places: Mapping[Node, Point],
    drawn: Mapping[Edge, Finding],
    has_found: bool,
) -> None:
    """Set the limits, hide the axes, and explain the lines that are there."""
    with needs_extra("bench", "Drawing pictures"):
        from matplotlib.lines import Line2D

    xs, ys = zip(*places.values(), strict=True)
    ax.set_xlim(min(xs) - 2 * _HALF_WIDTH, max(xs) + 2 * _HALF_WIDTH)
    ax.set_ylim(min(ys) - 2 * _HALF_HEIGHT, max(ys) + 2 * _HALF_HEIGHT)
    ax.set_axis_off()
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
            frameon=False,
            fontsize=8,
        )
