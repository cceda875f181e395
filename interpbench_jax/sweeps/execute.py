"""The execution of a planned sweep: chunks of inputs, calls of programs, sums."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from interpbench_jax.engine.clean import CleanRun
from interpbench_jax.engine.programs import Program, compile_all, worker_pool
from interpbench_jax.names import Progress
from interpbench_jax.storage.store import SweepStore
from interpbench_jax.sweeps.calls import Call
from interpbench_jax.sweeps.compile import QUEUED_CALLS, Programs, lower_clean
from interpbench_jax.sweeps.inputs import CONSTANTS, HostArray, ReplacementSource
from interpbench_jax.sweeps.job import SweepJob
from interpbench_jax.sweeps.kernels import PatchContext, Patched
from interpbench_jax.sweeps.mesh import (
    BATCH,
    EDITS,
    Placement,
    by_first,
    by_last_but_one,
    whole,
)
from interpbench_jax.sweeps.noise import largest_outputs
from interpbench_jax.sweeps.plan import SweepPlan

Sums = Float[np.ndarray, "*models edits"]


class SweepSums(NamedTuple):
    """The numbers that a sweep computes.

    Attributes:
        effects: the mean effect of every edit.
        logits: the logits of every patched run; None unless they are kept.
        largest: the size of the clean outputs, which decides the noise floor.
    """

    effects: Sums
    logits: np.ndarray | None
    largest: Float[np.ndarray, "*models"]


def run_job(
    job: SweepJob,
    plan: SweepPlan,
    programs: Programs,
    *,
    store: SweepStore | None = None,
    progress: Progress | None = None,
) -> SweepSums:
    """Compute a sweep, except for the tasks that a store has already."""
    execution = _Execution(job, plan, programs, store)
    effects = np.zeros((*job.models, job.n_edits))
    for task, sums in execution.results():
        if progress is not None and task.sums is None:
            progress(task.number, execution.n_tasks)
        effects[..., programs.calls[task.call].edits] += sums
    if progress is not None:
        progress(execution.n_tasks, execution.n_tasks)
    placement, largest = job.question.placement, execution.largest()
    sums = placement.over_processes(np.append(effects, largest))
    largest = sums[effects.size :].reshape(largest.shape) / placement.n_processes
    means = sums[: effects.size].reshape(effects.shape) / job.n_inputs
    return SweepSums(means, execution.logits, np.asarray(largest))


class _Task(NamedTuple):
    """One call for one chunk of inputs.

    Attributes:
        number: its number among all tasks.
        call: the call.
        rows: the inputs.
        context: what the patched runs start from; None if all sums of the chunk are known.
        sums: the sums, if a store has them.
    """

    number: int
    call: int
    rows: slice
    context: PatchContext | None
    sums: Sums | None


class _Execution:
    """The calls of a sweep.

    On a CPU threads share the calls. Elsewhere, calls are queued: the next ones, and the clean runs
    of the next chunk of inputs, are dispatched before the results of earlier ones are fetched.

    Attributes:
        n_tasks: the number of calls over all chunks of inputs.
        logits: the logits of every patched run; None unless they are kept.
    """

    def __init__(
        self, job: SweepJob, plan: SweepPlan, programs: Programs, store: SweepStore | None
    ) -> None:
        self._placement = job.question.placement
        self._programs = programs
        self._workers = plan.workers
        self._store = store
        self._finished = {} if store is None else store.finished()
        self._runs = _CleanRuns(job, programs.clean, plan.chunk_inputs)
        self._calls = [
            self._placement.put((call.blocks, call.in_use), by_first(EDITS))
            for call in programs.calls
        ]
        self._chunks = [
            slice(start, min(start + plan.chunk_inputs, job.n_inputs))
            for start in range(0, job.n_inputs, plan.chunk_inputs)
        ]
        self._first_scored = job.question.scoring.first_scored
        self._first_logits: jax.Array | None = None
        self.n_tasks = len(self._chunks) * len(self._calls)
        self.logits = _empty_logits(job)

    def results(self) -> Iterator[tuple[_Task, Sums]]:
        """The sums of every call for every chunk of inputs, in a fixed order."""
        numbers = range(len(self._chunks))
        if self._workers > 1:
            for number in numbers:
                yield from self._in_threads(number)
            return
        queue: deque[tuple[_Task, Patched | None]] = deque()
        for number in numbers:
            for task in self._tasks(number):
                queue.append((task, self._start(task)))
                if len(queue) > QUEUED_CALLS:
                    yield self._finish(*queue.popleft())
        while queue:
            yield self._finish(*queue.popleft())

    def largest(self) -> Float[np.ndarray, "*models"]:
        """The size of the clean outputs of the first chunk."""
        assert self._first_logits is not None
        return largest_outputs(self._first_logits, self._first_scored)

    def _tasks(self, chunk: int) -> Iterator[_Task]:
        rows, n_calls = self._chunks[chunk], len(self._calls)
        numbers = range(chunk * n_calls, (chunk + 1) * n_calls)
        context = None
        if chunk == 0 or any(number not in self._finished for number in numbers):
            context = self._runs.context(rows)
        if chunk == 0:
            assert context is not None
            self._first_logits = context.run.logits
        for call, number in enumerate(numbers):
            yield _Task(number, call, rows, context, self._finished.get(number))

    def _in_threads(self, chunk: int) -> Iterator[tuple[_Task, Sums]]:
        def run(task: _Task) -> tuple[_Task, Sums]:
            return self._finish(task, self._start(task))

        yield from worker_pool(self._workers).map(run, self._tasks(chunk))

    def _start(self, task: _Task) -> Patched | None:
        """Dispatch a call, whose results are then on their way to the host."""
        if task.sums is not None:
            return None
        patched = self._programs.patch.run(
            self._runs.weights, task.context, *self._calls[task.call]
        )
        if self._placement.is_whole:
            jax.tree.map(lambda array: array.copy_to_host_async(), patched)
        return patched

    def _finish(self, task: _Task, patched: Patched | None) -> tuple[_Task, Sums]:
        """Wait for a call's results, and store its sums."""
        if patched is None:
            assert task.sums is not None
            return task, task.sums
        sums = _collect(patched, self._programs.calls[task.call], task.rows, self.logits)
        if self._store is not None:
            self._store.add(task.number, sums)
        return task, sums


