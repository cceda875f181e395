"""Statistical tests and intervals over cases and seeds.

A method's value on a case is one observation; methods are compared on the same cases, so every
test is paired. scipy, from the `bench` extra, is imported where it is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from interpbench_jax.extras import needs_extra

RESAMPLES = 10_000

_LEVEL = 0.95
_MAX_EXACT = 50
# Differences of areas that are equal as fractions can differ by a few units in the last place.
_NOISE_DECIMALS = 12
_MAX_DRAWN = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval.

    Attributes:
        mean: mean of the values, without resampling, in their unit.
        low: lower end; None for a single case, which says nothing about others.
        high: upper end; None likewise.
    """

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class MethodComparison:
    """A comparison of two methods on the cases that both have.

    Attributes:
        first: name of one method.
        second: name of the other method.
        n: number of cases for which both have a value.
        p: two-sided p-value of the Wilcoxon signed-rank test; None if they share no case.
        p_holm: `p` after Holm's correction over all pairs compared together; None likewise.
        a12: how often a value of `first` exceeds a value of `second` (see `vargha_delaney_a12`);
            None likewise.
        difference: mean of first minus second over the shared cases; None likewise.
    """

    first: str
    second: str
    n: int
    p: float | None
    p_holm: float | None
    a12: float | None
    difference: Interval | None


def wilcoxon_p(first: Float[np.ndarray, " cases"], second: Float[np.ndarray, " cases"]) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test of paired values, in 0..1.

    Cases without a difference are left out. For at most 50 cases that all differ, the exact
    distribution of distinct ranks is used; otherwise the normal approximation, corrected for ties
    but not for continuity. These settings give the InterpBench paper's figures; scipy's current
    default uses the approximation wherever differences tie. Without any difference, p is 1.
    Differences are rounded to 12 decimals of the largest value, so that rounding errors neither
    make nor break a tie.

    Source: Wilcoxon 1945; Gupta et al. 2024 (arXiv:2407.14494).

    Raises:
        ImportError: if scipy is not installed.
        ValueError: if the lengths differ, there is no case, or a value is not finite.
    """
    _check_pairs(first, second)
    with needs_extra("bench", "The Wilcoxon test"):
        from scipy.stats import wilcoxon
    difference = without_noise(first, second)
    is_zero = difference == 0
    if is_zero.all():
        return 1.0
    method = "exact" if not is_zero.any() and len(difference) <= _MAX_EXACT else "approx"
    result = wilcoxon(
        difference,
        zero_method="wilcox",
        correction=False,
        alternative="two-sided",
        method=method,
    )
    return float(np.asarray(result)[1])


def vargha_delaney_a12(first: Float[np.ndarray, " x"], second: Float[np.ndarray, " y"]) -> float:
    """A12: P(X > Y) + P(X = Y) / 2 over all pairs of one value from each, in 0..1; 0.5: no effect.

    Source: Vargha and Delaney 2000, "A Critique and Improvement of the CL Common Language Effect
    Size Statistics". As in InterpBench's paper, the pairs are not only those within one case.

    Raises:
        ValueError: if one side is empty, or a value is not finite.
    """
    for values in (first, second):
        if not values.size or not np.isfinite(values).all():
            raise ValueError(f"Expected finite values on both sides, got {values}.")
    ordered = np.sort(second)
    below = np.searchsorted(ordered, first, side="left")
    up_to = np.searchsorted(ordered, first, side="right")
    return float((below + up_to).sum() / (2 * first.size * second.size))


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Holm's step-down adjustment of p-values, in the given order, at most 1.

    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".

    Raises:
        ValueError: if a p-value is not from 0 to 1.
    """
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"Expected p-values from 0 to 1, got {p_values}.")
    order = np.argsort(p_values, kind="stable")
    steps = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps * p_values[order]), 1.0)
    return adjusted


