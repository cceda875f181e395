"""Time sweeps on the device at hand, by the size of their blocks.

    python -m benchmarks.accelerators.measure [--quick] [--json FILE]

For each model, exhaustive edge patching runs in blocks of 1, 2, 4, ... edits by all inputs. A line
is fitted to the times: what a block costs, plus what each patched run in it costs. Their ratio says
how large a block must be before its own cost no longer matters. Then follow the sweep as it plans
itself, cold and warm, the plain `vmap` and, where torch and `transformer-lens` can be imported,
TransformerLens's loop on the same device.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import interpbench_jax as ib
from benchmarks.speed import ours, peer_transformer_lens
from benchmarks.speed.job import Job, Options
from benchmarks.speed.workloads import packaged_job, random_job
from interpbench_jax.sweeps import plan
from interpbench_jax.sweeps.chunks import Chunks, choose_chunks

_MAX_BYTES = 32 << 30
_BLOCKS = 64
# Above this a single block would not fit into memory with its neighbours.
_MOST_ROWS = 1 << 18


@dataclass(frozen=True)
class BlockTime:
    """A sweep in blocks of one size.

    Attributes:
        label: the job's label.
        edits: edits per block.
        rows: patched runs per block.
        n_blocks: the number of blocks of the sweep.
        seconds: the median time of a warm sweep.
    """

    label: str
    edits: int
    rows: int
    n_blocks: int
    seconds: float


@dataclass(frozen=True)
class Fit:
    """What a block costs, by a least-squares line through the times of one job.

    Attributes:
        label: the job's label.
        seconds_per_block: the cost of a block besides its rows.
        seconds_per_row: the cost of one patched run of one input.
    """

    label: str
    seconds_per_block: float
    seconds_per_row: float

    @property
    def rows_per_block(self) -> float:
        """The number of rows that cost as much as a block does besides them."""
        return self.seconds_per_block / max(self.seconds_per_row, 1e-15)


@dataclass(frozen=True)
class SweepTime:
    """One contestant on one job.

    Attributes:
        label: the job's label.
        contestant: `"ours"`, `"plain vmap"` or `"TransformerLens"`.
        cold: the time of the first call, compilation included.
        warm: the median time of later calls.
        patched_forwards_per_second: edges times inputs over the warm time.
        difference: the largest difference of an effect from ours, over the largest effect.
    """

    label: str
    contestant: str
    cold: float
    warm: float
    patched_forwards_per_second: float
    difference: float


def time_blocks(job: Job, repeats: int) -> list[BlockTime]:
    """Time the sweep of a job in blocks of every power of two edits."""
    prepared = ours.sweep(job, Options(max_bytes=_MAX_BYTES))
    batch = 1 << (job.n_inputs - 1).bit_length()
    found = []
    edits = 1
    while edits < 2 * len(job.edges) and edits * batch <= _MOST_ROWS:
        with _blocks_of(Chunks(batch, edits, _BLOCKS)) as counts:
            prepared.run()
            seconds = _median(prepared.run, repeats)
            n_blocks = sum(-(-count // edits) for count in counts[-1])
        found.append(BlockTime(job.label, edits, batch * edits, n_blocks, seconds))
        edits *= 2
    return found


def fit_blocks(times: Sequence[BlockTime]) -> Fit:
    """Fit `seconds = blocks * (a + b * rows)`, each time weighted by its inverse."""
    rows = np.asarray([[time.n_blocks, time.n_blocks * time.rows] for time in times], float)
    seconds = np.asarray([time.seconds for time in times])
    (per_block, per_row), *_ = np.linalg.lstsq(rows / seconds[:, None], np.ones(len(times)))
    return Fit(times[0].label, float(per_block), float(per_row))


def time_contestants(job: Job, repeats: int, *, has_torch: bool) -> list[SweepTime]:
    """Time our sweep as it plans itself, the plain `vmap` and TransformerLens's loop."""
    contestants: dict[str, Callable[[], np.ndarray]] = {
        "ours": ours.sweep(job, Options()).run,
        "plain vmap": ours.sweep_plain(job, Options()).run,
    }
    if has_torch:
        options = Options(device="cuda" if jax.default_backend() == "gpu" else "cpu")
        contestants["TransformerLens"] = peer_transformer_lens.prepare(job, options).run
    found: list[SweepTime] = []
    reference = np.zeros(0)
    for name, run in contestants.items():
        started = time.perf_counter()
        effects = run()
        cold = time.perf_counter() - started
        warm = _median(run, repeats)
        reference = effects if name == "ours" else reference
        difference = float(np.abs(effects - reference).max() / np.abs(reference).max())
        rate = job.patched_forwards / warm
        found.append(SweepTime(job.label, name, cold, warm, rate, difference))
    return found


