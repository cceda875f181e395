"""The compiled programs of a sweep, and the memory that they take."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec

from interpbench_jax.engine.clean import CleanRun, run_clean
from interpbench_jax.engine.programs import Lowered, Program, compile_all
from interpbench_jax.engine.suffix import Entry, SuffixBlocks
from interpbench_jax.engine.weights import Form
from interpbench_jax.sweeps.calls import Call, deal_calls
from interpbench_jax.sweeps.chunks import Chunks
from interpbench_jax.sweeps.job import SweepJob
from interpbench_jax.sweeps.kernels import PatchContext, patch_edits, patch_masks
from interpbench_jax.sweeps.mesh import (
    BATCH,
    EDITS,
    Placement,
    by_first,
    by_last,
    by_last_but_one,
    whole,
)

# Calls that are queued while the results of earlier ones are on their way to the host.
QUEUED_CALLS = 2
# Blocks from which on a faster program is worth a longer compilation, where there is a choice.
_MANY_BLOCKS = 1 << 15


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
        clean: the clean run of a chunk of inputs.
        patch: the patched runs of a call.
        calls: the calls that each chunk of inputs takes.
        bytes_held: the most memory that they take together, by XLA's account: arguments, results,
            and working memory of all calls that run at a time, on all devices of this process.
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
    clean = lower_clean(job, placement, batch)
    context = _context_shapes(job, clean.result)
    scoring, return_logits = job.question.scoring, job.question.return_logits
    function, static = patch_masks, (job.form, scoring, return_logits)
    if isinstance(blocked.blocks, SuffixBlocks):
        entries = tuple(Entry(entry) for entry in np.unique(blocked.blocks.entry))
        by_position = job.question.positions is not None
        function, static = patch_edits, (job.form, scoring, return_logits, by_position, entries)
    function = function if job.n_models is None else OverModels(function, len(static))
    arguments = (weights, context, _shapes(calls[0].blocks), _shapes(calls[0].in_use))
    n_blocks = len(calls) * chunks.blocks * -(-job.n_inputs // batch)
    effort = "full" if n_blocks > _MANY_BLOCKS else "quick"
    patch = placement.lower(function, static, _patch_specs, *arguments, effort=effort)
    clean, patch = compile_all(clean, patch)
    return Programs(clean, patch, calls, _bytes_held(clean, patch, workers))


def lower_clean(job: SweepJob, placement: Placement, batch: int) -> Lowered:
    """The clean run of so many inputs, ready to be compiled."""
    function = run_clean if job.n_models is None else OverModels(run_clean, 2)
    static = (job.form, job.replaces_neurons)
    tokens = jax.ShapeDtypeStruct((*job.models, batch, job.n_pos), np.int32)
    return placement.lower(function, static, _clean_specs(static), _shapes(job.weights), tokens)


def _shapes(tree: Any) -> Any:
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, jax.dtypes.canonicalize_dtype(a.dtype)), tree
    )


def _context_shapes(job: SweepJob, run: CleanRun) -> PatchContext:
    question = job.question

    def of(like: jax.ShapeDtypeStruct) -> tuple[jax.ShapeDtypeStruct, ...]:
        shared = jax.ShapeDtypeStruct((*like.shape[:-1], 1), like.dtype)
        return tuple(like if ablation == "resample" else shared for ablation in question.ablations)

    targets = question.inputs.targets
    if targets is not None:
        shape = (*targets.shape[:-2], run.after.shape[-1], targets.shape[-1])
        targets = jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(targets.dtype))
    return PatchContext(run, of(run.outputs), of(run.hidden), targets)  # pyright: ignore


def _clean_specs(static: tuple[Form, bool]) -> Callable[[tuple[Any, ...]], tuple[Any, Any]]:
    def specs(arguments: tuple[Any, ...]) -> tuple[Any, Any]:
        weights, _ = arguments
        out = jax.tree.map(by_last, jax.eval_shape(partial(run_clean, *static), *arguments))
        return (jax.tree.map(whole, weights), PartitionSpec(BATCH)), out

    return specs


def _patch_specs(arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    weights, context, blocks, count = arguments
    context_specs = jax.tree.map(by_last, context)
    if context.targets is not None:
        context_specs = context_specs._replace(targets=by_last_but_one(context.targets))
    cut = jax.tree.map(by_first(EDITS), (blocks, count))
    patched = PartitionSpec(EDITS, None, BATCH)
    return (jax.tree.map(whole, weights), context_specs, *cut), patched


def _bytes_held(clean: Program, patch: Program, workers: int) -> int:
    """The memory of a chunk's clean runs, or of the calls that run at a time, if that is more.

    One worker queues calls: their results wait, and the clean runs of the next chunk are there.
    """
    started = clean.argument_bytes + 2 * clean.result_bytes + clean.working_bytes
    patched = patch.argument_bytes + workers * (patch.result_bytes + patch.working_bytes)
    if workers == 1:
        patched += QUEUED_CALLS * patch.result_bytes + 2 * clean.result_bytes
    return max(started, patched)
