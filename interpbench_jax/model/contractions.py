"""Sums over one index that are written out, for heads too small for a matrix product.

A head of three or eight dimensions on ten positions makes thousands of matrices of a few numbers
each, and calling a matrix routine for each of them costs more than the arithmetic. So the sums
inside attention are written out, term by term, along the innermost axis, which counts inputs.

Such a sum is linear in both of its arguments, and its derivative by either is another such sum.
`contract` is one JAX primitive, so that derivatives of every order, and `jax.vmap`, are written
out too: what JAX derives from the terms alone takes five times as long. The attention of the model,
of training and of the engine all use it, each in its own order of axes, and it is the only place
where a derivative of attention's sums is defined.

How a sum is computed depends on the platform that a program is compiled for, which need not be that
of this process. Short sums are written out on all of them: for a TPU, products of such small
matrices take twice as long to compile and move twice as many bytes, by XLA's account. Long sums are
cut into runs on a CPU, and are products of matrices elsewhere.
"""

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

# Terms up to which a sum is written out: compile time grows with them. Longer sums are cut into
# runs of this length, which a loop adds up.
_MOST_TERMS = 32
# An axis of `jax.vmap` is called by one of these letters in an equation.
_BATCH_LETTERS = "zyxwvu"


def contract(equation: str, x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """The product of two arrays, summed over one index.

    Args:
        equation: an equation as `jnp.einsum` takes it, without an ellipsis. Exactly one index is
            missing in the output, both arrays have it, and the other indices have the same order
            everywhere. The last index should count inputs: everything runs along it.
        x: the first array.
        y: the second array.
    """
    return _contract.bind(x, y, equation=equation)


def attention_scores(
    q: Float[Array, "q_pos heads d_head batch"], k: Float[Array, "k_pos heads d_head batch"]
) -> Float[Array, "q_pos k_pos heads batch"]:
    """The dot product of every query with every key, not scaled."""
    return _sum("ihdb,jhdb->ijhb", q, k, q.shape[0], k.shape[0], q.shape[2])


def attention_mix(
    pattern: Float[Array, "q_pos k_pos heads batch"], v: Float[Array, "k_pos heads d_head batch"]
) -> Float[Array, "q_pos heads d_head batch"]:
    """The mean of the values under each query's pattern."""
    return _sum("ijhb,jhdb->ihdb", pattern, v, pattern.shape[0], v.shape[0], v.shape[2])


def _sum(equation: str, x: Array, y: Array, *lengths: int) -> Array:
    """Written out where every index is short, else a plain einsum."""
    if max(lengths) <= _MOST_TERMS:
        return contract(equation, x, y)
    return _multiplied(x, y, equation=equation)


def _multiplied(x: Array, y: Array, *, equation: str) -> Array:
    return jnp.einsum(equation, x, y, precision=jax.lax.Precision.HIGHEST)


def _off_cpus(x: Array, y: Array, *, equation: str) -> Array:
    left, _, _, over = _parse(equation)
    is_short = x.shape[left.index(over)] <= _MOST_TERMS
    return (_written_out if is_short else _multiplied)(x, y, equation=equation)


def _parse(equation: str) -> tuple[str, str, str, str]:
    """The indices of both arrays and of the output, and the one that is summed over."""
    arrays, output = equation.split("->")
    left, right = arrays.split(",")
    (over,) = (set(left) | set(right)) - set(output)
    return left, right, output, over


def _written_out(x: Array, y: Array, *, equation: str) -> Array:
    left, right, _, over = _parse(equation)
    axes = left.index(over), right.index(over)
    if x.shape[axes[0]] <= _MOST_TERMS:
        return _add_terms(equation, x, y, axes)

    def add_run(total: Array, runs: tuple[Array, Array]) -> tuple[Array, None]:
        return total + _add_terms(equation, *runs, (0, 0)), None

    zeros = jnp.zeros(_abstract(x, y, equation=equation).shape, x.dtype)
    return jax.lax.scan(add_run, zeros, (_in_runs(x, axes[0]), _in_runs(y, axes[1])))[0]


def _add_terms(equation: str, x: Array, y: Array, axes: tuple[int, int]) -> Array:
    """The sum, written out, of the terms along an axis of each array."""
    left, right, output, _ = _parse(equation)
    # A term gets an axis of length 1 for every index of the output that it lacks.
    missing = [
        [axis for axis, index in enumerate(output) if index not in own] for own in (left, right)
    ]
    terms = []
    for i in range(x.shape[axes[0]]):
        one, other = (
            jnp.expand_dims(jax.lax.index_in_dim(array, i, axis, keepdims=False), lacks)
            for array, axis, lacks in zip((x, y), axes, missing, strict=True)
        )
        terms.append(one * other)
    return functools.reduce(operator.add, terms)


def _in_runs(x: Array, axis: int) -> Array:
    """An axis cut into runs of `_MOST_TERMS`, padded with zeros: `[runs, terms, ...]`."""
    x = jnp.moveaxis(x, axis, 0)
    runs = math.ceil(x.shape[0] / _MOST_TERMS)
    missing = runs * _MOST_TERMS - x.shape[0]
    x = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(runs, _MOST_TERMS, *x.shape[1:])


def _abstract(x: Any, y: Any, *, equation: str) -> ShapedArray:
    left, right, output, _ = _parse(equation)
    sizes = dict(zip(left + right, (*x.shape, *y.shape), strict=True))
    return ShapedArray(tuple(sizes[index] for index in output), x.dtype)


def _transpose_x(cotangent: Any, x: Any, y: Any, *, equation: str) -> Any:
    left, right, output, _ = _parse(equation)
    return contract(f"{output},{right}->{left}", cotangent, y)


def _transpose_y(cotangent: Any, x: Any, y: Any, *, equation: str) -> Any:
    left, right, output, _ = _parse(equation)
    return contract(f"{output},{left}->{right}", cotangent, x)


def _batch(
    arguments: Sequence[Any], axes: Sequence[int | None], *, equation: str
) -> tuple[Any, int]:
    pairs = list(zip(arguments, axes, strict=True))
    (size,) = {argument.shape[axis] for argument, axis in pairs if axis is not None}
    x, y = (
        jnp.broadcast_to(argument, (size, *argument.shape))
        if axis is None
        else jnp.moveaxis(argument, axis, 0)
        for argument, axis in pairs
    )
    left, right, output, _ = _parse(equation)
    new = next(letter for letter in _BATCH_LETTERS if letter not in equation)
    return contract(f"{new}{left},{new}{right}->{new}{output}", x, y), 0


_contract = Primitive("interpbench_contract")
_contract.def_impl(jax.jit(_contract.bind, static_argnames="equation"))
_contract.def_abstract_eval(_abstract)
ad.defbilinear(_contract, _transpose_x, _transpose_y)
batching.primitive_batchers[_contract] = _batch
mlir.register_lowering(_contract, mlir.lower_fun(_off_cpus, multiple_results=False))
mlir.register_lowering(
    _contract, mlir.lower_fun(_written_out, multiple_results=False), platform="cpu"
)
