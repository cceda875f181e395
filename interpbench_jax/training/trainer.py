"""Strict interchange intervention training, from tasks to cases with weights.

Source: Gupta et al. 2024 (arXiv:2407.14494).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PyTree

from interpbench_jax.bars import BARS
from interpbench_jax.case import Case
from interpbench_jax.cases import Recipe, Task, find_task
from interpbench_jax.storage import make_folder, read_text, remove_leftovers, write_file
from interpbench_jax.training.checkpoints import Checkpoint, Checkpoints
from interpbench_jax.training.devices import place_models
from interpbench_jax.training.epoch import State
from interpbench_jax.training.evaluation import Accuracies
from interpbench_jax.training.losses import Losses
from interpbench_jax.training.result import EpochRecord, Trained, TrainingError
from interpbench_jax.training.stack import Stack, stack_tasks
from interpbench_jax.training.versions import library_versions
from interpbench_jax.weights import digest_weights

TrainingProgress = Callable[[tuple[EpochRecord, ...], int], None]
LOG_FILE = "log.jsonl"
_MOST_BYTES = 2**30


class Standing(NamedTuple):
    """The state of a stack's training, which is all that a checkpoint stores.

    Attributes:
        state: the state from which the next epoch starts.
        best: the best weights of each model so far.
        score: the lowest accuracy of these weights; -1 before the first epoch.
        loss: the sum of the losses in the epoch that gave them; infinite before the first epoch.
        epoch: the epoch after which they were taken; 0 before the first epoch.
        is_active: whether the model is still being trained.
    """

    state: State
    best: PyTree
    score: Float[np.ndarray, " models"]
    loss: Float[np.ndarray, " models"]
    epoch: Int[np.ndarray, " models"]
    is_active: Bool[np.ndarray, " models"]


def train(
    task: Task | str,
    *,
    seeds: int | Sequence[int] = 1,
    recipe: Recipe | None = None,
    directory: Path | str | None = None,
    progress: TrainingProgress | None = None,
) -> Trained:
    """Train a model whose circuit is that of a task's program.

    A task that is a part of another (`Task.whole`) is trained on all of it, and the accuracies and
    the log are those of the whole; the case's circuit is that of the part.

    Args:
        task: a task, or the id of a declared one.
        seeds: number of models to train, with seeds from 0, or a sequence of seeds; the best
            model is kept. Seeds train independently, but all stop once one reaches the target.
        recipe: the recipe to train with; the default is the task's own.
        directory: folder for checkpoints and the log. If training was killed, a call with the
            same folder resumes it from the last checkpoint and ends with the same weights.
        progress: called after every epoch with the records of the models that it trained, and
            with the largest number of epochs that there can be.

    Returns:
        The best model as a case, with its accuracies and log: of all epochs whose accuracies
        suffice for a certificate, the one with the lowest losses. The caller must check whether it
        reached the recipe's target: `Trained.has_reached_target`.

    Raises:
        TrainingError: if a loss became NaN or infinite for every seed; a ValueError.
        ValueError: if there is no such task, the seeds are not one or more distinct integers from
            0, the directory's checkpoint is damaged or belongs to another training, or another
            process is training the same models there (`storage.InUse`).
        OSError: if the directory cannot be written.
    """
    (trained,) = train_many(
        (task,), seeds=seeds, recipe=recipe, directory=directory, progress=progress
    )
    return trained


def train_many(
    tasks: Iterable[Task | str],
    *,
    seeds: int | Sequence[int] = 1,
    recipe: Recipe | None = None,
    directory: Path | str | None = None,
    progress: TrainingProgress | None = None,
) -> tuple[Trained, ...]:
    """Train a model for each of several tasks; those of one shape and recipe as one program.

    The results are in the order of the tasks, whose case ids must differ. See `train` for the
    arguments and errors.
    """
    found = [find_task(task) if isinstance(task, str) else task for task in tasks]
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0:
        raise ValueError(f"Expected one or more distinct seeds from 0, got {seeds!r}.")
    if len({task.case_id for task in found}) < len(found):
        raise ValueError("Expected tasks with different case ids.")
    trained: dict[str, Trained] = {}
    for stack in stack_tasks(found, chosen, recipe):
        for result in _train_stack(stack, None if directory is None else Path(directory), progress):
            trained[result.case.case_id] = result
    return tuple(trained[task.case_id] for task in found)


def _train_stack(
    stack: Stack, directory: Path | None, progress: TrainingProgress | None
) -> tuple[Trained, ...]:
    with nullcontext() if directory is None else stack.lock_in(directory):
        standing, log = _run_stages(stack, directory, progress)
    accuracies = stack.examine(standing.best)
    return tuple(
        _best_of(stack, standing, accuracies, task, log) for task in range(len(stack.tasks))
    )


def _run_stages(
    stack: Stack, directory: Path | None, progress: TrainingProgress | None
) -> tuple[Standing, list[EpochRecord]]:
    """Train all stages of a stack's recipe; return its final state and all records.

    Each stage has a folder of its own, so that the earlier stages are not trained again if only a
    later one is changed.
    """
    state, log = stack.start(), list[EpochRecord]()
    if stack.before is not None:
        first, log = _run_stages(stack.before, directory, progress)
        state = stack.start(_handed_on(first))
    folder = None if directory is None else stack.folder_in(directory)
    return _run_epochs(stack, state, folder, progress, log)


def _handed_on(standing: Standing) -> PyTree:
    """The weights that a later stage starts from: the last, or the best where those are not finite.

    The earlier stage is not trained on what the later stage is for, so which of its epochs is best
    by all accuracies together is a matter of chance.
    """
    last = standing.state.average
    finite = [
        np.isfinite(np.asarray(leaf)).reshape(len(leaf), -1).all(axis=1)
        for leaf in jax.tree.leaves(last)
    ]
    is_finite = np.all(finite, axis=0)
    return jax.tree.map(
        lambda old, new: jnp.where(is_finite.reshape(-1, *[1] * (new.ndim - 1)), new, old),
        standing.best,
        last,
    )


def _run_epochs(
    stack: Stack,
    state: State,
    folder: Path | None,
    progress: TrainingProgress | None,
    before: list[EpochRecord],
) -> tuple[Standing, list[EpochRecord]]:
    """Train one stage; return its final state and all records, earlier stages included."""
    standing = _start(stack, state)
    log = list(before)
    done = 0
    shift = max((record.epoch for record in before), default=0)
    checkpoints = None if folder is None else Checkpoints(folder / "checkpoints")
    if folder is not None and checkpoints is not None:
        remove_leftovers(folder, f"{LOG_FILE}.")
        checkpoint = checkpoints.restore(standing)
        if checkpoint is not None:
            done, standing = checkpoint
            log = _read_log(folder / LOG_FILE, done + shift)
    try:
        for epoch in range(done + 1, stack.recipe.epochs + 1):
            if not standing.is_active.any():
                break
            standing, records = _train_epoch(stack, standing, epoch + shift)
            log += records
            if folder is not None and checkpoints is not None:
                make_folder(folder)
                lines = [record.to_json() + "\n" for record in log]
                write_file(folder / LOG_FILE, "".join(lines))
                checkpoints.save(Checkpoint(epoch, standing))
            if progress is not None:
                progress(tuple(records), stack.recipe.epochs + shift)
    finally:
        if checkpoints is not None:
            checkpoints.close()
    return standing, log


def _start(stack: Stack, state: State) -> Standing:
    n = len(stack.jobs)
    return Standing(
        state=state,
        best=jax.tree.map(jnp.copy, state.weights),
        score=np.full(n, -1.0, np.float32),
        loss=np.full(n, np.inf, np.float32),
        epoch=np.zeros(n, np.int32),
        is_active=np.ones(n, bool),
    )


def _train_epoch(
    stack: Stack, standing: Standing, epoch: int
) -> tuple[Standing, list[EpochRecord]]:
    started = time.perf_counter()
    key = jax.random.fold_in(jax.random.key(0), epoch)
    models = stack.models(standing.is_active)
    state = place_models(standing.state, len(stack.jobs))
    state, losses = stack.epoch.run(state, models, stack.data, key)
    losses = jax.device_get(losses)
    trained = time.perf_counter()
    accuracies = stack.examine(state.average)
    seconds = (trained - started, time.perf_counter() - trained)
    records = [
        _record(stack, int(model), epoch, losses, accuracies, seconds)
        for model in np.flatnonzero(standing.is_active)
    ]
    is_finite = np.all([np.isfinite(loss).all(axis=1) for loss in losses], axis=0)
    _refuse_if_lost(stack, standing, is_finite, losses, epoch)
    return _judge(
        stack, standing._replace(state=state), losses, accuracies, is_finite, epoch
    ), records


def _judge(
    stack: Stack,
    standing: Standing,
    losses: Losses,
    accuracies: tuple[Accuracies, ...],
    is_finite: np.ndarray,
    epoch: int,
) -> Standing:
    """Keep the weights that are better than before, and decide which models continue."""
    score = np.asarray([found.lowest for found in accuracies], np.float32)
    # The loss on attention is a means to the others, and no softmax brings it to 0.
    counted = [each for name, each in losses._asdict().items() if name != "attention"]
    loss = np.sum([each.mean(axis=1) for each in counted], axis=0).astype(np.float32)
    rank, kept_rank = _rank(score, stack.recipe), _rank(standing.score, stack.recipe)
    is_better = (rank > kept_rank) | ((rank == kept_rank) & (loss < standing.loss))
    is_better &= standing.is_active & is_finite
    best = jax.tree.map(
        lambda old, new: jnp.where(is_better.reshape(-1, *[1] * (new.ndim - 1)), new, old),
        standing.best,
        standing.state.average,
    )
    kept = np.where(is_better, score, standing.score)
    kept_loss = np.where(is_better, loss, standing.loss)
    is_done = kept >= stack.recipe.target
    if stack.recipe.target_loss is not None:
        is_done &= kept_loss <= stack.recipe.target_loss
    has_ended = np.zeros(len(kept), bool)
    for task in range(len(stack.tasks)):
        own = stack.rows_of(task)
        has_ended[own] = is_done[own].any()
    return standing._replace(
        best=best,
        score=kept,
        loss=kept_loss,
        epoch=np.where(is_better, np.int32(epoch), standing.epoch),
        is_active=standing.is_active & is_finite & ~has_ended,
    )


def _rank(score: Float[np.ndarray, "..."], recipe: Recipe) -> Float[np.ndarray, "..."]:
    """What is compared of the lowest accuracies, before the losses are.

    Which of two accuracies is larger says little once both suffice: a few inputs decide it, and
    the loss of the epoch with the larger one can be a thousand times the other's. So those that
    suffice count as equal, unless training is to stop by them alone.
    """
    if recipe.target_loss is None:
        return score
    return np.minimum(score, np.float32(min(recipe.target, BARS.share)))


def _refuse_if_lost(
    stack: Stack, standing: Standing, is_finite: np.ndarray, losses: Losses, epoch: int
) -> None:
    """Raise an error if a task has no model left; one lost model among others is only dropped."""
    is_left = standing.is_active & is_finite
    for index, task in enumerate(stack.tasks):
        own = np.arange(len(stack.jobs))[stack.rows_of(index)]
        own = own[standing.is_active[own]]
        if not len(own) or is_left[own].any():
            continue
        step, name = min(
            (int(np.flatnonzero(~np.isfinite(loss[model]))[0]), name)
            for name, loss in losses._asdict().items()
            for model in own
            if not np.isfinite(loss[model]).all()
        )
        raise TrainingError(
            f"Case {task.case_id!r}: expected finite losses, but the {name} loss became NaN or "
            f"infinite in epoch {epoch}, step {step + 1} of {stack.epoch.n_batches}, and no seed "
            f"is left; lower the recipe's learning_rate ({stack.recipe.learning_rate}) or its "
            f"clip_grad_norm ({stack.recipe.clip_grad_norm})."
        )


def _record(
    stack: Stack,
    model: int,
    epoch: int,
    losses: Losses,
    accuracies: tuple[Accuracies, ...],
    seconds: tuple[float, float],
) -> EpochRecord:
    job, found = stack.jobs[model], accuracies[model]
    return EpochRecord(
        case_id=stack.tasks[job.task].case_id,
        seed=job.seed,
        epoch=epoch,
        losses={name: float(loss[model].mean()) for name, loss in losses._asdict().items()},
        accuracy=found.accuracy,
        iia=found.lowest_iia,
        joint=found.lowest_joint,
        strict=found.lowest_strict,
        edges=found.lowest_cut,
        training_seconds=seconds[0],
        validation_seconds=seconds[1],
    )


def _best_of(
    stack: Stack,
    standing: Standing,
    accuracies: tuple[Accuracies, ...],
    index: int,
    log: list[EpochRecord],
) -> Trained:
    task = stack.tasks[index]
    own = range(len(stack.jobs))[stack.rows_of(index)]
    rank = _rank(standing.score, stack.recipe)
    best = max(own, key=lambda model: (rank[model], -standing.loss[model]))
    weights = stack.weights_of(standing.best, best)
    seed, epoch = stack.jobs[best].seed, int(standing.epoch[best])
    provenance = {
        "source": "trained",
        "seed": seed,
        "seeds": list(stack.seeds),
        "epoch": epoch,
        "recipe": asdict(stack.recipe),
        "versions": library_versions(),
        "weights_sha256": digest_weights(weights),
    }
    case = Case(
        case_id=task.case_id,
        config=task.config,
        weights=weights,
        circuit=task.complete_circuit,
        vocab=task.tokens,
        task_description=task.description,
        provenance=provenance,
    )
    return Trained(
        case=case,
        seed=seed,
        epoch=epoch,
        has_reached_target=bool(standing.score[best] >= stack.recipe.target),
        accuracies=accuracies[best],
        log=tuple(record for record in log if record.case_id == task.case_id),
    )


def _read_log(path: Path, last_epoch: int) -> list[EpochRecord]:
    """Read the log up to a checkpoint's epoch; the log of an epoch is written first."""
    lines = read_text(path, _MOST_BYTES).splitlines()
    records = [EpochRecord.from_json(line) for line in lines]
    return [record for record in records if record.epoch <= last_epoch]
