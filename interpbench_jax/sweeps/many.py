"""Sweeps of many models."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Array, Int

from interpbench_jax.engine.weights import Weights
from interpbench_jax.metrics import METRICS, OVER_CLASSES, Metric, MetricName, noise_floor
from interpbench_jax.model import Transformer, check_model
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, as_pairs
from interpbench_jax.sites import Edge
from interpbench_jax.sweeps.check import Ablations, SweepRequest
from interpbench_jax.sweeps.edits import EditSet, edges_of
from interpbench_jax.sweeps.execute import SweepSums, run_job
from interpbench_jax.sweeps.inputs import SweepInputs
from interpbench_jax.sweeps.job import SweepJob
from interpbench_jax.sweeps.noise import ABSENT
from interpbench_jax.sweeps.options import DEFAULT_OPTIONS, SweepOptions
from interpbench_jax.sweeps.pipeline import make_whole_job, name_effects
from interpbench_jax.sweeps.plan import SweepPlan, plan_job
from interpbench_jax.sweeps.result import SweepResult
from interpbench_jax.universes import UniverseName

# Models may differ in shape.
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
    freeze_layer_norm: bool = False,
    stacked: bool | None = None,
    options: SweepOptions | None = None,
) -> tuple[SweepResult[Edge], ...]:
    """The effect of cutting each edge, alone, in each of many models.

    Models of the same shape, apart from their vocabularies, share compiled programs: their
    vocabularies are padded to one size. Stacked models are also computed together, as one array.
    On a CPU that pays off for up to about a hundred inputs; with more, one model keeps the cores
    busy, and several do not fit into their caches.

    Args:
        models: the models, of any shapes.
        clean: for each model, pairs of inputs; or clean inputs alone, `[batch, pos]`.
        corrupted: with clean inputs, for each model, the inputs that replacements come from,
            `[other, pos]`.
        universe: see `sweep_edges`.
        ablation: the name of an ablation, or several names; see `sweep_edges`.
        objective: for each model, how its patched runs are scored.
        metric: the metric for all models, instead of the objectives' metrics.
        freeze_layer_norm: see `sweep_edges`.
        stacked: whether models of one shape and number of inputs are computed together; the
            default is to do so except on a CPU.
        options: see `sweep_edges`; `mesh`, `save_to` and `return_logits` are for one model only,
            and `progress` is called with the number of finished models and of all models.

    Returns:
        The result of each model, in their order.

    Raises:
        ValueError: if an argument does not fit the models or the others.
    """
    how = _check(models, options)
    others = [None] * len(models) if corrupted is None else corrupted
    objectives = [None] * len(models) if objective is None else objective
    if not len(models) == len(clean) == len(others) == len(objectives):
        raise ValueError(
            f"Expected inputs for each of {len(models)} models, got {len(clean)} clean, "
            f"{len(others)} corrupted and {len(objectives)} objectives."
        )
    if isinstance(ablation, np.ndarray | jax.Array):
        raise ValueError("Expected an ablation by name for many models, got an array of constants.")
    given = zip(models, clean, others, objectives, strict=True)
    requests = [
        SweepRequest(
            model=model,
            pairs=as_pairs(tokens, other, own, metric),
            edits=edges_of(model.config, universe),
            ablation=ablation,
            freeze_layer_norm=freeze_layer_norm,
        )
        for model, tokens, other, own in given
    ]
    jobs = [make_whole_job(request) for request in requests]
    stacked = jax.default_backend() != "cpu" if stacked is None else stacked
    found: dict[int, SweepResult[Edge]] = {}
    for members in _of_one_shape(jobs):
        for part, job in _combine(members, jobs, stacked):
            if how.progress is not None:
                how.progress(len(found), len(models))
            plan, programs = plan_job(job, how.max_bytes)
            if how.explain:
                print(f"{len(part)} of {len(models)} models. {plan}")
            sums = run_job(job, plan, programs)
            results = _split(sums, plan, [(requests[m].edits, jobs[m]) for m in part])
            found.update(zip(part, results, strict=True))
    if how.progress is not None:
        how.progress(len(models), len(models))
    return tuple(found[index] for index in range(len(models)))


def _split(
    sums: SweepSums, plan: SweepPlan, asked: Sequence[tuple[EditSet[Edge], SweepJob]]
) -> list[SweepResult[Edge]]:
    """The results of models that were computed together."""
    effects, sizes = sums.effects.reshape(len(asked), -1), sums.largest.reshape(-1)
    results = []
    for (edits, job), own, size in zip(asked, effects, sizes, strict=True):
        floor = noise_floor(job.question.metric, float(size), job.weights.embed.dtype)
        results.append(name_effects(edits, job, plan, own, floor))
    return results


def _check(models: Sequence[Transformer], options: SweepOptions | None) -> SweepOptions:
    """The options, if they and the models make sense."""
    for model in models:
        check_model(model)
    how = DEFAULT_OPTIONS if options is None else options
    given = [name for name in ("mesh", "save_to") if getattr(how, name) is not None]
    given += ["return_logits"] * how.return_logits
    if given:
        raise ValueError(
            f"Expected options without {', '.join(given)} for many models; sweep one model at a "
            "time with it, or leave it out."
        )
    return how


def _combine(
    members: list[int], jobs: Sequence[SweepJob], stacked: bool
) -> list[tuple[list[int], SweepJob]]:
    """The jobs of models of one shape, padded: stacked to one, or each with its model's number."""
    padded = _pad([jobs[member] for member in members])
    if stacked:
        return [(members, _stack(padded))]
    return [([member], job) for member, job in zip(members, padded, strict=True)]


def _of_one_shape(jobs: Sequence[SweepJob]) -> list[list[int]]:
    """The numbers of the models that can be padded to one shape, group by group."""
    groups: dict[object, list[int]] = {}
    for number, job in enumerate(jobs):
        weights, inputs, scoring = job.weights, job.question.inputs, job.question.scoring
        n_classes = weights.unembed.shape[0]
        is_known = scoring.metric in METRICS.values() and scoring.metric not in OVER_CLASSES
        pads = is_known and n_classes > 1
        key = (
            job.form,
            scoring,
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
    """Pad the vocabularies to one size: no input has the new tokens, no output the new classes."""
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
    every = [job.question.inputs for job in jobs]
    targets = [inputs.targets for inputs in every if inputs.targets is not None]
    constants = [inputs.constants for inputs in every if inputs.constants is not None]
    inputs = SweepInputs(
        np.stack([np.asarray(inputs.clean) for inputs in every]),
        np.stack([np.asarray(inputs.corrupted) for inputs in every]),
        np.stack([np.asarray(each) for each in targets]) if targets else None,
        np.stack(constants) if constants else None,
    )
    weights = Weights(
        *(np.stack(arrays) for arrays in zip(*(job.weights for job in jobs), strict=True))
    )
    question = replace(jobs[0].question, inputs=inputs)
    return replace(jobs[0], question=question, weights=weights, n_models=len(jobs))
