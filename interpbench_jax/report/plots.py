"""Plots of a benchmark as PNG and SVG; under one matplotlib, the same rows give the same bytes.

Figures are made without pyplot, and in matplotlib's default style regardless of the user's.
matplotlib, from the `bench` extra, is imported where it is used.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.names import case_order
from interpbench_jax.report.bench import Matrix, case_matrix, leaderboard
from interpbench_jax.report.colors import BLUE, GREY, ORANGE
from interpbench_jax.report.curves import DIAGONAL, EXPECTED, RatePair, draw_roc, roc_curve
from interpbench_jax.report.figures import (
    COLUMN,
    PAGE,
    encode_figure,
    house_style,
    new_figure,
    set_title,
)
from interpbench_jax.report.rows import ResultRow, ScoreRow
from interpbench_jax.storage import make_folder, write_file
from interpbench_jax.texts import plain
from interpbench_jax.universes import UniverseName

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE = "exact"
ABLATION = "resample"

_UNIVERSES: tuple[UniverseName, ...] = ("head-no-embed", "head")
# The universe of the rows of scores.
_FINEST: UniverseName = "qkv"
_INSIDE, _OUTSIDE = ORANGE, BLUE
# Values below this fraction of the largest, zero included, are drawn at it.
_FLOOR = 1e-9
# The number of letters that fit under a cell of the heat map.
_CELL_LETTERS = 4


def write_plots(
    results: Sequence[ResultRow],
    scores: Sequence[ScoreRow],
    folder: Path | str,
    *,
    ablation: str | None = None,
    reference: str = REFERENCE,
) -> list[Path]:
    """Draw the results of one ablation, each plot as PNG and as SVG, and write them atomically.

    `boxes-*`: ROC-AUC over cases by method. `heat-map-*`: method by case. `roc-CASE`: ROC curves
    in the finest universe, one line per method, for its lowest seed. `effects-METHOD`: each edge's
    exact effect against the method's score; not drawn if the reference was not run.

    Args:
        results: rows of results; only those of edges are drawn.
        scores: rows of scores, likewise; may be empty.
        folder: the folder to write to, which is created if it does not exist.
        ablation: the default is `resample`, or the first by name if that was not run.
        reference: the method whose scores are the exact effects.

    Returns:
        The files, in the order in which they were written.

    Raises:
        ImportError: if matplotlib is not installed.
        OSError: if the folder cannot be made or written.
        ValueError: if there are no results for edges with that ablation.
    """
    chosen = _choose_ablation(results, ablation)
    rows = [row for row in results if row.level == "edge" and row.ablation == chosen]
    items = [row for row in scores if row.level == "edge" and row.ablation == chosen]
    # Which marks are drawn over which must not depend on the order of the rows.
    rows.sort(key=lambda row: row.key)
    items.sort(key=lambda row: row.key)
    folder = Path(folder)
    make_folder(folder)
    written = []
    with house_style():
        for wanted, draw in _plots(rows, items, chosen, reference):
            name = _unused(wanted, folder, written)
            figure = draw()
            for kind in ("png", "svg"):
                path = folder / f"{name}.{kind}"
                write_file(path, encode_figure(figure, kind))
                written.append(path)
    return written


def box_plot(
    matrix: Matrix, title: str, chance: Float[np.ndarray, "methods cases"] | None = None
) -> "Figure":
    """Draw one Tukey box per method over its cases, best first, with each case as a dot.

    Args:
        matrix: the areas.
        title: the title.
        chance: the mean area of random scores, likewise; NaN where it is not known. Each method's
            mean over cases is drawn as a dashed line.
    """
    kept = [i for i, values in enumerate(matrix.values) if not np.isnan(values).all()]
    figure, axes = new_figure(COLUMN, 0.9 + 0.19 * max(len(kept), 1))
    places = list(range(len(kept), 0, -1))
    values = [matrix.values[i][~np.isnan(matrix.values[i])] for i in kept]
    # `Axes.boxplot` reads every setting, including the backend, and so imports pyplot.
    for place, own in zip(places, values, strict=True):
        low, lower, median, upper, high = _five_numbers(own)
        axes.barh(place, upper - lower, 0.6, lower, facecolor="#D9E8F2", edgecolor=_OUTSIDE)
        axes.hlines([place, place], [low, upper], [lower, high], colors=_OUTSIDE)
        axes.vlines([low, high], place - 0.15, place + 0.15, colors=_OUTSIDE)
        axes.vlines(median, place - 0.3, place + 0.3, colors=_INSIDE, linewidth=2)
    generator = np.random.default_rng(0)
    for place, own in zip(places, values, strict=True):
        spread = generator.uniform(-0.18, 0.18, len(own))
        axes.plot(own, place + spread, ".", color="#333333", markersize=3, alpha=0.6)
    axes.set_yticks(places, [plain(matrix.methods[i]) for i in kept])
    axes.set_ylim(0.4, len(kept) + 0.6)
    axes.set_xlim(-0.02, 1.02)
    means = [] if chance is None else [_mean(chance[i]) for i in kept]
    for place, mean in zip(places, means, strict=False):
        axes.vlines(
            mean, place - 0.5, place + 0.5, colors=GREY, linewidth=1, linestyles="dashed", zorder=0
        )
    known = sorted({f"{mean:.2f}" for mean in means if not np.isnan(mean)})
    axes.set_xlabel(f"ROC-AUC, universe {matrix.universe}")
    note = "dots: cases; thick line: median"
    note += f"\ndashed: {EXPECTED}, {_range(known)}" if known else ""
    figure.supxlabel(note, x=0.01, ha="left", fontsize=7)
    set_title(figure, title)
    return figure


def heat_map(
    matrix: Matrix, title: str, chance: Float[np.ndarray, "methods cases"] | None = None
) -> "Figure":
    """Draw methods against cases, with the area in each cell.

    Args:
        matrix: the areas.
        title: the title.
        chance: the mean area of random scores, likewise; NaN where it is not known. The last row
            is the mean over methods.
    """
    values, methods = matrix.values, list(matrix.methods)
    if chance is not None and not np.isnan(chance).all():
        values = np.vstack([values, [[_mean(column) for column in chance.T]]])
        methods.append(EXPECTED)
    n_methods, n_cases = values.shape
    # Wider than a page only if the numbers would touch.
    figure, axes = new_figure(max(PAGE, 2.0 + 0.27 * n_cases), 0.9 + 0.2 * n_methods)
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(n_cases), [plain(case) for case in matrix.cases])
    axes.set_yticks(range(n_methods), [plain(method) for method in methods])
    axes.tick_params(length=0)
    if max(map(len, matrix.cases), default=0) > _CELL_LETTERS:
        axes.tick_params(axis="x", labelrotation=90)
    axes.spines[:].set_visible(False)
    if n_methods > len(matrix.methods):
        axes.axhline(n_methods - 1.5, color="white", linewidth=3)
    for row, column in product(range(n_methods), range(n_cases)):
        value = values[row, column]
        shown = "-" if np.isnan(value) else f"{value:.2f}"
        color = "white" if value < 0.55 else "black"
        axes.text(column, row, shown, ha="center", va="center", color=color, fontsize=7)
    axes.set_xlabel("case")
    set_title(figure, title)
    label = f"ROC-AUC, universe\n{matrix.universe}"
    figure.colorbar(image, ax=axes, label=label, shrink=0.9, pad=0.02)
    return figure


def roc_plot(curves: Mapping[str, RatePair], title: str) -> "Figure":
    """Draw each method's ROC curve in the finest universe, with areas in the legend."""
    figure, axes = new_figure(PAGE, 3.6)
    draw_roc(axes, curves, {EXPECTED: DIAGONAL}, "edge", _FINEST)
    set_title(figure, title)
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, handlelength=3.2)
    return figure