@contextmanager
def _blocks_of(chunks: Chunks) -> Iterator[list[Sequence[int]]]:
    """Plan every sweep in these chunks; yields the numbers of edits by place, sweep by sweep."""
    asked: list[Sequence[int]] = []

    def choose(places: Sequence[int], n_inputs: int, most_rows: int, overhead_rows: int) -> Chunks:
        asked.append(places)
        return chunks

    plan.choose_chunks = choose
    try:
        yield asked
    finally:
        plan.choose_chunks = choose_chunks


def _median(run: Callable[[], object], repeats: int) -> float:
    return statistics.median(_time(run) for _ in range(repeats))


def _time(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _can_import_peer() -> bool:
    try:
        import torch  # pyright: ignore[reportMissingImports] # noqa: F401
        import transformer_lens  # pyright: ignore[reportMissingImports] # noqa: F401
    except ImportError as error:
        print(f"Without TransformerLens: {error}", file=sys.stderr)
        return False
    return True


def _jobs(is_quick: bool) -> Iterator[Job]:
    if is_quick:
        yield packaged_job("11", 32)
        return
    for case_id in ("34", "11", "8"):
        yield packaged_job(case_id, 1_000)
    yield packaged_job("11", 32)
    yield packaged_job("11", 16_000)
    for d_model, n_inputs in ((64, 500), (256, 128), (512, 32)):
        yield random_job(d_model, n_inputs)


def _show(fits: Sequence[Fit], sweeps: Sequence[SweepTime]) -> None:
    console = Console()
    table = Table(
        "model and inputs", "us per block", "ns per patched run", "rows of a block's cost"
    )
    for fit in fits:
        per_row = f"{1e9 * fit.seconds_per_row:,.2f}"
        table.add_row(
            fit.label, f"{1e6 * fit.seconds_per_block:,.0f}", per_row, f"{fit.rows_per_block:,.0f}"
        )
    console.print(table)
    table = Table("model and inputs", "", "cold, s", "warm, s", "patched runs per s", "difference")
    for each in sweeps:
        rate = f"{each.patched_forwards_per_second:,.0f}"
        cells = (f"{each.cold:.2f}", f"{each.warm:.4f}", rate, f"{each.difference:.1e}")
        table.add_row(each.label, each.contestant, *cells)
    console.print(table)


def main() -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one small sweep only")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--repeats", type=int, default=5, help="warm runs of each; default: 5")
    arguments = parser.parse_args()
    has_torch = _can_import_peer()
    device = f"{jax.local_device_count()} x {jax.devices()[0].device_kind}"
    print(f"{device}, jax {jax.__version__}, interpbench-jax {ib.__version__}", flush=True)
    fits, blocks, sweeps = list[Fit](), list[BlockTime](), list[SweepTime]()
    rates = {}
    for name, contestant, unit in (
        ("float32 product", ours.multiply, "flops"),
        ("copy", ours.copy, "bytes"),
    ):
        prepared = contestant(packaged_job("11", 1), Options())
        prepared.run()
        rates[name] = float(prepared.facts[unit]) / _median(prepared.run, arguments.repeats)
        print(f"{name}: {rates[name]:.3g} {unit} per second", flush=True)
    for job in _jobs(arguments.quick):
        # First, so that its first call compiles.
        sweeps += time_contestants(job, arguments.repeats, has_torch=has_torch)
        times = time_blocks(job, arguments.repeats)
        blocks += times
        fits.append(fit_blocks(times))
        if arguments.json is not None:
            measured = {"device": device, "jax": jax.__version__, "rates": rates}
            lists = {"blocks": blocks, "fits": fits, "sweeps": sweeps}
            measured |= {key: [asdict(each) for each in found] for key, found in lists.items()}
            arguments.json.write_text(json.dumps(measured, indent=1), encoding="utf-8")
        print(f"{job.label}: done", file=sys.stderr, flush=True)
    _show(fits, sweeps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
