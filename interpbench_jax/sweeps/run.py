"""A sweep from host arrays to effects: chunks of inputs, calls of programs, sums."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Float

from interpbench_jax.ablations import AblationName
from interpbench_jax.engine.clean import CleanRun, run_clean
from interpbench_jax.engine.programs import Lowered, Program, compile_all, worker_pool
from interpbench_jax.engine.suffix import Entry, SuffixBlocks
from interpbench_jax.engine.weights import Form, Weights
from interpbench_jax.sweeps.calls import Call, deal_calls
from interpbench_jax.sweeps.chunks import Chunks
from interpbench_jax.sweeps.edits import Blocked
from interpbench_jax.sweeps.inputs import HostArray, SweepInputs
from interpbench_jax.sweeps.mesh import (
    BATCH,
    EDITS,
    Placement,
    by_first,
    by_last,
    by_last_but_one,
    whole,
)
from interpbench_jax.sweeps.noise import largest_outputs
from interpbench_jax.sweeps.program import (
    PatchContext,
    Patched,
    SweepScoring,
    patch_edits,
    patch_masks,
)
from interpbench_jax.sweeps.store import SweepStore

Progress = Callable[[int, int], None]
CONSTANTS: Final = "constants"
# Where replacements come from: the inputs, or the caller.
ReplacementSource = AblationName | Literal["constants"]


@dataclass(frozen=True)
class SweepJob:
    """What a sweep computes, apart from how it is cut up.

    Attributes:
        form: of the model.
        weights: the model's, on the host.
        inputs: what the runs read.
        ablations: what takes the place of what is cut; edits are numbered through all of them.
        scoring: what becomes of a run.
        make_blocks: the edits, in blocks of so many.
        n_edits: edits, or masks, over all ablations.
        replaces_neurons: whether hidden units are replaced rather than writers' outputs.
        n_models: None for one model; else the first axis of every array counts models, which
            share the edits and are computed together.
    """

    form: Form
    weights: Weights
    inputs: SweepInputs
    ablations: tuple[ReplacementSource, ...]
    scoring: SweepScoring
    make_blocks: Callable[[int], Blocked]
    n_edits: int
    replaces_neurons: bool
    n_models: int | None = None

    @property
    def n_inputs(self) -> int:
        """How many inputs there are, of each model."""
        return self.inputs.clean.shape[-2]


@dataclass(frozen=True)
class OverModels:
    """A program over stacked models, which share all but the first two arrays."""

    function: Callable[..., Any]
    n_static: int

    def __call__(self, *arguments: Any) -> Any:
        """The function's results, stacked."""
        static, arrays = arguments[: self.n_static], arguments[self.n_static :]
        axes = (0, 0, *[None] * (len(arrays) - 2))
        return jax.vmap(partial(self.function, *static), in_axes=axes)(*arrays)


class Programs(NamedTuple):
    """The compiled programs of a job, for one shape of call.

    Attributes:
        clean: the plain run of a chunk of inputs.
        patch: the patched runs of a call.
        calls: the calls that each chunk of inputs takes.
        bytes_held: the most memory that they take together, as XLA accounts for it: arguments,
            results, and what all calls at a time allocate beside them, on all devices of this
            process.
    """

    clean: Program
    patch: Program
    calls: list[Call]
    bytes_held: int


def compile_job(job: SweepJob, chunks: Chunks, placement: Placement, workers: int) -> Programs:
    """The programs of a job, compiled unless they have been before."""
    batch = chunks.batch * placement.batch_shares
    blocked = job.make_blocks(chunks.edits)
    calls = deal_calls(blocked, chunks.blocks, placement.edit_shares, workers)
    weights = _shapes(job.weights)
    clean = _lower_clean(job, placement, batch)
    given = _given_shapes(job, clean.result)
    function, static = patch_masks, (job.form, job.scoring)
    if isinstance(blocked.blocks, SuffixBlocks):
        entries = tuple(Entry(entry) for entry in np.unique(blocked.blocks.entry))
        function, static = patch_edits, (job.form, job.scoring, entries)
    function = function if job.n_models is None else OverModels(function, len(static))
    arguments = (weights, given, _shapes(calls[0].blocks), _shapes(calls[0].in_use))
    patch = placement.lower(function, static, _patch_specs, *arguments)
    clean, patch = compile_all(clean, patch)
    devices = 1 if placement.mesh is None else len(placement.mesh.local_devices)
    return Programs(clean, patch, calls, devices * _bytes_held(clean, patch, workers))