def bootstrap_mean(
    values: Float[np.ndarray, " cases"],
    *,
    level: float = _LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean over cases and its percentile bootstrap interval: cases are resampled.

    Args:
        values: one value per case, in any unit; the interval has the same unit.
        level: share of the resampled means that the interval contains.
        resamples: number of times that the cases are resampled.
        seed: random seed for the bootstrap; the same seed gives the same interval.

    Raises:
        ValueError: if there is no case, a value is not finite, or `level` is not between 0 and 1.
    """
    if not np.isfinite(values).all():
        raise ValueError(f"Expected finite values, got {values}.")
    return bootstrap_seeds(values[:, None], level=level, resamples=resamples, seed=seed)


def bootstrap_difference(
    first: Float[np.ndarray, " cases"],
    second: Float[np.ndarray, " cases"],
    *,
    level: float = _LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean of first minus second, paired by case, and its interval, as in `bootstrap_mean`.

    Raises:
        ValueError: if the lengths differ, or as in `bootstrap_mean`.
    """
    _check_pairs(first, second)
    return bootstrap_mean(first - second, level=level, resamples=resamples, seed=seed)


def bootstrap_seeds(
    values: Float[np.ndarray, "cases seeds"],
    *,
    level: float = _LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean over cases of the means over seeds: cases are resampled, and in each its seeds.

    Args:
        values: one value per case and seed; NaN where a case has fewer seeds than another. Each
            case has at least one.
        level: share of the resampled means that the interval contains.
        resamples: number of times that cases and seeds are resampled.
        seed: random seed for the bootstrap; the same seed gives the same interval.

    Raises:
        ValueError: if a case has no value, a value is infinite, or `level` is not between 0 and 1.
    """
    if values.ndim != 2 or not values.size or np.isinf(values).any():
        raise ValueError(f"Expected finite values of cases and seeds, got {values}.")
    counts = (~np.isnan(values)).sum(axis=1)
    if not counts.all():
        raise ValueError(
            f"Expected a value for every case, got none for {int((counts == 0).sum())}; leave "
            "those cases out."
        )
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(
            f"Expected a level between 0 and 1 and at least 1 resample, got {level}, {resamples}."
        )
    mean = float(np.nanmean(values, axis=1).mean())
    if len(values) == 1:
        return Interval(mean, None, None)
    ordered = np.sort(values, axis=1)  # NaN comes last.
    generator = np.random.default_rng(seed)
    block = max(1, _MAX_DRAWN // values.size)
    means = [
        _resampled_means(ordered, counts, min(block, resamples - start), generator)
        for start in range(0, resamples, block)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def compare_methods(
    table: Mapping[str, Float[np.ndarray, " cases"]], *, seed: int = 0
) -> tuple[MethodComparison, ...]:
    """Compare every pair of methods, in the order of the table, on the cases that both have.

    Args:
        table: for each method, one value per case, in the same order of cases; NaN where there is
            none.
        seed: random seed for the bootstrap intervals.

    Raises:
        ImportError: if scipy is not installed.
        ValueError: if methods have different numbers of cases, or a value is infinite.
    """
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"Expected one value per case for every method, got {lengths}; pad with NaN."
        )
    pairs = [(name, other, table[name], table[other]) for name, other in combinations(table, 2)]
    return adjust([compare(*pair, seed=seed) for pair in pairs])


def compare(
    name: str,
    other: str,
    first: Float[np.ndarray, " cases"],
    second: Float[np.ndarray, " cases"],
    *,
    seed: int = 0,
) -> MethodComparison:
    """Compare one pair as in `compare_methods`; `p_holm` is `p`, as for a single test."""
    shared = ~(np.isnan(first) | np.isnan(second))
    if not shared.any():
        return MethodComparison(name, other, 0, None, None, None, None)
    first, second = first[shared], second[shared]
    p = wilcoxon_p(first, second)
    a12 = vargha_delaney_a12(first, second)
    difference = bootstrap_difference(first, second, seed=seed)
    return MethodComparison(name, other, len(first), p, p, a12, difference)


def adjust(comparisons: list[MethodComparison]) -> tuple[MethodComparison, ...]:
    """The same comparisons, with `p_holm` corrected for all of them together."""
    adjusted = iter(holm(np.asarray([each.p for each in comparisons if each.p is not None])))
    return tuple(
        MethodComparison(
            each.first,
            each.second,
            each.n,
            each.p,
            None if each.p is None else float(next(adjusted)),
            each.a12,
            each.difference,
        )
        for each in comparisons
    )


def without_noise(
    first: Float[np.ndarray, " cases"], second: Float[np.ndarray, " cases"]
) -> Float[np.ndarray, " cases"]:
    """First minus second, rounded to 12 decimals of the largest absolute value."""
    scale = max(np.abs(first).max(), np.abs(second).max()) or 1.0
    return np.round((first - second) / scale, _NOISE_DECIMALS) * scale


def _resampled_means(
    ordered: np.ndarray, counts: np.ndarray, n: int, generator: np.random.Generator
) -> np.ndarray:
    """`n` means over cases and seeds drawn with replacement; NaN comes last in every row."""
    n_cases, n_seeds = ordered.shape
    cases = generator.integers(n_cases, size=(n, n_cases))
    drawn = counts[cases][:, :, None]
    # Each drawn case contributes as many seeds as it has; further draws do not count.
    seeds = (generator.random((n, n_cases, n_seeds)) * drawn).astype(np.int64)
    is_counted = np.arange(n_seeds) < drawn
    picked = np.where(is_counted, ordered[cases[:, :, None], seeds], 0.0)
    return (picked.sum(axis=2) / drawn[:, :, 0]).mean(axis=1)


def _check_pairs(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape != second.shape or not first.size:
        raise ValueError(
            "Expected paired values for at least one case, got shapes "
            f"{first.shape} and {second.shape}."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("Expected finite values for every case; leave out cases without one.")
