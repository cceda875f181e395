"""First-order effects of replacing what one query and one key of a head make of each other."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interpbench_jax.engine.backward import Derivatives
from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.clean import project_outputs
from interpbench_jax.engine.layers import EXACT, exponentials, keep
from interpbench_jax.engine.weights import Form, Weights, layer_of

Crossings = Float[Array, "layers 3 heads q_pos k_pos"]


def crossing_effects(
    form: Form, weights: Weights, chunk: Chunk, outputs_bar: tuple[Derivatives, ...]
) -> Crossings:
    """The effect of cutting each head's connection of one query and one key, summed over inputs.

    Their score is computed with the other run's query, or with the other run's key; or the value
    at the key's position is the other run's, for this query. The head's output at the query is
    then exact, and what it does to the metric is first order.

    Args:
        form: the model's form.
        weights: the model's weights.
        chunk: the inputs, and the replacements of all writers' outputs.
        outputs_bar: the derivative of the metric by the writers' outputs in the clean run
            (`Point.outputs_bar`).

    Returns:
        The effects by query, by key and by value, of every layer.
    """
    layout, scales = weights.layout, chunk.run.scales
    own = project_outputs(form, weights, chunk.run.outputs, scales)
    given = project_outputs(form, weights, chunk.replacement, scales)
    found = []
    for number in range(layout.n_layers):
        # A layer's heads write after the norm in front of them.
        bar = outputs_bar[layout.attention_norm(number) + 1]
        head_out = layer_of(weights, number).head_out
        z_bar = jnp.einsum("hmd,hmib->hdib", head_out, bar, precision=EXACT)
        # A replacement that all inputs share has one row.
        new = jnp.broadcast_to(given[number], own[number].shape)
        found.append(_of_layer(weights, keep(own[number]), keep(new), z_bar))
    return jnp.stack(found)


def _of_layer(
    weights: Weights,
    own: Float[Array, "3 heads d_head pos batch"],
    given: Float[Array, "3 heads d_head pos batch"],
    z_bar: Float[Array, "heads d_head pos batch"],
) -> Float[Array, "3 heads q_pos k_pos"]:
    (q, k, v), (new_q, new_k, new_v) = own, given

    def scores_of(queries: Array, keys: Array) -> Float[Array, "heads q_pos k_pos batch"]:
        products = jnp.einsum("hdib,hdjb->hijb", queries, keys, precision=EXACT)
        return products * weights.score_scale

    n_pos = q.shape[2]

    def attention(scores: Array) -> Float[Array, "heads q_pos k_pos batch"]:
        grown = exponentials(scores, jnp.asarray(weights.is_seen))
        return grown / grown.sum(axis=2, keepdims=True)

    scores = scores_of(q, k)
    pattern = attention(scores)
    # How well each value would serve each query.
    service = jnp.einsum("hdib,hdjb->hijb", z_bar, v, precision=EXACT)

    def by_score(new_scores: Array) -> Float[Array, "heads q_pos k_pos"]:
        def of_key(position: Int[Array, ""]) -> Float[Array, "heads q_pos"]:
            here = (jnp.arange(n_pos, dtype=position.dtype) == position)[None, None, :, None]
            moved = attention(jnp.where(here, new_scores, scores)) - pattern
            return (moved * service).sum(axis=(2, 3))

        # One key after another: the patterns of all would not fit into memory.
        found = jax.lax.map(of_key, jnp.arange(n_pos, dtype=jnp.int32))
        return jnp.moveaxis(found, 0, -1)

    change = jnp.einsum("hdib,hdjb->hijb", z_bar, new_v - v, precision=EXACT)
    by_value = (pattern * change).sum(axis=-1)
    return jnp.stack([by_score(scores_of(new_q, k)), by_score(scores_of(q, new_k)), by_value])
