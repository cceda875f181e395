"""Pairs of inputs to patch between: of a case's own task, or where none is at hand."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from interpbench_jax.case import Case
from interpbench_jax.pairs import BLOCK, Pairs, PairStream, as_pairs
from interpbench_jax.texts import count

_BOS, _PAD = "BOS", "PAD"


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pairs of inputs, and where they are from.

    Attributes:
        source: the pairs, or a stream of them where they are more than 65,536; of a case's task
            with its objective, else with the default one.
        description: how they were drawn, in words.
    """

    source: Pairs | PairStream
    description: str

    @property
    def pairs(self) -> Pairs:
        """The pairs in memory.

        Raises:
            TypeError: if there is a stream of them.
        """
        return as_pairs(self.source)  # pyright: ignore[reportArgumentType]


def task_pairs(case: Case, n: int, seed: int, counterfactual: str | None = None) -> Drawn:
    """Pairs of a case's declared task, as `case.sample` or, for many, `case.stream` gives them.

    Args:
        case: the case.
        n: how many pairs.
        seed: the same seed gives the same pairs.
        counterfactual: what the corrupted inputs are, out of `case.task.counterfactuals`; by
            default the first.

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
    """Inputs of the full length, uniform over the vocabulary, with BOS first.

    Where the case's vocabulary is not known, uniform over all ids, position 0 included.

    Args:
        case: the case.
        n: how many pairs.
        seed: the same seed gives the same pairs.

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
        for start in range(0, n, BLOCK):
            shape = (2, min(BLOCK, n - start), case.config.n_ctx)
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
