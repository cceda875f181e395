"""The functions that a sweep compiles: blocks of patched runs, scored."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interpbench_jax.engine.clean import CleanRun
from interpbench_jax.engine.layers import Activations, repeat_rows, scale_at, unembed
from interpbench_jax.engine.masked import MaskBlock, MaskBlocks, masked_streams
from interpbench_jax.engine.scoring import Scoring
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
from interpbench_jax.targets import clean_targets

# Of pairs, the answers and then the distractors, so that inputs are always the last axis but one.
TargetRows = Int[Array, "batch pos"] | Float[Array, "batch pos"] | Int[Array, "2 batch pos"]


class PatchContext(NamedTuple):
    """What the patched runs of some inputs start from and are compared with.

    Attributes:
        run: the clean run.
        outputs: for each ablation, the replacements of the writers' outputs; `batch` is 1 if all
            inputs share them.
        hidden: for each ablation, the replacements of hidden units; of none unless hidden units
            are replaced.
        targets: the metric's targets, `[batch, pos]`, or pairs, `[2, batch, pos]`; None for the
            clean run's own answers.
    """

    run: CleanRun
    outputs: tuple[Float[Array, "src d_model pos #batch"], ...]
    hidden: tuple[Float[Array, "layers hidden pos #batch"], ...]
    targets: TargetRows | None


class Patched(NamedTuple):
    """The results of patched runs.

    Attributes:
        values: the metric; 0 in padding blocks.
        logits: the logits; None unless they are kept.
    """

    values: Float[Array, "blocks in_block batch"]
    logits: Float[Array, "blocks in_block batch pos vocab_out"] | None


def patch_edits(
    form: Form,
    scoring: Scoring,
    return_logits: bool,
    by_position: bool,
    entries: tuple[Entry, ...],
    weights: Weights,
    context: PatchContext,
    blocks: SuffixBlocks,
    count: Int[Array, " 1"],
) -> Patched:
    """Patched runs of edits that enter at one place each.

    Args:
        form: the model's form.
        scoring: how logits become a score.
        return_logits: whether the logits are kept.
        by_position: whether any edit is of one position.
        entries: the places that any of the sweep's edits enter.
        weights: the model's weights.
        context: what the runs start from.
        blocks: the edits; all blocks of one call have the same shape.
        count: how many blocks are no padding: the first ones.
    """
    run, weights = context.run, hide_padding(weights, context.run.is_real)
    of_neurons = run.hidden.shape[1] > 0
    if of_neurons:
        gaps = jnp.concatenate([hidden - run.hidden for hidden in context.hidden])
        gaps = gaps.reshape(-1, *gaps.shape[2:])
    else:
        nothing = jnp.zeros_like(run.outputs[:1])
        gaps = jnp.concatenate([*(outputs - run.outputs for outputs in context.outputs), nothing])

    def streams(block: SuffixBlock) -> Activations:
        if of_neurons:
            change = neuron_changes(weights, gaps, block)
        else:
            change = output_changes(gaps, block)
        if by_position:
            change = at_position(change, block)
        return final_streams(form, weights, run, change, block, entries)

    return _run_blocks(
        form, scoring, return_logits, weights, context, blocks, count, SuffixBlock, streams
    )


def patch_masks(
    form: Form,
    scoring: Scoring,
    return_logits: bool,
    weights: Weights,
    context: PatchContext,
    blocks: MaskBlocks,
    count: Int[Array, " 1"],
) -> Patched:
    """Patched runs of masks; see `patch_edits` for the arguments."""
    weights = hide_padding(weights, context.run.is_real)

    def streams(block: MaskBlock) -> Activations:
        return masked_streams(form, weights, context.run, context.outputs[0], block)

    return _run_blocks(
        form, scoring, return_logits, weights, context, blocks, count, MaskBlock, streams
    )


def _run_blocks(
    form: Form,
    scoring: Scoring,
    return_logits: bool,
    weights: Weights,
    context: PatchContext,
    blocks: SuffixBlocks | MaskBlocks,
    count: Int[Array, " 1"],
    one: type[SuffixBlock] | type[MaskBlock],
    streams: Callable[..., Activations],
) -> Patched:
    """Run one block after another; their number is not compiled in."""
    clean = context.run.logits
    n_edits, batch = blocks.n_edits, clean.shape[-1]
    clean_scored = scoring.scored(clean)
    if context.targets is None:
        targets = clean_targets(clean_scored.transpose(2, 1, 0)).T
    else:
        targets = scoring.scored(jnp.asarray(context.targets).swapaxes(-2, -1))
    score = scoring.compare_with(
        repeat_rows(clean_scored, n_edits), repeat_rows(jnp.asarray(targets), n_edits)
    )
    scale = scale_at(context.run.scales, -1)
    if scale is not None:
        scale = repeat_rows(scale, n_edits)

    def step(number: Int[Array, ""], found: Patched) -> Patched:
        x = streams(one(*(array[number] for array in blocks)))
        if not return_logits:
            x = scoring.scored(x)
        logits = unembed(form, weights, x, None if scale is None else scale[-x.shape[1] :])
        kept = found.logits
        if kept is not None:
            kept = kept.at[number].set(logits.transpose(2, 1, 0).reshape(kept.shape[1:]))
        values = score(logits).reshape(n_edits, batch)
        return Patched(found.values.at[number].set(values), kept)

    n_blocks = len(blocks[0])
    shape = (n_blocks, n_edits, batch)
    kept = jnp.zeros((*shape, *clean.shape[1::-1]), clean.dtype) if return_logits else None
    return jax.lax.fori_loop(0, count[0], step, Patched(jnp.zeros(shape, clean.dtype), kept))
