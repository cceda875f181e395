"""Areas under curves, and the areas of scores that are assigned at random."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.scores.levels import Truth, as_floats, as_truth, check_scores


@dataclass(frozen=True)
class NullInterval:
    """ROC-AUC of a method's own scores, assigned to items at random.

    Attributes:
        mean: mean over the draws; 0.5, up to chance, if the items are those that the scores are of.
        low: the 2.5 % quantile.
        high: the 97.5 % quantile.
        p_value: one-sided p-value: (1 + number of draws whose area is at least the observed one)
            / (1 + number of draws).
    """

    mean: float
    low: float
    high: float
    p_value: float


def roc_auc(scores: Float[np.ndarray, " items"], truth: Truth) -> float:
    """Area under the ROC curve: how often an item of the circuit outscores one outside, in 0..1.

    A tie counts half. Source: Hanley and McNeil 1982 (the Mann-Whitney statistic); equals
    scikit-learn's `roc_auc_score`.

    Raises:
        ValueError: if a score is NaN, the lengths differ, or all items are on one side.
    """
    scores, truth = _check_pair(scores, truth)
    positives, negatives = _two_sides(truth)
    return float(_area(_mid_ranks(scores)[truth].sum(), positives, negatives))


def average_precision(scores: Float[np.ndarray, " items"], truth: Truth) -> float:
    """Area under the precision-recall curve as a sum of steps, in 0..1.

    The sum runs over the distinct scores from high to low: the recall that each adds, times the
    precision among the items that score at least as much. Tied items thus enter together, in no
    order. Equals scikit-learn's `average_precision_score`.

    Raises:
        ValueError: if a score is NaN, the lengths differ, or no item is true.
    """
    scores, truth = _check_pair(scores, truth)
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


def null_interval(
    scores: Float[np.ndarray, " items"],
    truth: Truth,
    n_draws: int = 400,
    seed: int = 0,
) -> NullInterval:
    """The ROC-AUC expected by chance: the scores are permuted over the items, ties included.

    Args:
        scores: a method's scores.
        truth: whether each item is in the circuit.
        n_draws: number of permutations; the p-value is at least 1 / (1 + `n_draws`).
        seed: random seed for the permutations; the same scores, truth and seed give the same
            interval.

    Raises:
        ValueError: if a score is NaN, the lengths differ, all items are on one side, or there
            is no draw.
    """
    scores, truth = _check_pair(scores, truth)
    positives, negatives = _two_sides(truth)
    if n_draws < 1:
        raise ValueError(f"Expected at least one draw, got n_draws={n_draws}.")
    ranks = _mid_ranks(scores)
    drawn = np.random.default_rng(seed).permuted(np.tile(ranks, (n_draws, 1)), axis=1)
    # Sums of halves are exact, so equal areas compare as equal.
    areas = _area(drawn[:, :positives].sum(axis=1), positives, negatives)
    observed = _area(ranks[truth].sum(), positives, negatives)
    return _interval(np.asarray(areas), float(observed))


def drawn_interval(
    scores: Float[np.ndarray, " items"],
    drawn: Float[np.ndarray, "draws items"],
    truth: Bool[np.ndarray, " items"],
) -> NullInterval:
    """The ROC-AUC expected by chance, from scores that were drawn at random.

    Args:
        scores: a method's scores.
        drawn: scores of the same items, one row for each draw.
        truth: whether each item is in the circuit.

    Raises:
        ValueError: if all items are on one side.
    """
    positives, negatives = _two_sides(truth)
    others = drawn[:, ~truth]
    wins = np.zeros(len(drawn))
    for one in drawn[:, truth].T[:, :, None]:
        wins += (one > others).sum(axis=1) + (one == others).sum(axis=1) / 2
    return _interval(wins / (positives * negatives), roc_auc(scores, truth))


def _interval(areas: np.ndarray, observed: float) -> NullInterval:
    low, high = np.quantile(areas, (0.025, 0.975))
    at_least = int((areas >= observed).sum())
    return NullInterval(
        float(areas.mean()), float(low), float(high), (1 + at_least) / (1 + len(areas))
    )


def _mid_ranks(scores: Float[np.ndarray, " items"]) -> np.ndarray:
    """Ranks from 1 for the lowest score; ties share their mean rank."""
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
            "Expected one score and one truth value per item, got shapes "
            f"{scores.shape} and {labels.shape}."
        )
    check_scores(scores, len(labels), "items")
    return scores, labels
