"""The results as a Markdown page."""

from collections.abc import Iterable, Sequence

from benchmarks.speed.comparisons import OURS, Comparison
from benchmarks.speed.contest import NotRun
from benchmarks.speed.curves import Curve
from benchmarks.speed.hardware import Hardware
from benchmarks.speed.measurements import Difference
from benchmarks.speed.results import Results
from benchmarks.speed.roofline import Roofline

# A load before the run above this value means that the machine was not idle.
_BUSY = 0.8
_MIB, _GIB = 1 << 20, 1 << 30

_HOW = """\
In exhaustive edge patching, each edge is cut alone, with resample ablation, and its effect is the
mean KL divergence from the clean output. Every contestant is a process that stays alive; they run
in turn, round by round, because the speed of a machine drifts, and only runs of one row can be
compared.

- *Cold*: the first call of a fresh process, including compilation but not imports.
- *Warm*: the median over rounds, with the best in brackets.
- *Memory*: the largest rise of the process's resident memory in a warm run.
- *Forwards/s*: patched forward runs per second; one edge of one input is one run.
- *GFLOP/s*, equivalent: the rate that recomputing every patched forward run in full would need,
  counting the matrix products of the model. A sweep that skips what an edit cannot change does less
  work and gets the same credit.
- *Of peak*: that rate over the rate of a large float32 matrix product, timed between the same runs;
  it may exceed 100 %.
- *Ours is faster by*: the contestant's median warm time over ours, for the same job.
- *Ours differs by*: the largest difference between the effects, over the largest effect.
"""


def render(results: Results) -> str:
    """Render the whole page."""
    lines = ["# Speed", "", *_hardware(results.hardware), ""]
    if (results.hardware.load or 0) > _BUSY:
        lines += ["**Others were using the machine. Do not quote these numbers.**", ""]
    kind = "a quick run, too short to quote" if results.is_quick else "a full run"
    lines += [f"This was {kind}: {results.rounds} rounds. Numbers: `results.json`.", "", _HOW]
    for name, part in results.parts.items():
        if isinstance(part, Curve):
            lines += _curve(part)
        elif isinstance(part, Roofline):
            lines += _roofline(part)
        else:
            lines += [f"## {_HEADINGS.get(name, name)}", "", *_comparisons(part)]
    if results.not_run:
        lines += ["## Not run", "", *_not_run(results.not_run)]
    return "\n".join(lines).rstrip() + "\n"


_HEADINGS = {
    "table": "Against a plain vmap and TransformerLens",
    "auto-circuit": "Against auto-circuit",
}


def _hardware(hardware: Hardware) -> list[str]:
    memory = "" if hardware.memory_bytes is None else f", {hardware.memory_bytes / _GIB:.0f} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in hardware.versions.items())
    load = "" if hardware.load is None else f", load before the run {hardware.load:.1f}"
    commit = "" if hardware.commit is None else f", commit {hardware.commit[:10]}"
    changed = " with changes" if (hardware.commit or "").endswith("+") else ""
    return [
        f"{hardware.cpu}, {hardware.cores} cores{memory}; {hardware.system}; "
        f"JAX on {hardware.device}. {versions}. {hardware.date}{commit}{changed}{load}."
    ]


def _comparisons(rows: Sequence[Comparison]) -> list[str]:
    table = [
        (
            "job",
            "contestant",
            "cold s",
            "warm s (best)",
            "memory MiB",
            "forwards/s",
            "GFLOP/s",
            "of peak",
            "ours is faster by",
            "ours differs by",
        ),
    ]
    missing: list[NotRun] = []
    for row in rows:
        label = f"{row.label}, {row.edges} edges"
        label += "" if row.threads is None else f", {row.threads} thread"
        against = {each.contestant: each for each in row.against}
        for one in row.measurements:
            other = against.get(one.contestant)
            share = "" if one.share_of_peak is None else f"{one.share_of_peak:.1%}"
            table.append(
                (
                    label if one.contestant == OURS else "",
                    one.contestant,
                    f"{one.cold_seconds:.2f}",
                    f"{_seconds(one.warm_seconds)} ({_seconds(one.warm_seconds_best)})",
                    _mib(one.peak_rise_bytes),
                    f"{one.patched_forwards_per_second:,.0f}",
                    f"{one.equivalent_flops_per_second / 1e9:.1f}",
                    share,
                    "" if other is None else f"**{other.ratio:.1f} x**",
                    "" if other is None else _difference(other.difference),
                )
            )
        missing += [NotRun(f"{each.name} ({label})", each.reason) for each in row.not_run]
    return [*_table(table), "", *_not_run(missing)]


