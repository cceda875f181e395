"""The transformer of every case: TransformerLens 1.19's `HookedTransformer` in JAX."""

from collections.abc import Mapping
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, Int

from interpbench_jax.axes import Logits, RealPositions, Stream, Tokens
from interpbench_jax.config import TransformerConfig
from interpbench_jax.model.attention import Attention
from interpbench_jax.model.inputs import as_tokens, check_tokens
from interpbench_jax.model.layers import Edit, center_and_scale, emit, keep, linear
from interpbench_jax.model.mlp import MLP
from interpbench_jax.sites import Kind, Node
from interpbench_jax.weights import check_weights, random_weights, weight_shapes

_FEW_TOKENS = 64


class Embed(nnx.Module):
    """Token embedding; `W_E` is `[vocab, d_model]`."""

    def __init__(self, weights: Mapping[str, Array]):
        self.W_E = nnx.Param(weights["embed.W_E"])


class PosEmbed(nnx.Module):
    """Learned positional embedding; `W_pos` is `[n_ctx, d_model]`."""

    def __init__(self, weights: Mapping[str, Array]):
        self.W_pos = nnx.Param(weights["pos_embed.W_pos"])


class Unembed(nnx.Module):
    """The output layer; `W_U` is `[d_model, vocab_out]`, `b_U` is `[vocab_out]`."""

    def __init__(self, weights: Mapping[str, Array]):
        self.W_U = nnx.Param(weights["unembed.W_U"])
        self.b_U = nnx.Param(weights["unembed.b_U"])


class Block(nnx.Module):
    """One layer: attention, then MLP, each added to the residual stream."""

    def __init__(self, config: TransformerConfig, layer: int, weights: Mapping[str, Array]):
        self.attn = Attention(config, layer, weights)
        self.mlp = MLP(config, layer, weights)
        self.layer = layer

    def __call__(
        self, resid: Stream, is_real: RealPositions | None = None, edit: Edit = keep
    ) -> Stream:
        """Return the residual stream after the layer, given the stream before it."""
        resid = emit(edit, Node(Kind.RESID_PRE, self.layer), resid)
        copies = jnp.broadcast_to(resid[None], (self.attn.config.n_heads, *resid.shape))
        q_input = emit(edit, Node(Kind.Q_INPUT, self.layer), copies)
        k_input = emit(edit, Node(Kind.K_INPUT, self.layer), copies)
        v_input = emit(edit, Node(Kind.V_INPUT, self.layer), copies)
        results = self.attn(q_input, k_input, v_input, is_real, edit)
        attn_out = results.sum(axis=0) + self.attn.b_O[...][None, :, None]
        attn_out = emit(edit, Node(Kind.ATTN_OUT, self.layer), attn_out)
        resid = emit(edit, Node(Kind.RESID_MID, self.layer), resid + attn_out)
        mlp_in = emit(edit, Node(Kind.MLP_IN, self.layer), resid)
        return emit(edit, Node(Kind.RESID_POST, self.layer), resid + self.mlp(mlp_in, edit))


