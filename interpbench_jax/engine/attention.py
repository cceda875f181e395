"""Attention as sums that are written out, term by term, with a derivative of their own."""

import functools
import math
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

# Sums over so many terms are written out, term by term: fused loops along the rows, no transposes.
_MOST_TERMS = 32


# JAX's own derivative of the written-out sums takes five times as long.
@jax.custom_vjp
def mix_values(q: Array, k: Array, v: Array, is_seen: Array, scale: Array) -> Array:
    """The mean of the values under each query's pattern.

    Args:
        q: queries, `[groups, d_head, pos, rows]`; keys and values likewise.
        k: keys.
        v: values.
        is_seen: which keys each query sees, `[pos, pos, rows]`; `rows` may be 1.
        scale: what the scores are multiplied by.
    """
    mixed, grown = _mix(q, k, v, is_seen, scale)
    return mixed / grown.sum(axis=2)[:, None]


def _attend_forward(
    q: Array, k: Array, v: Array, is_seen: Array, scale: Array
) -> tuple[Array, tuple[Array, ...]]:
    mixed, grown = _mix(q, k, v, is_seen, scale)
    total = grown.sum(axis=2)
    z = mixed / total[:, None]
    pattern = jax.lax.optimization_barrier(grown / total[:, :, None])
    return z, (q, k, v, scale, pattern, z)


def _attend_backward(
    kept: tuple[Array, ...], z_bar: Array
) -> tuple[Array, Array, Array, None, None]:
    q, k, v, scale, pattern, z = kept
    pattern_bar = _sum_of_terms(_score, z_bar, v, (1, 1))
    mean_bar = (z_bar * z).sum(axis=1)
    scores_bar = pattern * (pattern_bar - mean_bar[:, :, None]) * scale
    scores_bar = jax.lax.optimization_barrier(scores_bar)
    q_bar = _sum_of_terms(_weigh_keys, scores_bar, k, (2, 2))
    k_bar = _sum_of_terms(_weigh_queries, scores_bar, q, (1, 2))
    v_bar = _sum_of_terms(_weigh_queries, pattern, z_bar, (1, 2))
    return q_bar, k_bar, v_bar, None, None


mix_values.defvjp(_attend_forward, _attend_backward)


def _mix(q: Array, k: Array, v: Array, is_seen: Array, scale: Array) -> tuple[Array, Array]:
    """The values' sum under exponentials of the scores, and the exponentials."""
    scores = _sum_of_terms(_score, q, k, (1, 1)) * scale
    # Without the barriers XLA computes scores and exponentials anew for each use.
    seen = jnp.where(is_seen[None], scores, -jnp.inf)
    scores = jax.lax.optimization_barrier(seen)
    largest = jax.lax.optimization_barrier(scores.max(axis=2, keepdims=True))
    grown = jax.lax.optimization_barrier(jnp.exp(scores - largest))
    return _sum_of_terms(_weigh_keys, grown, v, (2, 2)), grown


def _score(queries: Array, keys: Array) -> Array:
    return queries[:, :, None] * keys[:, None, :]


def _weigh_keys(of_key: Array, values: Array) -> Array:
    return of_key[:, None] * values[:, :, None]


def _weigh_queries(of_query: Array, values: Array) -> Array:
    return of_query[:, None] * values[:, :, None]


def _sum_of_terms(
    term: Callable[[Array, Array], Array], x: Array, y: Array, axes: tuple[int, int]
) -> Array:
    """The sum of `term` over an axis of each argument, in runs of written-out terms."""

    def add_terms(x: Array, y: Array, axes: tuple[int, int]) -> Array:
        def pick(array: Array, axis: int, i: int) -> Array:
            return jax.lax.index_in_dim(array, i, axis, keepdims=False)

        count = range(x.shape[axes[0]])
        return functools.reduce(
            operator.add, [term(pick(x, axes[0], i), pick(y, axes[1], i)) for i in count]
        )

    n = x.shape[axes[0]]
    if n <= _MOST_TERMS:
        return add_terms(x, y, axes)
    x, y = (_in_runs(array, axis) for array, axis in zip((x, y), axes, strict=True))

    def add_run(total: Array, both: tuple[Array, Array]) -> tuple[Array, None]:
        return total + add_terms(*both, (0, 0)), None

    shape = jax.eval_shape(term, x[0, 0], y[0, 0]).shape
    return jax.lax.scan(add_run, jnp.zeros(shape, x.dtype), (x, y))[0]


def _in_runs(x: Array, axis: int) -> Array:
    """An axis cut in runs of `_MOST_TERMS`, filled up with zeros: `[runs, terms, ...]`."""
    x = jnp.moveaxis(x, axis, 0)
    runs = math.ceil(x.shape[0] / _MOST_TERMS)
    missing = runs * _MOST_TERMS - x.shape[0]
    x = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(runs, _MOST_TERMS, *x.shape[1:])
