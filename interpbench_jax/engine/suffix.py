"""Patched runs that recompute only what their edit can change.

An edit enters the model at one place: the input of one head, the input of one MLP, the residual
stream itself, or the output. Nothing before that place changes, and the other heads of a layer do
not see one head's input. From there on, the run is a plain one on a single stream, so an edit costs
only the part of its layer that it enters and the later layers.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from interpbench_jax.engine.clean import CleanRun
from interpbench_jax.engine.layers import (
    EXACT,
    Activations,
    add_attention,
    add_layers,
    attend,
    matmul,
    mlp,
    normalize,
    repeat_rows,
    scale_at,
)
from interpbench_jax.engine.weights import Form, Weights, layer_of


class Entry(IntEnum):
    """The kind of place where an edit enters."""

    Q = 0
    K = 1
    V = 2
    QKV = 3
    MLP = 4
    BEFORE = 5  # the stream before a layer
    BETWEEN = 6  # the stream between a layer's attention and its MLP
    OUTPUT = 7


EMPTY = -1


class SuffixBlocks(NamedTuple):
    """Edits, grouped in blocks that enter at the same place.

    Attributes:
        entry: each block's `Entry`.
        layer: each block's layer; ignored for `Entry.OUTPUT`.
        head: each edit's head; used only if the edit enters a head.
        source: the sources that each edit replaces, as indices into `Gaps`; `EMPTY` past the last.
        position: the position that changes; `EMPTY` for all positions.
    """

    entry: Int[Array | np.ndarray, " blocks"]
    layer: Int[Array | np.ndarray, " blocks"]
    head: Int[Array | np.ndarray, "blocks in_block"]
    source: Int[Array | np.ndarray, "blocks in_block slots"]
    position: Int[Array | np.ndarray, "blocks in_block"]

    @property
    def n_edits(self) -> int:
        """The number of edits in a block."""
        return self.head.shape[1]


class SuffixBlock(NamedTuple):
    """One block of `SuffixBlocks`."""

    entry: Int[Array, ""]
    layer: Int[Array, ""]
    head: Int[Array, " edits"]
    source: Int[Array, "edits slots"]
    position: Int[Array, " edits"]


Gaps = Float[Array, "sources d_model pos batch"]
"""The replacement minus the clean output of every source, with a row of zeros at the end."""


def final_streams(
    form: Form,
    weights: Weights,
    run: CleanRun,
    change: Float[Array, "edits d_model pos batch"],
    block: SuffixBlock,
    entries: Sequence[Entry],
) -> Activations:
    """The final stream of every patched run of a block; rows are edits, then inputs.

    Args:
        form: the model's form.
        weights: the model's weights.
        run: the clean run.
        change: the change that each edit adds where it enters.
        block: the block, which says where its edits enter.
        entries: the entries that occur in any block; no others are compiled.
    """
    added, layout = _rows(change), weights.layout

    def spread(x: Array) -> Activations:
        return repeat_rows(x, change.shape[0])

    scales = None if run.scales is None else spread(run.scales)

    def between() -> Activations:
        return spread(run.between[block.layer])

    def one_input() -> Activations:
        return between() + _head_change(form, weights, run, change, block, all_inputs=False)

    def all_inputs() -> Activations:
        return between() + _head_change(form, weights, run, change, block, all_inputs=True)

    def before() -> Activations:
        x = spread(run.before[block.layer]) + added
        scale = scale_at(scales, layout.attention_norm(block.layer))
        return add_attention(form, layer_of(weights, block.layer), weights, x, scale)

    def after_attention() -> Activations:
        return between() + added

    ways = {
        Entry.Q: one_input,
        Entry.K: one_input,
        Entry.V: one_input,
        Entry.QKV: all_inputs,
        Entry.MLP: between,
        Entry.BEFORE: before,
        Entry.BETWEEN: after_attention,
    }
    used = list(dict.fromkeys(ways[entry] for entry in entries if entry in ways))
    way_of = np.asarray([used.index(ways[e]) if ways.get(e) in used else 0 for e in Entry])

    def from_output() -> Activations:
        return spread(run.after) + added

    def from_layer() -> Activations:
        layer = layer_of(weights, block.layer)
        stream = jax.lax.switch(jnp.asarray(way_of)[block.entry], used)
        read = stream
        if Entry.MLP in entries:
            read = stream + jnp.where(block.entry == Entry.MLP, added, 0)
        scale = scale_at(scales, layout.mlp_norm(block.layer))
        after = stream + mlp(form, layer, read, scale)
        return add_layers(form, weights, after, block.layer + 1, scales)

    if Entry.OUTPUT not in entries:
        return from_layer()
    if not used:
        return from_output()
    return jax.lax.cond(block.entry == Entry.OUTPUT, from_output, from_layer)


def _head_change(
    form: Form,
    weights: Weights,
    run: CleanRun,
    change: Float[Array, "edits d_model pos batch"],
    block: SuffixBlock,
    *,
    all_inputs: bool,
) -> Activations:
    """The change of a head's output when its input changes."""
    scale = scale_at(run.scales, weights.layout.attention_norm(block.layer))
    read = normalize(form, run.before[block.layer][None] + change, axis=1, scale=scale)

    def project(which: int | Int[Array, ""]) -> Float[Array, "edits d_head pos batch"]:
        weight = take(weights.qkv[block.layer, which], block.head)
        bias = take(weights.qkv_bias[block.layer, which], block.head)
        new = jnp.einsum("edm,empb->edpb", weight, read, precision=EXACT)
        return new + bias[:, :, None, None]

    if all_inputs:
        q, k, v = (project(which) for which in range(3))
    else:
        # One program serves all three: the input that changes is selected at run time.
        new = project(block.entry)
        q, k, v = (
            jnp.where(block.entry == which, new, take(run.qkv[block.layer, which], block.head))
            for which in (Entry.Q, Entry.K, Entry.V)
        )
    moved = attend(q, k, v, weights) - take(run.z[block.layer], block.head)
    head_out = take(weights.head_out[block.layer], block.head)
    if moved.shape[0] == 1:
        return matmul(head_out[0], moved[0])
    return _rows(jnp.einsum("emd,edpb->empb", head_out, moved, precision=EXACT))


