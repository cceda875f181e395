"""Optimal ablation: the constants that do the least harm."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from interpbench_jax.discovery.learned_gates import Gates, learn
from interpbench_jax.discovery.method import DiscoveryData
from interpbench_jax.discovery.runs import Chunk, Runs, Scoring, mean_of, start_runs
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sweeps.forward import (
    Weights,
    add_attention,
    layer_of,
    mlp,
    scale_at,
    unembed,
)

# By itself XLA fuses across these, and computes what comes before once for every use.
_keep = jax.lax.optimization_barrier

Constant = Float[np.ndarray, "d_model pos"]


@dataclass(frozen=True)
class OptimalSettings:
    """Settings.

    Attributes:
        steps: steps for each writer; each uses all inputs.
        learning_rate: of Adam, in units of the root mean square of the distance between the
            writer's outputs and the constant that it starts from.
    """

    steps: int = 100
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        if self.steps < 0 or self.learning_rate <= 0:
            raise ValueError(f"Expected steps from 0 and a learning rate above 0, got {self}.")


@dataclass(frozen=True)
class _Moving:
    """The problem: what is learned is how far a constant moves, in a unit of its own."""

    learning_rate: float

    def optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def gates(
        self, parameters: Array, noise: Float[Array, " none"], step: Int[Array, ""]
    ) -> tuple[Array, Float[Array, ""]]:
        return parameters, jnp.zeros((), parameters.dtype)


def optimal_constants(
    model: Transformer, data: DiscoveryData, metric: Metric, settings: OptimalSettings
) -> DiscoveryData:
    """The data with constants that do the least harm, from those that it has.

    Each writer's constant is found on its own, as what minimises the metric's mean when it takes
    the place of that writer's output for all readers and inputs while nothing else is cut. The
    best one met is kept, so none does more harm than where it started.
    Source: Li and Janson 2024 (arXiv:2409.09951), section 2. The paper's constant is one vector
    for a component; ours is one for each position, as the mean's is. For circuits the paper
    finds the constants of all that is cut together; here they are found before any circuit is.

    Raises:
        ValueError: if the data has no constants to start from.
    """
    if data.constants is None:
        raise ValueError(
            "Expected data with constants to start from, got none; `data_for` finds them."
        )
    if settings.steps == 0:
        return data
    runs = start_runs(model, data, metric)
    starts = np.asarray(data.constants, runs.dtype)[0].transpose(1, 2, 0)
    found = [_search(runs, writer, start, settings) for writer, start in enumerate(starts)]
    return replace(data, constants=np.stack(found).transpose(2, 0, 1)[None])


def _search(runs: Runs, writer: int, start: Constant, settings: OptimalSettings) -> Constant:
    """One writer's constant."""
    place = _place_after(writer, runs.n_heads)
    others, squares = zip(
        *runs.each(_other_writers, (place,), np.int32(writer), start), strict=True
    )
    scale = np.sqrt(float(mean_of(list(squares), runs.n_inputs)))

    def constant(moved: Gates) -> Constant:
        return (start + scale * moved).astype(runs.dtype)

    def slopes(moved: Gates) -> tuple[float, Gates]:
        value, bar = runs.mean(_replaced_run, (place,), list(others), constant(moved))
        return float(value), scale * bar

    noise = jnp.zeros((settings.steps, 0), runs.dtype)
    learned = learn(_Moving(settings.learning_rate), np.zeros_like(start), noise, slopes)
    return constant(learned.gates[learned.metric.argmin()])


def _place_after(writer: int, n_heads: int) -> int:
    """The first place that reads a writer: 2 for each layer, its attention and its MLP."""
    layer, index = divmod(writer - 2, n_heads + 1)
    return 0 if writer < 2 else 2 * layer + (2 if index == n_heads else 1)


def _other_writers(
    scoring: Scoring,
    place: int,
    weights: Weights,
    chunk: Chunk,
    writer: Int[Array, ""],
    constant: Float[Array, "d_model pos"],
) -> tuple[Float[Array, "d_model pos batch"], Float[Array, ""]]:
    """The stream at a place without one writer; and how far this is from a constant, squared."""
    n_heads = weights.qkv.shape[2]
    layers, is_mlp = divmod(place, 2)
    seen = chunk.run.outputs[: 2 + layers * (n_heads + 1) + is_mlp * n_heads]
    bias = jnp.asarray(weights.attention_bias)[: layers + is_mlp].sum(axis=0)
    distance = seen[writer] - constant[..., None]
    squares = ((distance**2).mean(axis=(0, 1)) * chunk.share).sum()
    return seen.sum(axis=0) - seen[writer] + bias[:, None, None], squares


def _replaced_run(
    scoring: Scoring,
    place: int,
    weights: Weights,
    chunk: Chunk,
    others: Float[Array, "d_model pos batch"],
    constant: Float[Array, "d_model pos"],
) -> tuple[Float[Array, ""], Float[Array, "d_model pos"]]:
    """The metric with a writer replaced, and its derivative by the constant, summed over inputs."""
    form, n_layers, scales = scoring.form, weights.qkv.shape[0], chunk.run.scales

    def attention(number: int, x: Array) -> Array:
        scale = scale_at(scales, 2 * number)
        return add_attention(form, layer_of(weights, number), weights, x, scale)

    def add_mlp(number: int, x: Array) -> Array:
        return x + mlp(form, layer_of(weights, number), x, scale_at(scales, 2 * number + 1))

    x, backs = others + constant[..., None], []
    for number in range(place, 2 * n_layers):
        step = partial(add_mlp if number % 2 else attention, number // 2)
        x, back = jax.vjp(step, _keep(x))
        backs.append(back)
    read = partial(unembed, form, weights, scale=scale_at(scales, -1))
    logits, back = jax.vjp(read, _keep(x))
    value, back_metric = jax.vjp(chunk.metric(scoring), logits)
    (bar,) = back(*back_metric(chunk.share))
    for back in reversed(backs):
        (bar,) = back(_keep(bar))
    return (value * chunk.share).sum(), _keep(bar).sum(axis=2)
