"""What methods that learn gates share: the loop over steps, and the derivative by an edge mask.

The loop runs on the host. A step is one program over the gates alone, and the model's programs on
all chunks of the inputs, in threads.
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
    """What is learned; frozen and hashable, because it is part of a compiled program."""

    def optimizer(self) -> optax.GradientTransformation:
        """How parameters move."""
        ...

    def gates(
        self, parameters: Parameters, noise: Float[Array, " noise"], step: Int[Array, ""]
    ) -> tuple[Array, Float[Array, ""]]:
        """The gates of a step, and what is added to the metric."""
        ...


class Learned(NamedTuple):
    """What was learned, and how.

    Attributes:
        parameters: after the last step.
        loss: of each step: the metric's mean over inputs, and what the problem adds.
        metric: of each step.
        gates: of each step, as they were drawn.
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
    """Minimise a metric under gates, and what the problem adds to it.

    Args:
        problem: how gates come from parameters, and how these move.
        parameters: to start from.
        noise: of each step.
        slopes: from gates to the metric's mean over inputs and its derivative by the gates.
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
    """A step, and the gates of the next one; after the last one these are not looked at."""

    def gates_of(parameters: Parameters) -> tuple[Array, Array]:
        return problem.gates(parameters, noise[step], step)

    (_, added), back = jax.vjp(gates_of, parameters)
    (slope,) = back((gates_bar, jax.numpy.ones_like(added)))
    # optax relies on both.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, state = problem.optimizer().update(slope, state, parameters)
        moved: Parameters = optax.apply_updates(parameters, updates)
    return moved, state, *problem.gates(moved, noise[step + 1], step + 1)


def edge_slopes(runs: Runs, groups: Int[np.ndarray, "dst src"]) -> Slopes:
    """The metric under a mask that keeps so much of each edge, and its derivative.

    Args:
        runs: the model and the inputs.
        groups: which edge each entry of the mask belongs to, -1 for none.
    """

    def slopes(gates: Gates) -> tuple[float, Gates]:
        mask = np.where(groups >= 0, gates[groups], 0).astype(runs.dtype)
        value, bars = mask_slopes(runs, mask, None, "of_each_run")
        return value, add_up(bars, groups)

    return slopes
