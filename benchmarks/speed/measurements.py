"""Summary numbers of runs: rates, shares of the machine's peak and differences."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.speed.contest import NotRun, Runs
from benchmarks.speed.flops import forward_flops
from benchmarks.speed.job import Job


@dataclass(frozen=True)
class Measurement:
    """The cost of one job for one contestant.

    Attributes:
        contestant: its name.
        cold_seconds: the first call of a fresh process, including compilation but not imports; the
            median where there were several processes.
        warm_seconds: the median over rounds.
        warm_seconds_best: the fastest round.
        warm_seconds_each: every round.
        compile_seconds: `cold_seconds` minus `warm_seconds_best`: tracing and compiling.
        peak_rise_bytes: the largest rise of the process's resident memory in a warm run; None
            where it cannot be measured.
        patched_forwards: edges times inputs (times models).
        patched_forwards_per_second: the rate of the median round.
        equivalent_flops_per_second: the rate, in the median round, that recomputing each patched
            forward run in full would need; a contestant that computes less gets the same credit.
        share_of_peak: that rate over the rate of the float32 matrix product measured between the
            same runs; None without one. It can exceed 1 where work is skipped.
        facts: versions, threads and counts.
    """

    contestant: str
    cold_seconds: float
    warm_seconds: float
    warm_seconds_best: float
    warm_seconds_each: tuple[float, ...]
    compile_seconds: float
    peak_rise_bytes: int | None
    patched_forwards: int
    patched_forwards_per_second: float
    equivalent_flops_per_second: float
    share_of_peak: float | None
    facts: Mapping[str, str | float]


def summarise(runs: Runs, job: Job, peak: float | None, models: int = 1) -> Measurement:
    """Summarize a contestant's runs of a job."""
    warm, best = median(runs.warm_seconds), min(runs.warm_seconds)
    cold = median(runs.cold_seconds)
    forwards = job.patched_forwards * models
    flops = forwards * forward_flops(job.config, job.clean.shape[1]) / warm
    return Measurement(
        contestant=runs.name,
        cold_seconds=cold,
        warm_seconds=warm,
        warm_seconds_best=best,
        warm_seconds_each=runs.warm_seconds,
        compile_seconds=max(0.0, cold - best),
        peak_rise_bytes=runs.peak_rise_bytes,
        patched_forwards=forwards,
        patched_forwards_per_second=forwards / warm,
        equivalent_flops_per_second=flops,
        share_of_peak=None if peak is None else flops / peak,
        facts=runs.facts,
    )


def rate_of(runs: Runs | NotRun | None, fact: str) -> float | None:
    """Return a fact (operations, bytes) per second of a warm run; None if there was no warm run."""
    if not isinstance(runs, Runs) or not runs.warm_seconds:
        return None
    return float(runs.facts[fact]) / median(runs.warm_seconds)


@dataclass(frozen=True)
class Difference:
    """The difference between two sweeps' effects.

    Attributes:
        absolute: the largest difference, in the metric's unit.
        largest_effect: the largest effect of the reference sweep.
        relative: `absolute / largest_effect`; None where no effect exceeds rounding (1e-6).
    """

    absolute: float
    largest_effect: float
    relative: float | None


_ROUNDING = 1e-6


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    """Return `max|a - b|`, as it is and relative to `max|b|`.

    Raises:
        ValueError: if the two have different numbers of effects.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"Expected equally many effects; got {ours.shape} and {theirs.shape}.")
    absolute = float(np.abs(ours - theirs).max(initial=0.0))
    largest = float(np.abs(theirs).max(initial=0.0))
    return Difference(absolute, largest, absolute / largest if largest > _ROUNDING else None)
