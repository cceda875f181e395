"""Scaling curves of our sweep: inputs, edges, width, devices, number of models and memory."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.speed.bench import PEAK, Bench, peak_entry
from benchmarks.speed.contest import NotRun, Runs
from benchmarks.speed.fits import LineFit, fit_line
from benchmarks.speed.job import Job, Options
from benchmarks.speed.measurements import (
    Difference,
    Measurement,
    largest_difference,
    rate_of,
    summarise,
)
from benchmarks.speed.process import Entry
from benchmarks.speed.workloads import packaged_job, random_job

Second = Literal["rate", "compile", "flops", "peak", "per model"]

_MIB = 1 << 20
_WAYS = {"one call": "sweep-together", "stacked": "sweep-stacked", "in turn": "sweep-in-turn"}


@dataclass(frozen=True)
class Point:
    """One measurement of a curve.

    Attributes:
        x: its position on the x axis.
        series: the line of the plot to which it belongs.
        detail: further facts about the point.
        measurement: the measured numbers.
        difference: the difference of its effects from those of the first point that does the same
            work; None for that point itself.
    """

    x: float
    series: str
    detail: Mapping[str, float]
    measurement: Measurement
    difference: Difference | None = None


@dataclass(frozen=True)
class Curve:
    """Time against one quantity, everything else being equal.

    Attributes:
        name: the name of the part and of its files.
        title: the heading and the plot's title.
        x_label: the quantity on the x axis.
        second: the quantity that the plot shows beside the time.
        points: the points in the order of x.
        fit: a line fitted to the best warm seconds over x, where that makes sense.
        ratios: further ratios that the text reports, by description.
        peak_flops_per_second: the rate of the matrix product timed between the same runs; None if
            it was not timed.
        remark: a note for the reader; empty if there is none.
        not_run: points that are missing, and why.
    """

    name: str
    title: str
    x_label: str
    second: Second
    points: tuple[Point, ...]
    fit: LineFit | None
    ratios: Mapping[str, float]
    peak_flops_per_second: float | None
    remark: str
    not_run: tuple[NotRun, ...]


@dataclass(frozen=True)
class _Place:
    """A point to be measured."""

    x: float
    series: str
    job: Job
    method: str = "sweep"
    options: Options = field(default_factory=Options)
    environment: Mapping[str, str] = field(default_factory=dict)
    detail: Mapping[str, float] = field(default_factory=dict)


def scale_inputs(bench: Bench) -> Curve:
    """Measure case 11 with 1 to 100,000 inputs."""
    most = (1, 100, 1_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000)
    sizes = (1, 100, 500) if bench.is_quick else most
    places = [_Place(n, "ours", packaged_job("11", n)) for n in sizes]
    title = "Inputs (case 11, 137 edges)"
    return _measure(bench, "inputs", title, "inputs", "rate", places, is_line=True)


def scale_edges(bench: Bench) -> Curve:
    """Measure random models of 1 to 12 layers, d_model 12, 32 inputs; shows compile time too."""
    layers = (1, 2, 3) if bench.is_quick else (1, 2, 3, 4, 6, 8, 10, 12)
    jobs = {n: random_job(12, 32, n_layers=n) for n in layers}
    places = [_Place(len(job.edges), "ours", job, detail={"layers": n}) for n, job in jobs.items()]
    return _measure(
        bench,
        "edges",
        f"Edges (1 to {max(layers)} layers, d_model 12, 32 inputs)",
        "edges",
        "compile",
        places,
        is_line=True,
        fresh=1 if bench.is_quick else 3,
        remark="Each model is deeper than the one before, so a forward run takes longer too.",
    )


def scale_width(bench: Bench) -> Curve:
    """Measure random models of d_model 4 to 512 with 32 inputs."""
    sizes = (4, 64) if bench.is_quick else (4, 8, 16, 32, 64, 128, 256, 512)
    places = [_Place(size, "ours", random_job(size, 32)) for size in sizes]
    title = "Width (2 layers, 32 inputs)"
    return _measure(bench, "width", title, "d_model", "flops", places)


def scale_devices(bench: Bench) -> Curve:
    """Measure case 11 on 1 to 8 simulated devices of this machine."""
    job = packaged_job("11", 100 if bench.is_quick else 1_000)
    places = []
    for count in (1, 2) if bench.is_quick else (1, 2, 4, 8):
        flag = f"--xla_force_host_platform_device_count={count}"
        environment = {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip(),
        }
        options = Options(on_mesh=True)
        places.append(_Place(count, "ours", job, options=options, environment=environment))
    return _measure(
        bench,
        "devices",
        f"Simulated devices (case 11, {job.n_inputs:,} inputs)",
        "devices",
        "rate",
        places,
        remark=(
            "Simulated devices share the machine's processors, so this shows the overhead of "
            "distributing a sweep, not the gain from more devices."
        ),
    )


def scale_models(bench: Bench) -> Curve:
    """Measure 1 to 64 models of case 11's shape: in one call, stacked, and in one call each."""
    job = packaged_job("11", 32)
    places = []
    for count in (4,) if bench.is_quick else (1, 2, 4, 8, 16, 32, 64):
        options, detail = Options(models=count), {"models": float(count)}
        for series, method in _WAYS.items():
            places.append(_Place(count, series, job, method, options, detail=detail))
    title = "Models of one shape (case 11's, 32 inputs each)"
    return _measure(bench, "models", title, "models", "per model", places)


