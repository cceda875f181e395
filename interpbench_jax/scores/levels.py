"""Conversion of scores to coarser universes, and between edges and nodes.

The conversions take the scores of one method, or of many random draws as further columns.
"""

import warnings
from functools import lru_cache
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from interpbench_jax.names import Level
from interpbench_jax.sites import Kind, Node
from interpbench_jax.universes import UNIVERSES, UniverseName, universe

# Whether each item is true: booleans, or 1 and 0.
Truth = Bool[np.ndarray, " items"] | Int[np.ndarray, " items"] | Float[np.ndarray, " items"]

_HEAD_INPUTS = (Kind.Q_INPUT, Kind.K_INPUT, Kind.V_INPUT)


@runtime_checkable
class Ranking(Protocol):
    """A result that knows its universe and level: a `SweepResult` or a method's `Scores`."""

    @property
    def values(self) -> Float[np.ndarray, " items"]: ...

    @property
    def universe(self) -> UniverseName | None: ...

    @property
    def level(self) -> Level | None: ...

    @property
    def noise_floor(self) -> float | None: ...


def read_values(
    given: Ranking | Float[np.ndarray, " items"],
    universe: UniverseName | None,
    level: Level | None,
    *,
    default: UniverseName = "qkv",
) -> tuple[Float[np.ndarray, " items"], UniverseName, Level]:
    """Return values with their universe and level.

    Args:
        given: a result, or one value for each item.
        universe: the universe of plain values; for a result, its own universe or None.
        level: the level, likewise; the default for plain values is `"edge"`.
        default: the universe of plain values if none is given.

    Raises:
        ValueError: if the universe or level is not the result's own, or the result is of edits
            that are neither edges nor nodes of a universe.
    """
    if not hasattr(given, "universe"):
        return np.asarray(given), universe or default, level or "edge"
    result = cast(Ranking, given)
    if result.universe is None or result.level is None:
        raise ValueError(
            "Expected the effects of edges or nodes of a universe, got those of other edits."
        )
    for what, asked, own in (
        ("universe", universe, result.universe),
        ("level", level, result.level),
    ):
        if asked not in (None, own):
            raise ValueError(f"Expected {what}={own!r} for this result, or none, got {asked!r}.")
    return np.asarray(result.values), result.universe, result.level


def heard(
    given: Ranking | Float[np.ndarray, "items ..."], values: Float[np.ndarray, "*axes"]
) -> Float[np.ndarray, "*axes"]:
    """The values of a result, set to 0 where they are at or below its noise floor.

    Effects that rounding alone could cause are thus tied with no effect. Values without a noise
    floor are returned unchanged.
    """
    floor = getattr(given, "noise_floor", None)
    return values if floor is None else np.where(np.abs(values) > floor, values, 0)


def warn_of_silence(
    given: Ranking | Float[np.ndarray, " items"],
    values: Float[np.ndarray, " items"],
    truth: Bool[np.ndarray, " items"],
) -> None:
    """Warn if a sweep shows no effect of some of the circuit's items.

    Args:
        given: the scored result or values; only for a sweep's result is there a warning.
        values: its values, after `heard`.
        truth: whether each item is in the circuit.
    """
    floor = getattr(given, "noise_floor", None)
    n_silent = int((values[truth] == 0).sum())
    if floor is not None and n_silent:
        level = cast(Ranking, given).level
        warnings.warn(
            f"{n_silent} of the circuit's {int(truth.sum())} {level}s have no effect above the "
            f"noise floor ({floor:.1g}): they cannot be distinguished from items without effect, "
            "and are tied with those. Check whether the model uses them ('centred_l2' shows "
            "effects that KL does not), or run in float64.",
            RuntimeWarning,
            stacklevel=3,
        )


def only_edges(level: Level) -> None:
    """Reject scores of nodes.

    Raises:
        ValueError: if the level is not `"edge"`.
    """
    if level != "edge":
        raise ValueError(
            f"Expected scores of edges, got scores of {level}s; `rank_scores` takes both, and "
            "`edges_from_nodes` converts scores of nodes to scores of edges."
        )


def check_scores(scores: Float[np.ndarray, "items ..."], n_items: int, what: str) -> None:
    """Reject scores that are not one number for each item.

    Raises:
        ValueError: if the shape is wrong, or a score is NaN.
    """
    if scores.shape[:1] != (n_items,):
        raise ValueError(
            f"Expected one score for each of the {n_items} {what}, got shape {scores.shape}."
        )
    if np.isnan(scores).any():
        raise ValueError(
            f"Expected numbers as scores, got NaN at {int(np.isnan(scores).sum())} items; "
            "check for overflow in the logits, or score in float64."
        )


