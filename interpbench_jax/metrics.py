"""Metrics: how much worse a patched run is than the clean one.

A metric maps logits, the clean run's logits and targets, each cut to the scored positions, to
one number per input: positive where the patched run is worse, 0 where it equals the clean one.

Every metric in `METRICS` is a mean over the positions of an input that count (see `targets`). Only
`logit_diff` uses the distractor; for pairs, every other one gives what it gives for the answers.
"""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from interpbench_jax.axes import Logits
from interpbench_jax.config import TransformerConfig
from interpbench_jax.names import METRIC_NAMES as METRIC_NAMES
from interpbench_jax.names import MetricName as MetricName
from interpbench_jax.targets import Targets, check_targets, is_scored, is_scored_on_host

PerInput = Float[Array, " batch"]
Metric = Callable[[Logits, Logits, Targets], PerInput]
ClassLogits = Float[Array, "vocab_out pos batch"]
Answers = Int[Array, "pos batch"] | Float[Array, "pos batch"]
ClassTargets = Answers | Int[Array, "2 pos batch"]
ByClass = Callable[[ClassLogits, ClassLogits, ClassTargets], PerInput]
# The values of a metric at every position.
Everywhere = Float[Array, "pos batch"]
AtPositions = Callable[[ClassLogits, ClassLogits, ClassTargets], Everywhere]


