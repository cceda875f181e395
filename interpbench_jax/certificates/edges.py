"""Which edges matter in a model, beside those that its truth says matter."""

from functools import lru_cache, partial

import numpy as np

from interpbench_jax.axes import Logits
from interpbench_jax.cases import Task
from interpbench_jax.certificates.alone import HeldOut
from interpbench_jax.certificates.parts import EdgeCheck, EdgeEffect
from interpbench_jax.certificates.rounding import round_effect, round_share
from interpbench_jax.metrics import Metric, PerInput, Targets
from interpbench_jax.model import Transformer
from interpbench_jax.scores import edge_auc_by_universe
from interpbench_jax.sweeps import sweep_edges
from interpbench_jax.training.evaluation import is_right

SHARE_OF_MEDIAN = 0.01
ACCURACY_DROP = 0.01
_UNIVERSES = ("qkv", "head", "head-no-embed")


def check_edges(model: Transformer, task: Task, pairs: HeldOut) -> EdgeCheck:
    """Resample every edge, alone, and compare with the truth.

    An edge of the `head` universe (q, k and v of a head cut at once) matters if its effect is
    above 1 % of the median effect of the edges of `task.complete_circuit`, or if cutting it turns
    more than 1 % of the outputs wrong (net of those it turns right). Every edge for which that
    and the truth disagree is listed. Effects in one model span many orders of magnitude, those
    of its circuit one or two, so that there is room for a line between something and nothing;
    the second condition catches errors of a model whose circuit has very large effects.

    The areas of `head` and `head-no-embed` are of effects in the `head` universe, that of `qkv`
    of effects of fine edges.

    Source of the sweep: exhaustive activation patching (Conmy et al. 2023, arXiv:2304.14997,
    section 3).

    Raises:
        ValueError: if an effect is nan: the logits left the numbers.
    """
    sweep = partial(sweep_edges, model, pairs.base, pairs.source, first_scored=pairs.first_scored)
    fine = sweep(universe="qkv").effects
    coarse = sweep(universe="head")
    metric = drop_metric(pairs.atol)
    drops = sweep(universe="head", metric=metric, targets=pairs.targets).effects
    truths = {"circuit": task.circuit, "complete_circuit": task.complete_circuit}
    auc: dict[str, dict[str, float | None]] = {}
    for truth, circuit in truths.items():
        areas = {
            **edge_auc_by_universe(fine, circuit, "qkv"),
            **edge_auc_by_universe(coarse.effects, circuit, "head"),
        }
        auc[truth] = {name: _rounded(areas[name]) for name in _UNIVERSES}
    inside = task.complete_circuit.in_universe("head")
    is_inside = np.asarray([edge in inside for edge in coarse.names])
    effects = np.asarray([round_effect(float(effect)) for effect in coarse.effects])
    drops = np.asarray([round_effect(float(drop)) for drop in drops])
    median = float(np.median(effects[is_inside])) if is_inside.any() else 0.0
    threshold = round_effect(SHARE_OF_MEDIAN * median)
    matters = (effects > threshold) | (drops > ACCURACY_DROP)

    def listed(chosen: np.ndarray) -> tuple[EdgeEffect, ...]:
        return tuple(
            EdgeEffect(
                src=str(coarse.names[index].src),
                dst=str(coarse.names[index].dst),
                effect=float(effects[index]),
                accuracy_drop=float(drops[index]),
            )
            for index in np.flatnonzero(chosen)[np.argsort(effects[chosen], kind="stable")]
        )

    return EdgeCheck(
        n=len(pairs.base),
        auc=auc,
        threshold=threshold,
        silent=listed(is_inside & ~matters),
        unexpected=listed(~is_inside & matters)[::-1],
    )


@lru_cache(maxsize=32)
def drop_metric(atol: float) -> Metric:
    """A sweep's metric: the share of right outputs less that of the patched run, per input.

    An output is right as `training.evaluation.is_right` says. One function for each `atol`, so
    that a sweep compiles once.
    """

    def accuracy_drop(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
        clean = is_right(clean_logits, targets, atol).astype(logits.dtype)
        patched = is_right(logits, targets, atol).astype(logits.dtype)
        return (clean - patched).mean(axis=-1)

    return accuracy_drop


def _rounded(area: float | None) -> float | None:
    return None if area is None else round_share(area)
