"""Interventions on a run: record activations, edit them by hook, and mask edges.

All of them are functions of arrays: they work inside `jax.jit`, `jax.vmap` and `jax.grad`.
"""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.axes import (
    Constants,
    EdgeMask,
    LayerNormScales,
    Logits,
    Replacement,
    Tokens,
    WriterOutputs,
    Written,
)
from interpbench_jax.config import TransformerConfig
from interpbench_jax.habits import ActivationCache, Hook, Hooks, Names, read_hooks, read_names
from interpbench_jax.layout import N_KINDS, Layout
from interpbench_jax.model.inputs import as_tokens, check_tokens
from interpbench_jax.model.layers import Edit, einsum, keep
from interpbench_jax.model.transformer import Transformer, check_model
from interpbench_jax.sites import Kind, Node, readers, writers

Ablation = Literal["resample", "mean", "zero"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)


def run_with_cache(
    model: Transformer, tokens: Tokens, names: Names | None = None
) -> tuple[Logits, ActivationCache]:
    """Run a model and record its activations.

    Args:
        model: the model.
        tokens: `[batch, pos]`.
        names: the hooks to record, as TransformerLens's names or as nodes; a single head can be
            selected, as in `blocks.0.attn.hook_result[2]`. One name, several, or a function that
            takes a name and returns whether to record it. The default is every hook.

    Returns:
        The logits, and the activations by name, in the order of given names or else in forward
        order, shaped as in TransformerLens (a single head has no head axis). With layer norm,
        `ln1.hook_scale` and `ln1.hook_normalized` fire for q, k and v in turn; v's are recorded.

    Raises:
        TypeError: if the model is not a `Transformer`, or a name is neither a string nor a node.
        ValueError: if the model does not have a hook, or the tokens do not fit.
    """
    check_model(model)
    tokens = as_tokens(tokens)
    check_tokens(model.config, tokens)
    nodes = read_names(model.config, names)
    logits, activations = _run_with_cache(model, tokens, nodes)
    return logits, ActivationCache(zip(map(str, nodes), activations, strict=True))


@partial(jax.jit, static_argnames=("nodes",))
def _run_with_cache(
    model: Transformer, tokens: Tokens, nodes: tuple[Node, ...]
) -> tuple[Logits, tuple[Array, ...]]:
    # A tuple, because JAX sorts the keys of a dictionary.
    wanted = {node.hook for node in nodes}
    kept: dict[Node, Array] = {}

    def record(node: Node, activation: Array) -> Array:
        if node in wanted:
            kept[node] = activation
        return activation

    logits = model(tokens, record)
    return logits, tuple(_select(node, kept[node.hook]) for node in nodes)


def run_with_hooks(model: Transformer, tokens: Tokens, hooks: Hooks) -> Logits:
    """Run a model with activations replaced.

    Args:
        model: the model.
        tokens: `[batch, pos]`.
        hooks: a function for each hook (TransformerLens's name or a node) that takes the
            activation and returns its replacement, of the same shape and dtype; or pairs of hook
            and function, where a function of names may select several hooks. A function for one
            head, as `blocks.0.attn.hook_result[2]`, gets that head alone, without the head axis.
            With layer norm, the functions for `ln1`'s hooks are called for q, k and v in turn.

    Returns:
        The logits of the edited run.

    Raises:
        TypeError: if the model is not a `Transformer`, or a function does not take one argument.
        ValueError: if the model does not have a hook, a function returns another shape or
            dtype, or the tokens do not fit.
    """
    check_model(model)
    functions = read_hooks(model.config, hooks)

    def edit(node: Node, activation: Array) -> Array:
        if node in functions:
            activation = _apply(node, functions[node], activation)
        for chosen, function in functions.items():
            if chosen.hook == node and chosen.head is not None:
                axis = node.kind.head_axis
                assert axis is not None
                replaced = _apply(chosen, function, _select(chosen, activation))
                index = (slice(None),) * axis + (chosen.head,)
                activation = activation.at[index].set(replaced)
        return activation

    return model(tokens, edit)


