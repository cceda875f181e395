"""Masked runs, which cut arbitrary edges: circuits, sets of edges, fractions of edges.

They compute what `interventions.masked_forward` does. `masked_streams` runs many masks together,
from the first layer in which any of them cuts an edge, because everything before that is the clean
run's. `read_masked` is what a reader gets in a run under one mask (`greedy`, `backward`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from interpbench_jax.engine.clean import CleanRun
from interpbench_jax.engine.layers import (
    EXACT,
    Activations,
    attend,
    head_results,
    keep,
    mlp,
    project_each,
    repeat_rows,
    scale_at,
)
from interpbench_jax.engine.weights import Form, Weights, layer_of

# Sums over so many writers are written out; sums over more are a matrix product.
_FEW_WRITERS = 16

# What some writers wrote in a run less their replacements: `[writers, d_model, pos, batch]`.
Changes = Float[Array, "_ d_model pos batch"]


class MaskBlocks(NamedTuple):
    """Masks, grouped in blocks that start at the same layer.

    Attributes:
        layer: the first layer in which a mask of the block cuts an edge; the number of layers if
            only edges into the output are cut.
        cut: 1 minus the mask: how much of each source is replaced, for each reader.
    """

    layer: Int[Array | np.ndarray, " blocks"]
    cut: Float[Array | np.ndarray, "blocks in_block dst src mask_pos"]

    @property
    def n_edits(self) -> int:
        """How many masks a block has."""
        return self.cut.shape[1]


class MaskBlock(NamedTuple):
    """One block of `MaskBlocks`."""

    layer: Int[Array, ""]
    cut: Float[Array, "edits dst src mask_pos"]


def masked_streams(
    form: Form,
    weights: Weights,
    run: CleanRun,
    replacement: Float[Array, "src d_model pos #batch"],
    block: MaskBlock,
) -> Activations:
    """The final stream, as the output reads it, in every masked run of a block.

    Args:
        form: the model's form.
        weights: the model's weights.
        run: the clean run.
        replacement: the replacement of every writer's output.
        block: the masks.

    Returns:
        Rows are edits, and then inputs.
    """
    layout = weights.layout
    n_edits, batch = block.cut.shape[0], run.after.shape[-1]
    d_model, n_pos = run.after.shape[:2]
    first_written = layout.first_head(block.layer)
    is_written = jnp.arange(run.outputs.shape[0], dtype=first_written.dtype) < first_written
    # Later writers have not written yet, so nothing of theirs is replaced.
    gaps = jnp.where(is_written[:, None, None, None], replacement - run.outputs, 0)

    def spread(x: Array) -> Array:
        return jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], n_edits, batch))

    scales = None if run.scales is None else repeat_rows(run.scales, n_edits)

    def read(x: Array, gaps: Array, first: Array | int, count: int) -> Array:
        """The inputs of `count` readers: `[readers, d_model, pos, edits, batch]`."""
        cut = jax.lax.dynamic_slice_in_dim(block.cut, first, count, axis=1)
        cut = jnp.broadcast_to(cut, (*cut.shape[:3], n_pos))
        changes = jnp.einsum("ersp,smpeb->rmpeb", cut, gaps, precision=EXACT)
        return x[None] + changes

    def step(number: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
        x, gaps = carried
        layer = layer_of(weights, number)
        inputs = read(x, gaps, layout.first_reader(number), layout.head_inputs)
        inputs = inputs.reshape(layout.head_inputs, d_model, n_pos, -1)
        qkv = project_each(form, layer, inputs, scale_at(scales, layout.attention_norm(number)))
        z = attend(qkv[0], qkv[1], qkv[2], weights)
        results = head_results(layer, z).reshape(layout.n_heads, *x.shape)
        gaps = _write(gaps, replacement, results, layout.first_head(number))
        x = x + results.sum(axis=0) + layer.attention_bias[:, None, None, None]
        mlp_in = read(x, gaps, layout.mlp_reader(number), 1)[0]
        mlp_in = mlp_in.reshape(d_model, n_pos, -1)
        scale = scale_at(scales, layout.mlp_norm(number))
        written = mlp(form, layer, mlp_in, scale).reshape(x.shape)
        gaps = _write(gaps, replacement, written[None], layout.mlp_writer(number))
        return x + written, gaps

    starts = jnp.concatenate([run.before, run.after[None]])
    x, gaps = jax.lax.fori_loop(
        block.layer, layout.n_layers, step, (spread(starts[block.layer]), spread(gaps))
    )
    return read(x, gaps, layout.output_reader, 1)[0].reshape(d_model, n_pos, -1)


def _write(gaps: Array, replacement: Array, outputs: Array, first: Array) -> Array:
    new = jax.lax.dynamic_slice_in_dim(replacement, first, outputs.shape[0])
    return jax.lax.dynamic_update_slice_in_dim(gaps, new[..., None, :] - outputs, first, axis=0)


def read_masked(
    base: Float[Array, "d_model pos batch"],
    changes: Sequence[Changes],
    mask: Float[Array, "readers seen"],
) -> Float[Array, "readers d_model pos batch"]:
    """The inputs of some readers under a mask.

    Args:
        base: the sum of the replacements of the writers before the readers, and of the biases.
        changes: the outputs of these writers less their replacements, in groups.
        mask: 1 keeps an edge, 0 cuts it.
    """
    n_seen = sum(len(group) for group in changes)
    if n_seen <= _FEW_WRITERS:
        writers = [change for group in changes for change in group]
        shares = mask[:, :n_seen, None, None, None]
        return keep(
            sum((shares[:, i] * change[None] for i, change in enumerate(writers)), base[None])
        )
    flat = keep(join(changes)).reshape(n_seen, -1)
    kept = jnp.einsum("rs,sn->rn", mask[:, :n_seen], flat, precision=EXACT)
    return keep(kept.reshape(-1, *base.shape) + base[None])


def join(parts: Sequence[Array]) -> Array:
    """Arrays one after another along the first axis.

    XLA fuses a concatenation with what comes before and after, which on a CPU takes ten times as
    long as writing each part to its place.
    """
    joined = jnp.zeros((sum(len(part) for part in parts), *parts[0].shape[1:]), parts[0].dtype)
    start = 0
    for part in parts:
        joined = joined.at[start : start + len(part)].set(part)
        start += len(part)
    return joined
