"""Interchange in the low-level model: runs in which some nodes have their values in another run.

A node is a head or an MLP. A head is replaced at `hook_z` and an MLP at `hook_post`: the node's
output is a fixed linear map of these, so that this replaces its output too.
Edges are cut one reader at a time: the reader gets the writer's output in the other run.
Sources: interchange interventions (Geiger et al. 2021, arXiv:2106.02997); path patching
(Goldowsky-Dill et al. 2023, arXiv:2304.05969).
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from interpbench_jax.axes import (
    HeadStreams,
    HeadValues,
    HiddenStream,
    Logits,
    RealPositions,
    Stream,
    Tokens,
    Written,
)
from interpbench_jax.config import TransformerConfig
from interpbench_jax.layout import N_EMBEDDINGS, N_KINDS, Layout
from interpbench_jax.masks import edge_mask
from interpbench_jax.model import Transformer
from interpbench_jax.model.contractions import attention_mix
from interpbench_jax.model.layers import Edit, keep
from interpbench_jax.sites import Edge, Node

# For each example, the nodes that are replaced; the last node of a layer is its MLP.
NodeMask = Bool[Array, "batch layers nodes"]
# For each example, the edges that carry their writer's output in the other run.
CutEdges = Bool[Array, "batch dst src"]


class LayerValues(NamedTuple):
    """The values of the nodes of one layer.

    Attributes:
        heads: the heads' values at `hook_z`, `[pos, heads, d_head, batch]`.
        hidden: the MLP's values at `hook_post`, `[pos, d_mlp, batch]`.
    """

    heads: HeadValues
    hidden: HiddenStream


class TrainingRun(NamedTuple):
    """A plain run.

    Attributes:
        logits: the logits at the positions that are used, `[batch, pos, vocab_out]`.
        values: the values of every layer's nodes; in the last layer, at those positions.
        streams: the residual stream before every layer.
        is_real: False at padding; None for a model without a padding token.
    """

    logits: Logits
    values: tuple[LayerValues, ...]
    streams: tuple[Stream, ...]
    is_real: RealPositions | None


def first_position_used(first_scored: int) -> int:
    """The first position at which the last layer is computed, given the first scored position.

    0 if only BOS is not scored: leaving out one position saves less than slicing costs.
    """
    return first_scored if first_scored > 1 else 0


def run(model: Transformer, tokens: Tokens, first_used: int = 0, edit: Edit = keep) -> TrainingRun:
    """Run a model and keep everything that an interchange needs.

    Args:
        model: the model.
        tokens: the inputs, `[batch, pos]`.
        first_used: the first position whose output is used; the last layer's nodes and the logits
            are computed from there on.
        edit: sees, and may change, what attention computes on the way (`Attention.attend`).
    """
    embed, pos_embed = model.embed_tokens(tokens)
    stream, is_real = embed + pos_embed, model.real_positions(tokens)
    values, streams = [], []
    for layer, block in enumerate(model.blocks):
        streams.append(stream)
        used = stream[first_used:] if layer == len(model.blocks) - 1 else stream
        heads = block.attn.attend(used[None], stream[None], stream[None], is_real, edit)
        stream = used + block.attn.write(heads)
        hidden = block.mlp.hidden(stream)
        stream = stream + block.mlp.write(hidden)
        values.append(LayerValues(heads, hidden))
    return TrainingRun(model.read_output(stream), tuple(values), tuple(streams), is_real)


def run_interchanged(
    model: Transformer,
    stream: Stream,
    values: tuple[LayerValues, ...],
    mask: NodeMask,
    first_layer: int = 0,
    is_real: RealPositions | None = None,
) -> Float[Array, "batch used_pos vocab_out"]:
    """Logits of a run in which the chosen nodes have the given values.

    Args:
        model: the model.
        stream: the residual stream of the base run before `first_layer`.
        values: the values of every layer's nodes in the other run; the last layer is computed at
            the positions that it has there.
        mask: for each example, the nodes that take those values.
        first_layer: the first layer to run; no node before it may be chosen.
        is_real: False at padding of the base inputs, as in `TrainingRun`.
    """
    chosen = mask.transpose(1, 2, 0)
    first_used = stream.shape[0] - values[-1].heads.shape[0]
    for layer in range(first_layer, len(values)):
        block, given, replaced = model.blocks[layer], values[layer], chosen[layer]
        used = stream[first_used:] if layer == len(values) - 1 else stream
        heads = block.attn.attend(used[None], stream[None], stream[None], is_real)
        heads = jnp.where(replaced[None, :-1, None, :], given.heads, heads)
        stream = used + block.attn.write(heads)
        hidden = block.mlp.hidden(stream)
        hidden = jnp.where(replaced[None, -1, None, :], given.hidden, hidden)
        stream = stream + block.mlp.write(hidden)
    return model.read_output(stream)


def written(model: Transformer, tokens: Tokens, values: tuple[LayerValues, ...]) -> Written:
    """Every writer's output in a run, in the order of `sites.writers`.

    Args:
        model: the model.
        tokens: the run's inputs.
        values: the values of its nodes, at every position.
    """
    outputs = [*(each[None] for each in model.embed_tokens(tokens))]
    for block, given in zip(model.blocks, values, strict=True):
        outputs += [block.attn.results(given.heads), block.mlp.write(given.hidden)[None]]
    return jnp.concatenate(outputs)


def run_with_cut_edges(
    model: Transformer, tokens: Tokens, others: Written, cut: CutEdges, edit: Edit = keep
) -> Logits:
    """Logits of a run in which chosen edges carry their writers' outputs in another run.

    It computes what `interventions.masked_forward` does, but with a mask for each example.

    Args:
        model: the model.
        tokens: the inputs, `[batch, pos]`.
        others: every writer's output in the other run.
        cut: for each example, the edges that are cut, in the orders of `sites.readers` and
            `sites.writers`.
        edit: see `run`.
    """
    layout = Layout(model.config.n_layers, model.config.n_heads)
    chosen = cut.transpose(1, 2, 0).astype(others.dtype)
    embedded = jnp.stack(model.embed_tokens(tokens))
    stream, is_real = embedded.sum(axis=0), model.real_positions(tokens)
    gaps = [others[:N_EMBEDDINGS] - embedded]

    def read(first: int, count: int) -> HeadStreams:
        """The inputs of `count` readers: the stream, and the gaps of the edges that are cut."""
        inputs, writer = stream[None], 0
        for gap in gaps:
            cuts = chosen[first : first + count, writer : writer + len(gap), None]
            shape = (*cuts.shape[:2], gap.shape[1], cuts.shape[-1])
            # Attention's sum over keys, with writers as keys and positions as heads.
            inputs = inputs + attention_mix(jnp.broadcast_to(cuts, shape), gap)
            writer += len(gap)
        # Without the barrier XLA computes it anew for each use.
        return jax.lax.optimization_barrier(inputs)

    for layer, block in enumerate(model.blocks):
        read_by_heads = read(layout.first_reader(layer), layout.head_inputs)
        q_input, k_input, v_input = jnp.split(read_by_heads, N_KINDS)
        results = block.attn(q_input, k_input, v_input, is_real, edit)
        stream = stream + results.sum(axis=0) + block.attn.b_O[...][None, :, None]
        gaps.append(others[layout.heads(layer)] - results)
        output = block.mlp(read(layout.mlp_reader(layer), 1)[0])
        stream = stream + output
        gaps.append(others[layout.mlp_writer(layer)][None] - output[None])
    return model.read_output(read(layout.output_reader, 1)[0])


def edge_table(config: TransformerConfig, edges: Iterable[Edge]) -> np.ndarray:
    """The mask of some fine edges of a model: bool of shape `[dst, src]`.

    Raises:
        ValueError: if the model has no such edge.
    """
    return edge_mask(edges, config.n_layers, config.n_heads).astype(bool)


def node_mask(config: TransformerConfig, nodes: Iterable[Node]) -> np.ndarray:
    """The mask of some nodes of a model: bool of shape `[layers, heads + 1]`.

    Raises:
        ValueError: if the model has no such head or MLP.
    """
    layout = Layout(config.n_layers, config.n_heads)
    mask = np.zeros((config.n_layers, layout.writers_of_layer), bool)
    for node in nodes:
        is_there = node.layer is not None and node.layer < config.n_layers
        if not is_there or (node.head is not None and node.head >= config.n_heads):
            raise ValueError(
                f"Expected heads and MLPs of a model with {config.n_layers} layers of "
                f"{config.n_heads} heads, got {node}; the task needs a larger model."
            )
        mask[node.layer, config.n_heads if node.head is None else node.head] = True
    return mask
