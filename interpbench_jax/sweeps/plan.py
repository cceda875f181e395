"""The plan of a sweep: chosen by shape, checked against memory, printable."""

from dataclasses import dataclass

import jax
import numpy as np

from interpbench_jax.engine.chips import Chip
from interpbench_jax.engine.programs import default_workers
from interpbench_jax.sweeps.chunks import (
    Chunks,
    choose_chunks,
    limit_logits,
    wanted_rows,
)
from interpbench_jax.sweeps.compile import Programs, compile_job
from interpbench_jax.sweeps.job import EntryPlace, SweepJob
from interpbench_jax.sweeps.mesh import Placement


@dataclass(frozen=True)
class SweepPlan:
    """How a sweep is computed; `str` describes it in words.

    Attributes:
        devices: the devices that it runs on.
        places: the places where its edits enter, the deepest first.
        n_inputs: the number of inputs.
        n_calls: the number of calls of the compiled program for each chunk of inputs.
        share_blocks: the number of blocks of each share of the edits, over all these calls.
        chunks: the shape of a call.
        workers: how many calls run at a time.
        bytes_held: the memory that the programs take, by XLA's account.
        max_bytes: the memory that they may take.
        batch_shares: how many devices take a share of each chunk's inputs.
        chip: what the chunks were chosen for.
        dtype: the precision of the runs; products of matrices are not rounded to less.
    """

    devices: str
    places: tuple[EntryPlace, ...]
    n_inputs: int
    n_calls: int
    share_blocks: tuple[int, ...]
    chunks: Chunks
    workers: int
    bytes_held: int
    max_bytes: int
    batch_shares: int
    chip: Chip
    dtype: np.dtype

    @property
    def chunk_inputs(self) -> int:
        """The number of inputs of a chunk, on all devices."""
        return self.chunks.batch * self.batch_shares

    @property
    def n_chunks(self) -> int:
        """The number of chunks of inputs."""
        return -(-self.n_inputs // self.chunk_inputs)

    def __str__(self) -> str:
        chunks = self.chunks
        n_edits = sum(place.n_edits for place in self.places)
        lines = [
            f"On {self.devices}, {_count(self.workers, 'call')} at a time; a call: up to "
            f"{_count(chunks.blocks, 'block')} of {_count(chunks.edits, 'edit')} x "
            f"{_count(chunks.batch, 'input')}.",
            f"{_count(n_edits, 'edit')} x {_count(self.n_inputs, 'input')} in "
            f"{_count(self.n_calls, 'call')} for each chunk of inputs.",
            *self._describe_shares(),
            f"A block has {_count(chunks.rows, 'patched run')}, because starting one takes "
            f"{self.chip.name} as long as {self.chip.overhead_rows:,} runs; all in {self.dtype}.",
            f"Memory: {self.bytes_held / 1e6:.1f} MB of the {self.max_bytes / 1e6:.1f} MB allowed.",
            "Recomputed for each edit, from where it enters:",
        ]
        width = max((len(place.name) for place in self.places), default=0)
        for place in self.places:
            after = f", then {_count(place.layers, 'layer')}" if place.layers else ""
            lines.append(f"  {place.name:{width}}  {_count(place.n_edits, 'edit'):>11}{after}")
        return "\n".join(lines)

    def _describe_shares(self) -> list[str]:
        """A line on how evenly the edits are split over devices, if they are."""
        if len(self.share_blocks) == 1:
            return []
        least, most = min(self.share_blocks), max(self.share_blocks)
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        used = sum(self.share_blocks) / (most * len(self.share_blocks))
        return [f"Each share of the edits has {each} blocks; on average, {used:.0%} are at work."]


def plan_job(job: SweepJob, max_bytes: int | None) -> tuple[SweepPlan, Programs]:
    """The fastest chunks that fit into the memory allowed, and their programs, compiled.

    A first guess of the memory is made from the shapes. Then XLA's account of the compiled programs
    decides: as long as it is more than allowed, smaller chunks are tried.

    Raises:
        ValueError: if one edit of one input does not fit.
    """
    weights, placement = job.weights, job.question.placement
    chip = placement.chip
    allowed = chip.max_bytes if max_bytes is None else max_bytes
    itemsize = np.dtype(weights.embed.dtype).itemsize
    rows = wanted_rows(chip, weights.mlp_in.shape[-2], job.n_pos, itemsize)
    counts = [-(-place.n_edits // placement.edit_shares) for place in job.places]
    inputs = -(-job.n_inputs // placement.batch_shares)
    workers = default_workers() if placement.mesh is None else 1
    while True:
        chunks = choose_chunks(counts, inputs, rows, chip.overhead_rows)
        if job.question.return_logits:
            chunks = limit_logits(chunks, job.n_pos * weights.unembed.shape[-2] * itemsize)
        guess = _guess_bytes(job, chunks, workers) * itemsize
        if guess <= 4 * allowed or chunks.rows == 1:
            programs = compile_job(job, chunks, placement, workers)
            if programs.bytes_held <= allowed:
                break
            if chunks.rows == 1 and workers > 1:
                workers = 1
                continue
            if chunks.rows == 1:
                raise ValueError(
                    f"Expected max_bytes of at least {programs.bytes_held}, which one edit of one "
                    f"input takes in this model, got {allowed}."
                )
        rows = min(rows, chunks.rows) // 2 or 1
    plan = SweepPlan(
        devices=_name_devices(placement),
        places=job.places,
        n_inputs=job.n_inputs,
        n_calls=len(programs.calls),
        share_blocks=tuple(np.sum([call.in_use for call in programs.calls], axis=0).tolist()),
        chunks=chunks,
        workers=workers,
        bytes_held=programs.bytes_held,
        max_bytes=allowed,
        batch_shares=placement.batch_shares,
        chip=chip,
        dtype=np.dtype(weights.embed.dtype),
    )
    return plan, programs


def _guess_bytes(job: SweepJob, chunks: Chunks, workers: int) -> int:
    """Roughly how many numbers are in memory at a time, to choose the first chunks to try."""
    n_layers, _, heads, d_head, d_model = job.weights.qkv.shape[-5:]
    d_mlp = job.weights.mlp_in.shape[-2]
    kept = (1 + 2 * len(job.question.ablations)) * job.weights.layout.n_writers * d_model
    kept += n_layers * (2 * d_model + 4 * heads * d_head + job.replaces_neurons * 3 * d_mlp)
    # Hidden units, streams, and the scores and patterns of all heads.
    per_row = 2 * d_mlp + 8 * d_model + heads * 2 * job.n_pos
    n_models = job.n_models or 1
    return n_models * job.n_pos * (kept * chunks.batch + workers * per_row * chunks.rows)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _name_devices(placement: Placement) -> str:
    if placement.mesh is None:
        kind = jax.devices()[0].device_kind
        return f"one {kind.upper() if kind == 'cpu' else kind}"
    shape = " x ".join(f"{n} {name}" for name, n in placement.mesh.shape.items())
    return f"{_count(placement.mesh.size, 'device')} ({shape})"
