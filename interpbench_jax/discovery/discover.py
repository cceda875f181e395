"""Run a discovery method on a model."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import jax
import numpy as np

from interpbench_jax.axes import Constants, OtherTokens, Tokens
from interpbench_jax.discovery.data import data_for
from interpbench_jax.discovery.method import (
    FINE_UNIVERSES,
    FineUniverse,
    Method,
    Scores,
    default_metric_of,
)
from interpbench_jax.discovery.table import METHODS
from interpbench_jax.metrics import (
    DISTANCES,
    METRICS,
    Metric,
    MetricName,
    for_targets,
    resolve_metric,
)
from interpbench_jax.model import Transformer, check_model
from interpbench_jax.names import AblationName
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, PairStream, as_pairs
from interpbench_jax.universes import universe as universe_of

AnyMethod = str | Method | Callable[..., Scores]


def discover(
    model: Transformer,
    clean: Tokens | Pairs,
    corrupted: OtherTokens | AnyMethod | None = None,
    method: AnyMethod | None = None,
    *,
    settings: Any = None,
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    ablation: AblationName | Constants = "resample",
    universe: FineUniverse = "qkv",
    batch_size: int | None = None,
    max_bytes: int | None = None,
    seed: int = 0,
    freeze_layer_norm: bool = False,
) -> Scores:
    """Score how much each edge, or each node, of a model matters: `discover(model, pairs, "eap")`.

    Args:
        model: the model.
        clean: pairs of inputs, as `case.sample` gives them, after which the method comes next; or
            clean inputs alone, `[batch, pos]`, at least one.
        corrupted: with clean inputs, the inputs that replacements come from, as in
            `sweep_edges`.
        method: the name of one of `METHODS`, by default `"eap"`; or a `Method`; or a function of
            your own, `(model, data, metric, settings, key) -> Scores`.
        settings: the method's settings, a frozen dataclass; by default those in `METHODS`.
        objective: how runs are scored: the metric, its targets, and the scored positions. The
            default is the objective of the pairs; for arrays, the clean run's own answers at every
            position but the first.
        metric: the metric to use instead of the objective's: the name of one of
            `metrics.METRICS`, or a function like them. If neither is given, the metric suits the
            method: the distance from the clean run (KL; L2 for a regression), or, for methods that
            need a slope there, a loss against the targets (cross-entropy; mean absolute error).
        ablation: the replacement for what is cut: `"resample"`, `"mean"`, `"zero"`, or
            `"optimal"`, constants that are learned first; or an array, as in `sweep_edges`.
        universe: the edges to choose among: `"qkv"`, or `"qkv-merged"`, in which the two embeddings
            are one writer. `scores.rank_scores` promotes results to coarser universes.
        batch_size: the number of inputs of one call of a program; the default suits the machine.
        max_bytes: the memory that runs may take, by default 512 MiB on a CPU and 4 GiB elsewhere.
            ACDC and methods that learn gates keep what they know of all inputs beyond that.
        seed: the random seed, for methods that draw at random.
        freeze_layer_norm: see `DiscoveryData`.

    Returns:
        The scores, with their names.

    Raises:
        ValueError: if an argument does not fit the model or the others, the method needs a slope
            that the metric does not have, an output is not finite, or a method of your own returns
            scores of another shape or NaN.

    Warns:
        RuntimeWarning: if all scores are equal.
    """
    check_model(model)
    pairs, method = _read_inputs(clean, corrupted, method)
    chosen = _choose(method, settings)
    _check_limits(batch_size=batch_size, max_bytes=max_bytes)
    if universe not in FINE_UNIVERSES:
        raise ValueError(
            f"Expected universe to be one of {', '.join(FINE_UNIVERSES)}, got {universe!r}; "
            "`scores.rank_scores` promotes the scores of these to the coarser universes."
        )
    pairs = as_pairs(pairs, None, objective, metric)
    wanted = pairs.objective.metric or default_metric_of(chosen.default_metric, model.config)
    resolved = resolve_metric(wanted, model.config)
    _check_slope(chosen, resolved)
    data = data_for(
        model,
        pairs,
        ablation=ablation,
        universe=universe,
        batch_size=batch_size,
        max_bytes=max_bytes,
        freeze_layer_norm=freeze_layer_norm,
    )
    resolved = for_targets(resolved, data.targets[:, data.first_scored :])
    scores = chosen.run(model, data, resolved, chosen.settings, jax.random.key(seed))
    return _check(scores, model, data.clean.shape[1])


def _check_limits(**limits: int | None) -> None:
    for name, limit in limits.items():
        if limit is not None and limit < 1:
            raise ValueError(f"Expected {name} of at least 1, got {limit}.")


def _choose(method: AnyMethod, settings: Any) -> Method:
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"Expected method to be one of {', '.join(METHODS)}; got {method!r}.")
        method = METHODS[method]
    if not isinstance(method, Method):
        return Method(method, settings)
    if settings is None:
        return method
    if type(settings) is not type(method.settings):
        raise ValueError(
            f"Expected settings of type {type(method.settings).__name__}, got {settings!r}."
        )
    return replace(method, settings=settings)


def _check_slope(method: Method, metric: Metric) -> None:
    """Refuse a metric whose slope is 0 wherever a method uses it: all scores would be 0."""
    if method.default_metric != "loss":
        return
    name = getattr(metric, "__name__", "this metric")
    if metric is METRICS["accuracy"]:
        raise ValueError(
            f"Expected a metric with a slope, which this method follows; got {name}, which changes "
            "in steps. Use 'cross_entropy' or 'logit_diff', or a method that cuts edges, such as "
            "'exact' or 'acdc'."
        )
    if method.slope_at_clean and metric in DISTANCES:
        raise ValueError(
            "Expected a metric with a slope at the clean run, the only point at which this method "
            f"uses it; got {name}, a distance from that run, which is lowest there. Use "
            "'cross_entropy', 'logit_diff' or 'target_mae', or a method that uses more points, "
            "such as 'eap-ig-inputs'."
        )


def _read_inputs(
    clean: Tokens | Pairs,
    corrupted: OtherTokens | AnyMethod | None,
    method: AnyMethod | None,
) -> tuple[Pairs, AnyMethod]:
    """The pairs and the method, whichever place the method has."""
    if isinstance(clean, Pairs | PairStream) and method is None:
        corrupted, method = None, cast("AnyMethod | None", corrupted)
    if isinstance(corrupted, str | Method) or callable(corrupted):
        raise TypeError(
            f"Expected corrupted inputs after the clean ones, got the method {corrupted!r}: "
            "discover(model, clean, corrupted, method), or discover(model, pairs, method)."
        )
    return as_pairs(clean, corrupted), "eap" if method is None else method


def _check(scores: Scores, model: Transformer, n_pos: int) -> Scores:
    space = universe_of(scores.universe, model.config.n_layers, model.config.n_heads)
    names = space.edges if scores.level == "edge" else space.sources
    n_items, values = len(names), np.asarray(scores.values)
    if values.shape != (n_items,):
        raise ValueError(
            f"Expected one score for each of the {n_items} {scores.level}s of universe "
            f"{scores.universe!r}, got shape {values.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"Expected finite scores, got {int((~np.isfinite(values)).sum())} that are not; check "
            "the logits for overflow, or run in float64."
        )
    places = scores.by_position
    if places is not None and (places.shape != (n_items, n_pos) or not np.isfinite(places).all()):
        raise ValueError(
            f"Expected one finite score for each of the {n_items} {scores.level}s at each of "
            f"{n_pos} positions, got shape {places.shape} with "
            f"{int((~np.isfinite(places)).sum())} that are not finite."
        )
    if len(values) > 1 and (values == values[0]).all():
        warnings.warn(
            f"Every {scores.level} has the score {values[0]:g}, so that nothing is ranked. Either "
            "no cut makes a difference, or the metric does not see it.",
            RuntimeWarning,
            stacklevel=3,
        )
    return replace(scores, names=names)
