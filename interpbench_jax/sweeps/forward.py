"""The transformer's arithmetic as sweeps want it: features first, inputs last, layers stacked.

An activation is `[d_model, pos, rows]`, a row being one input under one edit. Then every affine
map is one matrix product whose long side is all positions of all rows, whatever the model's width,
and everything else works along the rows. Layers are one array each, so that a program loops over
them and its size does not grow with the model. `interventions.masked_forward` is the reference
that the tests compare this with.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Shaped

from interpbench_jax.axes import Tokens
from interpbench_jax.config import Activation, Normalization, TransformerConfig
from interpbench_jax.layout import Layout
from interpbench_jax.model.layers import ACTIVATIONS
from interpbench_jax.model.transformer import Block, Transformer
from interpbench_jax.sweeps.attention import mix_values

# GPUs and TPUs multiply float32 in fewer bits unless told otherwise.
EXACT = jax.lax.Precision.HIGHEST

Activations = Float[Array, "d_model pos rows"]
Scale = Float[Array, "pos rows"]
Scales = Float[Array, "norms pos rows"]


@dataclass(frozen=True)
class Form:
    """What of a config is part of a compiled program, beside the shapes of the weights.

    Attributes:
        act_fn: of the MLPs.
        normalization_type: of what every reader reads.
        eps: of the layer norm.
        freeze_layer_norm: whether patched runs divide by what the clean run divided by; never
            where there is no layer norm, so that it makes no difference there.
        pad_token: the token that nobody attends to, if there is one.
    """

    act_fn: Activation
    normalization_type: Normalization | None
    eps: float
    freeze_layer_norm: bool = False
    pad_token: int | None = None

    @classmethod
    def of(cls, config: TransformerConfig, freeze_layer_norm: bool = False) -> "Form":
        """The form of a model."""
        freezes = freeze_layer_norm and config.normalization_type is not None
        norm = config.normalization_type
        return cls(config.act_fn, norm, config.eps, freezes, config.pad_token)


class Weights(NamedTuple):
    """A model's weights, each transposed to multiply from the left, layers stacked.

    Which positions are seen and the scale of the scores are data, so that causal and
    bidirectional models share a program. `hide_padding` adds what some inputs do not see.
    """

    embed: Float[Array | np.ndarray, "vocab d_model"]
    pos_embed: Float[Array | np.ndarray, "pos d_model"]
    qkv: Float[Array | np.ndarray, "layers 3 heads d_head d_model"]
    qkv_bias: Float[Array | np.ndarray, "layers 3 heads d_head"]
    head_out: Float[Array | np.ndarray, "layers heads d_model d_head"]
    attention_bias: Float[Array | np.ndarray, "layers d_model"]
    mlp_in: Float[Array | np.ndarray, "layers d_mlp d_model"]
    mlp_in_bias: Float[Array | np.ndarray, "layers d_mlp"]
    mlp_out: Float[Array | np.ndarray, "layers d_model d_mlp"]
    mlp_out_bias: Float[Array | np.ndarray, "layers d_model"]
    unembed: Float[Array | np.ndarray, "vocab_out d_model"]
    unembed_bias: Float[Array | np.ndarray, " vocab_out"]
    is_seen: Bool[Array | np.ndarray, "pos pos #batch"]
    score_scale: Float[Array | np.ndarray, ""]

    @property
    def layout(self) -> Layout:
        """Where readers, writers and layer norms lie; of stacked models, of each of them."""
        return Layout(self.qkv.shape[-5], self.qkv.shape[-3])


def stack_weights(model: Transformer, n_pos: int) -> Weights:
    """A model's weights as sweeps of so many positions use them, on the host."""
    config, blocks = model.config, model.blocks

    def stack(pick: Callable[[Block], nnx.Param], *axes: int) -> np.ndarray:
        layers = np.stack([np.asarray(pick(block)[...]) for block in blocks])
        return np.ascontiguousarray(layers.transpose(0, *axes) if axes else layers)

    embed, unembed = np.asarray(model.embed.W_E[...]), np.asarray(model.unembed.W_U[...])
    is_seen = np.ones((n_pos, n_pos, 1), bool)
    scale = 1 / math.sqrt(config.d_head) if config.use_attn_scale else 1.0
    projections = [
        stack(pick, 1, 3, 2)
        for pick in (lambda b: b.attn.W_Q, lambda b: b.attn.W_K, lambda b: b.attn.W_V)
    ]
    biases = [
        stack(pick) for pick in (lambda b: b.attn.b_Q, lambda b: b.attn.b_K, lambda b: b.attn.b_V)
    ]
    return Weights(
        embed=embed,
        pos_embed=np.asarray(model.pos_embed.W_pos[...])[:n_pos],
        qkv=np.stack(projections, axis=1),
        qkv_bias=np.stack(biases, axis=1),
        head_out=stack(lambda b: b.attn.W_O, 1, 3, 2),
        attention_bias=stack(lambda b: b.attn.b_O),
        mlp_in=stack(lambda b: b.mlp.W_in, 2, 1),
        mlp_in_bias=stack(lambda b: b.mlp.b_in),
        mlp_out=stack(lambda b: b.mlp.W_out, 2, 1),
        mlp_out_bias=stack(lambda b: b.mlp.b_out),
        unembed=np.ascontiguousarray(unembed.T),
        unembed_bias=np.asarray(model.unembed.b_U[...]),
        is_seen=np.tril(is_seen[..., 0])[..., None] if config.is_causal else is_seen,
        score_scale=np.asarray(scale, embed.dtype),
    )