def masked_forward(
    model: Transformer,
    tokens: Tokens,
    mask: EdgeMask,
    replacement: Replacement,
    layer_norm_scales: LayerNormScales | None = None,
) -> Logits:
    """Run a model with edges cut.

    Every reader of the residual stream gets
    `biases + sum_w mask[reader, w] * a_w + (1 - mask[reader, w]) * replacement[w]`,
    where `a_w` is the output of writer `w` in this run. A mask of ones gives the plain run and a
    mask of zeros a run on the replacements, each up to rounding, because the residual stream is
    summed in another order. Entries for writers that come after a reader are ignored.

    Source: the edge interventions of path patching (Goldowsky-Dill et al. 2023,
    arXiv:2304.05969) and ACDC (Conmy et al. 2023, arXiv:2304.14997).

    Args:
        model: the model.
        tokens: `[batch, pos]`.
        mask: `[dst, src]` or `[dst, src, pos]`, in the orders of `sites.readers` and
            `sites.writers`; any numbers, differentiable.
        replacement: `[batch, pos, src, d_model]`, as `replacement_outputs` gives it; `batch` or
            `pos` may be 1 to share a value.
        layer_norm_scales: `[batch, pos, norms]`, as the function of that name returns them for the
            clean run. They freeze the layer norms: each reader's still subtracts the mean of its
            own input but divides by these. By default each divides by its own input's standard
            deviation. A model without layer norm ignores them.

    Returns:
        Logits at every position.

    Raises:
        ValueError: if a shape does not fit the model and the tokens.
    """
    check_tokens(model.config, tokens)
    _check_mask(model, tokens, mask, replacement)
    _check_scales(model, tokens, layer_norm_scales)
    return _masked_forward(model, tokens, mask, replacement, layer_norm_scales)


@jax.jit
def _masked_forward(
    model: Transformer,
    tokens: Tokens,
    mask: EdgeMask,
    replacement: Replacement,
    scales: LayerNormScales | None,
) -> Logits:
    edit = keep if scales is None else divide_by(model.config, scales)
    reader, is_real = _Reader(model, tokens, mask, replacement), model.real_positions(tokens)
    layout = Layout(model.config.n_layers, model.config.n_heads)
    for layer, block in enumerate(model.blocks):
        first, mlp_reader = layout.first_reader(layer), layout.mlp_reader(layer)
        q_input, k_input, v_input = jnp.split(reader.read(slice(first, mlp_reader)), N_KINDS)
        results = block.attn(q_input, k_input, v_input, is_real, edit)
        reader.write(results, block.attn.b_O[...])
        mlp_in = reader.read(slice(mlp_reader, mlp_reader + 1))
        reader.write(block.mlp(mlp_in[0], edit)[None])
    return model.read_output(reader.read(slice(layout.output_reader, None))[0], edit)


def divide_by(config: TransformerConfig, scales: LayerNormScales) -> Edit:
    """The edit that sets the divisor of every layer norm, for all readers behind it."""
    numbers = {node: number for number, node in enumerate(_scale_nodes(config))}

    def edit(node: Node, activation: Array) -> Array:
        if node not in numbers:
            return activation
        # In TransformerLens's shape: batch, pos, heads if there are several, 1.
        scale = jnp.asarray(scales, activation.dtype)[..., numbers[node]]
        scale = scale.reshape(*scale.shape, *[1] * (activation.ndim - 2))
        return jnp.broadcast_to(scale, activation.shape)

    return edit


def _scale_nodes(config: TransformerConfig) -> list[Node]:
    """The hooks of the divisors, in the order of the `norms` axis."""
    kinds = (Kind.LN1_SCALE, Kind.LN2_SCALE)
    layers = [Node(kind, layer) for layer in range(config.n_layers) for kind in kinds]
    return [*layers, Node(Kind.FINAL_SCALE)]


