"""Shared code of subnetwork probing of edges and of nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from interpbench_jax.discovery.hard_concrete import HardConcrete, draw_noise
from interpbench_jax.discovery.learned_gates import Learned, Slopes, learn


@dataclass(frozen=True)
class ProbingSettings:
    """Settings of subnetwork probing, of edges and of nodes.

    Attributes:
        epochs: the number of steps; each uses all inputs and newly drawn gates.
        learning_rate: Adam's learning rate for the gates' locations.
        lambda_reg: the weight of the penalty, which is the mean probability that a gate is not 0;
            in the metric's unit.
        initial_gate: the initial value of every gate without noise.
        distribution: the gates' distribution.
    """

    epochs: int = 300
    learning_rate: float = 0.01
    lambda_reg: float = 1.0
    initial_gate: float = 0.9
    distribution: HardConcrete = field(default_factory=HardConcrete)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.learning_rate <= 0 or self.lambda_reg < 0:
            raise ValueError(
                "Expected at least 1 epoch, a learning rate above 0 and a lambda_reg of at least "
                f"0, got {self}."
            )
        self.distribution.location_of(self.initial_gate)

    def optimizer(self) -> optax.GradientTransformation:
        """Adam at the learning rate."""
        return optax.adam(self.learning_rate)

    def gates(
        self,
        parameters: Float[Array, " gates"],
        noise: Float[Array, " gates"],
        step: Int[Array, ""],
    ) -> tuple[Float[Array, " gates"], Float[Array, ""]]:
        """Gates drawn with these locations, and the penalty."""
        drawn = self.distribution.draw(parameters, noise)
        return drawn, self.lambda_reg * self.distribution.p_nonzero(parameters).mean()


def probe(
    settings: ProbingSettings, n_gates: int, slopes: Slopes, dtype: np.dtype, key: jax.Array
) -> Learned:
    """Learn gates from equal initial values; the result's `parameters` are their locations."""
    location = settings.distribution.location_of(settings.initial_gate)
    noise = draw_noise(key, (settings.epochs, n_gates), dtype)
    return learn(settings, np.full(n_gates, location, dtype), noise, slopes)


def kept_share(location: Float[np.ndarray, "*gates"]) -> Float[np.ndarray, "*gates"]:
    """The score of a gate: the sigmoid of its location, in 0..1."""
    return 1 / (1 + np.exp(-location))


def describe(settings: ProbingSettings, learned: Learned) -> Mapping[str, np.ndarray]:
    """The details that are returned with the scores."""
    return {
        "gates": np.asarray(settings.distribution.gate(learned.parameters), np.float64),
        "loss_history": learned.loss,
        "metric_history": learned.metric,
        "final_loss": learned.loss[-1],
    }
