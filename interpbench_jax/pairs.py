"""Pairs of inputs to patch between, with the objective that scores their runs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from interpbench_jax.objective import Objective

if TYPE_CHECKING:
    from interpbench_jax.axes import OtherTokens, Tokens
    from interpbench_jax.metrics import Metric, MetricName


# The number of rows drawn at a time. Changing it changes the rows that a seed gives.
BLOCK = 2**16

_DEFAULT = Objective()


@dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    """Inputs, other inputs to patch from, and an objective.

    `case.sample` returns the pairs of a case. To make pairs from your own arrays:
    `Pairs(clean, corrupted, Objective("logit_diff", targets))`.

    Attributes:
        input_ids: the clean inputs.
        corrupted_input_ids: the inputs that replacements come from, paired by row with
            `input_ids`; for mean ablation, any number of them. None if no ablation needs them.
        objective: how runs are scored: the metric, its targets, and the scored positions.
    """

    input_ids: "Int[np.ndarray, 'rows pos']"
    corrupted_input_ids: "Int[np.ndarray, 'others pos'] | None" = None
    objective: Objective = _DEFAULT

    def __len__(self) -> int:
        return len(self.input_ids)

    def __repr__(self) -> str:
        n_pos = np.shape(self.input_ids)[-1]
        return f"{type(self).__name__}({len(self):,} of {n_pos} positions, {self.objective})"

    def __getitem__(self, rows: slice) -> "Pairs":
        """A slice of the pairs, such as `pairs[:10]`."""
        check_rows(rows)
        others = self.corrupted_input_ids
        if others is not None and len(others) != len(self):
            raise ValueError(
                f"Expected as many corrupted inputs as clean ones to take a slice of pairs, got "
                f"{len(others)} and {len(self)}."
            )
        objective, targets, scored = (
            self.objective,
            self.objective.targets,
            self.objective.scored,
        )
        if targets is not None:
            targets = targets[rows]
        if scored is not None and np.ndim(scored) == 2:
            scored = scored[rows]
        return replace(
            self,
            input_ids=self.input_ids[rows],
            corrupted_input_ids=None if others is None else others[rows],
            objective=replace(objective, targets=targets, scored=scored),
        )


@dataclass(frozen=True, eq=False, repr=False)
class PairStream:
    """Pairs that are drawn or read when they are needed, for more pairs than fit in memory.

    Sweeps accept a stream in place of pairs and hold one block of it in memory at a time.
    `case.stream` returns the stream of a case. To read your own pairs from files:
    `PairStream(n, lambda: (Pairs(clean, corrupted) for clean, corrupted in read_blocks()))`.

    Attributes:
        n: the number of rows of all blocks together.
        blocks: a function that is called for every pass over the pairs, possibly several times. It
            returns the same blocks each time; their sizes can differ, but all have the same number
            of positions and the same metric.
    """

    n: int
    blocks: "Callable[[], Iterable[Pairs]]"

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> "Iterator[Pairs]":
        return iter(self.blocks())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n:,} pairs, in blocks)"

    def with_metric(self, metric: "MetricName | Metric") -> "PairStream":
        """The same pairs, scored by another metric."""
        return replace(
            self, blocks=lambda: (as_pairs(block, metric=metric) for block in self.blocks())
        )


def block_sizes(n: int) -> list[int]:
    """The sizes of the blocks in which `n` rows are drawn."""
    return [min(BLOCK, n - start) for start in range(0, n, BLOCK)]


def check_rows(rows: slice) -> None:
    """Check that an index of pairs is a slice.

    Raises:
        TypeError: if it is not a slice.
    """
    if not isinstance(rows, slice):
        raise TypeError(f"Expected a slice of pairs, such as pairs[:10]; got index {rows!r}.")


def as_pairs(
    clean: "Tokens | Pairs",
    corrupted: "OtherTokens | None" = None,
    objective: Objective | None = None,
    metric: "MetricName | Metric | None" = None,
) -> Pairs:
    """The caller's arguments as pairs.

    Args:
        clean: pairs; or an array of clean inputs.
        corrupted: with an array of clean inputs, the inputs to patch from.
        objective: an objective to use instead of that of the pairs.
        metric: a metric to use instead of the objective's.

    Raises:
        TypeError: if both pairs and corrupted inputs are given, `clean` is a stream, or the
            objective is not an `Objective`.
    """
    if isinstance(clean, PairStream):
        raise TypeError(
            f"Expected pairs in memory, got {clean!r}, which only sweeps of one model accept. Use "
            "some pairs, `case.sample(1000, seed=0)`, or the first block, `next(iter(stream))`."
        )
    if isinstance(clean, Pairs):
        if corrupted is not None:
            raise TypeError(
                "Expected either pairs, which hold their corrupted inputs, or clean and corrupted "
                "inputs as arrays; got pairs and corrupted inputs."
            )
        pairs = clean
    else:
        from interpbench_jax.model import as_tokens

        others = None if corrupted is None else as_tokens(corrupted)
        pairs = Pairs(as_tokens(clean), others)  # pyright: ignore[reportArgumentType]
    if objective is not None:
        if not isinstance(objective, Objective):
            raise TypeError(
                f"Expected an Objective(metric, targets, scored), got {objective!r}; pass a metric "
                "alone as `metric=`."
            )
        pairs = Pairs(pairs.input_ids, pairs.corrupted_input_ids, objective)
    if metric is not None:
        chosen = replace(pairs.objective, metric=metric)
        pairs = Pairs(pairs.input_ids, pairs.corrupted_input_ids, chosen)
    return pairs


def as_source(
    clean: "Tokens | Pairs | PairStream",
    corrupted: "OtherTokens | None" = None,
    objective: Objective | None = None,
    metric: "MetricName | Metric | None" = None,
) -> Pairs | PairStream:
    """The arguments of a sweep's caller as pairs, or as a stream if that is what it gave.

    Raises:
        TypeError: as `as_pairs` does, but not for a stream; or if corrupted inputs or an objective
            are given with a stream.
    """
    if not isinstance(clean, PairStream):
        return as_pairs(clean, corrupted, objective, metric)
    if corrupted is not None or objective is not None:
        raise TypeError(
            "Expected a stream of pairs alone: each of its blocks holds corrupted inputs and an "
            "objective; pass another metric as `metric=`."
        )
    return clean if metric is None else clean.with_metric(metric)