class _Reader:
    """The writers' outputs so far and their replacements, mixed by the mask for each reader."""

    def __init__(
        self, model: Transformer, tokens: Tokens, mask: EdgeMask, replacement: Replacement
    ):
        self.outputs = jnp.stack(model.embed_tokens(tokens))
        self.mask = mask.astype(self.outputs.dtype)
        # Inside a run the batch comes last.
        self.replacement = jnp.asarray(replacement, self.outputs.dtype).transpose(2, 1, 3, 0)
        self.biases = jnp.zeros(model.config.d_model, self.outputs.dtype)

    def read(self, rows: slice) -> Float[Array, "dst pos d_model batch"]:
        seen = self.outputs.shape[0]
        mask = self.mask[rows, :seen]
        equation = "rsp,spmb->rpmb" if mask.ndim == 3 else "rs,spmb->rpmb"
        kept = einsum(equation, mask, self.outputs)
        replaced = einsum(equation, 1 - mask, self.replacement[:seen])
        return kept + replaced + self.biases[None, None, :, None]

    def write(self, outputs: Written, bias: Float[Array, " d_model"] | None = None) -> None:
        self.outputs = jnp.concatenate([self.outputs, outputs])
        if bias is not None:
            self.biases = self.biases + bias


def layer_norm_scales(model: Transformer, tokens: Tokens) -> Float[Array, "batch pos norms"]:
    """The divisor of every layer norm in a plain run: `sqrt(variance + eps)`.

    Returns:
        `[batch, pos, norms]` with `2 * n_layers + 1` norms: for each layer the one before its
        attention, which the heads' q, k and v readers share in a plain run, and the one before its
        MLP; then the one before the output. All are 1 for a model without layer norm.

    Raises:
        ValueError: if the tokens do not fit.
    """
    check_tokens(model.config, tokens)
    return _layer_norm_scales(model, tokens)


@jax.jit
def _layer_norm_scales(model: Transformer, tokens: Tokens) -> Float[Array, "batch pos norms"]:
    nodes, (batch, pos) = _scale_nodes(model.config), tokens.shape
    if model.config.normalization_type is None:
        return jnp.ones((batch, pos, len(nodes)), model.dtype)
    kept: dict[Node, Array] = {}

    def record(node: Node, activation: Array) -> Array:
        if node in nodes:
            kept[node] = activation
        return activation

    model(tokens, record)
    # In a plain run all heads divide by the same value.
    scales = [kept[node].reshape(batch, pos, -1)[..., 0] for node in nodes]
    return jnp.stack(scales, axis=-1)


def writer_outputs(model: Transformer, tokens: Tokens) -> WriterOutputs:
    """The output of every writer to the residual stream in a plain run.

    Returns:
        `[batch, pos, src, d_model]`, in the order of `sites.writers`.

    Raises:
        ValueError: if the tokens do not fit.
    """
    check_tokens(model.config, tokens)
    return _writer_outputs(model, tokens)


@jax.jit
def _writer_outputs(model: Transformer, tokens: Tokens) -> WriterOutputs:
    kinds = (Kind.EMBED, Kind.POS_EMBED, Kind.HEAD, Kind.MLP_OUT)
    kept: dict[Node, Array] = {}

    def record(node: Node, activation: Array) -> Array:
        if node.kind in kinds:
            kept[node] = activation
        return activation

    model(tokens, record)
    nodes = writers(model.config.n_layers, model.config.n_heads)
    return jnp.stack([_select(node, kept[node.hook]) for node in nodes], axis=2)


