"""The arithmetic of a transformer's layers: features first, inputs last.

An activation is `[d_model, pos, rows]`, where a row is one input under one edit. Every affine map
is then one matrix product whose long side is all positions of all rows, however narrow the model,
and everything else works along the rows. Each weight is one array over all layers, so that a
program loops over layers and its size does not grow with the model.

Every run of the engine is made of these functions, and nothing outside of the engine computes a
layer, except for the reference: `interventions.masked_forward`, which the tests compare this with.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from interpbench_jax.engine.weights import Form, Layer, Weights, layer_of
from interpbench_jax.layout import N_KINDS
from interpbench_jax.model.contractions import contract
from interpbench_jax.model.layers import ACTIVATIONS

# GPUs and TPUs multiply float32 in fewer bits unless told otherwise.
EXACT = jax.lax.Precision.HIGHEST

# XLA does not fuse across this. Without it, XLA computes a value anew for each of its uses.
keep = jax.lax.optimization_barrier

Activations = Float[Array, "d_model pos rows"]
Scale = Float[Array, "pos rows"]
Scales = Float[Array, "norms pos rows"]


def project(
    form: Form, layer: Layer, x: Activations, scale: Scale | None = None
) -> Float[Array, "3 heads d_head pos rows"]:
    """Queries, keys and values of all heads, which read the same stream."""
    return matmul(layer.qkv, normalize(form, x, scale=scale)) + layer.qkv_bias[..., None, None]


def project_each(
    form: Form, layer: Layer, x: Float[Array, "readers d_model pos rows"], scale: Scale | None
) -> Float[Array, "3 heads d_head pos rows"]:
    """Queries, keys and values of all heads, where each reads an input of its own."""
    _, n_heads, _, d_model = layer.qkv.shape
    normal = normalize(form, x, axis=1, scale=scale)
    flat = normal.reshape(N_KINDS, n_heads, d_model, -1)
    qkv = jnp.einsum("chdm,chmn->chdn", layer.qkv, flat, precision=EXACT)
    return qkv.reshape(*qkv.shape[:3], *x.shape[2:]) + layer.qkv_bias[..., None, None]


def attend(
    q: Float[Array, "groups d_head pos rows"],
    k: Float[Array, "groups d_head pos rows"],
    v: Float[Array, "groups d_head pos rows"],
    weights: Weights,
) -> Float[Array, "groups d_head pos rows"]:
    """The mean of the values under each query's pattern; each head of each edit is a group.

    Rows are inputs, or edits and then inputs.
    """
    is_seen = jnp.asarray(weights.is_seen)
    if 1 < is_seen.shape[2] < q.shape[3]:
        is_seen = repeat_rows(is_seen, q.shape[3] // is_seen.shape[2])
    scores = contract("hdib,hdjb->hijb", q, k) * jnp.asarray(weights.score_scale)
    # Dividing after the sum over keys is cheaper, and the derivative is the same.
    grown = exponentials(scores, is_seen)
    return contract("hijb,hdjb->hdib", grown, v) / grown.sum(axis=2)[:, None]


def exponentials(
    scores: Float[Array, "groups q_pos k_pos rows"], is_seen: Bool[Array, "q_pos k_pos #rows"]
) -> Float[Array, "groups q_pos k_pos rows"]:
    """The attention pattern before it is divided by its sums over keys.

    These are exponentials of the scores less the largest score of each query; 0 for unseen keys.
    """
    scores = keep(jnp.where(is_seen[None], scores, -jnp.inf))
    largest = jax.lax.stop_gradient(scores.max(axis=2, keepdims=True))
    return keep(jnp.exp(scores - keep(largest)))


def head_results(
    layer: Layer, z: Float[Array, "heads d_head pos rows"]
) -> Float[Array, "heads d_model pos rows"]:
    """What each head writes, given its mean of values."""
    if len(z) == 1:
        return matmul(layer.head_out[0], z[0])[None]
    flat = z.reshape(*z.shape[:2], -1)
    results = jnp.einsum("hmd,hdn->hmn", layer.head_out, flat, precision=EXACT)
    return results.reshape(*results.shape[:2], *z.shape[2:])


def write_heads(layer: Layer, z: Float[Array, "heads d_head pos rows"]) -> Activations:
    """What all heads of a layer and their bias write together."""
    heads, d_head, *tail = z.shape
    written = matmul(join_heads(layer), z.reshape(heads * d_head, *tail))
    return written + layer.attention_bias[:, None, None]


def join_heads(layer: Layer) -> Float[Array, "d_model values"]:
    """The output projection of all heads side by side."""
    heads, d_model, d_head = layer.head_out.shape
    return layer.head_out.transpose(1, 0, 2).reshape(d_model, heads * d_head)


def add_attention(
    form: Form, layer: Layer, weights: Weights, x: Activations, scale: Scale | None = None
) -> Activations:
    """The stream after a layer's attention, whose heads all read the same stream."""
    qkv = project(form, layer, x, scale)
    return x + write_heads(layer, attend(qkv[0], qkv[1], qkv[2], weights))


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
    form: Form, weights: Weights, x: Activations, first: int | Int[Array, ""], scales: Scales | None
) -> Activations:
    """The final stream, given the stream in front of layer `first`.

    Where `first` is traced, one program serves all layers; where it is an int, the function has a
    derivative.
    """

    def step(number: Int[Array, ""], x: Activations) -> Activations:
        layer = layer_of(weights, number)
        scale = scale_at(scales, layout.attention_norm(number))
        between = add_attention(form, layer, weights, x, scale)
        return between + mlp(form, layer, between, scale_at(scales, layout.mlp_norm(number)))

    layout = weights.layout
    return jax.lax.fori_loop(first, layout.n_layers, step, x)


