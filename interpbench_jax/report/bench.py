"""A benchmark's rows as tables: the leaderboard, results by tier, methods against cases."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float

from interpbench_jax.names import Level, case_order
from interpbench_jax.report.grids import Grid, number
from interpbench_jax.report.rows import ResultRow
from interpbench_jax.statistics import (
    RESAMPLES,
    Interval,
    MethodComparison,
    adjust,
    bootstrap_seeds,
    compare,
)
from interpbench_jax.universes import UniverseName

# The embedding, a trivial positive, is in neither the ranking nor the tables unless requested.
RANKED: UniverseName = "head-no-embed"
_INTERVAL_NOTE = "In brackets: 95 % bootstrap intervals over cases, and over runs within them."
_SPREAD_NOTE = (
    " Spread: highest minus lowest value over the runs of a case, which differ in seed or in edge "
    "order, in head-no-embed and for the paper's area; mean over cases (and largest)."
)


@dataclass(frozen=True)
class RunSpread:
    """The range of a case's runs over seeds and edge orders: highest minus lowest value.

    Attributes:
        mean: the mean range over the cases that have several runs.
        largest: the largest range.
    """

    mean: float
    largest: float


@dataclass(frozen=True)
class MethodSummary:
    """One method with one ablation, over all its cases.

    Values are means over cases of means over runs; cases where a value is not defined are left
    out. The runs of a case have different seeds or different edge orders.

    Attributes:
        method: the method's name.
        ablation: the ablation that it ran with; empty if unknown.
        n_cases: the number of cases that it was run on.
        head_no_embed: ROC-AUC in the universe `head-no-embed`; None if no case has one.
        head: ROC-AUC in `head`; None likewise.
        average_precision: average precision in `head-no-embed`.
        paper_auc: InterpBench's staircase area, in `head`.
        cpr: circuit performance ratio, from signed scores.
        cmd: circuit-model distance, from absolute scores.
        seconds: the time of one run.
        spread: the spread of the ROC-AUC in `head-no-embed`; None if no case has several runs.
        paper_spread: the spread of the paper's area; None likewise.
    """

    method: str
    ablation: str
    n_cases: int
    head_no_embed: Interval | None
    head: Interval | None
    average_precision: float | None
    paper_auc: float | None
    cpr: float | None
    cmd: float | None
    seconds: float | None
    spread: RunSpread | None = None
    paper_spread: RunSpread | None = None

    @property
    def rank(self) -> tuple[int, float, float, str, str]:
        """A sort key: most cases first, because fewer prove less, then the larger areas."""
        areas = (-1.0 if each is None else each.mean for each in (self.head_no_embed, self.head))
        first, second = areas
        return -self.n_cases, -first, -second, self.method, self.ablation


@dataclass(frozen=True)
class Matrix:
    """ROC-AUC, or another score, by method and case.

    Attributes:
        universe: the universe in which items were scored.
        methods: the label of each row: a method, with its ablation if there are several.
        cases: the case of each column.
        values: the mean score over runs; NaN if there is none.
    """

    universe: UniverseName
    methods: tuple[str, ...]
    cases: tuple[str, ...]
    values: Float[np.ndarray, "methods cases"]

    @cached_property
    def means(self) -> Float[np.ndarray, " methods"]:
        """The mean over the cases that have a value; NaN if none has."""
        counts = (~np.isnan(self.values)).sum(axis=1)
        totals = np.nansum(self.values, axis=1)
        return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def leaderboard(
    rows: Sequence[ResultRow], level: Level = "edge", *, resamples: int = RESAMPLES
) -> tuple[MethodSummary, ...]:
    """Rank the methods by cases covered, then by ROC-AUC in `head-no-embed`, then in `head`.

    Args:
        rows: the results of any methods, ablations, seeds and levels.
        level: the level whose rows count.
        resamples: the number of bootstrap resamples; the ranking does not depend on it.

    Returns:
        The methods, best first.
    """
    runs: dict[tuple[str, str], list[ResultRow]] = {}
    for row in rows:
        if row.level == level:
            runs.setdefault((row.method, row.ablation), []).append(row)
    entries = (_entry(*names, own, resamples) for names, own in runs.items())
    return tuple(sorted(entries, key=lambda entry: entry.rank))


def case_matrix(
    rows: Sequence[ResultRow],
    universe: UniverseName = RANKED,
    level: Level = "edge",
    score: Literal["roc_auc", "average_precision"] = "roc_auc",
) -> Matrix:
    """Return a score of every method on every case, with methods in the leaderboard's order."""
    own = [row for row in rows if row.level == level]
    names = [(entry.method, entry.ablation) for entry in leaderboard(own, level, resamples=1)]
    cases = sorted({row.case for row in own}, key=case_order)
    values = np.full((len(names), len(cases)), np.nan)
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in own:
        value = row.roc_auc if score == "roc_auc" else row.average_precision
        if row.universe == universe and value is not None:
            found.setdefault((row.method, row.ablation, row.case), []).append(value)
    for (method, ablation, case), areas in found.items():
        values[names.index((method, ablation)), cases.index(case)] = np.mean(areas)
    return Matrix(universe, labels(names), tuple(cases), values)


def compare_with_best(
    rows: Sequence[ResultRow], level: Level = "edge"
) -> tuple[MethodComparison, ...]:
    """Compare the best method with every other on their shared cases, with Holm's correction.

    Raises:
        ImportError: if scipy is not installed.
    """
    matrix = case_matrix(rows, RANKED, level)
    best, *others = zip(matrix.methods, matrix.values, strict=True)
    return adjust([compare(best[0], name, best[1], values) for name, values in others])


