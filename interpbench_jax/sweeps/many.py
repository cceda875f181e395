"""One sweep of many models."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Array, Int

from interpbench_jax.engine.weights import Weights
from interpbench_jax.metrics import METRICS, Metric, MetricName, noise_floor
from interpbench_jax.model import Transformer
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, as_pairs
from interpbench_jax.sites import Edge
from interpbench_jax.sweeps.answer import (
    Prepared,
    Wanted,
    name_effects,
    prepare,
    wanted_edges,
)
from interpbench_jax.sweeps.inputs import SweepInputs
from interpbench_jax.sweeps.mesh import Placement
from interpbench_jax.sweeps.noise import ABSENT
from interpbench_jax.sweeps.plan import SweepPlan, plan_job
from interpbench_jax.sweeps.request import Ablations, Request
from interpbench_jax.sweeps.result import SweepResult
from interpbench_jax.sweeps.run import Progress, SweepJob, run_job
from interpbench_jax.universes import UniverseName

# The means over classes, which a class that no model ever chooses would change.
_OVER_CLASSES = ("centred_l2", "mae", "mse")
_BLIND_TO_PADDING = tuple(METRICS[name] for name in METRICS if name not in _OVER_CLASSES)

# Each model's own shape.
AnyTokens = Int[Array | np.ndarray, "_ _"]


def sweep_many(
    models: Sequence[Transformer],
    clean: Sequence[AnyTokens] | Sequence[Pairs],
    corrupted: Sequence[AnyTokens | None] | None = None,
    *,
    universe: UniverseName = "qkv",
    ablation: Ablations = "resample",
    objective: Sequence[Objective | None] | None = None,
    metric: MetricName | Metric | None = None,
    max_bytes: int | None = None,
    stacked: bool | None = None,
    explain: bool = False,
    progress: Progress | None = None,
    freeze_layer_norm: bool = False,
) -> tuple[SweepResult[Edge], ...]:
    """The effect of cutting each edge, alone, in each of many models.

    Models of the same shape, vocabularies apart, share compiled programs: their vocabularies are
    padded to one size. Stacked, they are also computed together, as one array. On a CPU that pays
    for few inputs, up to a hundred or so; with more, one model fills the cores, and several leave
    their caches.

    Args:
        models: the models, of any shapes.
        clean: of each, pairs of inputs; or clean inputs alone, `[batch, pos]`.
        corrupted: beside clean inputs, of each, `[other, pos]`, what replacements come from.
        objective: of each, what its patched runs are judged by.
        metric: in place of the objectives', for all models.
        stacked: whether models of one shape, with as many inputs, are computed together; by
            default everywhere but on a CPU.
        progress: called with the number of finished models and of all.

    The other arguments are `sweep_edges`'s, which see, and so are the errors.

    Returns:
        Each model's result, in their order.
    """
    others = [None] * len(models) if corrupted is None else corrupted
    objectives = [None] * len(models) if objective is None else objective
    if not len(models) == len(clean) == len(others) == len(objectives):
        raise ValueError(
            f"Expected inputs for each of {len(models)} models, got {len(clean)} clean, "
            f"{len(others)} corrupted and {len(objectives)} objectives."
        )
    if isinstance(ablation, np.ndarray | jax.Array):
        raise ValueError("Expected an ablation by name for many models, got an array of constants.")
    wanted = [wanted_edges(model.config, universe) for model in models]
    prepared = [
        prepare(
            Request(
                model,
                as_pairs(tokens, other, own, metric),
                ablation,
                freeze_layer_norm=freeze_layer_norm,
            ),
            edges,
        )
        for model, tokens, other, own, edges in zip(
            models, clean, others, objectives, wanted, strict=True
        )
    ]
    stacked = jax.default_backend() != "cpu" if stacked is None else stacked
    found: dict[int, SweepResult[Edge]] = {}
    for members in _of_one_shape(prepared):
        jobs = _pad([prepared[member].job for member in members])
        for part, job in [(members, _stack(jobs))] if stacked else zip(members, jobs, strict=True):
            part = part if isinstance(part, list) else [part]
            if progress is not None:
                progress(len(found), len(models))
            plan, programs = plan_job(job, prepared[part[0]].places, max_bytes, Placement())
            if explain:
                print(f"{len(part)} of {len(models)} models. {plan}")
            effects, _, largest = run_job(job, plan.chunks, programs, Placement(), plan.workers)
            rows = effects.reshape(len(part), -1)
            for member, own, size in zip(part, rows, largest.reshape(-1), strict=True):
                found[member] = _name(prepared[member], wanted[member], plan, own, float(size))
    if progress is not None:
        progress(len(models), len(models))
    return tuple(found[index] for index in range(len(models)))


def _name(
    prepared: Prepared, wanted: Wanted[Edge], plan: SweepPlan, effects: np.ndarray, largest: float
) -> SweepResult[Edge]:
    """One model's effects, as a result."""
    checked = prepared.checked
    floor = noise_floor(checked.metric, largest, prepared.job.weights.embed.dtype)
    return name_effects(wanted, checked, plan, effects, floor)


def _of_one_shape(prepared: Sequence[Prepared]) -> list[list[int]]:
    """The numbers of the models that can be padded to one shape, group by group."""
    groups: dict[object, list[int]] = {}
    for number, one in enumerate(prepared):
        job = one.job
        weights = job.weights
        n_classes = weights.unembed.shape[0]
        pads = job.scoring.metric in _BLIND_TO_PADDING and n_classes > 1
        inputs = job.inputs
        key = (
            job.form,
            job.scoring,
            weights.embed.dtype,
            weights.qkv.shape,
            weights.mlp_in.shape,
            "any" if pads else n_classes,
            inputs.clean.shape,
            inputs.corrupted.shape,
            None if inputs.targets is None else (inputs.targets.dtype, inputs.targets.ndim),
        )
        groups.setdefault(key, []).append(number)
    return list(groups.values())


def _pad(jobs: Sequence[SweepJob]) -> list[SweepJob]:
    """The jobs with vocabularies of one size: no input has the new tokens, no output chooses the
    new classes."""
    vocab, classes = (
        max(getattr(job.weights, name).shape[0] for job in jobs) for name in ("embed", "unembed")
    )
    return [replace(job, weights=_pad_weights(job.weights, vocab, classes)) for job in jobs]


def _pad_weights(weights: Weights, vocab: int, classes: int) -> Weights:
    def pad(array: np.ndarray, size: int, value: float = 0) -> np.ndarray:
        missing = [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1)
        return np.pad(array, missing, constant_values=value)

    return weights._replace(
        embed=pad(np.asarray(weights.embed), vocab),
        unembed=pad(np.asarray(weights.unembed), classes),
        unembed_bias=pad(np.asarray(weights.unembed_bias), classes, ABSENT),
    )


def _stack(jobs: Sequence[SweepJob]) -> SweepJob:
    """Several jobs as one."""
    first = jobs[0]
    targets = [job.inputs.targets for job in jobs if job.inputs.targets is not None]
    constants = [job.inputs.constants for job in jobs if job.inputs.constants is not None]
    inputs = SweepInputs(
        np.stack([job.inputs.clean for job in jobs]),
        np.stack([job.inputs.corrupted for job in jobs]),
        np.stack(targets) if targets else None,
        np.stack(constants) if constants else None,
    )
    weights = Weights(
        *(np.stack(arrays) for arrays in zip(*(j.weights for j in jobs), strict=True))
    )
    return replace(first, inputs=inputs, weights=weights, n_models=len(jobs))