def run_job(
    job: SweepJob,
    chunks: Chunks,
    programs: Programs,
    placement: Placement,
    workers: int,
    store: SweepStore | None = None,
    progress: Progress | None = None,
) -> tuple[Float[np.ndarray, "*models edits"], np.ndarray | None, Float[np.ndarray, "*models"]]:
    """The mean effect of every edit, every patched run's logits if they are kept, and how large
    the clean outputs are.
    """
    batch = chunks.batch * placement.batch_shares
    runs = _Runs(job, programs.clean, placement, batch)
    placed = [placement.put((call.blocks, call.in_use), by_first(EDITS)) for call in programs.calls]
    finished = {} if store is None else store.finished()
    effects = np.zeros((*_models(job), job.n_edits))
    kept = _empty_logits(job)
    starts = range(0, job.n_inputs, batch)
    total = len(starts) * len(placed)
    clean_logits: list[jax.Array] = []
    run_all = map if workers == 1 else worker_pool(workers).map

    def run_chunk(first: int, rows: slice) -> None:
        tasks = range(first, first + len(placed))
        sums = {task: finished[task] for task in tasks if task in finished}
        missing = [task for task in tasks if task not in finished]
        given = runs.given(rows) if missing or first == 0 else None
        if given is not None and first == 0:
            clean_logits.append(given.run.logits)

        def work(task: int) -> np.ndarray:
            found = programs.patch.run(runs.weights, given, *placed[task - first])
            found = _collect(found, programs.calls[task - first], rows, kept)
            if store is not None:
                store.add(task, found)
            return found

        already = len(tasks) - len(missing)
        for number, (task, found) in enumerate(zip(missing, run_all(work, missing), strict=True)):
            if progress is not None:
                progress(first + already + number, total)
            sums[task] = found
        for task in tasks:
            effects[..., programs.calls[task - first].edits] += sums[task]

    for number, start in enumerate(starts):
        run_chunk(number * len(placed), slice(start, min(start + batch, job.n_inputs)))
    if progress is not None:
        progress(total, total)
    largest = largest_outputs(clean_logits[0], job.scoring.first_scored)
    sums = placement.over_processes(np.append(effects, largest))
    largest = sums[effects.size :].reshape(largest.shape) / placement.n_processes
    return sums[: effects.size].reshape(effects.shape) / job.n_inputs, kept, np.asarray(largest)


class _Runs:
    """The clean runs, and what takes the place of their outputs, chunk by chunk."""

    def __init__(self, job: SweepJob, clean: Program, placement: Placement, batch: int):
        self.job = job
        self.clean = clean
        self.placement = placement
        self.batch = batch
        self.weights = placement.put(job.weights, whole)
        self.shared = {
            ablation: self._shared(ablation) for ablation in job.ablations if ablation != "resample"
        }

    def given(self, rows: slice) -> PatchContext:
        """All that the patched runs of some inputs start from."""
        inputs = self.job.inputs
        pairs = [
            self._outputs(inputs.corrupted, rows)
            if ablation == "resample"
            else self.shared[ablation]
            for ablation in self.job.ablations
        ]
        outputs, hidden = zip(*pairs, strict=True)
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
        """The mean over all corrupted inputs, zeros, or what the caller gave."""
        tokens = self.job.inputs.corrupted
        like = self.clean.result
        totals = [np.zeros(array.shape[:-1]) for array in (like.outputs, like.hidden)]
        if ablation == "mean":
            local = Placement()
            batch = self.batch // self.placement.batch_shares
            (clean,) = compile_all(_lower_clean(self.job, local, batch))
            weights = local.put(self.job.weights, whole)
            for start in range(0, tokens.shape[-2], batch):
                rows = slice(start, min(start + batch, tokens.shape[-2]))
                run = clean.run(weights, _padded(tokens, rows, batch).astype(np.int32))
                for total, array in zip(totals, (run.outputs, run.hidden), strict=True):
                    some = np.asarray(array)[..., : rows.stop - rows.start]
                    total += some.sum(axis=-1, dtype=np.float64)
            totals = [total / tokens.shape[-2] for total in totals]
        if ablation in (CONSTANTS, "optimal"):
            constants = self.job.inputs.constants
            assert constants is not None
            totals[0] = np.moveaxis(constants[..., 0, :, :, :], -3, -1)
        dtype = like.outputs.dtype
        outputs, hidden = (
            self.placement.put(total[..., None].astype(dtype), whole) for total in totals
        )
        return outputs, hidden


