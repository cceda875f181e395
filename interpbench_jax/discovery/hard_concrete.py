"""The hard concrete distribution: gates in 0..1 that are exactly 0 or 1 with some probability.

Source: Louizos et al. 2018 (arXiv:1712.01312).
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# For noise closer to 0 or 1, the logit could be infinite, or so large that no location matters.
_SMALLEST_NOISE = 1e-4


@dataclass(frozen=True)
class HardConcrete:
    """The distribution of a gate, except for its location, which is learned.

    Attributes:
        temperature: the smoothness: the lower, the closer gates are to 0 or 1; the paper's beta.
        low: the lower end of the stretched interval, below 0; the paper's gamma.
        high: its upper end, above 1; the paper's zeta.
    """

    temperature: float = 2 / 3
    low: float = -0.1
    high: float = 1.1

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and self.low < 0 and self.high > 1):
            raise ValueError(
                f"Expected a temperature above 0 and an interval that contains 0..1, got {self}."
            )

    def draw(
        self,
        location: Float[Array | np.ndarray, "*gates"],
        noise: Float[Array | np.ndarray, "*gates"],
    ) -> Array:
        """Gates in 0..1, differentiable by their locations; the noise is from `draw_noise`."""
        logit = jnp.log(noise) - jnp.log1p(-noise)
        return self._stretch(jax.nn.sigmoid((logit + location) / self.temperature))

    def p_nonzero(self, location: Float[Array | np.ndarray, "*gates"]) -> Float[Array, "*gates"]:
        """The probability that a gate is not 0, which the L0 penalty adds up."""
        return jax.nn.sigmoid(location - self.temperature * math.log(-self.low / self.high))

    def gate(self, location: Float[Array | np.ndarray, "*gates"]) -> Float[Array, "*gates"]:
        """The gate without noise, as the paper uses it after training."""
        return self._stretch(jax.nn.sigmoid(location))

    def location_of(self, gate: float) -> float:
        """The location at which the gate without noise has this value, between 0 and 1.

        Raises:
            ValueError: if the value is not strictly between 0 and 1.
        """
        if not 0 < gate < 1:
            raise ValueError(f"Expected a gate between 0 and 1, got {gate}.")
        share = (gate - self.low) / (self.high - self.low)
        return math.log(share / (1 - share))

    def _stretch(self, concrete: Array) -> Array:
        return jnp.clip(concrete * (self.high - self.low) + self.low, 0, 1)


def draw_noise(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Float[Array, "..."]:
    """Uniform noise, bounded away from 0 and 1."""
    return jax.random.uniform(key, shape, dtype, minval=_SMALLEST_NOISE, maxval=1 - _SMALLEST_NOISE)
