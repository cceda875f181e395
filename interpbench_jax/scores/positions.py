"""How well scores of edges at positions rank what matters at each position."""

from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from jaxtyping import Float

from interpbench_jax.position_truth import PositionTruth
from interpbench_jax.scores.levels import Ranking, heard, importance, promote_scores
from interpbench_jax.scores.rank import average_precision, roc_auc
from interpbench_jax.scores.structure import score_largest
from interpbench_jax.universes import UNIVERSES, UniverseName

ByPosition = Float[np.ndarray, "edges pos"]


class PositionRanking(Ranking, Protocol):
    """A result with a value for every edge and position: a sweep's, or a method's scores."""

    @property
    def by_position(self) -> ByPosition | None: ...


@dataclass(frozen=True)
class PositionScore:
    """How well scores rank edges at positions, in one universe.

    Attributes:
        universe: the universe of the edges.
        n_items: number of pairs of an edge and a position that are scored.
        n_true: number of those that matter.
        n_constant: number of further ones that are left out because the program's edge carries
            the same value there in every pair of inputs.
        roc_auc: see `scores.roc_auc`; None if everything matters or nothing does.
        average_precision: see `scores.average_precision`; None if nothing matters.
        precision_at_size: the share of the `n_true` largest that matter, with ties broken at
            random; None if nothing matters.
    """

    universe: UniverseName
    n_items: int
    n_true: int
    n_constant: int
    roc_auc: float | None
    average_precision: float | None
    precision_at_size: float | None


def score_positions(
    values: PositionRanking | ByPosition,
    truth: PositionTruth,
    universe: UniverseName | None = None,
    *,
    absolute: bool = True,
) -> tuple[PositionScore, ...]:
    """Score how well values of edges at positions rank what matters there.

    The universe of the values and every coarser one, from fine to coarse, get a score each. An edge
    of a coarser universe takes the largest value among those that it merges, at each position.

    Args:
        values: the result of a sweep with `positions="each"`, or the scores of a method that has
            `by_position`; or one number for each edge of a universe and each position.
        truth: the truth, as `Task.position_truth` gives it.
        universe: the universe of the numbers, by default `"qkv"`; a result knows its own.
        absolute: whether importance is the absolute value instead of the value itself.

    Raises:
        ValueError: if there is not one value per edge and position, or one is NaN.
    """
    numbers, name = _read(values, universe)
    shape = (truth.n_layers, truth.n_heads)
    if numbers.ndim != 2 or numbers.shape[1] != truth.n_positions:
        raise ValueError(
            f"Expected a value for each edge at each of {truth.n_positions} positions, got shape "
            f"{numbers.shape}."
        )
    if np.isnan(numbers).any():
        raise ValueError(f"Expected numbers, got NaN at {int(np.isnan(numbers).sum())} places.")
    scored = importance(heard(values, numbers), absolute)
    return tuple(
        _score(promote_scores(scored, name, coarser, *shape), truth, coarser)
        for coarser in UNIVERSES[UNIVERSES.index(name) :]
    )


def _read(
    values: PositionRanking | ByPosition, universe: UniverseName | None
) -> tuple[ByPosition, UniverseName]:
    if not hasattr(values, "by_position"):
        return np.asarray(values), universe or "qkv"
    result = cast(PositionRanking, values)
    places, own = result.by_position, result.universe
    if places is None or own is None or result.level != "edge":
        raise ValueError(
            "Expected values of edges at each position, got a result without; sweep edges with "
            'positions="each", or use a method that scores positions, such as "peap".'
        )
    if universe not in (None, own):
        raise ValueError(f"Expected universe={own!r} for this result, or none, got {universe!r}.")
    return np.asarray(places), own


def _score(scores: ByPosition, truth: PositionTruth, name: UniverseName) -> PositionScore:
    found = truth.values(name)
    counts = found != "constant"
    is_in, scores = found[counts] == "in", scores[counts]
    n_true = int(is_in.sum())
    return PositionScore(
        universe=name,
        n_items=len(is_in),
        n_true=n_true,
        n_constant=int((~counts).sum()),
        roc_auc=roc_auc(scores, is_in) if 0 < n_true < len(is_in) else None,
        average_precision=average_precision(scores, is_in) if n_true else None,
        precision_at_size=score_largest(scores, is_in).precision if n_true else None,
    )
