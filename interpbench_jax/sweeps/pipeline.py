"""From a request to a result: check, arrange, plan, execute, name."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from interpbench_jax.ablations import ablation_constants
from interpbench_jax.interventions import check_constants
from interpbench_jax.metrics import METRICS, noise_floor
from interpbench_jax.names import Progress
from interpbench_jax.pairs import Pairs
from interpbench_jax.storage.store import SweepStore, check_folder
from interpbench_jax.storage.sums import check_pyarrow
from interpbench_jax.sweeps.calls import Call
from interpbench_jax.sweeps.check import SweepRequest, check_request
from interpbench_jax.sweeps.edits import EditName, EditSet
from interpbench_jax.sweeps.execute import run_job
from interpbench_jax.sweeps.inputs import SweepInputs, input_blocks
from interpbench_jax.sweeps.job import SweepJob, make_job
from interpbench_jax.sweeps.plan import SweepPlan, plan_job
from interpbench_jax.sweeps.result import SweepResult, text_of
from interpbench_jax.sweeps.saved import describe_job, read_saved, table_of


def run_sweep(request: SweepRequest[EditName]) -> SweepResult[EditName]:
    """Carry a request out.

    Raises:
        ValueError: if an argument does not fit the model or the others, or `save_to` is the folder
            of another sweep.
    """
    how = request.how
    job = make_job(request, check_request(request))
    if how.save_to is not None:
        check_pyarrow()
        check_folder(Path(how.save_to))
    plan, programs = plan_job(job, how.max_bytes)
    if how.explain:
        print(plan)
    finish = partial(name_effects, request.edits, job, plan)
    with ExitStack() as stack:
        store = None
        if how.save_to is not None:
            store = stack.enter_context(
                _open_store(Path(how.save_to), request, job, plan, programs.calls)
            )
            saved = store.result()
            if saved is not None:
                return finish(*read_saved(saved))
        job, progress = _learn_constants(request, job, plan, store)
        sums = run_job(job, plan, programs, store=store, progress=progress)
        floor = noise_floor(job.question.metric, float(sums.largest), job.weights.embed.dtype)
        result = finish(sums.effects, floor, sums.logits)
        if store is not None:
            store.finish(table_of(result))
    return result


def make_whole_job(request: SweepRequest[EditName]) -> SweepJob:
    """The job of a request, with the constants of `"optimal"` learned."""
    job = make_job(request, check_request(request))
    if "optimal" not in job.question.ablations:
        return job
    assert isinstance(request.pairs, Pairs), "many models take pairs"
    freezes = request.freeze_layer_norm
    constants = ablation_constants(request.model, request.pairs, freeze_layer_norm=freezes)
    return _with_constants(job, constants)


def name_effects(
    edits: EditSet[EditName],
    job: SweepJob,
    plan: SweepPlan,
    effects: Float[np.ndarray, " edits"],
    floor: float,
    logits: np.ndarray | None = None,
) -> SweepResult[EditName]:
    """The effects of all edits, with their names and in the shape that was asked for.

    Replacing an output by itself has no effect, which is then exactly 0; otherwise rounding errors
    would order such edits.
    """
    question = job.question
    if question.scoring.metric in METRICS.values() and _are_their_own_sources(question.inputs):
        is_changed = np.asarray([ablation != "resample" for ablation in question.ablations])
        rows = effects.reshape(len(is_changed), -1)
        effects = np.where(is_changed[:, None], rows, 0.0)
    by_edit = effects.reshape(len(question.ablations), len(edits.names), -1)
    _warn_of_infinite_effects(by_edit, edits)
    n_positions = () if question.positions is None else (len(question.positions),)
    shape = (len(question.ablations),) * question.several + (len(edits.names), *n_positions)
    return SweepResult(
        names=edits.names,
        effects=effects.reshape(shape),
        positions=question.positions,
        logits=None if logits is None else logits.reshape(*shape, *logits.shape[1:]),
        metric=question.metric,
        ablation=question.ablations if question.several else question.ablations[0],
        universe=edits.universe,
        n_inputs=job.n_inputs,
        noise_floor=floor,
        plan=plan,
    )


def _learn_constants(
    request: SweepRequest[EditName], job: SweepJob, plan: SweepPlan, store: SweepStore | None
) -> tuple[SweepJob, Progress | None]:
    """The job with the constants of `"optimal"`, and the progress of what is left to do.

    Constants that an interrupted sweep has learned are read from its folder.
    """
    progress, question = request.how.progress, job.question
    if "optimal" not in question.ablations:
        return job, progress
    assert isinstance(request.pairs, Pairs), "a stream with 'optimal' is refused"
    constants = None if store is None else store.constants()
    if constants is not None:
        constants = check_constants(request.model.config, job.n_pos, constants)
    n_calls = plan.n_chunks * plan.n_calls
    n_learned = 0
    if constants is None:
        n_learned = job.weights.layout.n_writers
        constants = ablation_constants(
            request.model,
            request.pairs,
            freeze_layer_norm=request.freeze_layer_norm,
            progress=progress and (lambda done, total: progress(done, total + n_calls)),
        )
        if store is not None:
            store.keep_constants(constants)
    rest = progress and (lambda done, total: progress(n_learned + done, n_learned + total))
    return _with_constants(job, constants), rest


def _with_constants(job: SweepJob, constants: np.ndarray) -> SweepJob:
    inputs = replace(job.question.inputs, constants=constants)
    return replace(job, question=replace(job.question, inputs=inputs))


def _warn_of_infinite_effects(
    effects: Float[np.ndarray, "ablations edits positions"], edits: EditSet[EditName]
) -> None:
    is_wrong = ~np.isfinite(effects).all(axis=(0, 2))
    if is_wrong.any():
        first = edits.names[int(is_wrong.argmax())]
        warnings.warn(
            f"{int(is_wrong.sum())} of {len(edits.names)} effects are not finite, such as that of "
            f"{f'mask {first}' if isinstance(first, int) else text_of(first)}: check the logits "
            "and the metric for overflow, or run in float64.",
            RuntimeWarning,
            stacklevel=2,
        )


def _are_their_own_sources(inputs: SweepInputs) -> bool:
    """Whether the corrupted inputs are the clean ones."""
    return all(np.array_equal(block.clean, block.corrupted) for block in input_blocks(inputs))


def _open_store(
    folder: Path,
    request: SweepRequest[EditName],
    job: SweepJob,
    plan: SweepPlan,
    calls: Sequence[Call],
) -> SweepStore:
    description = describe_job(job, plan, calls, request.edits.names)
    return SweepStore.open(folder, description, plan.n_chunks * plan.n_calls)
