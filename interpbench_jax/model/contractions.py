"""The two sums inside attention, for heads so small that a matrix product is the wrong tool.

A head of three or eight dimensions on ten positions makes thousands of matrices of a few numbers
each, and calling a matrix routine for each of them costs more than the arithmetic. On a CPU the
sums are therefore written out, term by term, along the batch, which is the innermost axis; large
ones, and those of other devices, are ordinary einsums. Both give the same numbers to rounding.

The three sums are closed under differentiation: each is linear in both of its arguments, and the
transpose of one is another. They are one JAX primitive so that derivatives of every order, and
`jax.vmap`, are written out too; what JAX derives from the terms alone is slower by far.
"""

import operator
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

Sum = Literal["width", "keys", "queries"]

# Terms up to which a sum is written out on a CPU: compile time grows with them.
_MOST_TERMS = 32


def attention_scores(
    q: Float[Array, "q_pos heads d_head batch"], k: Float[Array, "k_pos heads d_head batch"]
) -> Float[Array, "q_pos k_pos heads batch"]:
    """The dot product of every query with every key, not scaled."""
    if _is_small(q.shape[0], k.shape[0], q.shape[2]):
        return _contract.bind(q, k, over="width")
    return _einsum("width", q, k)


def attention_mix(
    pattern: Float[Array, "q_pos k_pos heads batch"], v: Float[Array, "k_pos heads d_head batch"]
) -> Float[Array, "q_pos heads d_head batch"]:
    """The mean of the values under each query's pattern."""
    if _is_small(pattern.shape[0], v.shape[0], v.shape[2]):
        return _contract.bind(pattern, v, over="keys")
    return _einsum("keys", pattern, v)


def _is_small(*terms: int) -> bool:
    return max(terms) <= _MOST_TERMS and jax.default_backend() == "cpu"


# i: queries, j: keys, h: heads, d: width of a head, b: batch.
_EQUATIONS: Mapping[Sum, str] = {
    "width": "...ihdb,...jhdb->...ijhb",
    "keys": "...ijhb,...jhdb->...ihdb",
    "queries": "...ijhb,...ihdb->...jhdb",
}


def _einsum(over: Sum, x: Array, y: Array) -> Array:
    return jnp.einsum(_EQUATIONS[over], x, y, precision=jax.lax.Precision.HIGHEST)


def _written_out(x: Array, y: Array, *, over: Sum) -> Array:
    match over:
        case "width":
            terms = [
                x[..., :, None, :, d, :] * y[..., None, :, :, d, :] for d in range(x.shape[-2])
            ]
        case "keys":
            terms = [
                x[..., :, j, :, None, :] * y[..., None, j, :, :, :] for j in range(x.shape[-3])
            ]
        case "queries":
            terms = [
                x[..., i, :, :, None, :] * y[..., i, None, :, :, :] for i in range(x.shape[-4])
            ]
    return reduce(operator.add, terms)


def _abstract(x: Any, y: Any, *, over: Sum) -> Any:
    shape = jax.eval_shape(partial(_einsum, over), x, y).shape
    return ShapedArray(shape, x.dtype)


def _transpose_x(cotangent: Any, x: Any, y: Any, *, over: Sum) -> Any:
    match over:
        case "width":
            return _contract.bind(cotangent, y, over="keys")
        case "keys":
            return _contract.bind(cotangent, y, over="width")
        case "queries":
            return _contract.bind(y, cotangent, over="width")


def _transpose_y(cotangent: Any, x: Any, y: Any, *, over: Sum) -> Any:
    match over:
        case "width":
            return _contract.bind(cotangent, x, over="queries")
        case "keys":
            return _contract.bind(x, cotangent, over="queries")
        case "queries":
            return _contract.bind(x, cotangent, over="keys")


def _batch(arguments: Sequence[Any], axes: Sequence[int | None], *, over: Sum) -> tuple[Any, int]:
    pairs = list(zip(arguments, axes, strict=True))
    (size,) = {argument.shape[axis] for argument, axis in pairs if axis is not None}
    x, y = (
        jnp.broadcast_to(argument, (size, *argument.shape))
        if axis is None
        else jnp.moveaxis(argument, axis, 0)
        for argument, axis in pairs
    )
    return _contract.bind(x, y, over=over), 0


_contract = Primitive("interpbench_contract")
_contract.def_impl(jax.jit(_written_out, static_argnames="over"))
_contract.def_abstract_eval(_abstract)
ad.defbilinear(_contract, _transpose_x, _transpose_y)
batching.primitive_batchers[_contract] = _batch
mlir.register_lowering(_contract, mlir.lower_fun(_written_out, multiple_results=False))
