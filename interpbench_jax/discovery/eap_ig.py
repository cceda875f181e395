"""Edge attribution patching with integrated gradients over inputs or over activations."""

from dataclasses import dataclass

import jax
import numpy as np

from interpbench_jax.discovery.attribution import edge_slopes, embedding_gates, is_written_by
from interpbench_jax.discovery.method import DiscoveryData, Scores
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import EMBEDDINGS, Kind


@dataclass(frozen=True)
class EAPIGSettings:
    """Settings of both variants.

    Attributes:
        steps: the number of points between the replacement and the clean run; for activations,
            the number for each place.
    """

    steps: int = 5

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"Expected at least 1 step, got {self.steps}.")


def eap_ig_inputs(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: EAPIGSettings,
    key: jax.Array,
) -> Scores:
    """EAP with the derivative averaged over runs with interpolated embeddings.

    At point k of n, the embeddings are k/n of the clean ones plus 1 - k/n of their replacements, k
    from 0 to n - 1.
    Source: Hanna et al. 2024 (arXiv:2403.17806).
    """
    points = [embedding_gates(model, step / settings.steps) for step in range(settings.steps)]
    return edge_slopes(model, data, metric, points, "of_clean_run")


def eap_ig_activations(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: EAPIGSettings,
    key: jax.Array,
) -> Scores:
    """EAP with the derivative averaged over runs in which one place's output is interpolated.

    The places are the embeddings, the heads of each layer, and each MLP; everything after the
    place is recomputed. At point k of n, the place's output is k/n of the clean one plus 1 - k/n
    of its replacement, k from 1 to n. That output is treated as a constant, so the derivative by
    earlier outputs does not go through it.
    Source: Hanna et al. 2024 (arXiv:2403.17806), in the authors' implementation, which Mueller et
    al. 2025 (arXiv:2504.13151) compare with other methods.
    """
    layers = range(model.config.n_layers)
    places = [is_written_by(model, EMBEDDINGS)] + [
        is_written_by(model, (kind,), layer)
        for layer in layers
        for kind in (Kind.HEAD, Kind.MLP_OUT)
    ]
    points = [
        (np.where(place, step / settings.steps, 1.0), np.where(place, 0.0, 1.0))
        for place in places
        for step in range(1, settings.steps + 1)
    ]
    return edge_slopes(model, data, metric, points, "of_clean_run")
