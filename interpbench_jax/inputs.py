"""Pairs of inputs to patch between: from a case's task, or uniform if it declares none."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from interpbench_jax.case import Case
from interpbench_jax.pairs import BLOCK, Pairs, PairStream, as_pairs, block_sizes
from interpbench_jax.texts import count

_BOS, _PAD = "BOS", "PAD"


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pairs of inputs, and a description of how they were drawn.

    Attributes:
        source: the pairs, or a stream of them if there are more than 65,536; pairs of a case's
            task have the task's objective, others the default one.
        description: how they were drawn, in words.
    """

    source: Pairs | PairStream
    description: str

    @property
    def pairs(self) -> Pairs:
        """The pairs in memory.

        Raises:
            TypeError: if the source is a stream.
        """
        return as_pairs(self.source)  # pyright: ignore[reportArgumentType]


def task_pairs(case: Case, n: int, seed: int, counterfactual: str | None = None) -> Drawn:
    """Pairs of a case's declared task, as from `case.sample` or, for many, from `case.stream`.

    Args:
        case: the case.
        n: how many pairs.
        seed: the random seed; the same seed gives the same pairs.
        counterfactual: the kind of corrupted inputs, one of `case.task.counterfactuals`; the
            default is the first.

    Raises:
        ValueError: if the case has no declared task, there is no such counterfactual, `n` is not
            positive or the seed is negative.
    """
    if n < 1:
        raise ValueError(f"Expected at least 1 input, got n={n}.")
    task = case.task
    draw = task.sample if n <= BLOCK else task.stream
    pairs = draw(n, seed, counterfactual=counterfactual)
    kind = counterfactual or task.counterfactuals[0]
    return Drawn(pairs, f"{count(n, 'pair')} of the task, corrupted inputs {kind} (seed {seed})")


def uniform_pairs(case: Case, n: int, seed: int) -> Drawn:
    """Pairs of full-length inputs, uniform over the vocabulary, with BOS first.

    If the case's vocabulary is unknown, they are uniform over all ids, at position 0 too.

    Args:
        case: the case.
        n: how many pairs.
        seed: the random seed; the same seed gives the same pairs.

    Raises:
        ValueError: if `n` is not positive or the seed is negative.
    """
    if n < 1:
        raise ValueError(f"Expected at least 1 input, got n={n}.")
    if seed < 0:
        raise ValueError(f"Expected a seed from 0, got {seed}.")
    vocab = case.vocab or ()
    special = [vocab.index(token) for token in (_BOS, _PAD) if token in vocab]
    ids = np.setdiff1d(np.arange(case.config.d_vocab, dtype=np.int32), special)
    bos = vocab.index(_BOS) if _BOS in vocab else None

    def draw_blocks() -> Iterator[Pairs]:
        generator = np.random.default_rng(seed)
        for size in block_sizes(n):
            shape = (2, size, case.config.n_ctx)
            drawn = generator.choice(ids, size=shape).astype(np.int32)
            if bos is not None:
                drawn[:, :, 0] = bos
            yield Pairs(drawn[0], drawn[1])

    stream = PairStream(n, draw_blocks)
    description = f"uniform over the {len(ids)} tokens" + (
        "; which of them is BOS is not known" if bos is None else ", BOS first"
    )
    return Drawn(
        stream if n > BLOCK else next(iter(stream)),
        f"{count(n, 'pair')}, {description} (seed {seed})",
    )
