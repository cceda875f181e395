"""Integrated gradients of the edge mask, which InterpBench's own evaluation calls EAP-IG."""

from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np

from interpbench_jax.discovery.attribution import edge_slopes
from interpbench_jax.discovery.method import DiscoveryData, Scores
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import writers


@dataclass(frozen=True)
class MaskGradientSettings:
    """Settings of the mask gradient.

    Attributes:
        steps: the number of intervals between the mask of zeros and the mask of ones; both ends
            are points too.
        reduction: how the derivatives at all `steps + 1` points are combined: `"mean"`, or
            `"sum"`, as in auto-circuit.
    """

    steps: int = 10
    reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.reduction not in ("mean", "sum"):
            raise ValueError(
                f"Expected at least 1 step and a reduction of 'mean' or 'sum', got {self}."
            )


def mask_gradient(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: MaskGradientSettings,
    key: jax.Array,
) -> Scores:
    """The negative derivative by each edge's mask, integrated from all edges cut to all kept.

    All edges have the same mask value in a run, and the change that a cut makes is that of the
    same run.
    Source: auto-circuit's `mask_gradient_prune_scores` with `integrated_grad_samples` (Miller et
    al. 2024, arXiv:2407.08734); integrated gradients of Sundararajan et al. 2017
    (arXiv:1703.01365), with equal weights for all points.
    """
    n_writers = len(writers(model.config.n_layers, model.config.n_heads))
    points = [np.full(n_writers, step / settings.steps) for step in range(settings.steps + 1)]
    scores = edge_slopes(model, data, metric, points, "of_each_run")
    scale = len(points) if settings.reduction == "sum" else 1
    return Scores(scores.level, scores.universe, scores.values * scale)
