"""Pairs of inputs to patch between, and what their runs are judged by."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from interpbench_jax.objective import Objective

if TYPE_CHECKING:
    from interpbench_jax.axes import OtherTokens, Tokens
    from interpbench_jax.metrics import Metric, MetricName


# Rows that are drawn at a time; another number draws other rows from the same seed.
BLOCK = 2**16

_DEFAULT = Objective()


@dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    """Inputs, others to patch from, and an objective.

    `case.sample` gives the pairs of a case; from arrays of one's own they are made like this:
    `Pairs(clean, corrupted, Objective("logit_diff", targets))`.

    Attributes:
        input_ids: the clean inputs.
        corrupted_input_ids: the inputs that replacements come from, paired by row with
            `input_ids`; for mean ablation any number. None where no ablation needs them.
        objective: what runs are judged by.
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
        """Some of the pairs: `pairs[:10]`."""
        check_rows(rows)
        others = self.corrupted_input_ids
        if others is not None and len(others) != len(self):
            raise ValueError(
                f"Expected as many corrupted inputs as clean ones to take some pairs, got "
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
    """Pairs that are drawn, or read, when they are needed: more of them than memory holds.

    Sweeps take a stream as they take pairs, and hold one block of it at a time. `case.stream`
    gives that of a case; pairs of one's own are read from files like this:
    `PairStream(n, lambda: (Pairs(clean, corrupted) for clean, corrupted in read_blocks()))`.

    Attributes:
        n: rows of all blocks together.
        blocks: called for every pass over the pairs, of which there may be several. Gives blocks
            of any sizes, the same ones each time, of as many positions and with one metric.
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
        """The same pairs, judged by another metric."""
        return replace(
            self, blocks=lambda: (as_pairs(block, metric=metric) for block in self.blocks())
        )


def check_rows(rows: slice) -> None:
    """Refuse what does not say which pairs are meant.

    Raises:
        TypeError: if it is no slice.
    """
    if not isinstance(rows, slice):
        raise TypeError(f"Expected some pairs as a slice, pairs[:10] say, got {rows!r}.")


def as_pairs(
    clean: "Tokens | Pairs",
    corrupted: "OtherTokens | None" = None,
    objective: Objective | None = None,
    metric: "MetricName | Metric | None" = None,
) -> Pairs:
    """What a caller gave, as pairs.

    Args:
        clean: pairs; or clean inputs.
        corrupted: beside an array, the inputs to patch from.
        objective: in place of the pairs' own.
        metric: in place of the objective's.

    Raises:
        TypeError: if both pairs and corrupted inputs are given, or the objective is none.
    """
    if isinstance(clean, PairStream):
        raise TypeError(
            f"Expected pairs in memory, got {clean!r}, which sweeps take: some pairs are "
            "`case.sample(1000, seed=0)`, say, or `next(iter(stream))`, the first block."
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
                f"Expected an Objective(metric, targets, scored), got {objective!r}; a metric "
                "alone goes by `metric=`."
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
    """What the caller of a sweep gave, as pairs, or as the stream that it is.

    Raises:
        TypeError: as `as_pairs` does; if an objective is given beside a stream.
    """
    if not isinstance(clean, PairStream):
        return as_pairs(clean, corrupted, objective, metric)
    if corrupted is not None or objective is not None:
        raise TypeError(
            "Expected a stream of pairs alone: each of its blocks holds corrupted inputs and an "
            "objective; `metric=` takes another metric."
        )
    return clean if metric is None else clean.with_metric(metric)
