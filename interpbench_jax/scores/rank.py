"""Rank mode: how well scores rank a circuit's edges or nodes above all others.

Constant edges, which carry a variable that is the same in both inputs of every pair
(`Circuit.constant`), count neither as in the circuit nor as outside it. They are always left out,
and so are nodes whose only edges in the circuit are constant.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.circuit import Circuit, TruthValue
from interpbench_jax.names import Level
from interpbench_jax.scores.levels import (
    Ranking,
    Truth,
    check_pair,
    count_sides,
    edges_from_nodes,
    heard,
    importance,
    nodes_from_edges,
    only_edges,
    promote_node_scores,
    promote_scores,
    read_values,
    warn_of_silence,
)
from interpbench_jax.scores.null import draw_ranks, interval_of
from interpbench_jax.sites import Edge, Kind, Node
from interpbench_jax.universes import UNIVERSES, UniverseName
from interpbench_jax.universes import universe as find_universe


@dataclass(frozen=True)
class RankScore:
    """How well scores rank the items of a circuit, in one universe.

    Attributes:
        universe: the universe of the items.
        level: the kind of the items: edges, or the nodes that are sources.
        n_items: number of items that are scored.
        n_true: number of scored items in the circuit.
        n_constant: number of further items that are left out because they are constant.
        n_silent: number of the circuit's items that score 0, which for a sweep's effects means no
            effect above the noise floor; they are tied with all others that score 0.
        roc_auc: see `roc_auc`. None, as are all fields of the null, if the circuit has all of the
            items or none.
        average_precision: see `average_precision`. None if the circuit has no item.
        null_mean: mean of the null, in which the values that were given are assigned to their
            items at random and then converted to this universe and level; see `NullInterval`.
        null_low: the 2.5 % quantile of the null.
        null_high: the 97.5 % quantile of the null.
        p_value: p-value of `roc_auc` under the null.
    """

    universe: UniverseName
    level: Level
    n_items: int
    n_true: int
    n_constant: int
    n_silent: int
    roc_auc: float | None
    average_precision: float | None
    null_mean: float | None
    null_low: float | None
    null_high: float | None
    p_value: float | None


def roc_auc(scores: Float[np.ndarray, " items"], truth: Truth) -> float:
    """Area under the ROC curve: how often an item of the circuit outscores one outside, in 0..1.

    A tie counts half. Source: Hanley and McNeil 1982 (the Mann-Whitney statistic); equals
    scikit-learn's `roc_auc_score`.

    Raises:
        ValueError: if a score is NaN, the lengths differ, or all items are on one side.
    """
    scores, truth = check_pair(scores, truth)
    positives, negatives = count_sides(truth)
    rank_sum = _mid_ranks(scores)[truth].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(scores: Float[np.ndarray, " items"], truth: Truth) -> float:
    """Area under the precision-recall curve as a sum of steps, in 0..1.

    The sum runs over the distinct scores from high to low: the recall that each adds, times the
    precision among the items that score at least as much. Tied items thus enter together, in no
    order. Equals scikit-learn's `average_precision_score`.

    Raises:
        ValueError: if a score is NaN, the lengths differ, or no item is true.
    """
    scores, truth = check_pair(scores, truth)
    positives = int(truth.sum())
    if positives == 0:
        raise ValueError(
            "Expected at least one item in the circuit, got none; average precision is not defined."
        )
    levels, inverse = np.unique(-scores, return_inverse=True)
    found = np.bincount(inverse, weights=truth, minlength=len(levels))
    taken = np.bincount(inverse, minlength=len(levels))
    precision = np.cumsum(found) / np.cumsum(taken)
    return float((found * precision).sum() / positives)


def edge_auc(
    edges: Sequence[Edge], scores: np.ndarray, circuit: Circuit, name: UniverseName
) -> float:
    """ROC-AUC of edge scores against a circuit, in the universe of the edges.

    Constant edges are left out.

    Args:
        edges: the edges of the universe `name`, each once, in any order.
        scores: `[edges]`, larger for more important edges.
        circuit: the known circuit.
        name: the universe.

    Raises:
        ValueError: if the edges are not the universe's, or the area is not defined.
    """
    _check_items(edges, find_universe(name, circuit.n_layers, circuit.n_heads).edges, "edges", name)
    truths = circuit.edge_truths(name)
    return _area_of(scores, [truths[edge] for edge in edges])


def node_auc(
    nodes: Sequence[Node], scores: np.ndarray, circuit: Circuit, name: UniverseName
) -> float:
    """ROC-AUC of node scores against the nodes of a circuit, as in `edge_auc`.

    The nodes are the sources of the universe; the output, which every circuit has, is not scored.
    """
    sources = find_universe(name, circuit.n_layers, circuit.n_heads).sources
    _check_items(nodes, sources, "nodes", name)
    truths = circuit.node_truths(name)
    return _area_of(scores, [truths[node] for node in nodes])


def edge_auc_by_universe(
    scores: Ranking | np.ndarray,
    circuit: Circuit,
    name: UniverseName | None = None,
    *,
    absolute: bool = True,
) -> Mapping[UniverseName, float | None]:
    """ROC-AUC in the universe of the scores and in every coarser one.

    Args:
        scores: a sweep's result or a method's scores; or one number for each edge of a universe,
            in its order.
        circuit: the known circuit.
        name: the universe of the numbers, by default `"qkv"`; a result knows its own.
        absolute: whether importance is the absolute value instead of the value itself.

    Returns:
        The area by universe, from fine to coarse; None where it is not defined because the
        circuit has all of the universe's edges or none.

    Warns:
        RuntimeWarning: if an edge of the circuit has no effect above the noise floor of a sweep:
            such edges are tied with all others without effect.
    """
    values, name, level = read_values(scores, name, None)
    only_edges(level)
    values = importance(heard(scores, values), absolute)
    shape = (circuit.n_layers, circuit.n_heads)
    areas: dict[UniverseName, float | None] = {}
    for coarser in UNIVERSES[UNIVERSES.index(name) :]:
        promoted = promote_scores(values, name, coarser, *shape)
        counts = counted_in(circuit, coarser, "edge")
        truth = truth_of(circuit, coarser, "edge")[counts]
        is_defined = 0 < truth.sum() < len(truth)
        areas[coarser] = roc_auc(promoted[counts], truth) if is_defined else None
    warn_of_silence(scores, values, truth_of(circuit, name, level))
    return areas


def rank_scores(
    values: Ranking | Float[np.ndarray, " items"],
    circuit: Circuit,
    universe: UniverseName | None = None,
    level: Level | None = None,
    *,
    absolute: bool = True,
    n_draws: int = 400,
    seed: int = 0,
) -> tuple[RankScore, ...]:
    """Score how well a method's values rank the circuit's edges and nodes.

    The universe of the values and every coarser one, from fine to coarse, get two scores: first
    of edges, then of nodes. Values of edges are promoted (`promote_scores`) and converted to nodes
    (`nodes_from_edges`); values of nodes likewise (`promote_node_scores`, `edges_from_nodes`).

    For the null, the values themselves are permuted, among all items of their universe and level
    but constant ones, and then promoted and converted. The mean of the null can therefore differ
    from 0.5: an edge into a head takes the largest of three values in `"head"`, an edge into an
    MLP takes one, and most true edges of a circuit may be of one of these kinds.

    Args:
        values: a sweep's result or a method's scores; or one number for each edge of a universe,
            or for each of its sources, in its order.
        circuit: the known circuit.
        universe: the universe of the numbers, by default `"qkv"`; a result knows its own.
        level: the level of the numbers: `"edge"`, the default, or `"node"`.
        absolute: whether importance is the absolute value instead of the value itself.
        n_draws: number of permutations for the null.
        seed: random seed for the permutations.

    Raises:
        ValueError: if there is not one value per item, or one is NaN.

    Warns:
        RuntimeWarning: as in `edge_auc_by_universe`.
    """
    numbers, universe, level = read_values(values, universe, level)
    shape = (circuit.n_layers, circuit.n_heads)
    scored = importance(heard(values, numbers), absolute)
    names = UNIVERSES[UNIVERSES.index(universe) :]
    converted = [_convert(scored, universe, name, level, shape) for name in names]
    drawn = draw_ranks(scored, counted_in(circuit, universe, level), n_draws, seed)
    found = []
    for name, (edges, nodes) in zip(names, converted, strict=True):
        edge_ranks, node_ranks = _convert(drawn, universe, name, level, shape)
        found.append(_rank(edges, edge_ranks, circuit, name, "edge"))
        found.append(_rank(nodes, node_ranks, circuit, name, "node"))
    warn_of_silence(values, scored, truth_of(circuit, universe, level))
    return tuple(found)


def chance_curve(
    circuit: Circuit, finer: UniverseName, name: UniverseName, level: Level
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """The ROC curve expected of independent random scores in a finer universe, after promotion.

    The largest of m uniform scores exceeds a threshold q with probability 1 - q^m. The curve is
    the diagonal if `finer` is the universe itself.

    Args:
        circuit: the known circuit.
        finer: the universe of the random scores.
        name: the universe to which they are promoted.
        level: whether the scores are of edges or of nodes.

    Returns:
        The false and the true positive rates, from (0, 0) to (1, 1).

    Raises:
        ValueError: if `name` is not coarser, or the circuit has all items or none.
    """
    shape = (circuit.n_layers, circuit.n_heads)
    own, space = find_universe(finer, *shape), find_universe(name, *shape)
    if level == "edge":
        sizes = np.asarray([len(group) for group in space.groups_of(own)], float)
    else:
        n_merged = 1 + len(own.sources) - len(space.sources)
        is_merged = [node == Node(Kind.RESID_PRE, 0) for node in space.sources]
        sizes = np.where(is_merged, float(max(n_merged, 1)), 1.0)
    truth, counts = truth_of(circuit, name, level), counted_in(circuit, name, level)
    if not truth.any() or not (counts & ~truth).any():
        raise ValueError(
            f"Expected a circuit with some of the {level}s of universe {name!r}, but not all, got "
            f"{int(truth.sum())} of {int(counts.sum())}."
        )
    exceeds = 1 - np.linspace(1, 0, 201)[:, None] ** sizes
    return exceeds[:, counts & ~truth].mean(axis=1), exceeds[:, truth].mean(axis=1)


def truth_of(circuit: Circuit, name: UniverseName, level: Level) -> Bool[np.ndarray, " items"]:
    """Whether a circuit has each edge of a universe, or each of its sources, in their order.

    This is False for constant ones; `counted_in` tells them from items outside the circuit.
    """
    return np.asarray([truth == "in" for truth in _truths(circuit, name, level)], bool)


def counted_in(circuit: Circuit, name: UniverseName, level: Level) -> Bool[np.ndarray, " items"]:
    """Whether each edge of a universe, or each of its sources, is scored: all but constant ones."""
    return np.asarray([truth != "constant" for truth in _truths(circuit, name, level)], bool)


def _truths(circuit: Circuit, name: UniverseName, level: Level) -> Iterable[TruthValue]:
    truths = circuit.edge_truths(name) if level == "edge" else circuit.node_truths(name)
    return truths.values()


def _convert(
    values: Float[np.ndarray, "items ..."],
    universe: UniverseName,
    name: UniverseName,
    level: Level,
    shape: tuple[int, int],
) -> tuple[Float[np.ndarray, "edges ..."], Float[np.ndarray, "nodes ..."]]:
    """Values of a universe's edges or nodes as those of another's edges, and of its nodes."""
    if level == "edge":
        edges = promote_scores(values, universe, name, *shape)
        return edges, nodes_from_edges(edges, name, *shape, absolute=False)
    nodes = promote_node_scores(values, universe, name, *shape)
    return edges_from_nodes(nodes, name, *shape, absolute=False), nodes


def _rank(
    scores: Float[np.ndarray, " items"],
    ranks: Float[np.ndarray, "items draws"],
    circuit: Circuit,
    name: UniverseName,
    level: Level,
) -> RankScore:
    counts = counted_in(circuit, name, level)
    truth, scores = truth_of(circuit, name, level)[counts], scores[counts]
    n_true = int(truth.sum())
    two_sided = 0 < n_true < len(truth)
    null = interval_of(ranks[counts], truth) if two_sided else None
    return RankScore(
        universe=name,
        level=level,
        n_items=len(truth),
        n_true=n_true,
        n_constant=int((~counts).sum()),
        n_silent=int((scores[truth] == 0).sum()),
        roc_auc=roc_auc(scores, truth) if two_sided else None,
        average_precision=average_precision(scores, truth) if n_true else None,
        null_mean=null and null.mean,
        null_low=null and null.low,
        null_high=null and null.high,
        p_value=null and null.p_value,
    )


def _area_of(scores: Float[np.ndarray, " items"], truths: Sequence[TruthValue]) -> float:
    """The ROC-AUC of the items that are not constant."""
    values = np.asarray(truths)
    counts = values != "constant"
    return roc_auc(np.asarray(scores)[counts], values[counts] == "in")


def _mid_ranks(scores: Float[np.ndarray, " items"]) -> np.ndarray:
    """Ranks from 1 for the lowest score; ties share their mean rank."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _check_items(
    given: Sequence[Edge] | Sequence[Node],
    expected: Sequence[Edge] | Sequence[Node],
    what: str,
    name: UniverseName,
) -> None:
    if len(given) != len(expected) or set(given) != set(expected):
        raise ValueError(
            f"Expected each of the {len(expected)} {what} of universe {name!r} once, got "
            f"{len(given)} that are not the same."
        )