def _collect(
    found: Patched, call: Call, rows: slice, kept: np.ndarray | None
) -> Float[np.ndarray, "*models edits"]:
    """The sums over a chunk's inputs of the edits of a call, of what this process has."""
    n = rows.stop - rows.start
    used = call.order >= 0
    if kept is not None:
        kept[call.edits, rows] = np.asarray(found.logits)[used][:, :n]
    if found.values.is_fully_addressable:
        values = np.asarray(found.values)[..., :n].sum(axis=-1, dtype=np.float64)
        return values[..., used]
    sums = np.zeros(used.shape)
    for shard in found.values.addressable_shards:
        blocks, _, columns = shard.index
        own = np.asarray(shard.data)[..., : max(0, n - (columns.start or 0))]
        sums[blocks] += own.sum(axis=-1, dtype=np.float64)
    return sums[used]


def _empty_logits(job: SweepJob) -> np.ndarray | None:
    if not job.scoring.return_logits:
        return None
    shape = (job.n_edits, *job.inputs.clean.shape, job.weights.unembed.shape[0])
    return np.empty(shape, job.weights.unembed.dtype)


def _padded(array: HostArray, rows: slice, size: int) -> np.ndarray:
    """Some rows, and the last one as often as it takes."""
    index = np.minimum(np.arange(rows.start, rows.start + size), rows.stop - 1)
    return array.take(index, axis=-2)


def _shapes(tree: Any) -> Any:
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, jax.dtypes.canonicalize_dtype(a.dtype)), tree
    )


def _given_shapes(job: SweepJob, run: CleanRun) -> PatchContext:
    def of(like: jax.ShapeDtypeStruct) -> tuple[jax.ShapeDtypeStruct, ...]:
        shared = jax.ShapeDtypeStruct((*like.shape[:-1], 1), like.dtype)
        return tuple(like if ablation == "resample" else shared for ablation in job.ablations)

    targets = job.inputs.targets
    if targets is not None:
        shape = (*targets.shape[:-2], run.after.shape[-1], targets.shape[-1])
        targets = jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(targets.dtype))
    return PatchContext(run, of(run.outputs), of(run.hidden), targets)  # pyright: ignore


def _models(job: SweepJob) -> tuple[int, ...]:
    """The axis of models, if there is one."""
    return () if job.n_models is None else (job.n_models,)


def _lower_clean(job: SweepJob, placement: Placement, batch: int) -> Lowered:
    shape = (*_models(job), batch, job.inputs.clean.shape[-1])
    function = run_clean if job.n_models is None else OverModels(run_clean, 2)
    static = (job.form, job.replaces_neurons)
    tokens = jax.ShapeDtypeStruct(shape, np.int32)
    return placement.lower(function, static, _clean_specs(static), _shapes(job.weights), tokens)


def _clean_specs(static: tuple[Form, bool]) -> Callable[[tuple[Any, ...]], tuple[Any, Any]]:
    def specs(arguments: tuple[Any, ...]) -> tuple[Any, Any]:
        weights, _ = arguments
        out = jax.tree.map(by_last, jax.eval_shape(partial(run_clean, *static), *arguments))
        return (jax.tree.map(whole, weights), PartitionSpec(BATCH)), out

    return specs


def _patch_specs(arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    weights, given, blocks, count = arguments
    given_specs = jax.tree.map(by_last, given)
    if given.targets is not None:
        given_specs = given_specs._replace(targets=by_last_but_one(given.targets))
    cut = jax.tree.map(by_first(EDITS), (blocks, count))
    found = PartitionSpec(EDITS, None, BATCH)
    return (jax.tree.map(whole, weights), given_specs, *cut), found


def _bytes_held(clean: Program, patch: Program, workers: int) -> int:
    started = clean.argument_bytes + 2 * clean.result_bytes + clean.working_bytes
    patched = patch.argument_bytes + workers * (patch.result_bytes + patch.working_bytes)
    return max(started, patched)