def effects_plot(
    exact: Float[np.ndarray, " items"],
    scores: Float[np.ndarray, " items"],
    in_circuit: Bool[np.ndarray, " items"],
    title: str,
) -> "Figure":
    """Draw every item's exact effect against a method's score: magnitudes on logarithmic axes.

    Magnitudes below 1e-9 of the largest, zeros included, lie on the edge of the axis.
    """
    figure, axes = new_figure(COLUMN, 3.5)
    x, y = _magnitudes(exact), _magnitudes(scores)
    for inside, color, marker, name in (
        (False, _OUTSIDE, "o", "outside the circuit"),
        (True, _INSIDE, "D", "in the circuit"),
    ):
        own = in_circuit == inside
        axes.plot(
            x[own],
            y[own],
            marker,
            color=color,
            markersize=4 if inside else 2.5,
            markeredgewidth=0,
            alpha=0.75 if inside else 0.35,
            label=f"{name} ({int(own.sum())})",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:.0e}")
        axis.set_minor_formatter(lambda *_: "")
    axes.tick_params(axis="x", rotation=30)
    axes.set_xlabel(f"exact effect of the edge, universe {_FINEST}\n(left end: 0)")
    axes.set_ylabel(f"method's score of the edge, universe {_FINEST}\n(lower end: 0)")
    set_title(figure, title)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _plots(
    rows: Sequence[ResultRow], items: Sequence[ScoreRow], ablation: str, reference: str
) -> Iterator[tuple[str, "Callable[[], Figure]"]]:
    """Yield every plot's file name and a function that draws it, for one figure at a time."""
    of = f", {ablation} ablation" if ablation else ""
    for universe in _UNIVERSES:
        matrix = case_matrix(rows, universe)
        chance = _chance(rows, matrix)
        title = f"Edges, {universe}{of}"
        yield f"boxes-{universe}", lambda m=matrix, t=title, c=chance: box_plot(m, t, c)
        yield f"heat-map-{universe}", lambda m=matrix, t=title, c=chance: heat_map(m, t, c)
    methods = [entry.method for entry in leaderboard(rows, resamples=1)]
    runs = _lowest_seeds(items)
    for case in sorted({case for case, _ in runs}, key=case_order):
        curves = {
            method: roc_curve(*_arrays(runs[case, method]))
            for method in methods
            if (case, method) in runs and len({row.truth for row in runs[case, method]}) > 1
        }
        if curves:
            title = f"Case {case}: edges, {_FINEST}{of}"
            yield f"roc-{_file_name(case)}", lambda c=curves, t=title: roc_plot(c, t)
    for method in methods:
        pooled = _beside_the_reference(runs, method, reference)
        if pooled is not None:
            title = f"{method}{of}"
            yield (
                f"effects-{_file_name(method)}",
                lambda p=pooled, t=title: effects_plot(*p, plain(t)),
            )


