"""The programs of a sweep, as functions of arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interpbench_jax.engine.clean import CleanRun
from interpbench_jax.engine.layers import Activations, repeat_rows, scale_at, unembed
from interpbench_jax.engine.masked import MaskBlock, MaskBlocks, masked_streams
from interpbench_jax.engine.suffix import (
    Entry,
    SuffixBlock,
    SuffixBlocks,
    at_position,
    final_streams,
    neuron_changes,
    output_changes,
)
from interpbench_jax.engine.weights import Form, Weights, hide_padding
from interpbench_jax.metrics import Metric, by_class, check_values
from interpbench_jax.targets import clean_targets

# Answers and distractors are apart, so that inputs are the last axis but one in any case.
HeldTargets = Int[Array, "batch pos"] | Float[Array, "batch pos"] | Int[Array, "2 batch pos"]


@dataclass(frozen=True)
class SweepScoring:
    """How a patched run becomes numbers; part of the compiled program.

    Attributes:
        metric: the metric.
        first_scored: the first position that it looks at.
        by_position: whether edits of one position are among them.
        return_logits: whether the logits are kept.
    """

    metric: Metric
    first_scored: int
    by_position: bool
    return_logits: bool


class PatchContext(NamedTuple):
    """What the patched runs of some inputs are made from and compared with.

    Attributes:
        run: the clean run.
        outputs: for each ablation, what takes the place of the writers' outputs; `batch` is 1
            where all inputs share it.
        hidden: the same of hidden units; of no units where no neuron is replaced.
        targets: for the metric, `[batch, pos]`, or pairs, `[2, batch, pos]`; None for the clean
            run's own.
    """

    run: CleanRun
    outputs: tuple[Float[Array, "src d_model pos #batch"], ...]
    hidden: tuple[Float[Array, "layers hidden pos #batch"], ...]
    targets: HeldTargets | None


class Patched(NamedTuple):
    """What patched runs gave.

    Attributes:
        values: the metric; rows of unused blocks are 0.
        logits: the logits, if they are kept.
    """

    values: Float[Array, "blocks in_block batch"]
    logits: Float[Array, "blocks in_block batch pos vocab_out"] | None


def patch_edits(
    form: Form,
    scoring: SweepScoring,
    entries: tuple[Entry, ...],
    weights: Weights,
    given: PatchContext,
    blocks: SuffixBlocks,
    count: Int[Array, " 1"],
) -> Patched:
    """Patched runs of edits that enter at one place each.

    Args:
        form: of the model.
        scoring: what becomes of a run.
        entries: where edits enter, in any of the sweep's blocks.
        weights: the model's weights.
        given: what the runs start from.
        blocks: the edits; all blocks of one call have the same shape.
        count: how many blocks are in use: the first ones.
    """
    run, weights = given.run, hide_padding(weights, given.run.is_real)
    of_neurons = run.hidden.shape[1] > 0
    if of_neurons:
        gaps = jnp.concatenate([hidden - run.hidden for hidden in given.hidden])
        gaps = gaps.reshape(-1, *gaps.shape[2:])
    else:
        nothing = jnp.zeros_like(run.outputs[:1])
        gaps = jnp.concatenate([*(outputs - run.outputs for outputs in given.outputs), nothing])

    def streams(block: SuffixBlock) -> Activations:
        if of_neurons:
            change = neuron_changes(weights, gaps, block)
        else:
            change = output_changes(gaps, block)
        if scoring.by_position:
            change = at_position(change, block)
        return final_streams(form, weights, run, change, block, entries)

    return _over_blocks(form, scoring, weights, given, blocks, count, SuffixBlock, streams)


def patch_masks(
    form: Form,
    scoring: SweepScoring,
    weights: Weights,
    given: PatchContext,
    blocks: MaskBlocks,
    count: Int[Array, " 1"],
) -> Patched:
    """Patched runs of masks; the arguments are `patch_edits`'s."""

    weights = hide_padding(weights, given.run.is_real)

    def streams(block: MaskBlock) -> Activations:
        return masked_streams(form, weights, given.run, given.outputs[0], block)

    return _over_blocks(form, scoring, weights, given, blocks, count, MaskBlock, streams)


def _over_blocks(
    form: Form,
    scoring: SweepScoring,
    weights: Weights,
    given: PatchContext,
    blocks: SuffixBlocks | MaskBlocks,
    count: Int[Array, " 1"],
    one: type[SuffixBlock] | type[MaskBlock],
    streams: Callable[..., Activations],
) -> Patched:
    """Run block after block; how many is not compiled in."""
    clean = given.run.logits
    n_edits, batch = blocks.n_edits, clean.shape[-1]
    metric = by_class(scoring.metric)
    clean_scored = clean[:, scoring.first_scored :]
    if given.targets is None:
        targets = clean_targets(clean_scored.transpose(2, 1, 0))
    else:
        targets = given.targets[..., scoring.first_scored :]
    scale = scale_at(given.run.scales, -1)
    if scale is not None:
        scale = repeat_rows(scale, n_edits)

    clean_rows = repeat_rows(clean_scored, n_edits)
    target_rows = repeat_rows(jnp.asarray(targets).swapaxes(-2, -1), n_edits)

    def step(number: Int[Array, ""], found: Patched) -> Patched:
        x = streams(one(*(array[number] for array in blocks)))
        if not scoring.return_logits:
            x = x[:, scoring.first_scored :]
        logits = unembed(form, weights, x, None if scale is None else scale[-x.shape[1] :])
        scored = logits[:, -clean_scored.shape[1] :]
        values = metric(scored, clean_rows, target_rows)
        check_values(values, logits.shape[-1])
        kept = found.logits
        if kept is not None:
            kept = kept.at[number].set(logits.transpose(2, 1, 0).reshape(kept.shape[1:]))
        return Patched(found.values.at[number].set(values.reshape(n_edits, batch)), kept)

    n_blocks = len(blocks[0])
    shape = (n_blocks, n_edits, batch)
    kept = jnp.zeros((*shape, *clean.shape[1::-1]), clean.dtype) if scoring.return_logits else None
    return jax.lax.fori_loop(0, count[0], step, Patched(jnp.zeros(shape, clean.dtype), kept))
