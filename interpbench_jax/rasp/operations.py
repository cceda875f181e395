"""The operations of a compiled program's heads and MLPs on rows of values, of NumPy or of JAX.

Source: Lindner et al. 2023 (Tracr, arXiv:2301.05062), and its
`tracr/craft/chamber/` at `9ce2b8c`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from interpbench_jax.axes import AnyArray, Bool, Float
from interpbench_jax.namespaces import namespace

ValueRows = Float[AnyArray, "batch pos values"]
Pattern = Float[AnyArray, "batch q_pos k_pos"]

_COLDNESS = 100.0
_FEW = 64
_MIXED_ENTRIES = 1 << 20
_EXACT = jax.lax.Precision.HIGHEST


def attention_pattern(
    keys: Float[AnyArray, "batch k_pos keys"],
    queries: Float[AnyArray, "batch q_pos queries"],
    selected: Float[AnyArray, "keys queries"],
    bos_score: Float[AnyArray, "batch k_pos"],
    is_visible: Bool[AnyArray, "batch q_pos k_pos"],
) -> Pattern:
    """The attention of each query to each key; rows sum to 1.

    The softmax is so cold that it averages over the keys with the largest score: 1 for selected
    keys, `bos_score` at BOS (1/2 where BOS is attended to only if nothing is selected, 1 where it
    is always attended to), 0 elsewhere. Rows that are not one-hot give scores in between.
    """
    wanted = _sum_products("bqv,kv->bqk", queries, selected)
    scores = _sum_products("bqv,bkv->bqk", wanted, keys)
    scores = _COLDNESS * (scores + bos_score[:, None, :])
    if namespace(scores, is_visible) is np:
        hidden = np.float32(-np.inf)
        return scipy.special.softmax(np.where(is_visible, scores, hidden), axis=-1)
    return jax.nn.softmax(jnp.where(is_visible, scores, -jnp.inf), axis=-1)


def attend(pattern: Pattern, values: Float[AnyArray, "batch k_pos values"]) -> ValueRows:
    """The mean of the values under an attention pattern."""
    return _sum_products("bqk,bkv->bqv", pattern, values)


def look_up(
    rows: Float[AnyArray, "batch pos arguments"], table: Float[AnyArray, "arguments values"]
) -> ValueRows:
    """The table's rows, weighted by the entries of each argument row: zeros give zeros."""
    return _sum_products("bpa,av->bpv", rows, table)


def look_up_pair(
    first: Float[AnyArray, "batch pos first"],
    second: Float[AnyArray, "batch pos second"],
    table: Float[AnyArray, "first second values"],
) -> ValueRows:
    """The table's rows, each weighted by the presence of its pair of values: relu(x + y - 1)."""
    if namespace(first, second, table) is np:
        return _look_up_pair(first, second, table)
    present = jax.nn.relu(first[..., :, None] + second[..., None, :] - 1)
    return _sum_products("bpfs,fsv->bpv", present, table)


def _look_up_pair(
    first: Float[AnyArray, "batch pos first"],
    second: Float[AnyArray, "batch pos second"],
    table: Float[AnyArray, "first second values"],
) -> Float[AnyArray, "batch pos values"]:
    """`look_up_pair` in NumPy, which finds a pair of single values in the table.

    Only the rows of means of several values, which are few, are multiplied by the whole table.
    """
    found = np.zeros((*first.shape[:2], table.shape[2]), np.float32)
    counts = [np.count_nonzero(rows, axis=-1) for rows in (first, second)]
    highest = [rows.max(axis=-1) for rows in (first, second)]
    is_sharp = (counts[0] <= 1) & (counts[1] <= 1) & (highest[0] <= 1) & (highest[1] <= 1)
    sharp, mixed = np.nonzero(is_sharp), np.nonzero(~is_sharp)
    pairs = first[sharp].argmax(axis=-1), second[sharp].argmax(axis=-1)
    present = np.maximum(highest[0][sharp] + highest[1][sharp] - 1, 0)
    found[sharp] = present[:, None] * table[pairs]
    size = max(1, _MIXED_ENTRIES // (table.shape[0] * table.shape[1]))
    flat = table.reshape(-1, table.shape[2])
    for start in range(0, len(mixed[0]), size):
        rows = tuple(index[start : start + size] for index in mixed)
        present = np.maximum(first[rows][:, :, None] + second[rows][:, None, :] - 1, 0)
        found[rows] = present.reshape(len(present), -1) @ flat
    return found


def look_up_number(
    numbers: Float[AnyArray, "batch pos 1"],
    thresholds: Float[AnyArray, " steps"],
    table: Float[AnyArray, "levels values"],
) -> ValueRows:
    """The table's row for the step that each number lies on."""
    if namespace(numbers, thresholds) is np:
        return np.take(table, np.searchsorted(thresholds, numbers[..., 0]), axis=0)
    # Comparing with every threshold is fastest if there are few.
    method = "compare_all" if len(thresholds) <= _FEW else "scan"
    level = jnp.searchsorted(thresholds, numbers[..., 0], side="left", method=method)
    return jnp.take(table, level, axis=0)


def _sum_products(subscripts: str, one: AnyArray, other: AnyArray) -> AnyArray:
    """`einsum` of two arrays; some versions of NumPy have no fast one for products by batch."""
    if namespace(one, other) is not np:
        return jnp.einsum(subscripts, one, other, precision=_EXACT)
    if subscripts == "bqv,bkv->bqk":
        return np.matmul(one, other.swapaxes(1, 2))
    if subscripts == "bqk,bkv->bqv":
        return np.matmul(one, other)
    return np.einsum(subscripts, one, other, optimize=True)