class _CleanRuns:
    """The clean runs and the replacements of their outputs, chunk by chunk."""

    def __init__(self, job: SweepJob, clean: Program, batch: int) -> None:
        self.job = job
        self.clean = clean
        self.placement = job.question.placement
        self.batch = batch
        self.weights = self.placement.put(job.weights, whole)
        self.shared = {
            ablation: self._shared(ablation)
            for ablation in job.question.ablations
            if ablation != "resample"
        }

    def context(self, rows: slice) -> PatchContext:
        """Everything that the patched runs of some inputs start from."""
        inputs = self.job.question.inputs
        replacements = [
            self._outputs(inputs.corrupted, rows)
            if ablation == "resample"
            else self.shared[ablation]
            for ablation in self.job.question.ablations
        ]
        outputs, hidden = zip(*replacements, strict=True)
        targets = None
        if inputs.targets is not None:
            padded = _padded(inputs.targets, rows, self.batch)
            targets = self.placement.put(padded, by_last_but_one)
        return PatchContext(self._run(inputs.clean, rows), outputs, hidden, targets)

    def _run(self, tokens: HostArray, rows: slice) -> CleanRun:
        padded = _padded(tokens, rows, self.batch).astype(np.int32)
        return self.clean.run(self.weights, self.placement.put(padded, by_first(BATCH)))

    def _outputs(self, tokens: HostArray, rows: slice) -> tuple[jax.Array, jax.Array]:
        run = self._run(tokens, rows)
        return run.outputs, run.hidden

    def _shared(self, ablation: ReplacementSource) -> tuple[jax.Array, jax.Array]:
        """The replacements of writers' outputs and of hidden units that all inputs share."""
        like = self.clean.result
        outputs, hidden = (np.zeros(array.shape[:-1]) for array in (like.outputs, like.hidden))
        if ablation == "mean":
            outputs, hidden = self._means()
        if ablation in (CONSTANTS, "optimal"):
            constants = self.job.question.inputs.constants
            assert constants is not None
            outputs = np.moveaxis(constants[..., 0, :, :, :], -3, -1)
        dtype = like.outputs.dtype
        outputs, hidden = (
            self.placement.put(values[..., None].astype(dtype), whole)
            for values in (outputs, hidden)
        )
        return outputs, hidden

    def _means(self) -> tuple[np.ndarray, np.ndarray]:
        """The means over all corrupted inputs."""
        tokens, local = self.job.question.inputs.corrupted, Placement()
        batch = self.batch // self.placement.batch_shares
        (clean,) = compile_all(lower_clean(self.job, local, batch))
        weights, totals = local.put(self.job.weights, whole), [0.0, 0.0]
        for start in range(0, tokens.shape[-2], batch):
            rows = slice(start, min(start + batch, tokens.shape[-2]))
            run = clean.run(weights, _padded(tokens, rows, batch).astype(np.int32))
            for index, array in enumerate((run.outputs, run.hidden)):
                some = np.asarray(array)[..., : rows.stop - rows.start]
                totals[index] = totals[index] + some.sum(axis=-1, dtype=np.float64)
        outputs, hidden = (np.asarray(total) / tokens.shape[-2] for total in totals)
        return outputs, hidden


def _collect(patched: Patched, call: Call, rows: slice, kept: np.ndarray | None) -> Sums:
    """The sums of a call's edits over a chunk's inputs, of the part that this process has."""
    n = rows.stop - rows.start
    used = call.order >= 0
    if kept is not None:
        kept[call.edits, rows] = np.asarray(patched.logits)[used][:, :n]
    if patched.values.is_fully_addressable:
        values = np.asarray(patched.values)[..., :n].sum(axis=-1, dtype=np.float64)
        return values[..., used]
    sums = np.zeros(used.shape)
    for shard in patched.values.addressable_shards:
        blocks, _, columns = shard.index
        own = np.asarray(shard.data)[..., : max(0, n - (columns.start or 0))]
        sums[blocks] += own.sum(axis=-1, dtype=np.float64)
    return sums[used]


def _empty_logits(job: SweepJob) -> np.ndarray | None:
    if not job.question.return_logits:
        return None
    shape = (job.n_edits, *job.question.inputs.clean.shape, job.weights.unembed.shape[0])
    return np.empty(shape, job.weights.unembed.dtype)


def _padded(array: HostArray, rows: slice, size: int) -> np.ndarray:
    """Some rows, padded with the last one."""
    index = np.minimum(np.arange(rows.start, rows.start + size), rows.stop - 1)
    return array.take(index, axis=-2)
