"""A run whose heads' q, k and v and whose MLPs are gated, and the derivative by the gates.

All readers of a place share one residual stream, so it costs what a plain run costs.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interpbench_jax.discovery.runs import Chunk, MethodScoring
from interpbench_jax.engine.backward import run_mlp
from interpbench_jax.engine.layers import EXACT, attend, keep, matmul, project, scale_at, unembed
from interpbench_jax.engine.weights import Layer, Weights, layer_of


class GatedReplacement(NamedTuple):
    """What takes the place of what is gated, of each layer.

    Attributes:
        qkv: queries, keys and values.
        mlp: what the MLP writes.
    """

    qkv: tuple[Float[Array, "3 heads d_head pos #batch"], ...]
    mlp: tuple[Float[Array, "d_model pos #batch"], ...]


def replaced_values(scoring: MethodScoring, weights: Weights, chunk: Chunk) -> GatedReplacement:
    """Queries, keys and values of a run in which everything is replaced; and the MLPs' outputs."""
    layout, scales = weights.layout, chunk.run.scales
    x = chunk.replacement[0] + chunk.replacement[1]
    if scales is not None:
        x = jnp.broadcast_to(x, (*x.shape[:2], scales.shape[-1]))
    qkv, written = [], []
    for number in range(layout.n_layers):
        layer, mlp = layer_of(weights, number), layout.mlp_writer(number)
        scale = scale_at(scales, layout.attention_norm(number))
        qkv.append(project(scoring.form, layer, x, scale))
        written.append(chunk.replacement[mlp])
        x = x + chunk.replacement[layout.first_head(number) : mlp + 1].sum(axis=0)
        x = x + layer.attention_bias[:, None, None]
    return GatedReplacement(tuple(qkv), tuple(written))


def gated_run(
    scoring: MethodScoring,
    weights: Weights,
    chunk: Chunk,
    replaced: GatedReplacement,
    gates: Float[Array, "layers gates"],
) -> tuple[Float[Array, ""], Float[Array, "layers gates"]]:
    """The metric, and its derivative by the gates, both summed over inputs.

    Args:
        scoring: how the run becomes a number.
        weights: the model's.
        chunk: the inputs.
        replaced: what a gate of 0 gives.
        gates: of each layer: of q of its heads, of k, of v, of its MLP; 1 keeps.
    """
    form, layout, scales = scoring.form, weights.layout, chunk.run.scales
    x = keep(chunk.embedded[0] + chunk.embedded[1])
    backs = []
    for number in range(layout.n_layers):
        layer, of_qkv, of_mlp = _part(weights, gates, number)
        scale = scale_at(scales, layout.attention_norm(number))
        read = partial(project, form, layer, scale=scale)
        qkv, back_qkv = jax.vjp(read, x)
        change_qkv = keep(qkv - replaced.qkv[number])
        qkv = keep(replaced.qkv[number] + of_qkv * change_qkv)
        z, back_attend = jax.vjp(lambda x: attend(x[0], x[1], x[2], weights), qkv)
        x = keep(x + _write(layer, keep(z)))
        written, back_mlp = run_mlp(form, layer, x, scale_at(scales, layout.mlp_norm(number)))
        change_mlp = keep(written - replaced.mlp[number])
        x = keep(x + replaced.mlp[number] + of_mlp * change_mlp)
        backs.append((back_qkv, back_attend, back_mlp, change_qkv, change_mlp))
    read = partial(unembed, form, weights, scale=scale_at(scales, -1))
    logits, back_unembed = jax.vjp(read, x)
    value, back_metric = jax.vjp(chunk.metric(scoring), logits)
    (x_bar,) = back_unembed(*back_metric(chunk.share))
    bars = []
    for number in reversed(range(layout.n_layers)):
        layer, of_qkv, of_mlp = _part(weights, gates, number)
        back_qkv, back_attend, back_mlp, change_qkv, change_mlp = backs[number]
        x_bar = keep(x_bar)
        mlp_bar = _sum_of_products(x_bar[None], change_mlp[None])
        x_bar = keep(x_bar + back_mlp(of_mlp * x_bar))
        (qkv_bar,) = back_attend(keep(_read(layer, x_bar)))
        qkv_bar = keep(qkv_bar)
        n_heads = 3 * qkv_bar.shape[1]
        heads_bar = _sum_of_products(qkv_bar.reshape(n_heads, -1), change_qkv.reshape(n_heads, -1))
        bars.append(jnp.concatenate([heads_bar, mlp_bar]))
        if number:
            x_bar = x_bar + back_qkv(keep(of_qkv * qkv_bar))[0]
    return (value * chunk.share).sum(), jnp.stack(bars[::-1])


def _part(weights: Weights, gates: Array, number: int) -> tuple[Layer, Array, Array]:
    """A layer's weights and gates."""
    n_heads = weights.qkv.shape[2]
    of_qkv = gates[number, :-1].reshape(3, n_heads, 1, 1, 1)
    return layer_of(weights, number), of_qkv, gates[number, -1]


def _write(layer: Layer, z: Float[Array, "heads d_head pos batch"]) -> Array:
    heads, d_head, *tail = z.shape
    written = matmul(_joined(layer), z.reshape(heads * d_head, *tail))
    return written + layer.attention_bias[:, None, None]


def _read(layer: Layer, x_bar: Float[Array, "d_model pos batch"]) -> Array:
    heads, _, d_head = layer.head_out.shape
    return matmul(_joined(layer).T, x_bar).reshape(heads, d_head, *x_bar.shape[1:])


def _joined(layer: Layer) -> Float[Array, "d_model values"]:
    return layer.head_out.transpose(1, 0, 2).reshape(layer.head_out.shape[1], -1)


def _sum_of_products(x: Array, y: Array) -> Array:
    """For each entry of the first axis: as a matrix product, because XLA's reductions are slow."""
    n = len(x)
    return jnp.einsum("gn,gn->g", x.reshape(n, -1), y.reshape(n, -1), precision=EXACT)
