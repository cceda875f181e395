"""A run in which heads' queries, keys and values and MLPs' outputs are gated, and its derivative.

All readers of a layer share one residual stream, so a gated run costs no more than a plain run; a
masked run has an input of its own for every reader.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interpbench_jax.engine.backward import run_mlp
from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.clean import project_outputs
from interpbench_jax.engine.layers import (
    EXACT,
    add_up,
    attend,
    join_heads,
    keep,
    matmul,
    project,
    scale_at,
    unembed,
    write_heads,
)
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Layer, Weights, layer_of
from interpbench_jax.layout import N_KINDS


class GatedReplacement(NamedTuple):
    """What a gate of 0 gives, for each layer.

    Attributes:
        qkv: the replacements of queries, keys and values.
        mlp: the replacement of the MLP's output.
    """

    qkv: tuple[Float[Array, "3 heads d_head pos #batch"], ...]
    mlp: tuple[Float[Array, "d_model pos #batch"], ...]


def replaced_values(
    form: Form, scoring: Scoring, weights: Weights, chunk: Chunk
) -> GatedReplacement:
    """Queries, keys and values of a run in which everything is replaced, and the MLPs' outputs."""
    layout = weights.layout
    qkv = project_outputs(form, weights, chunk.replacement, chunk.run.scales)
    mlp = [chunk.replacement[layout.mlp_writer(number)] for number in range(layout.n_layers)]
    return GatedReplacement(qkv, tuple(mlp))


def gated_run(
    form: Form,
    scoring: Scoring,
    weights: Weights,
    chunk: Chunk,
    replaced: GatedReplacement,
    gates: Float[Array, "layers gates"],
) -> tuple[Float[Array, ""], Float[Array, "layers gates"]]:
    """The metric, and its derivative by the gates, both summed over inputs.

    Args:
        form: the model's form.
        scoring: how logits become a score.
        weights: the model's weights.
        chunk: the inputs.
        replaced: what a gate of 0 gives.
        gates: each layer's gates: of its heads' q, of their k, of their v, of its MLP; 1 keeps.
    """
    layout, scales = weights.layout, chunk.run.scales
    x = keep(add_up(chunk.embedded))
    backs = []
    for number in range(layout.n_layers):
        layer, qkv_gates, mlp_gate = _part(weights, gates, number)
        scale = scale_at(scales, layout.attention_norm(number))
        qkv, back_qkv = jax.vjp(partial(project, form, layer, scale=scale), x)
        change_qkv = keep(qkv - replaced.qkv[number])
        qkv = keep(replaced.qkv[number] + qkv_gates * change_qkv)
        z, back_attend = jax.vjp(lambda x: attend(x[0], x[1], x[2], weights), qkv)
        x = keep(x + write_heads(layer, keep(z)))
        written, back_mlp = run_mlp(form, layer, x, scale_at(scales, layout.mlp_norm(number)))
        change_mlp = keep(written - replaced.mlp[number])
        x = keep(x + replaced.mlp[number] + mlp_gate * change_mlp)
        backs.append((back_qkv, back_attend, back_mlp, change_qkv, change_mlp))
    read = partial(unembed, form, weights, scale=scale_at(scales, -1))
    logits, back_unembed = jax.vjp(read, x)
    value, back_metric = jax.vjp(chunk.metric(scoring), logits)
    (x_bar,) = back_unembed(*back_metric(chunk.share))
    bars = []
    for number in reversed(range(layout.n_layers)):
        layer, qkv_gates, mlp_gate = _part(weights, gates, number)
        back_qkv, back_attend, back_mlp, change_qkv, change_mlp = backs[number]
        x_bar = keep(x_bar)
        mlp_bar = _sum_of_products(x_bar[None], change_mlp[None])
        x_bar = keep(x_bar + back_mlp(mlp_gate * x_bar))
        (qkv_bar,) = back_attend(keep(_back_to_heads(layer, x_bar)))
        qkv_bar = keep(qkv_bar)
        shape = (layout.head_inputs, -1)
        heads_bar = _sum_of_products(qkv_bar.reshape(shape), change_qkv.reshape(shape))
        bars.append(jnp.concatenate([heads_bar, mlp_bar]))
        if number:
            x_bar = x_bar + back_qkv(keep(qkv_gates * qkv_bar))[0]
    return (value * chunk.share).sum(), jnp.stack(bars[::-1])


def _part(weights: Weights, gates: Array, number: int) -> tuple[Layer, Array, Array]:
    """A layer's weights, the gates of its heads' q, k and v, and the gate of its MLP."""
    shape = (N_KINDS, weights.layout.n_heads, 1, 1, 1)
    return layer_of(weights, number), gates[number, :-1].reshape(shape), gates[number, -1]


def _back_to_heads(layer: Layer, x_bar: Float[Array, "d_model pos batch"]) -> Array:
    """The derivative by each head's mean of values."""
    heads, _, d_head = layer.head_out.shape
    return matmul(join_heads(layer).T, x_bar).reshape(heads, d_head, *x_bar.shape[1:])


def _sum_of_products(x: Array, y: Array) -> Array:
    """The sum of products for each entry of the first axis.

    A matrix product, because XLA's reductions are slow.
    """
    n = len(x)
    return jnp.einsum("gn,gn->g", x.reshape(n, -1), y.reshape(n, -1), precision=EXACT)