class Transformer(nnx.Module):
    """A transformer with named activations.

    It is a pytree: `jax.jit`, `jax.vmap` and `jax.grad` take it as an argument, and casting its
    leaves changes the precision of everything it computes.

    Attributes:
        config: the model's shape; a static field.
    """

    def __init__(self, config: TransformerConfig, weights: Mapping[str, Array]):
        self.config = config
        self.embed = Embed(weights)
        self.pos_embed = PosEmbed(weights)
        self.blocks = nnx.List([Block(config, layer, weights) for layer in range(config.n_layers)])
        self.unembed = Unembed(weights)

    def __call__(self, tokens: Tokens, edit: Edit = keep) -> Logits:
        """Return the logits at every position.

        Args:
            tokens: ids from 0 to `config.d_vocab - 1`, at most `config.n_ctx` positions.
            edit: called with every hook and its activation, in TransformerLens's order; its
                return value replaces the activation.

        Raises:
            ValueError: if the tokens do not have that shape, type or range.
        """
        tokens = as_tokens(tokens)
        check_tokens(self.config, tokens)
        embed, pos_embed = self.embed_tokens(tokens)
        embed = emit(edit, Node(Kind.EMBED), embed)
        resid = embed + emit(edit, Node(Kind.POS_EMBED), pos_embed)
        is_real = self.real_positions(tokens)
        for block in self.blocks:
            resid = block(resid, is_real, edit)
        return self.read_output(resid, edit)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What a notebook shows: layers that unfold, and the weights in small."""
        # Not as `_repr_html_`, which treescope itself calls.
        import treescope

        with treescope.active_autovisualizer.set_scoped(treescope.ArrayAutovisualizer()):
            shown = treescope.render_to_html(self, compressed=True)
        shown = f'<div style="overflow-x:auto">{shown}</div>'
        return {"text/html": shown, "text/plain": f"Transformer({self.config})"}

    def real_positions(self, tokens: Tokens) -> RealPositions | None:
        """Which positions are not padding; None for a model without a padding token."""
        pad = self.config.pad_token
        return None if pad is None else jnp.asarray(tokens != pad).T

    def embed_tokens(self, tokens: Tokens) -> tuple[Stream, Stream]:
        """Return what the token embedding and the positional embedding write.

        Ids outside the vocabulary are an error where their values are known (`check_tokens`).
        Under `jit` and `vmap` they are not: there such an id makes the logits of its input NaN.
        """
        table = self.embed.W_E[...]
        if self.config.d_vocab <= _FEW_TOKENS:
            # A product with one-hot rows selects the same numbers, and its gradient is far cheaper.
            is_token = jax.nn.one_hot(tokens.T, self.config.d_vocab, axis=1, dtype=table.dtype)
            embed = linear(is_token, table)
        else:
            embed = table[tokens].transpose(1, 2, 0)
        if isinstance(tokens, Tracer):
            is_known = (tokens >= 0) & (tokens < self.config.d_vocab)
            embed = jnp.where(is_known.T[:, None], embed, jnp.asarray(jnp.nan, embed.dtype))
        positions = self.pos_embed.W_pos[...][: tokens.shape[1], :, None]
        return embed, jnp.broadcast_to(positions, embed.shape)

    def read_output(self, resid: Stream, edit: Edit = keep) -> Logits:
        """Return the logits, given the final residual stream."""
        if self.config.normalization_type == "LNPre":
            scale, normalized = Node(Kind.FINAL_SCALE), Node(Kind.FINAL_NORMALIZED)
            resid = center_and_scale(resid, self.config.eps, scale, normalized, edit)
        logits = linear(resid, self.unembed.W_U[...], self.unembed.b_U[...])
        return logits.transpose(2, 0, 1)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the weights, and so of every activation."""
        return self.embed.W_E[...].dtype


def build_model(config: TransformerConfig, weights: Mapping[str, np.ndarray]) -> Transformer:
    """Build a model from a flat table of weights, such as `weights.load_weights` returns.

    float64 weights stay float64 only if `jax_enable_x64` is on; otherwise JAX rounds them.

    Raises:
        ValueError: if the weights do not fit the config exactly.
    """
    check_weights(config, weights)
    dtypes = {name: jax.dtypes.canonicalize_dtype(array.dtype) for name, array in weights.items()}
    arrays = {name: jnp.asarray(array, dtypes[name]) for name, array in weights.items()}
    return Transformer(config, arrays)


def random_model(config: TransformerConfig, seed: int = 0, std: float | None = None) -> Transformer:
    """Build an untrained model, with the weights that `weights.random_weights` draws."""
    return build_model(config, random_weights(config, seed, std))


def flat_weights(model: Transformer) -> dict[str, np.ndarray]:
    """Return a model's weights as a flat table, from which `build_model` builds the same model."""
    state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    named = {".".join(str(key.key) for key in path): np.asarray(leaf) for path, leaf in leaves}
    return {name: named[name] for name in weight_shapes(model.config)}


@lru_cache(maxsize=64)
def hook_nodes(config: TransformerConfig) -> tuple[Node, ...]:
    """Every hook of a model of this config, in the order in which the hooks first fire."""
    fired: dict[Node, None] = {}

    def note(node: Node, activation: Array) -> Array:
        fired[node] = None
        return activation

    def forward(weights: dict[str, Array], tokens: Int[Array, "batch pos"]) -> Array:
        return Transformer(config, weights)(tokens, note)

    shapes = {
        name: jax.ShapeDtypeStruct(shape, jnp.float32)
        for name, shape in weight_shapes(config).items()
    }
    jax.eval_shape(forward, shapes, jax.ShapeDtypeStruct((1, 1), jnp.int32))
    return tuple(fired)


def hook_names(config: TransformerConfig) -> tuple[str, ...]:
    """TransformerLens's name of every hook of a model of this config, in forward order."""
    return tuple(str(node) for node in hook_nodes(config))


def check_model(model: object) -> None:
    """Raise an error that says what to pass if this is not a model.

    Raises:
        TypeError: if it is not a `Transformer`.
    """
    if isinstance(model, Transformer):
        return
    if hasattr(model, "weights") and hasattr(model, "case_id"):
        raise TypeError("Expected a Transformer, got a Case; pass its model: case.model.")
    if isinstance(model, str):
        raise TypeError(
            f"Expected a Transformer, got {model!r:.80}; pass load_case({model!r:.80}).model."
        )
    raise TypeError(f"Expected a Transformer, got {type(model).__name__}.")
