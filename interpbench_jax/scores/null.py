"""The ROC-AUC that scores would have if they were assigned to the items at random."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.scores.levels import Truth, check_pair, count_sides


@dataclass(frozen=True)
class NullInterval:
    """ROC-AUC of a method's own scores, assigned to the items at random.

    Attributes:
        mean: mean over the draws. It is near 0.5 in the universe of the scores. In a coarser one it
            is not: an edge into a head takes the largest of several random scores.
        low: the 2.5 % quantile.
        high: the 97.5 % quantile.
        p_value: one-sided p-value: (1 + number of draws whose area is at least the observed one)
            / (1 + number of draws).
    """

    mean: float
    low: float
    high: float
    p_value: float


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
    scores, truth = check_pair(scores, truth)
    count_sides(truth)
    ranks = draw_ranks(scores, np.ones(len(scores), bool), n_draws, seed)
    return interval_of(ranks, truth)


def draw_ranks(
    scores: Float[np.ndarray, " items"],
    counts: Bool[np.ndarray, " items"],
    n_draws: int,
    seed: int,
) -> Float[np.ndarray, "items draws"]:
    """The ranks of scores, and of random permutations of them.

    Args:
        scores: a method's scores.
        counts: whether each item is scored; the other items keep their ranks.
        n_draws: number of permutations.
        seed: random seed for the permutations.

    Returns:
        Ranks from 1 for the lowest score; equal scores have equal ranks. The first column has the
        scores as they are. Maxima and minima of ranks are the ranks of maxima and minima, so that
        ranks can be converted to other universes and levels as scores are.

    Raises:
        ValueError: if there is no draw.
    """
    if n_draws < 1:
        raise ValueError(f"Expected at least one draw, got n_draws={n_draws}.")
    ranks = np.unique(scores, return_inverse=True)[1].reshape(-1) + 1.0
    drawn = np.tile(ranks, (n_draws + 1, 1))
    generator = np.random.default_rng(seed)
    drawn[1:, counts] = generator.permuted(drawn[1:, counts], axis=1)
    return drawn.T


def interval_of(
    ranks: Float[np.ndarray, "items draws"], truth: Bool[np.ndarray, " items"]
) -> NullInterval:
    """The null of an area, and the p-value of the first column.

    Args:
        ranks: what `draw_ranks` returns, perhaps converted; -inf is below every rank.
        truth: whether each item is in the circuit; some are, and some are not.
    """
    positives, negatives = count_sides(truth)
    # Counts of items by rank, so that areas are exact and equal ones compare as equal.
    levels = np.maximum(ranks, 0).astype(np.int64)
    n_draws, n_levels = levels.shape[1], int(levels.max()) + 1
    places = levels + n_levels * np.arange(n_draws)
    true, false = (
        np.bincount(places[side].reshape(-1), minlength=n_draws * n_levels).reshape(n_draws, -1)
        for side in (truth, ~truth)
    )
    below = np.cumsum(false, axis=1) - false / 2
    areas = (true * below).sum(axis=1) / (positives * negatives)
    drawn = areas[1:]
    low, high = np.quantile(drawn, (0.025, 0.975))
    at_least = int((drawn >= areas[0]).sum())
    p_value = (1 + at_least) / (1 + len(drawn))
    return NullInterval(float(drawn.mean()), float(low), float(high), p_value)
