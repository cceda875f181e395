"""The compiled program of a sweep, and the loop that feeds it chunk by chunk."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from interpbench_jax.axes import Replacement, Tokens
from interpbench_jax.interventions import (
    Ablation,
    masked_forward,
    replacement_outputs,
    writer_outputs,
)
from interpbench_jax.metrics import Metric, Targets, clean_targets
from interpbench_jax.model import Transformer
from interpbench_jax.sweeps.chunks import Chunks
from interpbench_jax.sweeps.edits import Edits, mask_of

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Inputs:
    """What the runs read, on the host.

    Attributes:
        clean: the inputs.
        corrupted: what replacements come from; for `"resample"` paired with `clean` by row.
        targets: for the metric; None for the clean run's own.
    """

    clean: Int[np.ndarray, "batch pos"]
    corrupted: Int[np.ndarray, "other pos"]
    targets: Int[np.ndarray, "batch pos"] | Float[np.ndarray, "batch pos"] | None


@dataclass(frozen=True)
class Scoring:
    """How a patched run becomes a number; static in the compiled program.

    Attributes:
        metric: the metric.
        first_scored: the first position that it looks at.
        by_position: whether edits cut at one position each.
        return_logits: whether the logits are kept.
    """

    metric: Metric
    first_scored: int
    by_position: bool
    return_logits: bool


def run_edits(
    model: Transformer,
    inputs: Inputs,
    edits: Edits,
    ablation: Ablation,
    scoring: Scoring,
    chunks: Chunks,
    progress: Progress | None,
) -> tuple[Float[np.ndarray, " edits"], np.ndarray | None]:
    """The mean effect of every edit, and every patched run's logits if they are kept."""
    batch, n_pos = inputs.clean.shape
    shared = None if ablation == "resample" else _shared(model, inputs, ablation, chunks)
    effects = np.zeros(edits.n_edits)
    shape = (edits.n_edits, batch, n_pos, model.config.d_vocab_out)
    logits = np.empty(shape, model.dtype) if scoring.return_logits else None
    rows, firsts = chunks.rows(batch), chunks.edits_from(edits.n_edits)
    done, total = 0, len(rows) * len(firsts)
    for row in rows:
        index, weights = _pad(row, chunks.batch, batch)
        corrupted = inputs.corrupted[index] if shared is None else None
        targets = None if inputs.targets is None else inputs.targets[index]
        reference = _prepare(model, inputs.clean[index], corrupted, targets, scoring)
        for first in firsts:
            if progress is not None:
                progress(done, total)
            sums, kept = _patch(
                model,
                inputs.clean[index],
                reference,
                shared,
                weights.astype(model.dtype),
                edits.rows(first, chunks.edits),
                scoring,
            )
            some = slice(first, min(first + chunks.edits, edits.n_edits))
            effects[some] += np.asarray(sums, np.float64)[: some.stop - first]
            if logits is not None:
                here = slice(row, min(row + chunks.batch, batch))
                logits[some, here] = np.asarray(kept)[: some.stop - first, : here.stop - row]
            done += 1
    if progress is not None:
        progress(total, total)
    return effects / batch, logits


class Reference(NamedTuple):
    """What patched runs of some inputs are made from and compared with.

    Attributes:
        clean_logits: of the clean run, at the scored positions.
        targets: at the scored positions.
        replacement: the corrupted run's outputs; None where all inputs share theirs.
    """

    clean_logits: Float[Array, "batch scored vocab_out"]
    targets: Int[Array, "batch scored"] | Float[Array, "batch scored"]
    replacement: Replacement | None


@partial(jax.jit, static_argnames=("scoring",))
def _prepare(
    model: Transformer,
    clean: Tokens,
    corrupted: Tokens | None,
    targets: Targets | None,
    scoring: Scoring,
) -> Reference:
    scored = slice(scoring.first_scored, None)
    clean_logits = model(clean)[:, scored]
    wanted = clean_targets(clean_logits) if targets is None else targets[:, scored]
    return Reference(
        clean_logits,
        jnp.asarray(wanted),
        None if corrupted is None else replacement_outputs(model, corrupted, "resample"),
    )


@partial(jax.jit, static_argnames=("scoring",))
def _patch(
    model: Transformer,
    clean: Tokens,
    reference: Reference,
    shared: Replacement | None,
    weights: Float[Array, " batch"],
    edits: Edits,
    scoring: Scoring,
) -> tuple[Float[Array, " edits"], Float[Array, "edits batch pos vocab_out"] | None]:
    """The sum of each edit's effects over the inputs, weighted, and the patched logits."""
    n_pos = clean.shape[1] if scoring.by_position else None
    replacement = reference.replacement if shared is None else shared
    assert replacement is not None

    def run(cuts: Int[Array, "cuts 2"], position: Int[Array, ""]) -> tuple[Array, Array | None]:
        mask = mask_of(cuts, position, model.config, n_pos, model.dtype)
        logits = masked_forward(model, clean, mask, replacement)
        scored = logits[:, scoring.first_scored :]
        values = scoring.metric(scored, reference.clean_logits, reference.targets)
        if values.shape != weights.shape:
            raise ValueError(
                f"Expected the metric to return one number per input, shape {weights.shape}, "
                f"got {values.shape}; average over positions and classes, not over inputs."
            )
        return values @ weights, logits if scoring.return_logits else None

    return jax.vmap(run)(jnp.asarray(edits.cuts), jnp.asarray(edits.position))


def _shared(model: Transformer, inputs: Inputs, ablation: Ablation, chunks: Chunks) -> Replacement:
    """The replacements that all inputs share: the mean over all rows, or zeros."""
    tokens = inputs.corrupted
    if ablation == "zero":
        return replacement_outputs(model, tokens[:1], ablation)
    total: Array | int = 0
    for row in chunks.rows(len(tokens)):
        index, weights = _pad(row, min(chunks.batch, len(tokens)), len(tokens))
        total = total + _weighted_outputs(model, tokens[index], weights.astype(model.dtype))
    return jnp.asarray(total) / len(tokens)


@jax.jit
def _weighted_outputs(
    model: Transformer, tokens: Tokens, weights: Float[Array, " batch"]
) -> Replacement:
    outputs = writer_outputs(model, tokens)
    return (outputs * weights[None, None, None]).sum(axis=3, keepdims=True)


def _pad(start: int, size: int, total: int) -> tuple[np.ndarray, np.ndarray]:
    """`size` row indices from `start`, the last row repeated past the end with weight 0."""
    index = np.arange(start, start + size)
    return np.minimum(index, total - 1), index < total