def scale_memory(bench: Bench) -> Curve:
    """Measure case 11 under memory budgets from 64 MiB to 4 GiB."""
    job = packaged_job("11", 1_000 if bench.is_quick else 10_000)
    budgets = (64, 256) if bench.is_quick else (64, 128, 256, 512, 1024, 2048, 4096)
    places = [_Place(n, "ours", job, options=Options(max_bytes=n * _MIB)) for n in budgets]
    title = f"Memory budget (case 11, {job.n_inputs:,} inputs)"
    return _measure(bench, "memory", title, "max_bytes, MiB", "peak", places)


def _measure(
    bench: Bench,
    name: str,
    title: str,
    x_label: str,
    second: Second,
    places: Sequence[_Place],
    *,
    is_line: bool = False,
    fresh: int = 1,
    remark: str = "",
) -> Curve:
    """Measure all points in turn, so that drift affects all of them alike."""
    labels = [f"{x_label} {place.x:,.0f}, {place.series}" for place in places]
    entries = [
        Entry(
            label,
            place.method,
            bench.write(place.job),
            place.options,
            environment=place.environment,
        )
        for label, place in zip(labels, places, strict=True)
    ]
    if second == "flops":
        entries.append(peak_entry(entries[0].folder))
    found = bench.alternate(name, entries, fresh)
    peak = rate_of(found.pop(PEAK, None), "flops")
    points = _points(places, [found[label] for label in labels], peak)
    x = [point.x for point in points]
    return Curve(
        name=name,
        title=title,
        x_label=x_label,
        second=second,
        points=tuple(points),
        fit=fit_line(x, [p.measurement.warm_seconds_best for p in points]) if is_line else None,
        ratios=_ratios(points),
        peak_flops_per_second=peak,
        remark=remark,
        not_run=tuple(each for each in found.values() if isinstance(each, NotRun)),
    )


def _points(
    places: Sequence[_Place], found: Sequence[Runs | NotRun], peak: float | None
) -> list[Point]:
    points: list[Point] = []
    first: dict[tuple[str, int, int], Runs] = {}
    for place, runs in zip(places, found, strict=True):
        if isinstance(runs, NotRun):
            continue
        job, models = place.job, place.options.models
        work = (job.label, len(job.edges), models)
        difference = None
        if work in first:
            difference = largest_difference(runs.effects, first[work].effects)
        first.setdefault(work, runs)
        measurement = summarise(runs, job, peak, models)
        points.append(Point(place.x, place.series, place.detail, measurement, difference))
    return points


def _ratios(points: Sequence[Point]) -> dict[str, float]:
    """Return the compile time of 12 layers over that of 2, if both were measured."""
    seconds = {
        p.detail["layers"]: p.measurement.compile_seconds for p in points if p.detail.get("layers")
    }
    if not {2.0, 12.0} <= set(seconds) or not seconds[2.0]:
        return {}
    return {"compile time of 12 layers over that of 2": seconds[12.0] / seconds[2.0]}