def replacement_outputs(
    model: Transformer, tokens: Tokens, ablation: Ablation = "resample"
) -> Replacement:
    """The replacement of every writer's output when it is ablated.

    Args:
        model: the model.
        tokens: `[batch, pos]`: the corrupted inputs for `"resample"`, paired by row with the
            clean ones; the inputs to average over for `"mean"`; any inputs for `"zero"`.
        ablation: `"resample"`: the output on `tokens`; `"mean"`: its mean over the batch at
            each position; `"zero"`: zeros, for the positional embedding's output too.

    Returns:
        `[batch, pos, src, d_model]`; `batch` is 1 for the mean and for zeros.

    Raises:
        ValueError: if there is no such ablation, or the tokens do not fit.
    """
    match ablation:
        case "resample":
            return writer_outputs(model, tokens)
        case "mean":
            return writer_outputs(model, tokens).mean(axis=0, keepdims=True)
        case "zero":
            config = model.config
            src = len(writers(config.n_layers, config.n_heads))
            return jnp.zeros((1, tokens.shape[1], src, config.d_model), model.dtype)
    raise ValueError(f"Expected ablation to be one of {ABLATIONS}, got {ablation!r}.")


def check_constants(config: TransformerConfig, n_pos: int, constants: Constants) -> np.ndarray:
    """Check constants and broadcast them to `[1, n_pos, src, d_model]`; their `pos` may be 1.

    Raises:
        ValueError: if their shape is wrong, or one is not finite.
    """
    src = len(writers(config.n_layers, config.n_heads))
    shape = (1, n_pos, src, config.d_model)
    if constants.shape not in (shape, (1, 1, *shape[2:])):
        raise ValueError(
            f"Expected replacement constants of shape (1, pos, src, d_model) = {shape}, where "
            f"pos may be 1; got {constants.shape}."
        )
    values = np.asarray(constants)
    if not np.isfinite(values).all():
        raise ValueError("Expected finite replacement constants, got NaN or infinity.")
    return np.broadcast_to(values, shape)


def _select(node: Node, activation: Array) -> Array:
    if node.head is None:
        return activation
    axis = node.kind.head_axis
    assert axis is not None
    return jax.lax.index_in_dim(activation, node.head, axis, keepdims=False)


def _apply(node: Node, function: Hook, activation: Array) -> Array:
    replaced = function(activation)
    if replaced is None:
        raise TypeError(
            f"Expected the hook at {node} to return the activation's replacement, got None; "
            "JAX arrays cannot be changed in place, so return a new one."
        )
    shape, dtype = jnp.shape(replaced), jnp.result_type(replaced)
    if shape != activation.shape or dtype != activation.dtype:
        raise ValueError(
            f"Expected the hook at {node} to return {activation.dtype} of shape "
            f"{activation.shape}, got {dtype} of shape {shape}."
        )
    return jnp.asarray(replaced)


def _check_mask(
    model: Transformer, tokens: Tokens, mask: EdgeMask, replacement: Replacement
) -> None:
    config = model.config
    src = len(writers(config.n_layers, config.n_heads))
    dst = len(readers(config.n_layers, config.n_heads))
    batch, pos = tokens.shape
    if mask.shape not in ((dst, src), (dst, src, pos)):
        raise ValueError(
            f"Expected a mask of shape (dst, src) = {(dst, src)} or (dst, src, pos) = "
            f"{(dst, src, pos)}, got {mask.shape}."
        )
    sizes = replacement.shape
    if (
        len(sizes) != 4
        or sizes[2:] != (src, config.d_model)
        or sizes[0] not in (1, batch)
        or sizes[1] not in (1, pos)
    ):
        raise ValueError(
            f"Expected replacements of shape (batch, pos, src, d_model) = "
            f"{(batch, pos, src, config.d_model)}, where batch and pos may be 1; got {sizes}. "
            "`replacement_outputs` computes them."
        )


def _check_scales(model: Transformer, tokens: Tokens, scales: LayerNormScales | None) -> None:
    batch, pos = tokens.shape
    shape = (batch, pos, 2 * model.config.n_layers + 1)
    if scales is not None and scales.shape != shape:
        raise ValueError(
            f"Expected layer norm scales of shape (batch, pos, norms) = {shape}, got "
            f"{scales.shape}; `layer_norm_scales` computes those of the clean run."
        )
