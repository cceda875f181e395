"""The transformer's arithmetic: features first, inputs last.

An activation is `[d_model, pos, rows]`, a row being one input under one edit. Then every affine
map is one matrix product whose long side is all positions of all rows, whatever the model's width,
and everything else works along the rows. Layers are one array each, so that a program loops over
them and its size does not grow with the model. `interventions.masked_forward` is the reference
that the tests compare this with.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from interpbench_jax.engine.attention import mix_values
from interpbench_jax.engine.weights import Form, Layer, Weights, layer_of
from interpbench_jax.model.layers import ACTIVATIONS

# GPUs and TPUs multiply float32 in fewer bits unless told otherwise.
EXACT = jax.lax.Precision.HIGHEST

# By itself XLA fuses across these, and computes what comes before once for every use.
keep = jax.lax.optimization_barrier

Activations = Float[Array, "d_model pos rows"]
Scale = Float[Array, "pos rows"]
Scales = Float[Array, "norms pos rows"]


def project(
    form: Form, layer: Layer, x: Activations, scale: Scale | None = None
) -> Float[Array, "3 heads d_head pos rows"]:
    """Queries, keys and values of all heads, which read the same stream."""
    return matmul(layer.qkv, normalize(form, x, scale=scale)) + layer.qkv_bias[..., None, None]


def attend(
    q: Float[Array, "groups d_head pos rows"],
    k: Float[Array, "groups d_head pos rows"],
    v: Float[Array, "groups d_head pos rows"],
    weights: Weights,
) -> Float[Array, "groups d_head pos rows"]:
    """The mean of the values under each query's pattern; a head of one edit is a group.

    Rows are inputs, or edits and then inputs.
    """
    is_seen = jnp.asarray(weights.is_seen)
    if 1 < is_seen.shape[2] < q.shape[3]:
        is_seen = repeat_rows(is_seen, q.shape[3] // is_seen.shape[2])
    return mix_values(q, k, v, is_seen, jnp.asarray(weights.score_scale))


def add_attention(
    form: Form, layer: Layer, weights: Weights, x: Activations, scale: Scale | None = None
) -> Activations:
    """The stream after a layer's attention, whose heads all read the same stream."""
    qkv = project(form, layer, x, scale)
    z = attend(qkv[0], qkv[1], qkv[2], weights)
    heads, d_model, d_head = layer.head_out.shape
    joined = layer.head_out.transpose(1, 0, 2).reshape(d_model, heads * d_head)
    written = matmul(joined, z.reshape(heads * d_head, *z.shape[2:]))
    return x + written + layer.attention_bias[:, None, None]


def hidden_units(
    form: Form, layer: Layer, x: Activations, scale: Scale | None = None
) -> Float[Array, "d_mlp pos rows"]:
    """An MLP's hidden units, after the activation function."""
    pre = matmul(layer.mlp_in, normalize(form, x, scale=scale)) + layer.mlp_in_bias[:, None, None]
    return ACTIVATIONS[form.act_fn](pre)


def mlp(form: Form, layer: Layer, x: Activations, scale: Scale | None = None) -> Activations:
    """What a layer's MLP writes."""
    written = matmul(layer.mlp_out, hidden_units(form, layer, x, scale))
    return written + layer.mlp_out_bias[:, None, None]


def add_layers(
    form: Form, weights: Weights, x: Activations, first: Int[Array, ""], scales: Scales | None
) -> Activations:
    """The final stream, given that before layer `first`; their number is not compiled in."""

    def step(number: Int[Array, ""], x: Activations) -> Activations:
        layer = layer_of(weights, number)
        scale = scale_at(scales, layout.attention_norm(number))
        between = add_attention(form, layer, weights, x, scale)
        return between + mlp(form, layer, between, scale_at(scales, layout.mlp_norm(number)))

    layout = weights.layout
    return jax.lax.fori_loop(first, layout.n_layers, step, x)


def unembed(
    form: Form, weights: Weights, x: Activations, scale: Scale | None = None
) -> Float[Array, "vocab_out pos rows"]:
    """The output, given the final stream."""
    normal = normalize(form, x, scale=scale)
    return matmul(weights.unembed, normal) + weights.unembed_bias[:, None, None]


def normalize(form: Form, x: Array, axis: int = 0, scale: Scale | None = None) -> Array:
    """The layer norm in front of every reader, if the model has one; `axis` counts features.

    It divides by `scale`, which has the last axes of `x`; by default by the deviation of `x`.
    """
    if form.normalization_type is None:
        return x
    centered = x - x.mean(axis=axis, keepdims=True)
    if scale is None:
        return centered / _deviation(form, centered, axis)
    return centered / scale.reshape(*[1] * (x.ndim - scale.ndim), *scale.shape)


def _deviation(form: Form, centered: Array, axis: int) -> Array:
    """What a layer norm divides by; the axis of features has length 1."""
    return jnp.sqrt((centered**2).mean(axis=axis, keepdims=True) + form.eps)


def clean_scales(
    form: Form,
    before: Float[Array, "layers d_model pos batch"] | Sequence[Activations],
    between: Float[Array, "layers d_model pos batch"] | Sequence[Activations],
    after: Float[Array, "d_model pos batch"],
) -> Float[Array, "norms pos batch"] | None:
    """What every layer norm of a plain run divides by; None unless patched runs divide by it."""
    if not form.freeze_layer_norm:
        return None

    def scale(x: Activations) -> Scale:
        return _deviation(form, x - x.mean(axis=0, keepdims=True), axis=0)[0]

    layers = [scale(x) for pair in zip(before, between, strict=True) for x in pair]
    return jnp.stack([*layers, scale(after)])


def scale_at(scales: Scales | None, norm: int | Int[Array, ""]) -> Scale | None:
    """The scale of one layer norm, whose number may be traced; None where none is given."""
    return None if scales is None else scales[norm]


def repeat_rows(x: Shaped[Array, "*axes batch"], n_edits: int) -> Shaped[Array, "*axes rows"]:
    """An activation of the clean run for each of some edits: rows are edits, then inputs."""
    repeated = jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], n_edits, x.shape[-1]))
    return repeated.reshape(*x.shape[:-1], -1)


def matmul(weight: Array | np.ndarray, x: Array) -> Array:
    """`weight` of shape `[..., d_out, d_in]` times `x` of shape `[d_in, ...]`."""
    return jnp.tensordot(weight, x, axes=1, precision=EXACT)


def add_up(x: Float[Array, "terms ..."]) -> Float[Array, "..."]:
    """The sum over the first axis, written out: XLA's reductions of so few terms are slow."""
    return sum((x[i] for i in range(1, x.shape[0])), x[0])
