"""Rank mode: how well scores order a circuit's edges or nodes before all others.

Constant edges, which carry what is the same in both inputs of every pair (`Circuit.constant`), are
neither the circuit's nor others: they are left out everywhere, and so are nodes that have no other
edge in the circuit.
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
    as_floats,
    as_truth,
    check_scores,
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
from interpbench_jax.sites import Edge, Node
from interpbench_jax.universes import UNIVERSES, UniverseName
from interpbench_jax.universes import universe as find_universe


@dataclass(frozen=True)
class NullInterval:
    """ROC-AUC of a method's own scores, dealt to the items at random.

    Attributes:
        mean: over the draws; 0.5 but for chance.
        low: the 2.5 % quantile.
        high: the 97.5 % quantile.
        p_value: (1 + draws whose area is at least the observed one) / (1 + draws), one-sided.
    """

    mean: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class RankScore:
    """How well scores rank the items of a circuit, in one universe.

    Attributes:
        universe: the universe.
        level: what its items are: edges, or the nodes that are sources.
        n_items: how many items are scored.
        n_true: how many of them the circuit has.
        n_constant: how many are left out beside them, because they are constant.
        n_silent: how many of the circuit's score 0, which for a sweep's effects means that they
            are no larger than what rounding makes: they are tied with all others that do.
        roc_auc: see `roc_auc`. Undefined, as are all fields of the null, where the circuit has
            all of the items or none.
        average_precision: see `average_precision`. Undefined where the circuit has no item.
        null_mean: see `NullInterval`, as for the rest.
        null_low: the 2.5 % quantile of the null.
        null_high: the 97.5 % quantile of the null.
        p_value: of `roc_auc` under the null.
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
    """Area under the ROC curve: how often an item of the circuit outscores another, in 0..1.

    A tie counts half. Source: Hanley and McNeil 1982 (the Mann-Whitney statistic); equals
    scikit-learn's `roc_auc_score`.

    Raises:
        ValueError: if a score is nan, the lengths differ, or all items are on one side.
    """
    scores, truth = _check_pair(scores, truth)
    positives, negatives = _two_sides(truth)
    return float(_area(_mid_ranks(scores)[truth].sum(), positives, negatives))


def average_precision(scores: Float[np.ndarray, " items"], truth: Truth) -> float:
    """Area under the precision-recall curve as a sum of steps, in 0..1.

    Over the distinct scores from high to low: the recall that each adds, times the precision
    among the items that score at least as much; so items of one score come in together, in no
    order. Equals scikit-learn's `average_precision_score`.

    Raises:
        ValueError: if a score is nan, the lengths differ, or no item is true.
    """
    scores, truth = _check_pair(scores, truth)
    positives = int(truth.sum())
    if positives == 0:
        raise ValueError(
            "Expected an item in the circuit, got none; average precision is not defined."
        )
    levels, inverse = np.unique(-scores, return_inverse=True)
    found = np.bincount(inverse, weights=truth, minlength=len(levels))
    taken = np.bincount(inverse, minlength=len(levels))
    precision = np.cumsum(found) / np.cumsum(taken)
    return float((found * precision).sum() / positives)


def null_interval(
    scores: Float[np.ndarray, " items"],
    truth: Truth,
    n_draws: int = 400,
    seed: int = 0,
) -> NullInterval:
    """The ROC-AUC that chance gives: the scores permuted over the items, ties and all.

    Args:
        scores: a method's.
        truth: the circuit's items.
        n_draws: how many permutations; the p-value is at least 1 / (1 + `n_draws`).
        seed: of the permutations; the same scores, truth and seed give the same interval.

    Raises:
        ValueError: if a score is nan, the lengths differ, all items are on one side, or there
            is no draw.
    """
    scores, truth = _check_pair(scores, truth)
    positives, negatives = _two_sides(truth)
    if n_draws < 1:
        raise ValueError(f"Expected at least one draw, got n_draws={n_draws}.")
    ranks = _mid_ranks(scores)
    drawn = np.random.default_rng(seed).permuted(np.tile(ranks, (n_draws, 1)), axis=1)
    # Sums of halves are exact, so that equal areas compare as equal.
    areas = _area(drawn[:, :positives].sum(axis=1), positives, negatives)
    observed = _area(ranks[truth].sum(), positives, negatives)
    low, high = np.quantile(areas, (0.025, 0.975))
    at_least = int((areas >= observed).sum())
    return NullInterval(
        float(areas.mean()), float(low), float(high), (1 + at_least) / (1 + n_draws)
    )


