"""Exact patching: the effect of cutting each edge, or replacing each node, on its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from interpbench_jax.discovery.method import DiscoveryData, Scores
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.names import Level
from interpbench_jax.sweeps import SweepOptions, SweepResult, sweep_edges, sweep_nodes


@dataclass(frozen=True)
class ExactSettings:
    """Exact patching has no settings."""


def exact_edges(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: ExactSettings,
    key: jax.Array,
) -> Scores:
    """The effect of cutting each edge alone, from `sweeps.sweep_edges`."""
    return _sweep(sweep_edges, "edge", model, data, metric)


def exact_nodes(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: ExactSettings,
    key: jax.Array,
) -> Scores:
    """The effect of replacing each node's output for all readers, from `sweeps.sweep_nodes`."""
    return _sweep(sweep_nodes, "node", model, data, metric)


def _sweep(
    sweep: Callable[..., SweepResult[Any]],
    level: Level,
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
) -> Scores:
    result = sweep(
        model,
        data.clean,
        data.corrupted,
        universe=data.universe,
        ablation="resample" if data.constants is None else data.constants,
        objective=data.objective(metric),
        options=SweepOptions(max_bytes=data.max_bytes),
        freeze_layer_norm=data.freeze_layer_norm,
    )
    return Scores(level, data.universe, np.asarray(result.effects, np.float64))
