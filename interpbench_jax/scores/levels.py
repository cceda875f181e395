"""Scores moved to coarser universes, and between edges and nodes."""

import warnings
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
    """A result that knows what its values are of: a `SweepResult`, or a method's `Scores`."""

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
    """Values, the universe and the level that they are of.

    Args:
        given: a result, or one value for each item.
        universe: of values; of a result its own, or None.
        level: likewise.
        default: the universe of values where none is said; their level is `"edge"`.

    Raises:
        ValueError: if something else is said of a result than what it is, or it is of edits that
            are neither edges nor nodes of a universe.
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
            raise ValueError(f"Expected {what}={own!r} of this result, or none, got {asked!r}.")
    return np.asarray(result.values), result.universe, result.level


def heard(
    given: Ranking | Float[np.ndarray, " items"], values: Float[np.ndarray, "*axes"]
) -> Float[np.ndarray, "*axes"]:
    """The values of a result, 0 where they are no larger than what rounding alone can make.

    So what a sweep does not tell from nothing is tied with nothing. Other values stay as they are.
    """
    floor = getattr(given, "noise_floor", None)
    return values if floor is None else np.where(np.abs(values) > floor, values, 0)


def warn_of_silence(
    given: Ranking | Float[np.ndarray, " items"],
    values: Float[np.ndarray, " items"],
    truth: Bool[np.ndarray, " items"],
) -> None:
    """Say that a sweep does not hear a part of the circuit.

    Args:
        given: what was scored; nothing is said of anything but a sweep's result.
        values: what `heard` made of it.
        truth: which items the circuit has.
    """
    floor = getattr(given, "noise_floor", None)
    n_silent = int((values[truth] == 0).sum())
    if floor is not None and n_silent:
        level = cast(Ranking, given).level
        warnings.warn(
            f"{n_silent} of the circuit's {int(truth.sum())} {level}s have no effect above "
            f"rounding ({floor:.1g}), so that nothing tells them from others, and they are tied "
            "with these. Look whether the model uses them ('centred_l2' sees what KL does not), "
            "or run in float64.",
            RuntimeWarning,
            stacklevel=3,
        )


def only_edges(level: Level) -> None:
    """Refuse scores of nodes.

    Raises:
        ValueError: if the level is another than edges.
    """
    if level != "edge":
        raise ValueError(
            f"Expected scores of edges, got those of {level}s; `rank_scores` takes both, and "
            "`edges_from_nodes` gives edges theirs."
        )


def check_scores(scores: Float[np.ndarray, " items"], n_items: int, what: str) -> None:
    """Refuse scores that are not one number for each of some items.

    Raises:
        ValueError: if they are of another shape, or a score is nan.
    """
    if scores.shape != (n_items,):
        raise ValueError(
            f"Expected one score for each of the {n_items} {what}, got shape {scores.shape}."
        )
    if np.isnan(scores).any():
        raise ValueError(
            f"Expected numbers as scores, got nan at {int(np.isnan(scores).sum())} items; "
            "look for overflow in the logits, or score in float64."
        )


def check_edge_scores(
    scores: Float[np.ndarray, " edges"], name: UniverseName, n_layers: int, n_heads: int
) -> None:
    """Refuse scores that are not one number for each edge of a universe.

    Raises:
        ValueError: if they are of another shape, or a score is nan.
    """
    n_edges = len(universe(name, n_layers, n_heads).edges)
    if scores.ndim == 1 and len(scores) != n_edges:
        sizes = {len(universe(other, n_layers, n_heads).edges): other for other in UNIVERSES}
        if len(scores) in sizes:
            raise ValueError(
                f"Expected one score for each of the {n_edges} edges of {name!r}, got "
                f"{len(scores)}, which is how many {sizes[len(scores)]!r} has; name that universe."
            )
    check_scores(scores, n_edges, f"edges of {name!r}")


def as_truth(given: Shaped[np.ndarray, "*items"]) -> Bool[np.ndarray, "*items"]:
    """Whether each item is true, from booleans or from numbers that are 0 and 1.

    Raises:
        ValueError: if they are anything else.
    """
    truth = np.asarray(given)
    if truth.dtype == bool:
        return truth
    if not np.issubdtype(truth.dtype, np.number) or not np.isin(truth, (0, 1)).all():
        some = ", ".join(map(str, np.unique(truth)[:5].tolist()))
        raise ValueError(
            f"Expected whether each item is true, as True and False or as 1 and 0, got {some}."
        )
    return truth.astype(bool)


def as_floats(values: Float[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """The same numbers as floats: of unsigned integers and booleans the negative is not less."""
    given = np.asarray(values)
    return given if np.issubdtype(given.dtype, np.floating) else given.astype(np.float64)


def importance(values: Float[np.ndarray, " items"], absolute: bool) -> Float[np.ndarray, " items"]:
    """How much each item matters by a method's values: their absolute values, or themselves."""
    numbers = as_floats(values)
    return np.abs(numbers) if absolute else numbers