def edge_auc(
    edges: Sequence[Edge], scores: np.ndarray, circuit: Circuit, name: UniverseName
) -> float:
    """ROC-AUC of edge scores against a circuit, in the universe that the edges are of.

    Constant edges are left out.

    Args:
        edges: the edges of the universe `name`, each once, in any order.
        scores: `[edges]`, larger for what matters more.
        circuit: the truth.
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
    """ROC-AUC of node scores against the nodes of a circuit, as `edge_auc`.

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
    """ROC-AUC in the universe that the scores are of and in every coarser one.

    Args:
        scores: a sweep's result or a method's scores; or one number for each edge of a universe,
            in its order.
        circuit: the truth.
        name: the universe of the numbers, by default `"qkv"`; a result knows its own.
        absolute: whether importance is the absolute value, rather than the value.

    Returns:
        The area by universe, from fine to coarse; None where it is not defined, because the
        circuit holds all of the universe's edges or none.

    Warns:
        RuntimeWarning: if a sweep's effect of an edge of the circuit is no larger than rounding:
            such edges are tied with all others of no effect.
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
    """How well a method's values rank the circuit's edges and nodes.

    In the universe that the values are of and in every coarser one, from fine to coarse: first
    edges, then nodes. Values of edges are promoted (`promote_scores`) and give those of nodes
    (`nodes_from_edges`); values of nodes likewise (`promote_node_scores`, `edges_from_nodes`).

    Args:
        values: a sweep's result or a method's scores; or one number for each edge of a universe,
            or for each of its sources, in its order.
        circuit: the truth.
        universe: the universe of the numbers, by default `"qkv"`; a result knows its own.
        level: what the numbers are of: `"edge"`, the default, or `"node"`.
        absolute: whether importance is the absolute value, rather than the value.
        n_draws: permutations of the null.
        seed: of the null.

    Raises:
        ValueError: if there is not one value per item, or one is nan.

    Warns:
        RuntimeWarning: as `edge_auc_by_universe`.
    """
    numbers, universe, level = read_values(values, universe, level)
    shape = (circuit.n_layers, circuit.n_heads)
    scored = importance(heard(values, numbers), absolute)
    found = []
    for name in UNIVERSES[UNIVERSES.index(universe) :]:
        if level == "edge":
            edges = promote_scores(scored, universe, name, *shape)
            nodes = nodes_from_edges(edges, name, *shape, absolute=False)
        else:
            nodes = promote_node_scores(scored, universe, name, *shape)
            edges = edges_from_nodes(nodes, name, *shape, absolute=False)
        found.append(_rank(edges, circuit, name, "edge", n_draws, seed))
        found.append(_rank(nodes, circuit, name, "node", n_draws, seed))
    warn_of_silence(values, scored, truth_of(circuit, universe, level))
    return tuple(found)


def truth_of(circuit: Circuit, name: UniverseName, level: Level) -> Bool[np.ndarray, " items"]:
    """Which edges of a universe, or which of its sources, a circuit has, in their order.

    Constant ones are not among them; `counted_in` says which these are.
    """
    return np.asarray([truth == "in" for truth in _truths(circuit, name, level)], bool)


def counted_in(circuit: Circuit, name: UniverseName, level: Level) -> Bool[np.ndarray, " items"]:
    """Which edges of a universe, or which of its sources, are scored: all but the constant ones."""
    return np.asarray([truth != "constant" for truth in _truths(circuit, name, level)], bool)


def _truths(circuit: Circuit, name: UniverseName, level: Level) -> Iterable[TruthValue]:
    truths = circuit.edge_truths(name) if level == "edge" else circuit.node_truths(name)
    return truths.values()


def _rank(
    scores: Float[np.ndarray, " items"],
    circuit: Circuit,
    name: UniverseName,
    level: Level,
    n_draws: int,
    seed: int,
) -> RankScore:
    counts = counted_in(circuit, name, level)
    truth, scores = truth_of(circuit, name, level)[counts], scores[counts]
    n_true = int(truth.sum())
    two_sided = 0 < n_true < len(truth)
    null = null_interval(scores, truth, n_draws, seed) if two_sided else None
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
    """The area of those scores that count."""
    values = np.asarray(truths)
    counts = values != "constant"
    return roc_auc(np.asarray(scores)[counts], values[counts] == "in")


def _mid_ranks(scores: Float[np.ndarray, " items"]) -> np.ndarray:
    """Ranks from 1, the lowest; ties share their mean."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _area(
    rank_sum: np.ndarray | np.float64, positives: int, negatives: int
) -> np.ndarray | np.float64:
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def _two_sides(truth: Bool[np.ndarray, " items"]) -> tuple[int, int]:
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        raise ValueError(
            f"Expected items both in the circuit and outside it, got {positives} and {negatives}; "
            "the area is not defined."
        )
    return positives, negatives


def _check_pair(
    scores: Float[np.ndarray, " items"], truth: Truth
) -> tuple[Float[np.ndarray, " items"], Bool[np.ndarray, " items"]]:
    scores, labels = as_floats(scores), as_truth(truth)
    if scores.shape != labels.shape or scores.ndim != 1:
        raise ValueError(
            f"Expected one score and one truth per item, got {scores.shape} and {labels.shape}."
        )
    check_scores(scores, len(labels), "items")
    return scores, labels


def _check_items(
    given: Sequence[Edge] | Sequence[Node],
    expected: Sequence[Edge] | Sequence[Node],
    what: str,
    name: UniverseName,
) -> None:
    if len(given) != len(expected) or set(given) != set(expected):
        raise ValueError(
            f"Expected each of the {len(expected)} {what} of universe {name!r} once, got "
            f"{len(given)} others."
        )
