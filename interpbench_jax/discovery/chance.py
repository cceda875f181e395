"""Random scores: the baseline that a method has to beat."""

from dataclasses import dataclass

import jax
import numpy as np

from interpbench_jax.discovery.method import DiscoveryData, Scores
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer


@dataclass(frozen=True)
class ChanceSettings:
    """The method has no settings."""


def chance(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: ChanceSettings,
    key: jax.Array,
) -> Scores:
    """A number from 0 to 1 for each edge, drawn independently and uniformly."""
    drawn = jax.random.uniform(key, (len(data.edges(model.config).edges),))
    return Scores("edge", data.universe, np.asarray(drawn, np.float64))
