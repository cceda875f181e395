"""The comparison table: ours, the plain `vmap` and the peers on the same jobs, run in turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.speed.bench import PEAK, Bench
from benchmarks.speed.contest import NotRun, Runs
from benchmarks.speed.flops import forward_flops
from benchmarks.speed.job import ConfigValue, Job, Options
from benchmarks.speed.measurements import (
    Difference,
    Measurement,
    largest_difference,
    rate_of,
    summarise,
)
from benchmarks.speed.process import Entry
from benchmarks.speed.workloads import packaged_job, random_job

OURS, PLAIN, TRANSFORMER_LENS, AUTO_CIRCUIT = "ours", "plain", "TransformerLens", "auto-circuit"
_PACKAGED = ("34", "11", "8")
_PACKAGED_INPUTS = (1000, 32)
# Inputs by d_model, chosen to keep a run of the slowest contestant under 15 seconds.
_RANDOM_INPUTS = {64: 500, 256: 128, 512: 32}


@dataclass(frozen=True)
class Against:
    """One contestant compared with ours.

    Attributes:
        contestant: its name.
        ratio: its median warm seconds over ours.
        ratio_best: the ratio of its best round to our best round.
        difference: the difference between our effects and its effects.
    """

    contestant: str
    ratio: float
    ratio_best: float
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """One row of the table.

    Attributes:
        label: the job's label.
        threads: 1, or None for all threads.
        config: the model's config.
        universe: the edge universe.
        edges: the number of edges that are cut.
        inputs: the number of inputs for which each edge is cut.
        forward_flops: the operations of one full forward run of one input.
        peak_flops_per_second: the rate of the matrix product timed between the same runs; None if
            it failed.
        measurements: one measurement per contestant, ours first.
        against: the other contestants compared with ours.
        not_run: contestants that are missing, and why.
    """

    label: str
    threads: int | None
    config: Mapping[str, ConfigValue]
    universe: str
    edges: int
    inputs: int
    forward_flops: int
    peak_flops_per_second: float | None
    measurements: tuple[Measurement, ...]
    against: tuple[Against, ...]
    not_run: tuple[NotRun, ...]


def compare_cases(bench: Bench) -> tuple[Comparison, ...]:
    """Compare with the plain `vmap` and TransformerLens, on packaged cases and random weights."""
    jobs: list[Callable[[], Job]] = []
    for case_id in ("11",) if bench.is_quick else _PACKAGED:
        for inputs in (32,) if bench.is_quick else _PACKAGED_INPUTS:
            jobs.append(lambda case_id=case_id, inputs=inputs: packaged_job(case_id, inputs))
    sizes = {64: 32} if bench.is_quick else _RANDOM_INPUTS
    for d_model, inputs in sizes.items():
        jobs.append(lambda d_model=d_model, inputs=inputs: random_job(d_model, inputs))
    peers = {TRANSFORMER_LENS: ("transformer-lens", bench.transformer_lens)}
    return tuple(_compare(bench, make(), peers) for make in jobs)


def compare_auto_circuit(bench: Bench) -> tuple[Comparison, ...]:
    """Compare with auto-circuit on case 11 and auto-circuit's edges, on one thread and on all."""
    peers = {AUTO_CIRCUIT: ("auto-circuit", bench.auto_circuit)}
    rows = []
    for inputs in (32,) if bench.is_quick else _PACKAGED_INPUTS:
        job = packaged_job("11", inputs, "qkv-merged")
        for threads in (None,) if bench.is_quick else (1, None):
            rows.append(_compare(bench, job, peers, threads))
    return tuple(rows)


def _compare(
    bench: Bench,
    job: Job,
    peers: Mapping[str, tuple[str, str | NotRun]],
    threads: int | None = None,
) -> Comparison:
    folder, options = bench.write(job), Options(threads=threads)
    entries = [Entry(OURS, "sweep", folder, options)]
    if job.universe == "qkv":
        entries.append(Entry(PLAIN, "plain", folder, options))
    missing = []
    for name, (method, python) in peers.items():
        if isinstance(python, NotRun):
            missing.append(NotRun(name, python.reason))
        else:
            entries.append(Entry(name, method, folder, options, python))
    entries.append(Entry(PEAK, "multiply", folder, options))
    found = bench.alternate(f"{job.label}, {_threads(threads)}", entries)
    peak = rate_of(found.pop(PEAK), "flops")
    missing += [each for each in found.values() if isinstance(each, NotRun)]
    runs = [each for each in found.values() if isinstance(each, Runs)]
    return Comparison(
        label=job.label,
        threads=threads,
        config=job.config,
        universe=job.universe,
        edges=len(job.edges),
        inputs=job.n_inputs,
        forward_flops=forward_flops(job.config, job.clean.shape[1]),
        peak_flops_per_second=peak,
        measurements=tuple(summarise(each, job, peak) for each in runs),
        against=_against(runs, job),
        not_run=tuple(missing),
    )


def _against(runs: list[Runs], job: Job) -> tuple[Against, ...]:
    by_name = {each.name: each for each in runs}
    ours = by_name.pop(OURS, None)
    if ours is None:
        return ()
    base = summarise(ours, job, None)
    rows = []
    for name, theirs in by_name.items():
        other = summarise(theirs, job, None)
        rows.append(
            Against(
                contestant=name,
                ratio=other.warm_seconds / base.warm_seconds,
                ratio_best=other.warm_seconds_best / base.warm_seconds_best,
                difference=largest_difference(ours.effects, theirs.effects),
            )
        )
    return tuple(rows)


def _threads(threads: int | None) -> str:
    return "all threads" if threads is None else f"{threads} thread"
