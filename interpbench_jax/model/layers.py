"""The arithmetic that the modules share."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interpbench_jax.config import Activation
from interpbench_jax.sites import Kind, Node

# By default, GPUs and TPUs multiply float32 in reduced precision; parity needs full precision.
einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


# From this many weight entries on, a matrix product costs more than rearranging its arguments.
_LARGE = 1 << 14


def _gelu(x: Array) -> Array:
    # PyTorch's formula. `jax.nn.gelu` uses erfc, which is exact in far tails but 2.5 times slower.
    return 0.5 * x * (1 + jax.lax.erf(x * jnp.asarray(math.sqrt(0.5), x.dtype)))


ACTIVATIONS: Mapping[Activation, Callable[[Array], Array]] = {
    "gelu": _gelu,
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}


# A function that keeps, records or replaces each activation as it is computed. It is given the hook
# and the activation in TransformerLens's shape, batch first, and returns the activation to continue
# with, of the same shape and dtype.
Edit = Callable[[Node, Array], Array]


def keep(node: Node, activation: Array) -> Array:
    """The edit that changes nothing."""
    return activation


def emit(edit: Edit, node: Node, activation: Array) -> Array:
    """Apply an edit, in TransformerLens's shape, to an activation with the batch innermost."""
    if edit is keep:
        return activation
    if node.kind in (Kind.ATTN_SCORES, Kind.PATTERN):  # q_pos k_pos heads batch
        axes = (3, 2, 0, 1)
    elif node.kind in (Kind.Q, Kind.K, Kind.V, Kind.Z):  # pos heads d_head batch
        axes = (3, 0, 1, 2)
    elif activation.ndim == 4:  # heads pos width batch
        axes = (3, 1, 0, 2)
    else:  # pos width batch
        axes = (2, 0, 1)
    edited = edit(node, activation.transpose(axes))
    return edited.transpose([axes.index(axis) for axis in range(activation.ndim)])


def linear(
    x: Float[Array, "pos d_in batch"],
    weight: Float[Array, "d_in d_out"],
    bias: Float[Array, " d_out"] | None = None,
) -> Float[Array, "pos d_out batch"]:
    """Apply an affine map at every position."""
    if weight.size >= _LARGE:
        # One product for all positions: rearranging costs little compared with the multiplication.
        columns = x.transpose(1, 0, 2).reshape(x.shape[1], -1)
        product = einsum("mf,mn->fn", weight, columns)
        product = product.reshape(-1, x.shape[0], x.shape[2]).transpose(1, 0, 2)
    elif weight.shape[1] <= x.shape[2]:
        # One product per position: neither it nor its gradients move anything in memory. The
        # repeated weights are no larger than the input here.
        weights = jnp.broadcast_to(weight, (x.shape[0], *weight.shape))
        product = einsum("pmb,pmf->pfb", x, weights)
    else:
        product = einsum("pmb,mf->pfb", x, weight)
    return product if bias is None else product + bias[None, :, None]


def linear_by_head(
    x: Float[Array, "pos heads d_in batch"], weight: Float[Array, "heads d_in d_out"]
) -> Float[Array, "pos heads d_out batch"]:
    """Apply each head's own linear map at every position.

    There is one product for each position and head, as in `linear`.
    """
    weights = jnp.broadcast_to(weight, (x.shape[0], *weight.shape))
    return einsum("phmb,phmf->phfb", x, weights)


def center_and_scale(
    x: Float[Array, "*streams d_model batch"],
    eps: float,
    scale_node: Node,
    normalized_node: Node,
    edit: Edit = keep,
) -> Float[Array, "*streams d_model batch"]:
    """TransformerLens's `LNPre`: subtract the mean, divide by the standard deviation.

    Source: TransformerLens 1.19, `components.LayerNormPre`; hooks `hook_scale` (the divisor,
    with 1 for `d_model`) and `hook_normalized`.
    """
    centered = x - x.mean(axis=-2, keepdims=True)
    scale = jnp.sqrt((centered**2).mean(axis=-2, keepdims=True) + eps)
    return emit(edit, normalized_node, centered / emit(edit, scale_node, scale))
