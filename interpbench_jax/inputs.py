"""Inputs for a case whose own task is not at hand."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from interpbench_jax.case import Case

_BOS, _PAD = "BOS", "PAD"


@dataclass(frozen=True)
class InputPairs:
    """Clean and corrupted inputs, paired by row.

    Attributes:
        clean: token ids.
        corrupted: token ids, drawn independently of `clean`.
        description: how they were drawn, in words.
    """

    clean: Int[np.ndarray, "batch pos"]
    corrupted: Int[np.ndarray, "batch pos"]
    description: str


def uniform_pairs(case: Case, n: int, seed: int) -> InputPairs:
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
    generator = np.random.default_rng(seed)
    vocab = case.vocab or ()
    special = [vocab.index(token) for token in (_BOS, _PAD) if token in vocab]
    ids = np.setdiff1d(np.arange(case.config.d_vocab, dtype=np.int32), special)
    drawn = generator.choice(ids, size=(2, n, case.config.n_ctx)).astype(np.int32)
    description = f"uniform over the {len(ids)} tokens"
    if _BOS in vocab:
        drawn[:, :, 0] = vocab.index(_BOS)
        description += ", BOS first"
    else:
        description += "; which of them is BOS is not known"
    return InputPairs(drawn[0], drawn[1], f"{n} pairs, {description} (seed {seed})")
