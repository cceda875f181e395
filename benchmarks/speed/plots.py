"""Plots of the curves and of the roofline. Only this file imports matplotlib."""

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.speed.curves import Curve, Point
from benchmarks.speed.roofline import Roofline

_FORMATS = ("png", "svg")
_SIZE = (9.0, 3.6)
_MIB = 1 << 20
# Curves whose points lie at powers of two.
_DOUBLING = ("width", "devices", "models", "memory")


def plot_curve(curve: Curve, folder: Path) -> tuple[str, ...]:
    """Draw a curve and return the names of the files written."""
    figure, (left, right) = plt.subplots(1, 2, figsize=_SIZE, layout="constrained")
    if curve.second == "peak":
        _draw_rate(left, curve)
    else:
        _draw(left, curve, lambda point: point.measurement.warm_seconds_best, "seconds, warm, best")
        _draw_fit(left, curve)
    match curve.second:
        case "rate":
            _draw_rate(right, curve)
        case "compile":
            label = "cold minus warm, seconds"
            _draw(right, curve, lambda point: point.measurement.compile_seconds, label)
        case "flops":
            label = "equivalent FLOP / s"
            _draw(right, curve, lambda point: point.measurement.equivalent_flops_per_second, label)
            if curve.peak_flops_per_second:
                right.axhline(curve.peak_flops_per_second, ls="--", c="0.5", label="measured peak")
        case "peak":
            _draw(right, curve, _peak_mib, "measured peak rise, MiB")
            budgets = [point.x for point in curve.points]
            right.plot(budgets, budgets, ls="--", c="0.5", label="the budget")
        case "per model":
            label = "seconds per model"
            _draw(right, curve, lambda point: point.measurement.warm_seconds_best / point.x, label)
    figure.suptitle(curve.title)
    for axes in (left, right):
        axes.legend(fontsize="small")
    return _save(figure, folder, curve.name)


def plot_roofline(roofline: Roofline, folder: Path) -> tuple[str, ...]:
    """Draw the roofline and return the names of the files written."""
    figure, axes = plt.subplots(figsize=(6.0, 4.2), layout="constrained")
    peak = float(np.median([point.peak_flops_per_second for point in roofline.points]))
    bandwidth = float(np.median([point.bytes_per_second for point in roofline.points]))
    ridge = peak / bandwidth
    intensities = [point.intensity for point in roofline.points]
    x = np.geomspace(min(*intensities, ridge) / 4, max(*intensities, ridge) * 4, 200)
    axes.plot(x, np.minimum(peak, bandwidth * x), c="0.3", label="measured roof")
    for point in roofline.points:
        marker = "o" if point.contestant == "ours" else "x"
        label = f"{point.contestant}, {point.label}"
        axes.plot([point.intensity], [point.equivalent_flops_per_second], marker, label=label)
    axes.set(xscale="log", yscale="log", xlabel="operations / byte", ylabel="equivalent FLOP / s")
    axes.legend(fontsize="x-small")
    return _save(figure, folder, "roofline")


def _peak_mib(point: Point) -> float:
    rise = point.measurement.peak_rise_bytes
    return float("nan") if rise is None else rise / _MIB


def _draw(axes: Axes, curve: Curve, value: Callable[[Point], float], label: str) -> None:
    for series in dict.fromkeys(point.series for point in curve.points):
        points = [point for point in curve.points if point.series == series]
        axes.plot([p.x for p in points], [value(p) for p in points], "o-", ms=4, label=series)
    axes.set(xlabel=curve.x_label, ylabel=label)
    if curve.name in _DOUBLING:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({point.x for point in curve.points}))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, position: f"{x:g}"))
    else:
        axes.set_xscale("log")
    axes.set_yscale("log")


def _draw_rate(axes: Axes, curve: Curve) -> None:
    label = "patched forwards / s"
    _draw(axes, curve, lambda point: point.measurement.patched_forwards_per_second, label)
    axes.set(yscale="linear")
    axes.set_ylim(bottom=0)


def _draw_fit(axes: Axes, curve: Curve) -> None:
    if curve.fit is None or not curve.points:
        return
    x = np.geomspace(min(p.x for p in curve.points), max(p.x for p in curve.points), 200)
    y = curve.fit.intercept + curve.fit.slope * x
    label = (
        f"{curve.fit.intercept:.3g} s + {curve.fit.slope:.3g} s x n, R² {curve.fit.r_squared:.4f}"
    )
    axes.plot(x, np.where(y > 0, y, np.nan), ls="--", c="0.5", label=label)


def _save(figure: Figure, folder: Path, name: str) -> tuple[str, ...]:
    files = tuple(f"{name}.{suffix}" for suffix in _FORMATS)
    for file in files:
        figure.savefig(folder / file, dpi=150)
    plt.close(figure)
    return files