def check_edge_scores(
    scores: Float[np.ndarray, "edges ..."], name: UniverseName, n_layers: int, n_heads: int
) -> None:
    """Reject scores that are not one number for each edge of a universe.

    Raises:
        ValueError: if the shape is wrong, or a score is NaN.
    """
    n_edges = len(universe(name, n_layers, n_heads).edges)
    if scores.ndim == 1 and len(scores) != n_edges:
        sizes = {len(universe(other, n_layers, n_heads).edges): other for other in UNIVERSES}
        if len(scores) in sizes:
            raise ValueError(
                f"Expected one score for each of the {n_edges} edges of {name!r}, got "
                f"{len(scores)}, the number of edges of {sizes[len(scores)]!r}; pass that universe."
            )
    check_scores(scores, n_edges, f"edges of {name!r}")


def as_truth(given: Shaped[np.ndarray, "*items"]) -> Bool[np.ndarray, "*items"]:
    """Return whether each item is true, given booleans or the numbers 0 and 1.

    Raises:
        ValueError: if a value is anything else.
    """
    truth = np.asarray(given)
    if truth.dtype == bool:
        return truth
    if not np.issubdtype(truth.dtype, np.number) or not np.isin(truth, (0, 1)).all():
        some = ", ".join(map(str, np.unique(truth)[:5].tolist()))
        raise ValueError(f"Expected True or False, or 1 or 0, for each item, got {some}.")
    return truth.astype(bool)


def check_pair(
    scores: Float[np.ndarray, " items"], truth: Truth
) -> tuple[Float[np.ndarray, " items"], Bool[np.ndarray, " items"]]:
    """Return scores as floats, and whether each item is true.

    Raises:
        ValueError: if there is not one of both for each item, or one is not a number or a truth
            value.
    """
    scores, labels = as_floats(scores), as_truth(truth)
    if scores.shape != labels.shape or scores.ndim != 1:
        raise ValueError(
            "Expected one score and one truth value per item, got shapes "
            f"{scores.shape} and {labels.shape}."
        )
    check_scores(scores, len(labels), "items")
    return scores, labels


def count_sides(truth: Bool[np.ndarray, " items"]) -> tuple[int, int]:
    """Return the numbers of items in the circuit and outside it.

    Raises:
        ValueError: if one of them is 0.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        raise ValueError(
            f"Expected items both in the circuit and outside it, got {positives} and {negatives}; "
            "the area is not defined."
        )
    return positives, negatives


def as_floats(values: Float[np.ndarray, "items ..."]) -> Float[np.ndarray, "items ..."]:
    """The same numbers as floats, since negating unsigned integers or booleans goes wrong."""
    given = np.asarray(values)
    return given if np.issubdtype(given.dtype, np.floating) else given.astype(np.float64)


def importance(
    values: Float[np.ndarray, "items ..."], absolute: bool
) -> Float[np.ndarray, "items ..."]:
    """The importance of each item: the absolute value of a method's value, or the value itself."""
    numbers = as_floats(values)
    return np.abs(numbers) if absolute else numbers


def component_of(node: Node) -> Node:
    """The head or MLP to which a reader belongs; any other node is its own component."""
    if node.kind in _HEAD_INPUTS:
        return Node(Kind.HEAD, node.layer, node.head)
    return Node(Kind.MLP_OUT, node.layer) if node.kind is Kind.MLP_IN else node


def promote_scores(
    scores: Float[np.ndarray, "edges ..."],
    finer: UniverseName,
    coarser: UniverseName,
    n_layers: int,
    n_heads: int,
) -> Float[np.ndarray, "coarser_edges ..."]:
    """Scores of a coarser universe's edges: each the maximum over the edges that it merges.

    Raises:
        ValueError: if there is not one score per edge of `finer`, or `coarser` is not coarser.
    """
    source = universe(finer, n_layers, n_heads)
    check_edge_scores(scores, finer, n_layers, n_heads)
    groups = universe(coarser, n_layers, n_heads).groups_of(source)
    return np.asarray([scores[list(group)].max(axis=0) for group in groups])