def component_of(node: Node) -> Node:
    """The head or MLP whose input a reader is; any other node is its own component."""
    if node.kind in _HEAD_INPUTS:
        return Node(Kind.HEAD, node.layer, node.head)
    return Node(Kind.MLP_OUT, node.layer) if node.kind is Kind.MLP_IN else node


def promote_scores(
    scores: Float[np.ndarray, " edges"],
    finer: UniverseName,
    coarser: UniverseName,
    n_layers: int,
    n_heads: int,
) -> Float[np.ndarray, " coarser_edges"]:
    """Scores of a coarser universe's edges: the largest of what each gathers.

    Raises:
        ValueError: if there is not one score per edge of `finer`, or `coarser` is not coarser.
    """
    source = universe(finer, n_layers, n_heads)
    check_edge_scores(scores, finer, n_layers, n_heads)
    groups = universe(coarser, n_layers, n_heads).groups_of(source)
    return np.asarray([scores[list(group)].max() for group in groups])


def promote_node_scores(
    scores: Float[np.ndarray, " nodes"],
    finer: UniverseName,
    coarser: UniverseName,
    n_layers: int,
    n_heads: int,
) -> Float[np.ndarray, " coarser_nodes"]:
    """Scores of a coarser universe's sources: the largest of what each gathers.

    Only the embeddings gather: the two are one source from `"qkv-merged"` on, and none in
    `"head-no-embed"`.

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
    return np.asarray(
        [scores[groups[node]].max() for node in universe(coarser, n_layers, n_heads).sources]
    )


def nodes_from_edges(
    scores: Float[np.ndarray, " edges"],
    name: UniverseName,
    n_layers: int,
    n_heads: int,
    *,
    absolute: bool = True,
) -> Float[np.ndarray, " nodes"]:
    """Scores of nodes that edge scores give: the largest of any edge at the node.

    An edge is at the node that writes it, and at the head or MLP that reads it.

    Args:
        scores: one for each edge of the universe, in its order.
        name: the universe.
        n_layers: layers of the model.
        n_heads: heads per layer.
        absolute: whether absolute values are compared.

    Returns:
        One for each of `universe(...).sources`, in its order, in the scores' unit.

    Raises:
        ValueError: if there is not one score per edge, or one is nan.
    """
    space = universe(name, n_layers, n_heads)
    check_scores(scores, len(space.edges), f"edges of {name!r}")
    ends = edge_ends(name, n_layers, n_heads)
    # The last place takes the scores of ends that are no source.
    found = np.full(len(space.sources) + 1, -np.inf, scores.dtype)
    np.maximum.at(found, ends, importance(scores, absolute)[:, None])
    return found[:-1]


def edges_from_nodes(
    scores: Float[np.ndarray, " nodes"],
    name: UniverseName,
    n_layers: int,
    n_heads: int,
    *,
    absolute: bool = True,
) -> Float[np.ndarray, " edges"]:
    """Scores of edges that node scores give: the smaller one of the two ends.

    So the edges above a threshold are those among the nodes above it. The q, k and v inputs
    stand for their head and an MLP's input for the MLP. The embeddings are nodes with a score;
    the output, which every circuit has, counts as infinitely important.

    Args:
        scores: one for each of `universe(...).sources`, in its order.
        name: the universe.
        n_layers: layers of the model.
        n_heads: heads per layer.
        absolute: whether absolute values are compared.

    Returns:
        One for each edge of the universe, in its order, in the scores' unit.

    Raises:
        ValueError: if there is not one score per source, or one is nan.
    """
    space = universe(name, n_layers, n_heads)
    check_scores(scores, len(space.sources), f"sources of {name!r}")
    scored = np.append(importance(scores, absolute), np.asarray(np.inf, scores.dtype))
    return scored[edge_ends(name, n_layers, n_heads)].min(axis=1)


def edge_ends(name: UniverseName, n_layers: int, n_heads: int) -> np.ndarray:
    """Which sources the ends of each edge are.

    Returns:
        Integers of shape `[edges, 2]`: the index among `universe(...).sources` of the writer and
        of the reader's component; the number of sources where that is none of them.
    """
    space = universe(name, n_layers, n_heads)
    index = {node: i for i, node in enumerate(space.sources)}
    pairs = [
        (index[edge.src], index.get(component_of(edge.dst), len(index))) for edge in space.edges
    ]
    return np.asarray(pairs, np.int64).reshape(-1, 2)
