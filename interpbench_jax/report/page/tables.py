"""The tables that the page shows before, or without, its script."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interpbench_jax.report.bench import MethodSummary, leaderboard
from interpbench_jax.report.grids import number
from interpbench_jax.report.page.data import PageData
from interpbench_jax.report.rows import ResultRow
from interpbench_jax.statistics import Interval

# The shades of the heat map: steps below and above a ROC-AUC of 0.5.
_STEPS = 6


@dataclass(frozen=True)
class MethodColumn:
    """A column of the table of methods.

    Attributes:
        key: the name by which the script knows it.
        header: its header.
        meaning: what its values are, in a few words.
        is_text: whether it holds words instead of numbers.
    """

    key: str
    header: str
    meaning: str
    is_text: bool = False

    def as_json(self) -> dict[str, object]:
        """Return the column as plain JSON values."""
        return {
            "key": self.key,
            "header": self.header,
            "meaning": self.meaning,
            "isText": self.is_text,
        }


@dataclass(frozen=True)
class MethodCells:
    """A row of the table of methods.

    Attributes:
        label: the contender's label.
        interval: its mean area; None if it is not defined.
        cells: the text of each column, in order.
    """

    label: str
    interval: Interval | None
    cells: tuple[str, ...]


@dataclass(frozen=True)
class HeatCell:
    """A cell of the matrix.

    Attributes:
        case: the case's id.
        text: the area; a dash if it is not defined.
        shade: the number of its shade; None if it is not defined.
        is_chance: whether random rankings reach the area in more than 2.5 % of all draws.
    """

    case: str
    text: str
    shade: int | None
    is_chance: bool


@dataclass(frozen=True)
class HeatRow:
    """A row of the matrix: one contender."""

    label: str
    cells: tuple[HeatCell, ...]
    mean: str


_COLUMNS = (
    MethodColumn("rank", "Rank", "by number of cases, then by ROC-AUC"),
    MethodColumn("method", "Method", "the method's name", is_text=True),
    MethodColumn("ablation", "Ablation", "what cut edges carry", is_text=True),
    MethodColumn("cases", "Cases", "number of cases"),
    MethodColumn("area", "ROC-AUC", "mean over cases, with its 95 % bootstrap interval"),
    MethodColumn("precision", "AP", "average precision"),
    MethodColumn("paper", "Paper's area", "InterpBench's staircase area in universe head"),
    MethodColumn("cpr", "CPR", "circuit performance ratio (larger is better)"),
    MethodColumn("cmd", "CMD", "circuit-model distance (smaller is better)"),
    MethodColumn("seconds", "Seconds", "time of one run without compilation"),
)


def columns_of(rows: Sequence[ResultRow]) -> tuple[MethodColumn, ...]:
    """Return the columns that have a value somewhere."""
    sources = {
        "precision": "average_precision",
        "paper": "paper_auc",
        "cpr": "cpr",
        "cmd": "cmd",
        "seconds": "seconds",
    }

    def is_there(column: MethodColumn) -> bool:
        if column.key == "ablation":
            return len({row.ablation for row in rows}) > 1
        source = sources.get(column.key)
        return source is None or any(getattr(row, source) is not None for row in rows)

    return tuple(column for column in _COLUMNS if is_there(column))


def method_cells(
    data: PageData, rows: Sequence[ResultRow], columns: Sequence[MethodColumn]
) -> list[MethodCells]:
    """Return the table of methods, best first, in the universe and level shown first."""
    labels = {(each.method, each.ablation): each for each in data.contenders}
    places = {each: index for index, each in enumerate(data.contenders)}
    found = []
    for rank, entry in enumerate(leaderboard(rows, data.level, resamples=1), 1):
        contender = labels[entry.method, entry.ablation]
        interval = data.interval(places[contender], data.universe, data.level)
        texts = _texts(data, rows, entry, interval)
        texts |= {"rank": str(rank), "method": entry.method, "ablation": entry.ablation}
        cells = tuple(texts[column.key] for column in columns)
        found.append(MethodCells(contender.label, interval, cells))
    return found


def heat_rows(data: PageData) -> list[HeatRow]:
    """Return the matrix of methods and cases, in the universe and level shown first."""
    found = []
    for index, contender in enumerate(data.contenders):
        cells, areas = [], []
        for case in data.cases:
            rows = [
                row
                for row in data.results.get((index, case, data.level), ())
                if row.universe == data.universe and row.roc_auc is not None
            ]
            area = _mean([row.roc_auc for row in rows])
            high = _mean([row.null_high for row in rows])
            areas += [] if area is None else [area]
            is_chance = area is not None and high is not None and area <= high
            cells.append(HeatCell(case, number(area, 2), shade(area), is_chance))
        if any(key[0] == index and key[2] == data.level for key in data.results):
            found.append(HeatRow(contender.label, tuple(cells), number(_mean(areas))))
    return found


def chance_row(data: PageData) -> HeatRow:
    """Return the areas of random rankings by case."""
    means = [data.chance(case, data.universe, data.level) for case in data.cases]
    cells = tuple(
        HeatCell(case, number(mean, 2), None, False)
        for case, mean in zip(data.cases, means, strict=True)
    )
    return HeatRow("chance", cells, number(_mean([mean for mean in means if mean is not None])))


def shade(area: float | None) -> int | None:
    """Return the number of an area's shade, from 0 for the lowest; half of them are below 0.5."""
    return None if area is None else min(int(area * 2 * _STEPS), 2 * _STEPS - 1)


def _texts(
    data: PageData, rows: Sequence[ResultRow], entry: MethodSummary, interval: Interval | None
) -> dict[str, str]:
    precision = [
        (row.case, row.average_precision)
        for row in rows
        if (row.method, row.ablation, row.level, row.universe)
        == (entry.method, entry.ablation, data.level, data.universe)
    ]
    return {
        "cases": str(entry.n_cases),
        "area": number(None if interval is None else interval.mean),
        "precision": number(_mean_over_cases(precision)),
        "paper": number(entry.paper_auc),
        "cpr": number(entry.cpr),
        "cmd": number(entry.cmd),
        "seconds": number(entry.seconds, 2),
    }


def _mean_over_cases(values: Sequence[tuple[str, float | None]]) -> float | None:
    by_case: dict[str, list[float]] = {}
    for case, value in values:
        if value is not None:
            by_case.setdefault(case, []).append(value)
    return _mean([float(np.mean(own)) for own in by_case.values()])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