def finish_run(
    form: Form, weights: Weights, x: Activations, norm: int, scales: Scales | None
) -> Activations:
    """The final stream, given the stream in front of a layer norm; it has a derivative."""
    layer, is_mlp = divmod(norm, 2)
    if is_mlp:
        x = x + mlp(form, layer_of(weights, layer), x, scale_at(scales, norm))
    return add_layers(form, weights, x, layer + is_mlp, scales)


def unembed(
    form: Form, weights: Weights, x: Activations, scale: Scale | None = None
) -> Float[Array, "vocab_out pos rows"]:
    """The output, given the final stream."""
    normal = normalize(form, x, scale=scale)
    return matmul(weights.unembed, normal) + weights.unembed_bias[:, None, None]


def normalize(
    form: Form,
    x: Array,
    axis: int = 0,
    scale: Float[Array, "*axes pos rows"] | None = None,
) -> Array:
    """The layer norm in front of every reader, if the model has one; `axis` counts features.

    It divides by `scale`, which has the last axes of `x`, or else by the deviation of `x`.
    """
    if form.normalization_type is None:
        return x
    centered = x - x.mean(axis=axis, keepdims=True)
    if scale is None:
        return centered / _deviation(form, centered, axis)
    return centered / scale.reshape(*[1] * (x.ndim - scale.ndim), *scale.shape)


def norm_scale(form: Form, x: Array, axis: int = 0) -> Array:
    """What the layer norm of `x` divides by; the axis of features has length 1."""
    return _deviation(form, x - x.mean(axis=axis, keepdims=True), axis)


def _deviation(form: Form, centered: Array, axis: int) -> Array:
    """The divisor of a layer norm; the axis of features has length 1."""
    return jnp.sqrt((centered**2).mean(axis=axis, keepdims=True) + form.eps)


def clean_scales(
    form: Form,
    before: Float[Array, "layers d_model pos batch"],
    between: Float[Array, "layers d_model pos batch"],
    after: Float[Array, "d_model pos batch"],
) -> Float[Array, "norms pos batch"] | None:
    """The divisors of all layer norms of a plain run; None unless patched runs use them too."""
    if not form.freeze_layer_norm:
        return None

    def scale(streams: Float[Array, "streams d_model pos batch"]) -> Scales:
        centered = streams - streams.mean(axis=1, keepdims=True)
        return _deviation(form, centered, axis=1)[:, 0]

    layers = jnp.stack([scale(before), scale(between)], axis=1)
    return jnp.concatenate([layers.reshape(-1, *layers.shape[2:]), scale(after[None])])


def scale_at(scales: Scales | None, norm: int | Int[Array, ""]) -> Scale | None:
    """The divisor of one layer norm, whose number may be traced; None where none is given."""
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
