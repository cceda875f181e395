"""How a selected circuit compares with the known one, and whether it is connected."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interpbench_jax.circuit import Circuit
from interpbench_jax.scores.levels import (
    Ranking,
    Truth,
    as_floats,
    as_truth,
    check_edge_scores,
    check_scores,
    importance,
    only_edges,
    read_values,
)
from interpbench_jax.scores.rank import counted_in, truth_of
from interpbench_jax.scores.selection import keep_largest, on_paths
from interpbench_jax.universes import UniverseName
from interpbench_jax.universes import universe as find_universe


@dataclass(frozen=True)
class SetScore:
    """A set of items compared with the true items; with ties, the mean over random choices.

    Attributes:
        size: number of items in the set.
        n_true: number of true items.
        n_hits: number of true items in the set.
        precision: the share of the set that is true; None for an empty set.
        recall: the share of the true items that are in the set; None if no item is true.
        f1: their harmonic mean, 2 hits / (size + true); None if both sets are empty.
        hamming: number of items in exactly one of the two sets. For two circuits in one universe,
            where edges have one direction, this is the structural Hamming distance
            (Tsamardinos et al. 2006).
    """

    size: int
    n_true: int
    n_hits: float
    precision: float | None
    recall: float | None
    f1: float | None
    hamming: float


@dataclass(frozen=True)
class StructureScore:
    """A circuit selected by scores, compared with the known one.

    Attributes:
        universe: the universe of the edges.
        edges: the selected edges compared with the known ones.
        n_on_path: number of selected edges on a path of such edges from an embedding to the output.
        has_path: whether there is such a path.
        is_connected: whether there is such a path and every selected edge lies on one.
    """

    universe: UniverseName
    edges: SetScore
    n_on_path: int
    has_path: bool
    is_connected: bool


def score_kept(kept: Truth, truth: Truth) -> SetScore:
    """Compare a given set, such as the items that score above a threshold, with the true items.

    Raises:
        ValueError: if the lengths differ.
    """
    kept, truth = as_truth(kept), as_truth(truth)
    if kept.shape != truth.shape or kept.ndim != 1:
        raise ValueError(
            "Expected one value per item of what is kept and of what is true, got shapes "
            f"{kept.shape} and {truth.shape}."
        )
    return _set_score(int(kept.sum()), int(truth.sum()), float((kept & truth).sum()))


def score_largest(
    scores: Float[np.ndarray, " items"],
    truth: Truth,
    size: int | None = None,
) -> SetScore:
    """Compare the items with the largest scores with the true items.

    If a tie lies across the boundary, the hits are a mean over all ways to break it: the number
    of items left to take, times the share of true items among those that tie.

    Args:
        scores: one score per item, larger for more important items.
        truth: whether each item is true.
        size: number of items to take; the default is the number of true items, which makes
            precision, recall and F1 the same number.

    Raises:
        ValueError: if the lengths differ, a score is NaN, or the size is out of range.
    """
    scores, truth = as_floats(scores), as_truth(truth)
    check_scores(scores, len(truth), "items")
    n_true = int(truth.sum())
    size = n_true if size is None else size
    if not 0 <= size <= len(scores):
        raise ValueError(f"Expected a size from 0 to {len(scores)}, got {size}.")
    if size == 0:
        return _set_score(0, n_true, 0.0)
    boundary = np.sort(scores)[len(scores) - size]
    above, tied = scores > boundary, scores == boundary
    n_left = size - int(above.sum())
    hits = truth[above].sum() + n_left * truth[tied].mean()
    return _set_score(size, n_true, float(hits))


def structure_scores(
    values: Ranking | Float[np.ndarray, " edges"],
    circuit: Circuit,
    universe: UniverseName | None = None,
    *,
    size: int | None = None,
    threshold: float | None = None,
    absolute: bool = True,
) -> StructureScore:
    """Compare the circuit that a method's values select with the known one.

    Shares and the Hamming distance are means over all ways to break a tie at the boundary. Paths
    are computed for one circuit, which takes tied edges in the universe's order. Constant edges
    are never selected.

    Args:
        values: a sweep's result or a method's scores; or one number for each edge of a universe,
            in its order.
        circuit: the known circuit.
        universe: the universe of the numbers, by default `"qkv"`; a result knows its own.
        size: number of edges to take; the default is the number of true edges.
        threshold: alternative to `size`: take every edge whose importance is strictly larger.
        absolute: whether importance is the absolute value instead of the value itself.

    Raises:
        ValueError: if there is not one value per edge, one is NaN, the size is out of range, or
            both a size and a threshold are given.
    """
    if size is not None and threshold is not None:
        raise ValueError(f"Expected a size or a threshold, got both: {size} and {threshold}.")
    numbers, universe, level = read_values(values, universe, None)
    only_edges(level)
    space = find_universe(universe, circuit.n_layers, circuit.n_heads)
    truth, counts = truth_of(circuit, universe, "edge"), counted_in(circuit, universe, "edge")
    check_edge_scores(numbers, universe, circuit.n_layers, circuit.n_heads)
    scores = importance(numbers, absolute)
    kept = np.zeros(len(truth), bool)
    if threshold is not None:
        kept[counts] = scores[counts] > threshold
        edges = score_kept(kept[counts], truth[counts])
    else:
        edges = score_largest(scores[counts], truth[counts], size)
        kept[counts] = keep_largest(scores[counts], [edges.size], absolute=False)[0]
    on_path = on_paths(kept[None], space)[0]
    n_on_path = int(on_path.sum())
    has_path = n_on_path > 0
    connected = has_path and n_on_path == int(kept.sum())
    return StructureScore(universe, edges, n_on_path, has_path, connected)


def _set_score(size: int, n_true: int, hits: float) -> SetScore:
    return SetScore(
        size=size,
        n_true=n_true,
        n_hits=hits,
        precision=hits / size if size else None,
        recall=hits / n_true if n_true else None,
        f1=2 * hits / (size + n_true) if size + n_true else None,
        hamming=size + n_true - 2 * hits,
    )
