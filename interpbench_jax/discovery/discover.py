"""Run a method on a model."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import jax
import numpy as np

from interpbench_jax.ablations import AblationName
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
from interpbench_jax.metrics import METRICS, Metric, MetricName, for_targets, resolve_metric
from interpbench_jax.model import Transformer, check_model, check_tokens
from interpbench_jax.objective import Fitted, Objective
from interpbench_jax.pairs import Pairs, PairStream, as_pairs
from interpbench_jax.universes import universe as universe_of

# They have no slope at the clean run, which is at no distance from itself.
_DISTANCES = tuple(METRICS[name] for name in ("kl", "l2", "centred_l2", "mae", "mse"))


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
    seed: int = 0,
    freeze_layer_norm: bool = False,
) -> Scores:
    """Score how much each edge, or each node, of a model matters.

    `discover(model, pairs, "eap")`, or with arrays `discover(model, clean, corrupted, "eap")`.

    Args:
        model: the model.
        clean: pairs of inputs, as `case.sample` gives them, after which the method comes next; or
            clean inputs alone, `[batch, pos]`, at least one.
        corrupted: beside clean inputs, those that replacements come from, as `sweep_edges` takes
            them.
        method: a name out of `METHODS`, by default `"eap"`; or a `Method`; or a function of your
            own, `(model, data, metric, settings, key) -> Scores`.
        settings: the method's, a frozen dataclass; by default those of the table.
        objective: what a run is judged by: the metric, what it compares with, and the positions
            that count. By default that of the pairs; for arrays, of the clean run's own outputs
            at every position but the first.
        metric: in place of the objective's: a name out of `metrics.METRICS` or a function like
            them; where neither says, what suits the method: a distance from the clean run (KL; L2
            for a regression), or, for methods that need a slope there, a loss against the targets
            (cross-entropy; mean absolute error).
        ablation: what takes the place of what is cut: `"resample"`, `"mean"`, `"zero"`, or
            `"optimal"`, constants that are learned first; or an array, as in `sweep_edges`.
        universe: the edges to choose among: `"qkv"`, or `"qkv-merged"`, where the two embeddings
            are one writer. `scores.rank_scores` takes results to coarser ones.
        batch_size: inputs of one call of a program; by default as many as suit the machine.
        seed: of whatever the method draws at random.
        freeze_layer_norm: see `DiscoveryData`.

    Raises:
        ValueError: if an argument does not fit the model or the others, the method needs a slope
            that the metric does not have, an output is not finite, or a method of your own returns
            scores of another shape, or nan.

    Warns:
        RuntimeWarning: if every score is the same.
    """
    check_model(model)
    pairs, method = _read_inputs(clean, corrupted, method)
    chosen = _choose(method, settings)
    if universe not in FINE_UNIVERSES:
        raise ValueError(
            f"Expected a universe out of {', '.join(FINE_UNIVERSES)}, got {universe!r}; score in "
            "one of these, and `scores.rank_scores` takes the result to the coarser ones."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"Expected a batch_size of at least 1, got {batch_size}.")
    pairs = as_pairs(pairs, None, objective, metric)
    own = pairs.objective.metric
    wanted = default_metric_of(chosen.default_metric, model.config) if own is None else own
    resolved = resolve_metric(wanted, model.config)
    _check_slope(chosen, resolved)
    pairs, fitted = _fit(model, pairs)
    resolved = for_targets(resolved, fitted.seen)
    key = jax.random.key(seed)
    data = data_for(
        model,
        pairs,
        ablation=ablation,
        universe=universe,
        batch_size=batch_size,
        freeze_layer_norm=freeze_layer_norm,
    )
    scores = chosen.run(model, data, resolved, chosen.settings, key)
    return _check(scores, model)


def _choose(method: AnyMethod, settings: Any) -> Method:
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"Expected a method out of {', '.join(METHODS)}, got {method!r}.")
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
    """Refuse a metric whose slope is 0 wherever a method looks at it: so would all scores be."""
    if method.default_metric != "loss":
        return
    name = getattr(metric, "__name__", "this metric")
    if metric is METRICS["accuracy"]:
        raise ValueError(
            f"Expected a metric with a slope, which this method follows; got {name}, which changes "
            "in steps. Use 'cross_entropy' or 'logit_diff', or a method that cuts edges, such as "
            "'exact' or 'acdc'."
        )
    if method.slope_at_clean and metric in _DISTANCES:
        raise ValueError(
            "Expected a metric with a slope at the clean run, where alone this method looks at "
            f"it; got {name}, a distance from that run, which is at its lowest there. Use "
            "'cross_entropy', 'logit_diff' or 'target_mae', or a method that looks elsewhere too, "
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


def _fit(model: Transformer, pairs: Pairs) -> tuple[Pairs, Fitted]:
    """The objective's targets, and the pairs with them, once both kinds of inputs are checked.

    With them, so that answers of the clean run are not looked for again.
    """
    for tokens in (pairs.input_ids, pairs.corrupted_input_ids):
        if tokens is None:
            continue
        check_tokens(model.config, tokens)
        if len(tokens) == 0:
            raise ValueError("Expected at least one input, got none.")
    fitted = pairs.objective.fit(model, pairs.input_ids)
    return as_pairs(pairs, None, replace(pairs.objective, targets=fitted.targets)), fitted


def _check(scores: Scores, model: Transformer) -> Scores:
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
            f"Expected finite scores, got {int((~np.isfinite(values)).sum())} that are not; look "
            "for overflow in the logits, or run in float64."
        )
    if len(values) > 1 and (values == values[0]).all():
        warnings.warn(
            f"Every {scores.level} has the score {values[0]:g}: nothing is ranked. Either nothing "
            "that was cut makes a difference, or the metric does not see it.",
            RuntimeWarning,
            stacklevel=3,
        )
    return replace(scores, names=names)