class Run(NamedTuple):
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


class Layer(NamedTuple):
    """One layer's part of `Weights`."""

    qkv: Float[Array, "3 heads d_head d_model"]
    qkv_bias: Float[Array, "3 heads d_head"]
    head_out: Float[Array, "heads d_model d_head"]
    attention_bias: Float[Array, " d_model"]
    mlp_in: Float[Array, "d_mlp d_model"]
    mlp_in_bias: Float[Array, " d_mlp"]
    mlp_out: Float[Array, "d_model d_mlp"]
    mlp_out_bias: Float[Array, " d_model"]


def layer_of(weights: Weights, layer: int | Int[Array, ""]) -> Layer:
    """The weights of one layer, whose number may be traced."""
    return Layer(*(getattr(weights, name)[layer] for name in Layer._fields))


def run_clean(form: Form, keep_hidden: bool, weights: Weights, tokens: Tokens) -> Run:
    """A plain run, kept."""
    is_real = real_positions(form, tokens)
    weights = hide_padding(weights, is_real)
    embed = weights.embed[tokens].transpose(2, 1, 0)
    positions = weights.pos_embed.T[:, :, None]
    pos_embed = jnp.broadcast_to(positions, embed.shape)
    stacked = Layer(*(jnp.asarray(getattr(weights, name)) for name in Layer._fields))

    def step(x: Array, layer: Layer) -> tuple[Array, tuple[Array, ...]]:
        qkv = project(form, layer, x)
        z = attend(qkv[0], qkv[1], qkv[2], weights)
        results = jnp.einsum("hmd,hdpb->hmpb", layer.head_out, z, precision=EXACT)
        between = x + results.sum(axis=0) + layer.attention_bias[:, None, None]
        hidden = hidden_units(form, layer, between)
        mlp = matmul(layer.mlp_out, hidden) + layer.mlp_out_bias[:, None, None]
        outputs = jnp.concatenate([results, mlp[None]])
        kept = hidden if keep_hidden else hidden[:0]
        return between + mlp, (outputs, x, between, qkv, z, kept)

    after, (outputs, before, between, qkv, z, hidden) = jax.lax.scan(
        step, embed + pos_embed, stacked
    )
    outputs = outputs.reshape(-1, *embed.shape)
    outputs = jnp.concatenate([embed[None], pos_embed[None], outputs])
    logits = unembed(form, weights, after)
    scales = clean_scales(form, before, between, after)
    return Run(outputs, before, between, after, qkv, z, hidden, logits, scales, is_real)


def real_positions(form: Form, tokens: Tokens) -> Bool[Array, "pos batch"] | None:
    """Where padding is not; None for a model that knows of none."""
    return None if form.pad_token is None else jnp.asarray(tokens != form.pad_token).T


def hide_padding(weights: Weights, is_real: Bool[Array, "pos batch"] | None) -> Weights:
    """A model's weights, for runs of inputs whose padding nobody attends to."""
    if is_real is None:
        return weights
    return weights._replace(is_seen=jnp.asarray(weights.is_seen) & is_real[None])


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


def repeat_rows(x: Shaped[Array, "*axes batch"], n_edits: int) -> Shaped[Array, "*axes rows"]:
    """An activation of the clean run for each of some edits: rows are edits, then inputs."""
    repeated = jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], n_edits, x.shape[-1]))
    return repeated.reshape(*x.shape[:-1], -1)


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


def matmul(weight: Array | np.ndarray, x: Array) -> Array:
    """`weight` of shape `[..., d_out, d_in]` times `x` of shape `[d_in, ...]`."""
    return jnp.tensordot(weight, x, axes=1, precision=EXACT)
