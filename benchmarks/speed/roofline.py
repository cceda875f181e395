"""Achieved rates under the machine's roofline, from a measured matrix product and bandwidth."""

from dataclasses import dataclass
from statistics import median

from benchmarks.speed.bench import PEAK, Bench, peak_entry
from benchmarks.speed.contest import NotRun, Runs
from benchmarks.speed.flops import sweep_flops
from benchmarks.speed.measurements import rate_of, summarise
from benchmarks.speed.process import Entry
from benchmarks.speed.workloads import packaged_job, random_job

_COPY, _OURS, _PLAIN = "copy", "ours", "plain"
_RANDOM_INPUTS = {64: 500, 256: 128, 512: 32}


@dataclass(frozen=True)
class RooflinePoint:
    """One contestant on one job.

    Attributes:
        label: the job's label.
        contestant: `"ours"` or `"plain"`.
        intensity: operations per byte, by XLA's count for the plain program; ours is drawn at the
            same value.
        equivalent_flops_per_second: the rate defined in `Measurement`.
        peak_flops_per_second: the rate of the matrix product timed between the same runs.
        bytes_per_second: the rate of a pass over a large array timed between the same runs.
        share_of_peak: the rate of the operations that no sweep can do without (`sweep_flops`)
            over the rate of the matrix product.
        share_of_roof: the equivalent rate over the lower of the peak and intensity times bandwidth.
    """

    label: str
    contestant: str
    intensity: float
    equivalent_flops_per_second: float
    peak_flops_per_second: float
    bytes_per_second: float
    share_of_peak: float
    share_of_roof: float


@dataclass(frozen=True)
class Roofline:
    """All points of the roofline plot.

    Attributes:
        points: one point per contestant and job.
        not_run: contestants that are missing, and why.
    """

    points: tuple[RooflinePoint, ...]
    not_run: tuple[NotRun, ...]


def measure_roofline(bench: Bench) -> Roofline:
    """Measure ours and the plain `vmap` on case 11 and on models with random weights."""
    jobs = [packaged_job("11", 32 if bench.is_quick else 1_000)]
    if not bench.is_quick:
        jobs += [random_job(d_model, inputs) for d_model, inputs in _RANDOM_INPUTS.items()]
    points: list[RooflinePoint] = []
    missing: list[NotRun] = []
    for job in jobs:
        folder = bench.write(job)
        entries = [
            Entry(_OURS, "sweep", folder),
            Entry(_PLAIN, "plain-with-cost", folder),
            peak_entry(folder),
            Entry(_COPY, "copy", folder),
        ]
        found = bench.alternate(f"roofline, {job.label}", entries)
        failed = [each for each in found.values() if isinstance(each, NotRun)]
        missing += [NotRun(f"{each.name} ({job.label})", each.reason) for each in failed]
        plain, peak = found[_PLAIN], rate_of(found[PEAK], "flops")
        bandwidth = rate_of(found[_COPY], "bytes")
        if not isinstance(plain, Runs) or not plain.facts["bytes"] or not peak or not bandwidth:
            continue
        readers = [reader for _, reader in job.edges]
        needed = job.n_inputs * sweep_flops(job.config, readers, job.clean.shape[1])
        intensity = float(plain.facts["flops"]) / float(plain.facts["bytes"])
        for name in (_OURS, _PLAIN):
            runs = found[name]
            if isinstance(runs, Runs):
                rate = summarise(runs, job, peak).equivalent_flops_per_second
                roof = min(peak, intensity * bandwidth)
                share = needed / median(runs.warm_seconds) / peak
                points.append(
                    RooflinePoint(
                        job.label, name, intensity, rate, peak, bandwidth, share, rate / roof
                    )
                )
    return Roofline(tuple(points), tuple(missing))
