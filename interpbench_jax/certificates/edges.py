"""The effect of resampling each edge of a model alone, compared with the truth."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.axes import Logits
from interpbench_jax.cases import Task
from interpbench_jax.certificates.alone import HeldOut
from interpbench_jax.certificates.parts import (
    MEASURES,
    EdgeCheck,
    EdgeEffect,
    Measure,
)
from interpbench_jax.certificates.rounding import round_effect, round_share
from interpbench_jax.circuit import Circuit
from interpbench_jax.metrics import METRICS, Metric, PerInput, noise_floor
from interpbench_jax.model import Transformer
from interpbench_jax.scores import edge_auc_by_universe
from interpbench_jax.sweeps import SweepOptions, sweep_cuts
from interpbench_jax.targets import Targets, answers, is_scored
from interpbench_jax.training.evaluation import is_right
from interpbench_jax.universes import UniverseName, universe

_UNIVERSES: tuple[UniverseName, ...] = ("qkv", "head")
# The most bytes of logits kept in memory at a time.
_MOST_BYTES = 256_000_000


def check_edges(model: Transformer, task: Task, pairs: HeldOut) -> EdgeCheck:
    """Resample every edge alone, and measure how the output changes.

    This is done in the universe `"qkv"`, where an edge joins one writer and one reader, and in
    `"head"`, where the q, k and v inputs of a head are cut at once. Changes are measured by the
    case's metric, by the distance between centred logits, which shows changes that KL misses
    where the answer is confident, and by accuracy. The truth is `task.complete_circuit`.

    Source of the sweep: exhaustive activation patching (Conmy et al. 2023, arXiv:2304.14997).

    Warns:
        RuntimeWarning: if an effect is NaN or infinite because the logits overflowed.
    """
    circuit, clean = task.complete_circuit, model(jnp.asarray(pairs.base))
    floor = round_effect(_noise_floor(clean, pairs.targets))
    found: dict[UniverseName, tuple[EdgeEffect, ...]] = {
        name: _effects(model, circuit, name, pairs, clean) for name in _UNIVERSES
    }
    return EdgeCheck(
        n=len(pairs.base),
        noise_floor=floor,
        auc={measure: _areas(found, measure, circuit, floor) for measure in MEASURES},
        edges={**found},
    )


def _noise_floor(clean: Logits, targets: Targets) -> float:
    """The largest effect that rounding alone can cause, in KL and in centred logits alike."""
    logits = np.asarray(clean)
    centred = logits - logits.mean(axis=-1, keepdims=True) if logits.shape[-1] > 1 else logits
    largest = np.abs(centred).max(axis=-1)[np.asarray(is_scored(targets))]
    return noise_floor("centred_l2", float(largest.mean()), logits.dtype)


def accuracy_drop(atol: float) -> Metric:
    """A metric: the share of right outputs in the clean run minus that in the patched one.

    `training.evaluation.is_right` decides whether an output is right; shares are per input.
    """

    def drop(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
        targets = answers(targets)
        counts = is_scored(targets)
        clean, patched = (is_right(each, targets, atol) for each in (clean_logits, logits))
        change = jnp.where(counts, clean.astype(logits.dtype) - patched.astype(logits.dtype), 0)
        return change.sum(axis=-1) / jnp.maximum(counts.sum(axis=-1), 1).astype(logits.dtype)

    return drop


def all_measures(pairs: HeldOut) -> tuple[Metric, Metric, Metric]:
    """The case's metric, the distance between centred logits, and the loss of accuracy."""
    return METRICS[pairs.metric], METRICS["centred_l2"], accuracy_drop(pairs.atol)


def _effects(
    model: Transformer, circuit: Circuit, name: UniverseName, pairs: HeldOut, clean: Logits
) -> tuple[EdgeEffect, ...]:
    """The effects of a universe's edges, in the universe's order."""
    space = universe(name, circuit.n_layers, circuit.n_heads)
    measure = jax.jit(partial(_measure, all_measures(pairs)))
    size = max(1, _MOST_BYTES // (clean.size * clean.dtype.itemsize))
    rows = []
    for start in range(0, len(space.edges), size):
        cuts = [space.members[edge] for edge in space.edges[start : start + size]]
        swept = sweep_cuts(
            model, pairs.base, pairs.source, cuts=cuts, options=SweepOptions(return_logits=True)
        )
        assert swept.logits is not None
        rows += [np.asarray(measure(each, clean, pairs.compared)) for each in swept.logits]
    truths = circuit.edge_truths(name).items()
    return tuple(
        EdgeEffect(str(edge.src), str(edge.dst), truth, *map(round_effect, row.tolist()))
        for (edge, truth), row in zip(truths, rows, strict=True)
    )


def _measure(
    metrics: tuple[Metric, ...], logits: Logits, clean: Logits, targets: Targets
) -> Float[Array, " measures"]:
    return jnp.stack([metric(logits, clean, targets).mean() for metric in metrics])


def _areas(
    found: dict[UniverseName, tuple[EdgeEffect, ...]],
    measure: Measure,
    circuit: Circuit,
    floor: float,
) -> dict[str, float | None]:
    """The ROC-AUC by universe; for `head` and coarser ones, a head's inputs are cut at once."""
    areas: dict[str, float | None] = {}
    for name, edges in found.items():
        effects = np.abs([getattr(edge, measure) for edge in edges])
        heard = np.where(effects > floor, effects, 0.0)
        is_audible = all(heard[i] > 0 for i, edge in enumerate(edges) if edge.truth == "in")
        for coarser, area in edge_auc_by_universe(heard, circuit, name).items():
            shown = area if is_audible else None
            areas[coarser] = None if shown is None else round_share(shown)
    return areas
