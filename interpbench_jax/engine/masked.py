"""Patched runs of arbitrary masks: circuits, sets of edges, fractions of edges.

As `interventions.masked_forward`, on stacked layers, and from the first layer in which a mask cuts
anything: what comes before is the clean run's.
"""

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
    mlp,
    normalize,
    repeat_rows,
    scale_at,
)
from interpbench_jax.engine.weights import Form, Weights, layer_of


class MaskBlocks(NamedTuple):
    """Masks, grouped in blocks that start at the same layer.

    Attributes:
        layer: the first layer that a mask of the block cuts anything in; the number of layers
            where that is the output.
        cut: 1 less the mask: how much of each source is replaced, for each reader.
    """

    layer: Int[Array | np.ndarray, " blocks"]
    cut: Float[Array | np.ndarray, "blocks in_block dst src mask_pos"]

    @property
    def n_edits(self) -> int:
        """Masks of a block."""
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
    """What the output reads in every masked run of a block; rows are edits, then inputs."""
    layout, d_head = weights.layout, weights.qkv.shape[-2]
    n_layers, n_heads = layout.n_layers, layout.n_heads
    n_edits, batch = block.cut.shape[0], run.after.shape[-1]
    d_model, n_pos = run.after.shape[:2]
    first_written = layout.first_head(block.layer)
    is_written = jnp.arange(run.outputs.shape[0], dtype=first_written.dtype) < first_written
    # What comes later is not read before it is written; until then it is no different.
    gaps = jnp.where(is_written[:, None, None, None], replacement - run.outputs, 0)

    def spread(x: Array) -> Array:
        return jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], n_edits, batch))

    scales = None if run.scales is None else repeat_rows(run.scales, n_edits)

    def read(x: Array, gaps: Array, first: Array | int, count: int) -> Array:
        """What `count` readers read: `[readers, d_model, pos, edits, batch]`."""
        cut = jax.lax.dynamic_slice_in_dim(block.cut, first, count, axis=1)
        cut = jnp.broadcast_to(cut, (*cut.shape[:3], n_pos))
        changes = jnp.einsum("ersp,smpeb->rmpeb", cut, gaps, precision=EXACT)
        return x[None] + changes

    def step(number: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
        x, gaps = carried
        layer = layer_of(weights, number)
        inputs = read(x, gaps, layout.first_reader(number), layout.head_inputs)
        inputs = inputs.reshape(layout.head_inputs, d_model, n_pos, -1)
        scale = scale_at(scales, layout.attention_norm(number))
        inputs = normalize(form, inputs, axis=1, scale=scale)
        qkv = (
            jnp.einsum(
                "chdm,chmn->chdn",
                layer.qkv,
                inputs.reshape(3, n_heads, d_model, -1),
                precision=EXACT,
            ).reshape(3, n_heads, d_head, n_pos, -1)
            + layer.qkv_bias[..., None, None]
        )
        z = attend(qkv[0], qkv[1], qkv[2], weights).reshape(n_heads, d_head, -1)
        results = jnp.einsum("hmd,hdn->hmn", layer.head_out, z, precision=EXACT).reshape(
            n_heads, *x.shape
        )
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
        block.layer, n_layers, step, (spread(starts[block.layer]), spread(gaps))
    )
    return read(x, gaps, layout.output_reader, 1)[0].reshape(d_model, n_pos, -1)


def _write(gaps: Array, replacement: Array, outputs: Array, first: Array) -> Array:
    new = jax.lax.dynamic_slice_in_dim(replacement, first, outputs.shape[0])
    return jax.lax.dynamic_update_slice_in_dim(gaps, new[..., None, :] - outputs, first, axis=0)