def _chance(rows: Sequence[ResultRow], matrix: Matrix) -> Float[np.ndarray, "methods cases"]:
    """Return the mean area of random scores by method and case, over runs; NaN if not known."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.universe == matrix.universe and row.null_mean is not None:
            found.setdefault((row.method, row.case), []).append(row.null_mean)
    return np.asarray(
        [[np.mean(found.get((m, c), np.nan)) for c in matrix.cases] for m in matrix.methods]
    )


def _mean(values: np.ndarray) -> float:
    """Return the mean without NaN; NaN if there is nothing else."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _range(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def _choose_ablation(results: Sequence[ResultRow], ablation: str | None) -> str:
    there = sorted({row.ablation for row in results if row.level == "edge"})
    chosen = (
        (ABLATION if ABLATION in there else next(iter(there), "")) if not ablation else ablation
    )
    if chosen not in there:
        raise ValueError(
            f"Expected results of edges with the ablation {chosen!r}, got those of "
            f"{there or 'no edges'}."
        )
    return chosen


def _five_numbers(values: np.ndarray) -> tuple[float, float, float, float, float]:
    """Return a box's whiskers, quartiles and median: low, lower, median, upper, high.

    Whiskers reach to the last value within 1.5 interquartile ranges. Source: Tukey 1977.
    """
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75))
    reach = 1.5 * (upper - lower)
    low = min(float(values[values >= lower - reach].min()), float(lower))
    high = max(float(values[values <= upper + reach].max()), float(upper))
    return low, float(lower), float(median), float(upper), high


def _lowest_seeds(items: Sequence[ScoreRow]) -> dict[tuple[str, str], list[ScoreRow]]:
    """Return the rows of the lowest seed by case and method, in order, without constant items.

    If a method ran in several edge orders, only the order of its settings counts.
    """
    lowest: dict[tuple[str, str], int] = {}
    for row in items:
        key = (row.case, row.method)
        lowest[key] = min(row.seed, lowest.get(key, row.seed))
    found: dict[tuple[str, str], list[ScoreRow]] = {}
    for row in items:
        is_own = row.seed == lowest[row.case, row.method] and row.order == 0
        if is_own and row.truth != "constant":
            found.setdefault((row.case, row.method), []).append(row)
    return found


def _beside_the_reference(
    runs: Mapping[tuple[str, str], Sequence[ScoreRow]], method: str, reference: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return exact effects, scores and truth, for all cases that both ran on; None without any."""
    if method == reference:
        return None
    parts = []
    for (case, name), rows in runs.items():
        exact = {row.item: row.value for row in runs.get((case, reference), ())}
        if name == method:
            parts += [
                (exact[row.item], row.value, row.truth == "in") for row in rows if row.item in exact
            ]
    if not parts:
        return None
    exact_values, values, truth = zip(*parts, strict=True)
    return np.asarray(exact_values, float), np.asarray(values, float), np.asarray(truth, bool)


def _arrays(rows: Sequence[ScoreRow]) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray([row.value for row in rows]), np.asarray([row.truth == "in" for row in rows])


def _magnitudes(values: np.ndarray) -> np.ndarray:
    """Return magnitudes, clipped to what a logarithmic axis can show."""
    sizes = np.abs(values)
    finite = sizes[np.isfinite(sizes)]
    largest = float(finite.max(initial=0.0)) or 1.0
    return np.clip(sizes, largest * _FLOOR, largest)


def _unused(name: str, folder: Path, written: Sequence[Path]) -> str:
    """Return a file name that is unused in this call: two methods' names may give the same one."""
    taken = {path.stem for path in written if path.parent == folder}
    while name in taken:
        name = f"{name}-2"
    return name


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-.") or "unnamed"
