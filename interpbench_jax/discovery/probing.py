"""What subnetwork probing of edges and of nodes share."""

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
        epochs: steps; each uses all inputs, and gates drawn anew.
        learning_rate: of Adam, for the gates' locations.
        lambda_reg: what a gate that is surely not 0 costs, over the number of gates, in the
            metric's unit.
        initial_gate: every gate's value without noise at the start.
        distribution: of the gates.
    """

    epochs: int = 300
    learning_rate: float = 0.01
    lambda_reg: float = 1.0
    initial_gate: float = 0.9
    distribution: HardConcrete = field(default_factory=HardConcrete)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.learning_rate <= 0 or self.lambda_reg < 0:
            raise ValueError(
                "Expected at least 1 epoch, a learning rate above 0 and a lambda_reg from 0, got "
                f"{self}."
            )
        self.distribution.location_of(self.initial_gate)

    def optimizer(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.learning_rate)

    def gates(
        self,
        parameters: Float[Array, " gates"],
        noise: Float[Array, " gates"],
        step: Int[Array, ""],
    ) -> tuple[Float[Array, " gates"], Float[Array, ""]]:
        """Gates drawn at the locations, and the penalty."""
        drawn = self.distribution.draw(parameters, noise)
        return drawn, self.lambda_reg * self.distribution.p_nonzero(parameters).mean()


def probe(
    settings: ProbingSettings, n_gates: int, slopes: Slopes, dtype: np.dtype, key: jax.Array
) -> Learned:
    """Learn gates that start alike; `parameters` are their locations."""
    location = settings.distribution.location_of(settings.initial_gate)
    noise = draw_noise(key, (settings.epochs, n_gates), dtype)
    return learn(settings, np.full(n_gates, location, dtype), noise, slopes)


def kept_share(location: Float[np.ndarray, "*gates"]) -> Float[np.ndarray, "*gates"]:
    """The score of a gate: the sigmoid of its location, in 0..1."""
    return 1 / (1 + np.exp(-location))


def describe(settings: ProbingSettings, learned: Learned) -> Mapping[str, np.ndarray]:
    """What there is to say beside the scores."""
    return {
        "gates": np.asarray(settings.distribution.gate(learned.parameters), np.float64),
        "loss_history": learned.loss,
        "metric_history": learned.metric,
        "final_loss": learned.loss[-1],
    }
