"""Run a method on a model."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from interpbench_jax.axes import OtherTokens, Tokens
from interpbench_jax.discovery.ablations import AblationName, data_for
from interpbench_jax.discovery.method import (
    FINE_UNIVERSES,
    FineUniverse,
    Method,
    Scores,
    default_objective,
)
from interpbench_jax.discovery.table import METHODS
from interpbench_jax.metrics import METRICS, Metric, MetricName, for_targets, resolve_metric
from interpbench_jax.model import Transformer
from interpbench_jax.targets import Targets, check_target_values, check_targets
from interpbench_jax.universes import universe as universe_of

# They have no slope at the clean run, which is at no distance from itself.
_DISTANCES = tuple(METRICS[name] for name in ("kl", "l2", "centred_l2", "mae", "mse"))


def discover(
    model: Transformer,
    clean: Tokens,
    corrupted: OtherTokens,
    method: str | Method | Callable[..., Scores] = "eap",
    *,
    settings: Any = None,
    metric: MetricName | Metric | None = None,
    ablation: AblationName = "resample",
    targets: Targets | None = None,
    first_scored: int = 1,
    universe: FineUniverse = "qkv",
    batch_size: int | None = None,
    seed: int = 0,
    freeze_layer_norm: bool = False,
) -> Scores:
    """Score how much each edge, or each node, of a model matters.

    Args:
        model: the model.
        clean: inputs, `[batch, pos]`, at least one.
        corrupted: the inputs that replacements come from; for `"resample"` paired with `clean`
            by row.
        method: a name out of `METHODS`; or a `Method`; or a function
            `(model, data, metric, settings, key) -> Scores` of your own.
        settings: the method's, a frozen dataclass; by default those of the table.
        metric: a name out of `metrics.METRICS` or a function like them; by default what suits the
            method: a distance from the clean run (KL; L2 for a regression), or, for methods that
            need a slope there, a loss against the targets (cross-entropy; mean absolute error).
        ablation: what takes the place of what is cut: `"resample"`, `"mean"`, `"zero"` or
            `"optimal"`, constants that are learned first.
        targets: `[batch, pos]`, or `[batch, pos, 2]`: an answer, and the distractor that
            `"logit_diff"` compares it with; by default the clean run's own classes or numbers.
        first_scored: the first position that the metric looks at; 1 leaves BOS out.
        universe: the edges to choose among: `"qkv"`, or `"qkv-merged"`, where the two embeddings
            are one writer. `scores.rank_scores` takes results to coarser ones.
        batch_size: inputs of one call of a program; by default as many as suit the machine.
        seed: of whatever the method draws at random.
        freeze_layer_norm: whether layer norms divide by what they do in the clean run; see
            `DiscoveryData`.

    Raises:
        ValueError: if an argument does not fit the model or the others, the method needs a slope
            that the metric does not have, an output is not finite, or a method of your own returns
            scores of another shape, or nan.

    Warns:
        RuntimeWarning: if every score is the same.
    """
    chosen = _choose(method, settings)
    if universe not in FINE_UNIVERSES:
        raise ValueError(
            f"Expected a universe out of {', '.join(FINE_UNIVERSES)}, got {universe!r}; score in "
            "one of these, and `scores.rank_scores` takes the result to the coarser ones."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"Expected a batch_size of at least 1, got {batch_size}.")
    wanted = default_objective(chosen.objective, model.config) if metric is None else metric
    resolved = resolve_metric(wanted, model.config)
    _check_slope(chosen, resolved)
    _check_inputs(model, clean, corrupted, targets, first_scored)
    resolved = for_targets(resolved, targets)
    key = jax.random.key(seed)
    data = data_for(
        model,
        clean,
        corrupted,
        ablation=ablation,
        targets=targets,
        metric=None if metric is None else resolved,
        first_scored=first_scored,
        universe=universe,
        batch_size=batch_size,
        freeze_layer_norm=freeze_layer_norm,
    )
    scores = chosen.run(model, data, resolved, chosen.settings, key)
    return _check(scores, model)


def _choose(method: str | Method | Callable[..., Scores], settings: Any) -> Method:
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
    if method.objective != "loss":
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


def _check_inputs(
    model: Transformer,
    clean: Tokens,
    corrupted: OtherTokens,
    targets: Targets | None,
    first_scored: int,
) -> None:
    if len(clean) == 0 or len(corrupted) == 0:
        raise ValueError("Expected at least one input, got none.")
    n_pos = clean.shape[1]
    if not 0 <= first_scored < n_pos:
        raise ValueError(
            f"Expected first_scored from 0 to {n_pos - 1}, got {first_scored}: the inputs have "
            f"{n_pos} positions."
        )
    if targets is not None:
        check_targets(targets, clean.shape)
        check_target_values(targets, model.config, first_scored)


def _check(scores: Scores, model: Transformer) -> Scores:
    space = universe_of(scores.universe, model.config.n_layers, model.config.n_heads)
    n_items = len(space.edges if scores.level == "edge" else space.sources)
    values = np.asarray(scores.values)
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
    return scores