def promote_node_scores(
    scores: Float[np.ndarray, "nodes ..."],
    finer: UniverseName,
    coarser: UniverseName,
    n_layers: int,
    n_heads: int,
) -> Float[np.ndarray, "coarser_nodes ..."]:
    """Scores of a coarser universe's sources: each the maximum over the sources that it merges.

    Only the embeddings are merged: the two are one source in `"qkv-merged"` and `"head"`, and
    are absent from `"head-no-embed"`.

    Raises:
        ValueError: if there is not one score per source of `finer`, or `coarser` is not coarser.
    """
    nodes = universe(finer, n_layers, n_heads).sources
    check_scores(scores, len(nodes), f"sources of {finer!r}")
    if UNIVERSES.index(coarser) < UNIVERSES.index(finer):
        raise ValueError(f"Expected a universe coarser than {finer!r}, got {coarser!r}.")
    groups: dict[Node, list[int]] = {}
    targets = set(universe(coarser, n_layers, n_heads).sources)
    for index, node in enumerate(nodes):
        groups.setdefault(node if node in targets else Node(Kind.RESID_PRE, 0), []).append(index)
    sources = universe(coarser, n_layers, n_heads).sources
    return np.asarray([scores[groups[node]].max(axis=0) for node in sources])


def nodes_from_edges(
    scores: Float[np.ndarray, "edges ..."],
    name: UniverseName,
    n_layers: int,
    n_heads: int,
    *,
    absolute: bool = True,
) -> Float[np.ndarray, "nodes ..."]:
    """Convert scores of edges to scores of nodes: the maximum over the edges at each node.

    An edge is at its writer, and at the head or MLP that reads it.

    Args:
        scores: one for each edge of the universe, in its order.
        name: the universe.
        n_layers: layers of the model.
        n_heads: heads per layer.
        absolute: whether to compare absolute values.

    Returns:
        One score for each of `universe(...).sources`, in its order, in the scores' unit.

    Raises:
        ValueError: if there is not one score per edge, or one is NaN.
    """
    space = universe(name, n_layers, n_heads)
    check_scores(scores, len(space.edges), f"edges of {name!r}")
    ends = edge_ends(name, n_layers, n_heads)
    sizes = importance(scores, absolute)
    # The last entry collects the scores of ends that are not sources.
    found = np.full((len(space.sources) + 1, *scores.shape[1:]), -np.inf, scores.dtype)
    by_node = np.argsort(ends.reshape(-1), kind="stable")
    nodes, starts = np.unique(ends.reshape(-1)[by_node], return_index=True)
    if len(nodes):
        found[nodes] = np.maximum.reduceat(sizes[by_node // 2], starts, axis=0)
    return found[:-1]


def edges_from_nodes(
    scores: Float[np.ndarray, "nodes ..."],
    name: UniverseName,
    n_layers: int,
    n_heads: int,
    *,
    absolute: bool = True,
) -> Float[np.ndarray, "edges ..."]:
    """Convert scores of nodes to scores of edges: the smaller score of each edge's two ends.

    The edges above a threshold are thus those between nodes above it. The q, k and v inputs
    count as their head and an MLP's input as the MLP. The embeddings are nodes with a score;
    the output, which every circuit has, counts as infinitely important.

    Args:
        scores: one for each of `universe(...).sources`, in its order.
        name: the universe.
        n_layers: layers of the model.
        n_heads: heads per layer.
        absolute: whether to compare absolute values.

    Returns:
        One score for each edge of the universe, in its order, in the scores' unit.

    Raises:
        ValueError: if there is not one score per source, or one is NaN.
    """
    space = universe(name, n_layers, n_heads)
    check_scores(scores, len(space.sources), f"sources of {name!r}")
    output = np.full((1, *scores.shape[1:]), np.inf, scores.dtype)
    scored = np.concatenate([importance(scores, absolute), output])
    return scored[edge_ends(name, n_layers, n_heads)].min(axis=1)


@lru_cache(maxsize=64)
def edge_ends(name: UniverseName, n_layers: int, n_heads: int) -> np.ndarray:
    """The indices of each edge's two ends among the universe's sources.

    Returns:
        Integers of shape `[edges, 2]`: the index among `universe(...).sources` of the writer and
        of the reader's component; the number of sources if the latter is not a source. Do not
        write into them: they are computed once.
    """
    space = universe(name, n_layers, n_heads)
    index = {node: i for i, node in enumerate(space.sources)}
    pairs = [
        (index[edge.src], index.get(component_of(edge.dst), len(index))) for edge in space.edges
    ]
    ends = np.asarray(pairs, np.int64).reshape(-1, 2)
    ends.flags.writeable = False
    return ends