def leaderboard_grid(entries: Sequence[MethodSummary], level: Level = "edge") -> Grid:
    """Return the leaderboard as a table."""
    several = len({entry.ablation for entry in entries}) > 1
    has_runs = any(entry.spread for entry in entries)
    spreads = ("spread", "paper spread") if has_runs else ()
    headers = ("method", *(["ablation"] if several else []), "cases", "head-no-embed", "head")
    rows = [
        (
            entry.method,
            *([entry.ablation] if several else []),
            str(entry.n_cases),
            show_interval(entry.head_no_embed),
            show_interval(entry.head),
            number(entry.average_precision),
            number(entry.paper_auc),
            *([show_spread(entry.spread), show_spread(entry.paper_spread)] if has_runs else []),
            number(entry.cpr),
            number(entry.cmd),
            number(entry.seconds, 2),
        )
        for entry in entries
    ]
    return Grid(
        f"Methods: mean ROC-AUC of {level}s",
        (*headers, "AP", "paper AUC", *spreads, "CPR", "CMD", "seconds"),
        tuple(rows),
        f"{_INTERVAL_NOTE} AP: average precision in head-no-embed. Paper AUC: InterpBench's "
        "staircase area, in head. CPR (larger is better) and CMD (smaller is better): areas of the "
        "faithfulness curves of circuits that signed and absolute scores choose, as in MIB. "
        f"Seconds: time of one run.{_SPREAD_NOTE if has_runs else ''}",
        n_left=2 if several else 1,
    )


def matrix_grid(matrix: Matrix) -> Grid:
    """Tabulate methods against cases, with two decimals."""
    rows = [
        (method, *(number(float(area), 2) for area in areas), number(float(mean)))
        for method, areas, mean in zip(matrix.methods, matrix.values, matrix.means, strict=True)
    ]
    return Grid(
        f"By case: ROC-AUC in {matrix.universe}", ("method", *matrix.cases, "mean"), tuple(rows)
    )


def comparisons_grid(title: str, comparisons: Sequence[MethodComparison]) -> Grid:
    """Tabulate paired comparisons, one per row."""
    rows = [
        (
            each.first,
            each.second,
            str(each.n),
            show_interval(each.difference, signed=True),
            show_p(each.p),
            show_p(each.p_holm),
            number(each.a12),
        )
        for each in comparisons
    ]
    return Grid(
        title,
        ("first", "second", "cases", "difference", "p", "p (Holm)", "A12"),
        tuple(rows),
        "Two-sided Wilcoxon signed-rank test over cases; A12: how often a case of the first "
        "exceeds one of the second.",
        n_left=2,
    )


def show_interval(interval: Interval | None, signed: bool = False) -> str:
    """Format a mean with its interval in brackets, with three decimals."""
    if interval is None:
        return "-"
    sign = "+" if signed else ""
    mean = f"{interval.mean:{sign}.3f}"
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def show_spread(spread: RunSpread | None) -> str:
    """Format the mean of a spread, with the largest in parentheses."""
    return "-" if spread is None else f"{spread.mean:.3f} ({spread.largest:.3f})"


def show_p(p: float | None) -> str:
    """Format a p-value with two significant digits."""
    return "-" if p is None else f"{p:.2g}"


def labels(names: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return a label for each method and ablation, without the ablation if there is only one."""
    several = len({ablation for _, ablation in names}) > 1
    return tuple(
        f"{method} ({ablation})" if several and ablation else method for method, ablation in names
    )


def _entry(method: str, ablation: str, rows: Sequence[ResultRow], resamples: int) -> MethodSummary:
    def areas(universe: UniverseName) -> Interval | None:
        table = _by_case((row, row.roc_auc) for row in rows if row.universe == universe)
        return None if not table.size else bootstrap_seeds(table, resamples=resamples)

    def mean(values: Iterable[tuple[ResultRow, float | None]]) -> float | None:
        table = _by_case(values)
        return None if not table.size else float(np.nanmean(table, axis=1).mean())

    return MethodSummary(
        method=method,
        ablation=ablation,
        n_cases=len({row.case for row in rows}),
        head_no_embed=areas(RANKED),
        head=areas("head"),
        average_precision=mean(
            (row, row.average_precision) for row in rows if row.universe == RANKED
        ),
        paper_auc=mean((row, row.paper_auc) for row in rows if row.universe == "head"),
        cpr=mean((row, row.cpr) for row in rows),
        cmd=mean((row, row.cmd) for row in rows),
        seconds=mean((row, row.seconds) for row in rows),
        spread=_spread((row, row.roc_auc) for row in rows if row.universe == RANKED),
        paper_spread=_spread((row, row.paper_auc) for row in rows if row.universe == "head"),
    )


def _spread(values: Iterable[tuple[ResultRow, float | None]]) -> RunSpread | None:
    table = _by_case(values)
    table = table[(~np.isnan(table)).sum(axis=1) > 1]
    if not table.size:
        return None
    ranges = np.nanmax(table, axis=1) - np.nanmin(table, axis=1)
    return RunSpread(float(ranges.mean()), float(ranges.max()))


def _by_case(values: Iterable[tuple[ResultRow, float | None]]) -> Float[np.ndarray, "cases runs"]:
    """Arrange values by case and run, averaged over everything else; NaN is padding.

    A run is a seed and an edge order.
    """
    found: dict[str, dict[tuple[int, int], list[float]]] = {}
    for row, value in values:
        if value is not None:
            found.setdefault(row.case, {}).setdefault((row.seed, row.order), []).append(value)
    width = max((len(runs) for runs in found.values()), default=0)
    table = np.full((len(found), width), np.nan)
    for index, case in enumerate(sorted(found, key=case_order)):
        own = [float(np.mean(found[case][run])) for run in sorted(found[case])]
        table[index, : len(own)] = own
    return table
