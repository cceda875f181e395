"""A model's weights in the form that the engine uses: transposed, with layers stacked."""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from interpbench_jax.axes import Tokens
from interpbench_jax.config import Activation, Normalization, TransformerConfig
from interpbench_jax.layout import Layout
from interpbench_jax.model.transformer import Block, Transformer


@dataclass(frozen=True)
class Form:
    """The part of a config that a compiled program depends on, besides the shapes of the weights.

    Attributes:
        act_fn: the MLPs' activation function.
        normalization_type: the normalization of every reader's input.
        eps: the layer norm's epsilon.
        freeze_layer_norm: whether patched runs divide by what the clean run divided by; always
            False for a model without layer norm, where it makes no difference.
        pad_token: the padding token, which nothing attends to; None if there is none.
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
    """A model's weights, each transposed to multiply from the left, with layers stacked.

    The attention mask and the scale of the attention scores are data, so that causal and
    bidirectional models share a program. `hide_padding` adds a mask for each input's padding.
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
        """The layout of the model, or of each of several stacked models."""
        return Layout(self.qkv.shape[-5], self.qkv.shape[-3])


def stack_weights(model: Transformer, n_pos: int) -> Weights:
    """The weights of a model for inputs of `n_pos` positions, on the host."""
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


class _Kept(NamedTuple):
    """The weights of a model on a device, and what they were made from.

    Attributes:
        params: the model's arrays at that time.
        by_setting: the weights, by the number of positions and JAX's settings.
    """

    params: list[jax.Array]
    by_setting: dict[Hashable, Weights]


_kept: WeakKeyDictionary[Transformer, _Kept] = WeakKeyDictionary()
# Larger models are worth stacking again: they would take their memory twice.
_MOST_KEPT_BYTES = 64 << 20


def device_weights(model: Transformer, n_pos: int) -> Weights:
    """The weights of a model for inputs of `n_pos` positions, on the default device.

    They are kept for the next call for as long as the model lives and has the same arrays.
    """
    params = jax.tree.leaves(model)
    # NumPy's arrays may change under us; JAX's never do.
    is_kept = all(isinstance(array, jax.Array) for array in params)
    if not is_kept or sum(array.nbytes for array in params) > _MOST_KEPT_BYTES:
        return jax.device_put(stack_weights(model, n_pos))
    kept = _kept.get(model)
    if kept is None or [*map(id, kept.params)] != [*map(id, params)]:
        kept = _kept[model] = _Kept(params, {})
    config: Any = jax.config
    setting = (n_pos, config.jax_enable_x64, config.jax_default_device)
    if setting not in kept.by_setting:
        kept.by_setting[setting] = jax.device_put(stack_weights(model, n_pos))
    return kept.by_setting[setting]


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
    """The weights of one layer; its number is an int or traced."""
    return Layer(*(getattr(weights, name)[layer] for name in Layer._fields))


def real_positions(form: Form, tokens: Tokens) -> Bool[Array, "pos batch"] | None:
    """Whether each position is not padding; None for a model without a padding token."""
    return None if form.pad_token is None else jnp.asarray(tokens != form.pad_token).T


def hide_padding(weights: Weights, is_real: Bool[Array, "pos batch"] | None) -> Weights:
    """A model's weights with an attention mask that hides the inputs' padding."""
    if is_real is None:
        return weights
    return weights._replace(is_seen=jnp.asarray(weights.is_seen) & is_real[None])