def _curve(curve: Curve) -> list[str]:
    lines = [f"## {curve.title}", ""]
    if curve.points:
        lines += [f"![{curve.title}]({curve.name}.png)", ""]
    if curve.fit is not None:
        lines += [
            f"Best warm time = {curve.fit.intercept:.4g} s + {curve.fit.slope:.4g} s x "
            f"{curve.x_label}, R² = {curve.fit.r_squared:.4f}.",
            "",
        ]
    for what, ratio in curve.ratios.items():
        lines += [f"{what.capitalize()}: {ratio:.2f}.", ""]
    differences = [point.difference for point in curve.points if point.difference is not None]
    if differences:
        worst = max(differences, key=lambda difference: difference.absolute)
        lines += [f"Effects of points that do the same work differ by {_difference(worst)}.", ""]
    lines += [curve.remark, ""] if curve.remark else []
    table = [(curve.x_label, "series", "cold s", "warm s (best)", "memory MiB", "forwards/s")]
    for point in curve.points:
        one = point.measurement
        warm = f"{_seconds(one.warm_seconds)} ({_seconds(one.warm_seconds_best)})"
        rate = f"{one.patched_forwards_per_second:,.0f}"
        memory = _mib(one.peak_rise_bytes)
        row = (f"{point.x:,.0f}", point.series, f"{one.cold_seconds:.2f}", warm, memory, rate)
        table.append(row)
    lines += [*_table(table), ""] if curve.points else []
    return [*lines, *_not_run(curve.not_run)]


def _roofline(roofline: Roofline) -> list[str]:
    lines = ["## Roofline", ""]
    if roofline.points:
        lines += ["![Roofline](roofline.png)", ""]
    lines += [
        "Operations per byte are XLA's count for the plain program; ours is drawn at the same "
        "value. Shares above 100 % mean that work is skipped or that data stay in caches. The last "
        "column counts only the matrix products that no sweep can do without: those that read "
        "what an edge changes.",
        "",
    ]
    table = [
        (
            *("job", "contestant", "operations/byte", "GFLOP/s", "peak", "GB/s", "of the roof"),
            "needed operations, of the peak",
        )
    ]
    for point in roofline.points:
        table.append(
            (
                point.label,
                point.contestant,
                f"{point.intensity:.2f}",
                f"{point.equivalent_flops_per_second / 1e9:.1f}",
                f"{point.peak_flops_per_second / 1e9:.1f}",
                f"{point.bytes_per_second / 1e9:.1f}",
                f"{point.share_of_roof:.1%}",
                f"{point.share_of_peak:.1%}",
            )
        )
    lines += [*_table(table), ""] if roofline.points else []
    return [*lines, *_not_run(roofline.not_run)]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    return [line(rows[0]), line("---" for _ in rows[0]), *map(line, rows[1:])]


def _not_run(missing: Sequence[NotRun]) -> list[str]:
    lines = [f"- {each.name}: not run: {each.reason}" for each in missing]
    return [*lines, ""] if lines else []


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds >= 1 else f"{seconds:.3g}"


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / _MIB:.0f}"


def _difference(difference: Difference) -> str:
    if difference.relative is None:
        return f"{difference.absolute:.0e} nats (no effects)"
    return f"{difference.relative:.0e}"
