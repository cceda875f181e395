"""A plain run, kept: everything that patched runs start from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from interpbench_jax.axes import Tokens
from interpbench_jax.engine.layers import (
    EXACT,
    add_up,
    attend,
    clean_scales,
    hidden_units,
    keep,
    matmul,
    project,
    unembed,
)
from interpbench_jax.engine.weights import Form, Layer, Weights, hide_padding, real_positions

update = jax.lax.dynamic_update_slice_in_dim


class CleanRun(NamedTuple):
    """A plain run, kept: everything that patched runs start from.

    Attributes:
        outputs: what every writer wrote, in the order of `sites.writers`.
        before: the residual stream before each layer.
        between: the residual stream between each layer's attention and its MLP.
        after: the final residual stream.
        qkv: queries, keys and values.
        z: each head's mixture of values.
        hidden: each MLP's hidden units; none of them unless they were asked for.
        logits: the output.
        scales: what every layer norm divided by; None unless patched runs divide by it.
        is_real: where padding is not; None for a model that knows of none.
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
    """A plain run, kept."""
    is_real = real_positions(form, tokens)
    weights = hide_padding(weights, is_real)
    embed = weights.embed[tokens].transpose(2, 1, 0)
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
        flat = z.reshape(*z.shape[:2], -1)
        results = jnp.einsum("hmd,hdn->hmn", layer.head_out, flat, precision=EXACT)
        results = results.reshape(-1, *x.shape)
        between = keep(x + add_up(results) + layer.attention_bias[:, None, None])
        hidden = hidden_units(form, layer, between)
        mlp = matmul(layer.mlp_out, hidden) + layer.mlp_out_bias[:, None, None]
        # Into their place: to join what layers give costs more than all else.
        outputs = update(outputs, results, layout.first_head(number), 0)
        outputs = update(outputs, mlp[None], layout.mlp_writer(number), 0)
        kept = hidden if keep_hidden else hidden[:0]
        return (keep(between + mlp), outputs), (x, between, qkv, z, kept)

    numbers = jnp.arange(layout.n_layers, dtype=jnp.int32)
    (after, outputs), (before, between, qkv, z, hidden) = jax.lax.scan(
        step, (keep(embed + pos_embed), outputs), (numbers, layers)
    )
    logits = unembed(form, weights, after)
    scales = clean_scales(form, before, between, after)
    return CleanRun(outputs, before, between, after, qkv, z, hidden, logits, scales, is_real)


class PlainRun(NamedTuple):
    """Of a plain run, what methods start from.

    Attributes:
        outputs: what every writer wrote.
        logits: the output.
        scales: what every layer norm divided by; None unless other runs divide by it.
        is_real: where padding is not; None for a model that knows of none.
    """

    outputs: Float[Array, "src d_model pos batch"]
    logits: Float[Array, "vocab_out pos batch"]
    scales: Float[Array, "norms pos batch"] | None
    is_real: Bool[Array, "pos batch"] | None


def run_plain(form: Form, weights: Weights, tokens: Tokens) -> PlainRun:
    """`run_clean`, of which the rest is not computed."""
    run = run_clean(form, False, weights, tokens)
    return PlainRun(run.outputs, run.logits, run.scales, run.is_real)
