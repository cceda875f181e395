"""The circuits and the edges of a benchmark's cases, derived from its scores alone.

Nothing here depends on which cases are packaged: a model's shape follows from the names of its
edges, and the circuit from the truth value beside each score.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from interpbench_jax.layout import Layout
from interpbench_jax.report.rows import ScoreRow
from interpbench_jax.sites import Edge, Kind, Node, n_writers_before, parse_edge, readers
from interpbench_jax.universes import HEAD_INPUTS, UNIVERSES, Universe, UniverseName, universe

FINEST: UniverseName = "qkv"
_LETTERS = {"in": "i", "out": "o", "constant": "c"}
_INPUT_NAMES = {Kind.Q_INPUT: "query", Kind.K_INPUT: "key", Kind.V_INPUT: "value"}
_MOST = 1.7976931348623157e308

Shape = tuple[int, int]
RunKey = tuple[str, str, int, int]


@dataclass(frozen=True)
class CaseDrawing:
    """The known circuit of a case, and each run's scores of its edges.

    Attributes:
        shape: the numbers of layers and of heads per layer.
        truths: for each universe, one letter per edge in its order: `i` in the circuit, `o`
            outside it, `c` constant.
        values: the scores of each run's edges in the finest universe, in its order. A run is a
            method, an ablation, a seed and an edge order.
    """

    shape: Shape
    truths: Mapping[UniverseName, str]
    values: Mapping[RunKey, list[float]]


def draw_case(rows: Sequence[ScoreRow]) -> CaseDrawing | None:
    """Return the drawing of one case; None if its edges are not those of one transformer.

    Args:
        rows: the case's scores; only those of edges count.
    """
    runs: dict[RunKey, dict[str, ScoreRow]] = {}
    for row in rows:
        if row.level == "edge":
            run = (row.method, row.ablation, row.seed, row.order)
            runs.setdefault(run, {})[row.item] = row
    if not runs:
        return None
    items = next(iter(runs.values()))
    shape = _shape_of(items)
    if shape is None:
        return None
    names = [str(edge) for edge in universe(FINEST, *shape).edges]
    if any(scores.keys() != set(names) for scores in runs.values()):
        return None
    fine = "".join(_LETTERS[items[name].truth] for name in names)
    values = {run: shorten([own[name].value for name in names]) for run, own in runs.items()}
    return CaseDrawing(shape, _truths(fine, shape), values)


def shape_as_json(shape: Shape) -> dict[str, object]:
    """Return the nodes and every universe's edges of a model's shape, as plain JSON values.

    An edge is a pair of places in the list of nodes. A group lists the fine edges that one edge
    of a coarser universe merges.
    """
    spaces = {name: universe(name, *shape) for name in UNIVERSES}
    nodes = list(
        dict.fromkeys(
            node
            for space in spaces.values()
            for edge in space.edges
            for node in (edge.src, edge.dst)
        )
    )
    place = {node: index for index, node in enumerate(nodes)}
    finest = spaces[FINEST]
    return {
        "layers": shape[0],
        "heads": shape[1],
        "nodes": [_node_as_json(node) for node in nodes],
        "universes": {
            name: {
                "edges": [[place[edge.src], place[edge.dst]] for edge in space.edges],
                "groups": None if space is finest else [*map(list, space.groups_of(finest))],
            }
            for name, space in spaces.items()
        },
    }


def _shape_of(items: Mapping[str, ScoreRow]) -> Shape | None:
    """Return the shape of the model whose fine edges have these names; None if there is none."""
    try:
        ends = [node for item in items for node in _ends(parse_edge(item))]
    except ValueError:
        return None
    layers = 1 + max(node.layer or 0 for node in ends)
    heads = 1 + max(node.head or 0 for node in ends)
    # A made-up name could claim a huge model, whose edges must not be listed.
    if Layout(layers, heads).n_readers > len(items):
        return None
    n_edges = sum(n_writers_before(reader, heads) for reader in readers(layers, heads))
    return (layers, heads) if n_edges == len(items) else None


def _ends(edge: Edge) -> tuple[Node, Node]:
    return edge.src, edge.dst


def _truths(fine: str, shape: Shape) -> dict[UniverseName, str]:
    """Return the truth values in every universe: an edge is in if one of its fine edges is."""
    finest = universe(FINEST, *shape)

    def merge(space: Universe) -> str:
        groups = ({fine[index] for index in group} for group in space.groups_of(finest))
        return "".join(next(each for each in "ico" if each in group) for group in groups)

    return {name: merge(universe(name, *shape)) for name in UNIVERSES}


def shorten(values: Sequence[float]) -> list[float]:
    """Return the values with as few digits as keep their order, without infinities.

    Scores that were computed in float32 need half the digits. JSON has no infinity, which stands
    for more than any other score.
    """
    finite = [min(max(value, -_MOST), _MOST) for value in values]
    with np.errstate(over="ignore"):
        rounded = np.asarray(finite, np.float32)
    if not all(math.isfinite(each) for each in rounded) or (rounded != np.asarray(finite)).any():
        return finite
    return [float(str(each)) for each in rounded]


def _node_as_json(node: Node) -> dict[str, object]:
    kind, label = _describe(node)
    return {"kind": kind, "layer": node.layer, "head": node.head, "label": label}


def _describe(node: Node) -> tuple[str, str]:
    """Return what a node is, and how a reader of the page sees it."""
    if node.kind in HEAD_INPUTS:
        name = _INPUT_NAMES[node.kind]
        return name, f"head {node.layer}.{node.head} {name}"
    match node.kind:
        case Kind.HEAD:
            return "head", f"head {node.layer}.{node.head}"
        case Kind.MLP_IN | Kind.MLP_OUT:
            return "mlp", f"MLP {node.layer}"
        case Kind.RESID_POST:
            return "output", "output"
        case Kind.POS_EMBED:
            return "position", "position embedding"
        case Kind.EMBED:
            return "token", "token embedding"
    return "embeddings", "embeddings"
