"""How much of a sweep runs at a time."""

import math
from dataclasses import dataclass

import jax
import numpy as np

from interpbench_jax.config import TransformerConfig
from interpbench_jax.sites import readers, writers

# On a CPU a call that fits near the caches is the fastest; elsewhere, one that fills the chip.
_CPU_BYTES = 32 << 20
_ACCELERATOR_BYTES = 2 << 30
_PREFERRED_ROWS = 256


@dataclass(frozen=True)
class Chunks:
    """The shape of one call of the compiled program.

    Attributes:
        edits: edits per call.
        batch: inputs per call.
    """

    edits: int
    batch: int

    def rows(self, total: int) -> range:
        """The first row of every chunk of inputs."""
        return range(0, total, self.batch)

    def edits_from(self, total: int) -> range:
        """The first edit of every chunk of edits."""
        return range(0, total, self.edits)


def default_max_bytes() -> int:
    """The memory budget of a sweep that names none: 32 MiB on a CPU, 2 GiB elsewhere."""
    return _CPU_BYTES if jax.default_backend() == "cpu" else _ACCELERATOR_BYTES


def choose_chunks(
    config: TransformerConfig,
    dtype: np.dtype,
    n_edits: int,
    batch: int,
    n_pos: int,
    max_bytes: int,
    *,
    by_position: bool = False,
) -> Chunks:
    """The largest evenly filled chunks that stay under a memory budget.

    Args:
        config: the model's shape.
        dtype: of its activations.
        n_edits: edits of the sweep.
        batch: inputs of the sweep.
        n_pos: positions of an input.
        max_bytes: the budget.
        by_position: whether masks have a position axis.

    Raises:
        ValueError: if one edit of one input does not fit.
    """
    per_edit, per_input, per_run = (
        number * dtype.itemsize for number in numbers_held(config, n_pos, by_position)
    )
    if max_bytes < per_edit + per_input + per_run:
        raise ValueError(
            f"Expected max_bytes of at least {per_edit + per_input + per_run}, which one edit of "
            f"one input takes in this model, got {max_bytes}."
        )
    rows = min(batch, _PREFERRED_ROWS, (max_bytes - per_edit) // (per_input + per_run))
    edits = min(n_edits, (max_bytes - rows * per_input) // (per_edit + rows * per_run))
    rows = min(batch, (max_bytes - edits * per_edit) // (per_input + edits * per_run))
    return Chunks(edits=_even(n_edits, edits), batch=_even(batch, rows))


def numbers_held(config: TransformerConfig, n_pos: int, by_position: bool) -> tuple[int, int, int]:
    """How many numbers a call holds at its peak: per edit, per input, per edit and input.

    Counted from the masked forward's arrays; the tests hold it against XLA's own account.
    """
    src = len(writers(config.n_layers, config.n_heads))
    dst = len(readers(config.n_layers, config.n_heads))
    mask = 2 * dst * src * (n_pos if by_position else 1)
    stream = n_pos * config.d_model
    heads = config.n_heads
    # XLA keeps about half of the prefixes that the layers read at once.
    prefixes = sum(4 + 2 * layer * (heads + 1) + heads for layer in range(config.n_layers))
    outputs = (prefixes + 2 * src) // 2 * stream
    logits = n_pos * config.d_vocab_out
    reading = 9 * heads * stream
    attention = 3 * heads * n_pos * (config.d_model + 2 * config.d_head + n_pos)
    mlp = 4 * n_pos * config.d_mlp + 2 * stream
    run = outputs + max(reading, attention, mlp) + 3 * logits
    return mask, src * stream + logits, run


def _even(total: int, largest: int) -> int:
    """The size of the fewest equal chunks of at most `largest`."""
    return math.ceil(total / math.ceil(total / largest))
