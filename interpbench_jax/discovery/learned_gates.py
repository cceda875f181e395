"""Shared code of methods that learn gates: the optimization loop and the edge mask's derivative.

The loop runs on the host. Each step runs one program for the gates alone, and then the model's
programs on all chunks of the inputs, in threads.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from interpbench_jax.discovery.attribution import mask_slopes
from interpbench_jax.discovery.method import add_up
from interpbench_jax.discovery.runs import Runs
from interpbench_jax.engine.programs import compiled

Parameters = Any
Gates = Float[np.ndarray, "..."]
Slopes = Callable[[Gates], tuple[float, Gates]]


@runtime_checkable
class GateProblem(Protocol):
    """The optimization problem; frozen and hashable, as a static argument of compiled programs."""

    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer of the parameters."""
        ...

    def gates(
        self, parameters: Parameters, noise: Float[Array, " noise"], step: Int[Array, ""]
    ) -> tuple[Array, Float[Array, ""]]:
        """The gates of a step, and the penalty that is added to the metric."""
        ...


class Learned(NamedTuple):
    """The learned parameters and the history of the optimization.

    Attributes:
        parameters: the parameters after the last step.
        loss: each step's loss: the metric's mean over inputs plus the problem's penalty.
        metric: each step's metric, averaged over inputs.
        gates: each step's gates, as drawn.
    """

    parameters: Parameters
    loss: Float[np.ndarray, " steps"]
    metric: Float[np.ndarray, " steps"]
    gates: Float[np.ndarray, "steps ..."]


def learn(
    problem: GateProblem,
    parameters: Parameters,
    noise: Float[Array, "steps noise"],
    slopes: Slopes,
) -> Learned:
    """Minimize a metric under gates, plus the problem's penalty.

    Args:
        problem: how gates depend on parameters, and the optimizer of the parameters.
        parameters: the initial parameters.
        noise: each step's noise.
        slopes: a function that maps gates to the metric's mean over inputs and its derivative by
            the gates.
    """
    start = np.int32(0)
    state, gates, added = compiled(_start, (problem,), parameters, noise, start)(
        parameters, noise, start
    )
    losses, metrics, drawn = [], [], []
    for step in range(len(noise)):
        drawn.append(np.asarray(gates))
        value, gates_bar = slopes(drawn[-1])
        metrics.append(value)
        losses.append(value + float(added))
        arguments = (
            *(parameters, state, noise, np.int32(step)),
            gates_bar.astype(gates.dtype),
        )
        move = compiled(_move, (problem,), *arguments)
        parameters, state, gates, added = move(*arguments)
    parameters = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters)
    return Learned(parameters, np.asarray(losses), np.asarray(metrics), np.stack(drawn))


def _start(
    problem: GateProblem, parameters: Parameters, noise: Array, step: Array
) -> tuple[Any, Array, Array]:
    return problem.optimizer().init(parameters), *problem.gates(parameters, noise[step], step)


def _move(
    problem: GateProblem,
    parameters: Parameters,
    state: Any,
    noise: Array,
    step: Array,
    gates_bar: Array,
) -> tuple[Any, ...]:
    """Take a step and draw the gates of the next one; after the last step, these are unused."""

    def gates_of(parameters: Parameters) -> tuple[Array, Array]:
        return problem.gates(parameters, noise[step], step)

    (_, added), back = jax.vjp(gates_of, parameters)
    (slope,) = back((gates_bar, jax.numpy.ones_like(added)))
    # optax relies on both kinds of promotion.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, state = problem.optimizer().update(slope, state, parameters)
        moved: Parameters = optax.apply_updates(parameters, updates)
    return moved, state, *problem.gates(moved, noise[step + 1], step + 1)


def edge_slopes(runs: Runs, groups: Int[np.ndarray, "dst src"]) -> Slopes:
    """A function that maps edge gates to the metric and its derivative, averaged over inputs.

    Args:
        runs: the model and the inputs.
        groups: the edge that each entry of the mask belongs to, -1 for none.
    """

    def slopes(gates: Gates) -> tuple[float, Gates]:
        mask = np.where(groups >= 0, gates[groups], 0).astype(runs.dtype)
        ((value, bars),) = mask_slopes(runs, [(mask, None)], "of_each_run")
        return value, add_up(bars, groups)

    return slopes