def kl_divergence(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Kullback-Leibler divergence of the patched output from the clean one, in nats.

    `sum_k p_clean(k) (log p_clean(k) - log p_patched(k))`, mean over positions; at least 0.
    Source: the metric of ACDC (Conmy et al. 2023, arXiv:2304.14997).
    """
    return _apply(_kl_divergence, logits, clean_logits, targets)


def cross_entropy_increase(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Increase in cross-entropy against the target classes, in nats, mean over positions."""
    return _apply(_cross_entropy_increase, logits, clean_logits, targets)


def summed_cross_entropy(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Increase in cross-entropy against the target classes, in nats, summed over positions."""
    increase = cross_entropy_increase(logits, clean_logits, targets)
    return increase * _n_scored(jnp.asarray(targets).T).astype(increase.dtype)


def l2_distance(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Euclidean distance between outputs at a position, in their unit, mean over positions."""
    return _apply(_l2_distance, logits, clean_logits, targets)


def centred_l2_distance(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Euclidean distance between centred logits, in logits, mean over positions.

    Centred logits have their mean over the classes subtracted, on which no probability depends.
    Unlike KL, this still shows when a confident answer becomes more confident. For a regression
    it is `l2_distance`.
    """
    return _apply(_centred_l2_distance, logits, clean_logits, targets)


def mean_absolute_error(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Absolute difference from the clean outputs, in their unit, mean over positions."""
    return _apply(_mean_absolute_error, logits, clean_logits, targets)


def mean_squared_error(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Squared difference from the clean outputs, in their unit squared, mean over positions."""
    return _apply(_mean_squared_error, logits, clean_logits, targets)


def absolute_error_increase(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Increase in absolute error against the target numbers, in their unit, mean over positions.

    Unlike distances from the clean run, it has a nonzero gradient at the clean run.
    """
    return _apply(_absolute_error_increase, logits, clean_logits, targets)


def logit_difference_drop(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Decrease in margin, mean over positions; positive where the patched run's is smaller.

    The margin is the target's logit minus the largest other logit; where targets are pairs, the
    answer's logit minus the distractor's.
    Source: for pairs, the logit difference of Wang et al. 2022 (arXiv:2211.00593).
    """
    return _apply(_logit_difference_drop, logits, clean_logits, targets)


def accuracy_drop(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Loss of accuracy: the share of right positions in the clean run minus the patched one's."""
    return _apply(_accuracy_drop, logits, clean_logits, targets)


METRICS: Mapping[MetricName, Metric] = {
    "kl": kl_divergence,
    "cross_entropy": cross_entropy_increase,
    "l2": l2_distance,
    "centred_l2": centred_l2_distance,
    "mae": mean_absolute_error,
    "mse": mean_squared_error,
    "target_mae": absolute_error_increase,
    "logit_diff": logit_difference_drop,
    "accuracy": accuracy_drop,
}
# Distances from the clean run are lowest at the clean run, where their slope is therefore 0.
DISTANCES = tuple(METRICS[name] for name in ("kl", "l2", "centred_l2", "mae", "mse"))
# Means over all classes, which a class that only pads a vocabulary would change.
OVER_CLASSES = tuple(METRICS[name] for name in ("centred_l2", "mae", "mse"))
# How many roundings of the largest output may add up in the computation of an effect.
_ROUNDINGS = 16
_NEED_CLASSES = ("kl", "cross_entropy", "logit_diff", "accuracy")
_NEED_NUMBERS = ("target_mae",)


def default_metric(config: TransformerConfig) -> MetricName:
    """The default metric: KL divergence for classes, L2 distance for a regression."""
    return "l2" if config.is_regression else "kl"


def resolve_metric(metric: MetricName | Metric, config: TransformerConfig) -> Metric:
    """Return the function that a metric's name stands for; a function is returned as it is.

    Raises:
        ValueError: if there is no metric of that name, or it needs classes and the model outputs
            one number, or the reverse.
    """
    if callable(metric):
        return metric
    if not isinstance(metric, str) or metric not in METRICS:
        raise ValueError(
            f"Expected metric to be one of {', '.join(METRIC_NAMES)} or a function; got {metric!r}."
        )
    if config.is_regression and metric in _NEED_CLASSES:
        raise ValueError(
            f"Expected a metric for a regression, got {metric!r}, which compares classes and is "
            "always 0 for one output; use 'l2' or 'mae'."
        )
    if not config.is_regression and metric in _NEED_NUMBERS:
        raise ValueError(
            f"Expected a metric for classes, got {metric!r}, which compares numbers; use "
            "'cross_entropy'."
        )
    return METRICS[metric]


def noise_floor(metric: MetricName | str, largest: float, dtype: np.dtype) -> float:
    """The noise floor: the largest effect that rounding alone can cause, in the metric's unit.

    Args:
        metric: the metric's name; the floor is 0 for `"accuracy"`, and for a custom metric, of
            which nothing is known.
        largest: the mean over positions of the largest centred output.
        dtype: the dtype of the outputs.
    """
    if metric not in METRICS or metric == "accuracy":
        return 0.0
    floor = float(_ROUNDINGS * np.finfo(dtype).eps * largest)
    return floor**2 if metric == "mse" else floor


def check_values(values: object, n_inputs: int) -> None:
    """Reject values that a metric must not return.

    Raises:
        TypeError: if they are not an array.
        ValueError: if they are not one number for each input.
    """
    if not isinstance(values, jax.Array | np.ndarray):
        raise TypeError(
            f"Expected the metric to return an array of one number per input, got {values!r:.80}; "
            "average over positions and classes, not over inputs."
        )
    if values.shape != (n_inputs,):
        raise ValueError(
            f"Expected the metric to return one number per input, shape {(n_inputs,)}, got "
            f"{values.shape}; average over positions and classes, not over inputs."
        )


def by_class(metric: Metric) -> ByClass:
    """Convert a metric to logits and targets whose axes are in reverse order, inputs last.

    The metrics of this module work that way, which is faster if there are many inputs; any other
    metric receives logits and targets in their usual order. It must come from `per_position` if
    targets mark positions that do not count.
    """
    if metric in _BY_CLASS:
        return _BY_CLASS[metric]

    def transposed(logits: ClassLogits, clean: ClassLogits, targets: ClassTargets) -> PerInput:
        return metric(logits.transpose(2, 1, 0), clean.transpose(2, 1, 0), targets.T)

    return transposed


def for_targets(metric: Metric, targets: Shaped[Array | np.ndarray, "*axes"] | None) -> Metric:
    """The metric to use with these targets: `per_position` if they mark some as unscored.

    Args:
        metric: the metric.
        targets: the targets, with axes in any order; None for those that the clean run gives.
    """
    marks_positions = targets is not None and not is_scored_on_host(targets).all()
    return per_position(metric) if marks_positions else metric


@lru_cache(maxsize=32)
def per_position(metric: Metric) -> Metric:
    """A metric that is computed at each position alone, then averaged over those that count.

    The metrics of this module already leave out all others, and are returned unchanged.
    """
    if metric in _BY_CLASS:
        return metric

    def averaged(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
        def at(position: Array) -> PerInput:
            def only(x: Array) -> Array:
                return jax.lax.dynamic_slice_in_dim(x, position, 1, axis=1)

            return metric(only(logits), only(clean_logits), only(jnp.asarray(targets)))

        answers = _answers(jnp.asarray(targets).T)
        return _mean_scored(jax.vmap(at)(jnp.arange(logits.shape[1])), answers)

    return averaged


def _apply(
    function: AtPositions, logits: Logits, clean_logits: Logits, targets: Targets
) -> PerInput:
    targets = jnp.asarray(targets)
    check_targets(targets, logits.shape[:2])
    return _averaged(function)(
        logits.transpose(2, 1, 0), clean_logits.transpose(2, 1, 0), targets.T
    )


def _kl_divergence(logits: ClassLogits, clean: ClassLogits, targets: ClassTargets) -> Everywhere:
    clean = jax.nn.log_softmax(clean, axis=0)
    patched = jax.nn.log_softmax(logits, axis=0)
    return (jnp.exp(clean) * (clean - patched)).sum(axis=0)


def _cross_entropy_increase(
    logits: ClassLogits, clean: ClassLogits, targets: ClassTargets
) -> Everywhere:
    answers = _answers(targets)
    patched = _take(jax.nn.log_softmax(logits, axis=0), answers)
    return _take(jax.nn.log_softmax(clean, axis=0), answers) - patched


def _l2_distance(logits: ClassLogits, clean: ClassLogits, targets: ClassTargets) -> Everywhere:
    # The double `where` makes the gradient at equal outputs 0 instead of NaN.
    squared = ((logits - clean) ** 2).sum(axis=0)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)


def _centred_l2_distance(
    logits: ClassLogits, clean: ClassLogits, targets: ClassTargets
) -> Everywhere:
    if logits.shape[0] > 1:
        logits, clean = (each - each.mean(axis=0, keepdims=True) for each in (logits, clean))
    return _l2_distance(logits, clean, targets)


def _mean_absolute_error(
    logits: ClassLogits, clean: ClassLogits, targets: ClassTargets
) -> Everywhere:
    difference = logits - clean
    # Unlike the gradient of abs, the gradient of this is 0 at equal outputs.
    return (difference * jnp.sign(difference)).mean(axis=0)


def _mean_squared_error(
    logits: ClassLogits, clean: ClassLogits, targets: ClassTargets
) -> Everywhere:
    return ((logits - clean) ** 2).mean(axis=0)


def _absolute_error_increase(
    logits: ClassLogits, clean: ClassLogits, targets: ClassTargets
) -> Everywhere:
    wanted = _answers(targets).astype(logits.dtype)
    return abs(logits[0] - wanted) - abs(clean[0] - wanted)


def _logit_difference_drop(
    logits: ClassLogits, clean: ClassLogits, targets: ClassTargets
) -> Everywhere:
    return _margin(clean, targets) - _margin(logits, targets)


def _accuracy_drop(logits: ClassLogits, clean: ClassLogits, targets: ClassTargets) -> Everywhere:
    answers = _answers(targets)
    right = (_classes(logits, answers) == answers).astype(logits.dtype)
    clean_right = (_classes(clean, answers) == answers).astype(logits.dtype)
    return clean_right - right


@cache
def _averaged(function: AtPositions) -> ByClass:
    """A metric that averages a function over the positions of an input that count."""

    def mean(logits: ClassLogits, clean: ClassLogits, targets: ClassTargets) -> PerInput:
        if logits.shape[0] == 1:
            # Among numbers, -1 is an ordinary target.
            targets = targets.astype(logits.dtype)
        answers = _answers(targets)
        # Unscored targets would still make gradients NaN.
        known = jnp.where(is_scored(targets), targets, jnp.zeros((), targets.dtype))
        return _mean_scored(function(logits, clean, known), answers)

    return mean


def _mean_scored(values: Everywhere, answers: Answers) -> PerInput:
    counts = is_scored(answers)
    total = jnp.where(counts, values, 0).sum(axis=0)
    return total / jnp.maximum(counts.sum(axis=0), 1).astype(values.dtype)


def _summed_cross_entropy(
    logits: ClassLogits, clean: ClassLogits, targets: ClassTargets
) -> PerInput:
    increase = _averaged(_cross_entropy_increase)(logits, clean, targets)
    return increase * _n_scored(targets).astype(increase.dtype)


def _n_scored(targets: ClassTargets) -> Int[Array, " batch"]:
    return is_scored(_answers(targets)).sum(axis=0)


_BY_CLASS: Mapping[Metric, ByClass] = {
    kl_divergence: _averaged(_kl_divergence),
    cross_entropy_increase: _averaged(_cross_entropy_increase),
    summed_cross_entropy: _summed_cross_entropy,
    l2_distance: _averaged(_l2_distance),
    centred_l2_distance: _averaged(_centred_l2_distance),
    mean_absolute_error: _averaged(_mean_absolute_error),
    mean_squared_error: _averaged(_mean_squared_error),
    absolute_error_increase: _averaged(_absolute_error_increase),
    logit_difference_drop: _averaged(_logit_difference_drop),
    accuracy_drop: _averaged(_accuracy_drop),
}


def _answers(targets: ClassTargets) -> Answers:
    return targets if targets.ndim == 2 else targets[0]


def _classes(logits: ClassLogits, answers: Answers) -> Answers:
    return logits.argmax(axis=0).astype(answers.dtype)


def _take(values: ClassLogits, classes: Answers) -> Float[Array, "pos batch"]:
    return jnp.take_along_axis(values, classes[None], axis=0)[0]


def _margin(logits: ClassLogits, targets: ClassTargets) -> Float[Array, "pos batch"]:
    if targets.ndim == 3:
        return _take(logits, targets[0]) - _take(logits, targets[1])
    is_target = jax.nn.one_hot(targets, logits.shape[0], axis=0, dtype=bool)
    others = jnp.where(is_target, -jnp.inf, logits).max(axis=0)
    return _take(logits, targets) - others
