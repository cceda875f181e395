"""The clean run: a plain run of which everything is kept that patched runs start from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from interpbench_jax.axes import Tokens
from interpbench_jax.engine.layers import (
    add_up,
    attend,
    clean_scales,
    head_results,
    hidden_units,
    keep,
    matmul,
    project,
    scale_at,
    unembed,
)
from interpbench_jax.engine.weights import (
    Form,
    Layer,
    Weights,
    hide_padding,
    layer_of,
    real_positions,
)

_update = jax.lax.dynamic_update_slice_in_dim


class CleanRun(NamedTuple):
    """A plain run of which everything is kept that patched runs start from.

    Attributes:
        outputs: every writer's output, in the order of `sites.writers`.
        before: the residual stream before each layer.
        between: the residual stream between each layer's attention and its MLP.
        after: the final residual stream.
        qkv: queries, keys and values.
        z: each head's mean of values.
        hidden: each MLP's hidden units; none of them unless they were asked for.
        logits: the output.
        scales: the divisors of all layer norms; None unless patched runs use them too.
        is_real: False at padding; None for a model without a padding token.
    """

    outputs: Float[Array, "src d_model pos batch"]
    before: Float[Array, "layers d_model pos batch"]
    between: Float[Array, "layers d_model pos batch"]
    after: Float[Array, "d_model pos batch"]
    qkv: Float[Array, "layers 3 heads d_head pos batch"]
    z: Float[Array, "layers heads d_head pos batch"]
    hidden: Float[Array, "layers kept pos batch"]
    logits: Float[Array, "vocab_out pos batch"]
    scales: Float[Array, "norms pos batch"] | None
    is_real: Bool[Array, "pos batch"] | None


def run_clean(form: Form, keep_hidden: bool, weights: Weights, tokens: Tokens) -> CleanRun:
    """Run a model on some inputs, with nothing patched.

    Args:
        form: the model's form.
        keep_hidden: whether the MLPs' hidden units are kept.
        weights: the model's weights.
        tokens: the inputs.
    """
    is_real = real_positions(form, tokens)
    weights = hide_padding(weights, is_real)
    # Looked up in this order, a TPU keeps inputs innermost, and pads a third rather than threefold.
    embed = jnp.asarray(weights.embed).T[:, jnp.asarray(tokens).T]
    positions = weights.pos_embed.T[:, :, None]
    pos_embed = jnp.broadcast_to(positions, embed.shape)
    layers = Layer(*(jnp.asarray(getattr(weights, name)) for name in Layer._fields))
    layout = weights.layout
    outputs = jnp.zeros((layout.n_writers, *embed.shape), embed.dtype)
    outputs = outputs.at[0].set(embed).at[1].set(pos_embed)

    def step(carried: tuple[Array, Array], part: tuple[Array, Layer]) -> tuple[Any, Any]:
        (x, outputs), (number, layer) = carried, part
        qkv = keep(project(form, layer, x))
        z = keep(attend(qkv[0], qkv[1], qkv[2], weights))
        results = head_results(layer, z)
        between = keep(x + add_up(results) + layer.attention_bias[:, None, None])
        hidden = hidden_units(form, layer, between)
        mlp = matmul(layer.mlp_out, hidden) + layer.mlp_out_bias[:, None, None]
        # Writing outputs to their place is cheaper than joining those of all layers.
        outputs = _update(outputs, results, layout.first_head(number), 0)
        outputs = _update(outputs, mlp[None], layout.mlp_writer(number), 0)
        kept = hidden if keep_hidden else hidden[:0]
        return (keep(between + mlp), outputs), (x, between, qkv, z, kept)

    numbers = jnp.arange(layout.n_layers, dtype=jnp.int32)
    (after, outputs), (before, between, qkv, z, hidden) = jax.lax.scan(
        step, (keep(embed + pos_embed), outputs), (numbers, layers)
    )
    logits = unembed(form, weights, after)
    scales = clean_scales(form, before, between, after)
    return CleanRun(outputs, before, between, after, qkv, z, hidden, logits, scales, is_real)


def read_streams(
    weights: Weights, outputs: Float[Array, "src d_model pos #batch"]
) -> list[Float[Array, "d_model pos #batch"]]:
    """The residual stream in front of each layer norm, given what every writer writes."""
    streams: list[Array] = []
    for number, writers in enumerate(weights.layout.writer_groups()):
        written = add_up(outputs[writers])
        stream = streams[-1] + written if streams else written
        layer, is_attention = divmod(number, 2)
        if is_attention:
            stream = stream + jnp.asarray(weights.attention_bias)[layer][:, None, None]
        streams.append(stream)
    return streams


def project_outputs(
    form: Form,
    weights: Weights,
    outputs: Float[Array, "src d_model pos #batch"],
    scales: Float[Array, "norms pos batch"] | None,
) -> tuple[Float[Array, "3 heads d_head pos #batch"], ...]:
    """Queries, keys and values of every layer, given what every writer writes."""
    layout, streams = weights.layout, read_streams(weights, outputs)
    found = []
    for number in range(layout.n_layers):
        norm = layout.attention_norm(number)
        stream, scale = streams[norm], scale_at(scales, norm)
        if scale is not None:
            stream = jnp.broadcast_to(stream, (*stream.shape[:2], scale.shape[-1]))
        found.append(project(form, layer_of(weights, number), stream, scale))
    return tuple(found)