def output_changes(gaps: Gaps, block: SuffixBlock) -> Float[Array, "edits d_model pos batch"]:
    """The change that each edit adds where it enters: the sum of its sources' gaps."""
    slots = [take(gaps, block.source[:, slot]) for slot in range(block.source.shape[1])]
    return sum(slots[1:], slots[0])


def neuron_changes(
    weights: Weights, gaps: Float[Array, "neurons pos batch"], block: SuffixBlock
) -> Float[Array, "edits d_model pos batch"]:
    """The change that each replaced hidden unit adds to the stream.

    A block's sources number the hidden units over all layers.
    """
    neuron = block.source[:, 0]
    columns = jnp.asarray(weights.mlp_out).transpose(0, 2, 1).reshape(-1, weights.mlp_out.shape[1])
    # The units of several ablations follow one another.
    column = take(columns, neuron % columns.shape[0])
    return column[:, :, None, None] * take(gaps, neuron)[:, None]


def at_position(
    change: Float[Array, "edits d_model pos batch"], block: SuffixBlock
) -> Float[Array, "edits d_model pos batch"]:
    """The changes at the edits' positions; zeros elsewhere."""
    positions = jnp.arange(change.shape[2], dtype=block.position.dtype)
    here = positions[None] == block.position[:, None]
    chosen = here | (block.position == EMPTY)[:, None]
    return jnp.where(chosen[:, None, :, None], change, 0)


def take(x: Float[Array, "all ..."], index: Int[Array, " some"]) -> Float[Array, "some ..."]:
    """Rows of an array; index -1 is the last row."""
    if index.shape[0] == 1:
        wrapped = jnp.where(index[0] < 0, x.shape[0] - 1, index[0])
        return jax.lax.dynamic_index_in_dim(x, wrapped)
    return x[index]


def _rows(x: Float[Array, "edits d_model pos batch"]) -> Activations:
    """Merge edits and inputs into one axis; a single edit needs no transpose."""
    if x.shape[0] == 1:
        return x[0]
    return x.transpose(1, 2, 0, 3).reshape(*x.shape[1:3], -1)
