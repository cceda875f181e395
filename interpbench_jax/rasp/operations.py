"""The operations of a compiled program's heads and MLPs on rows of values.

Source: Lindner et al. 2023 (Tracr, arXiv:2301.05062), and its
`tracr/craft/chamber/` at `9ce2b8c`.
"""

import jax
import jax.numpy as jnp

from interpbench_jax.axes import Array, Bool, Float

ValueRows = Float[Array, "batch pos values"]
Pattern = Float[Array, "batch q_pos k_pos"]

_COLDNESS = 100.0
_FEW = 64
_EXACT = jax.lax.Precision.HIGHEST


def attention_pattern(
    keys: Float[Array, "batch k_pos keys"],
    queries: Float[Array, "batch q_pos queries"],
    selected: Float[Array, "keys queries"],
    bos_score: Float[Array, "batch k_pos"],
    is_visible: Bool[Array, "batch q_pos k_pos"],
) -> Pattern:
    """The attention of each query to each key; rows sum to 1.

    The softmax is so cold that it averages over the keys with the largest score: 1 for selected
    keys, `bos_score` at BOS (1/2 where BOS is attended to only if nothing is selected, 1 where it
    is always attended to), 0 elsewhere. Rows that are not one-hot give scores in between.
    """
    wanted = jnp.einsum("bqv,kv->bqk", queries, selected, precision=_EXACT)
    scores = jnp.einsum("bqv,bkv->bqk", wanted, keys, precision=_EXACT)
    scores = _COLDNESS * (scores + bos_score[:, None, :])
    return jax.nn.softmax(jnp.where(is_visible, scores, -jnp.inf), axis=-1)


def attend(pattern: Pattern, values: Float[Array, "batch k_pos values"]) -> ValueRows:
    """The mean of the values under an attention pattern."""
    return jnp.einsum("bqk,bkv->bqv", pattern, values, precision=_EXACT)


def look_up(
    rows: Float[Array, "batch pos arguments"], table: Float[Array, "arguments values"]
) -> ValueRows:
    """The table's rows, weighted by the entries of each argument row: zeros give zeros."""
    return jnp.einsum("bpa,av->bpv", rows, table, precision=_EXACT)


def look_up_pair(
    first: Float[Array, "batch pos first"],
    second: Float[Array, "batch pos second"],
    table: Float[Array, "first second values"],
) -> ValueRows:
    """The table's rows, each weighted by the presence of its pair of values: relu(x + y - 1)."""
    present = jax.nn.relu(first[..., :, None] + second[..., None, :] - 1)
    return jnp.einsum("bpfs,fsv->bpv", present, table, precision=_EXACT)


def look_up_number(
    numbers: Float[Array, "batch pos 1"],
    thresholds: Float[Array, " steps"],
    table: Float[Array, "levels values"],
) -> ValueRows:
    """The table's row for the step that each number lies on."""
    # Comparing with every threshold is fastest if there are few.
    method = "compare_all" if len(thresholds) <= _FEW else "scan"
    level = jnp.searchsorted(thresholds, numbers[..., 0], side="left", method=method)
    return jnp.take(table, level, axis=0)
