"""The data of the page, as the plain JSON values that its script reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from interpbench_jax.names import Level, case_order
from interpbench_jax.report.bench import RANKED, labels, leaderboard
from interpbench_jax.report.groups import tier_order
from interpbench_jax.report.page.drawings import CaseDrawing, RunKey, draw_case, shape_as_json
from interpbench_jax.report.page.texts import CaseText
from interpbench_jax.report.rows import LEVELS, CurveRow, ResultRow, ScoreRow
from interpbench_jax.statistics import Interval, bootstrap_seeds
from interpbench_jax.universes import UNIVERSES, UniverseName

# A run of a contender on a case: its seed and its edge order.
Repetition = tuple[int, int]
_FACTS = (
    ("truth", "circuit scored against"),
    ("metric", "metric"),
    ("n_inputs", "input pairs"),
    ("model_digest", "SHA-256 of the weights"),
    ("circuit_digest", "SHA-256 of the circuit"),
    ("data_digest", "SHA-256 of the inputs"),
)


@dataclass(frozen=True)
class Contender:
    """A method with one ablation, which the tables show in one row.

    Attributes:
        method: the method's name.
        ablation: the ablation; empty if it is not known.
        label: the text that the page shows.
    """

    method: str
    ablation: str
    label: str


@dataclass(frozen=True)
class PageData:
    """A benchmark's rows, arranged for the page.

    Attributes:
        contenders: every method with every ablation, best first.
        cases: every case, in numeric order.
        tiers: the tiers of these cases, from easy to hard.
        levels: the levels that were scored.
        universes: the universes in which they were scored, from fine to coarse.
        level: the level that the page shows first.
        universe: the universe that it shows first.
        results: the rows, by contender, case and level.
        tier_of: the tier of each case.
    """

    contenders: tuple[Contender, ...]
    cases: tuple[str, ...]
    tiers: tuple[str, ...]
    levels: tuple[Level, ...]
    universes: tuple[UniverseName, ...]
    level: Level
    universe: UniverseName
    results: Mapping[tuple[int, str, Level], Sequence[ResultRow]]
    tier_of: Mapping[str, str]

    @classmethod
    def of(cls, rows: Sequence[ResultRow]) -> "PageData":
        """Arrange rows, which may be none."""
        levels: list[Level] = [level for level in LEVELS if any(row.level == level for row in rows)]
        present = {row.universe for row in rows}
        universes: list[UniverseName] = [name for name in UNIVERSES if name in present]
        names = [
            (entry.method, entry.ablation)
            for level in levels
            for entry in leaderboard(rows, level, resamples=1)
        ]
        names = list(dict.fromkeys(names))
        contenders = tuple(
            Contender(method, ablation, label)
            for (method, ablation), label in zip(names, labels(names), strict=True)
        )
        place = {name: index for index, name in enumerate(names)}
        results: dict[tuple[int, str, Level], list[ResultRow]] = {}
        for row in sorted(rows, key=lambda row: row.key):
            key = (place[row.method, row.ablation], row.case, row.level)
            results.setdefault(key, []).append(row)
        tier_of = {row.case: row.tier for row in rows}
        return cls(
            contenders=contenders,
            cases=tuple(sorted(tier_of, key=case_order)),
            tiers=tuple(sorted(set(tier_of.values()), key=tier_order)),
            levels=tuple(levels),
            universes=tuple(universes),
            level=levels[0] if levels else "edge",
            universe=RANKED if RANKED in present or not universes else universes[-1],
            results=results,
            tier_of=tier_of,
        )

    def interval(self, contender: int, universe: UniverseName, level: Level) -> Interval | None:
        """Return a contender's mean ROC-AUC over all cases; None if no case has one."""
        table = []
        for case in self.cases:
            own = self.results.get((contender, case, level), ())
            areas = [
                row.roc_auc for row in own if row.universe == universe and row.roc_auc is not None
            ]
            table += [areas] if areas else []
        if not table:
            return None
        most = max(map(len, table))
        padded = [[*areas, *[np.nan] * (most - len(areas))] for areas in table]
        return bootstrap_seeds(np.asarray(padded, np.float64))

    def chance(self, case: str, universe: UniverseName, level: Level) -> float | None:
        """Return the mean ROC-AUC of random rankings of a case's items; None if undefined."""
        means = [
            row.null_mean
            for index in range(len(self.contenders))
            for row in self.results.get((index, case, level), ())
            if row.universe == universe and row.null_mean is not None
        ]
        return float(np.mean(means)) if means else None


def page_as_json(
    data: PageData,
    scores: Sequence[ScoreRow],
    curves: Sequence[CurveRow],
    texts: Mapping[str, CaseText],
) -> dict[str, object]:
    """Return everything that the page's script reads, as plain JSON values."""
    drawings = _drawings(data.cases, scores)
    shapes = sorted({drawing.shape for drawing in drawings.values() if drawing is not None})
    curves_of: dict[tuple[str, RunKey], list[CurveRow]] = {}
    for row in sorted(curves, key=lambda row: row.key):
        run = (row.method, row.ablation, row.seed, row.order)
        curves_of.setdefault((row.case, run), []).append(row)
    return {
        "universes": list(data.universes),
        "levels": list(data.levels),
        "tiers": list(data.tiers),
        "universe": data.universe,
        "level": data.level,
        "hasScores": bool(scores),
        "hasCurves": bool(curves),
        "contenders": [
            {"method": each.method, "ablation": each.ablation, "label": each.label}
            for each in data.contenders
        ],
        "intervals": _intervals(data),
        "results": [
            {"contender": index, "case": case, "level": level, **_results_as_json(rows)}
            for (index, case, level), rows in data.results.items()
        ],
        "shapes": {_shape_name(shape): shape_as_json(shape) for shape in shapes},
        "cases": [
            _case_as_json(data, case, drawings.get(case), curves_of, texts.get(case))
            for case in data.cases
        ],
    }


def _shape_name(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def _drawings(cases: Iterable[str], scores: Sequence[ScoreRow]) -> dict[str, CaseDrawing | None]:
    own: dict[str, list[ScoreRow]] = {}
    for row in scores:
        own.setdefault(row.case, []).append(row)
    return {case: draw_case(own[case]) for case in cases if case in own}


def _intervals(data: PageData) -> dict[str, dict[str, list[list[float | None] | None]]]:
    """Return the interval of every contender, by level and universe."""

    def ends(interval: Interval | None) -> list[float | None] | None:
        return None if interval is None else [interval.low, interval.high]

    return {
        level: {
            universe: [
                ends(data.interval(index, universe, level)) for index in range(len(data.contenders))
            ]
            for universe in data.universes
        }
        for level in data.levels
    }


def _results_as_json(rows: Sequence[ResultRow]) -> dict[str, object]:
    """Return one contender's results on one case, with a list over its runs for each value."""
    runs: dict[Repetition, list[ResultRow]] = {}
    for row in rows:
        runs.setdefault((row.seed, row.order), []).append(row)
    universes = list(dict.fromkeys(row.universe for row in rows))
    by_universe = {
        universe: {
            "area": _by_run(runs, "roc_auc", universe),
            "precision": _by_run(runs, "average_precision", universe),
            "chance": _by_run(runs, "null_mean", universe),
            "chanceHigh": _by_run(runs, "null_high", universe),
        }
        for universe in universes
    }
    of_runs = {
        name: _by_run(runs, column)
        for name, column in (
            ("paper", "paper_auc"),
            ("cpr", "cpr"),
            ("cmd", "cmd"),
            ("seconds", "seconds"),
        )
    }
    return {"universes": by_universe, **of_runs}


def _by_run(
    runs: Mapping[Repetition, Sequence[ResultRow]], column: str, universe: str | None = None
) -> list[float | None]:
    """Return a column's value for each run; the mean if several rows of a run have one."""
    values = []
    for rows in runs.values():
        own = [getattr(row, column) for row in rows if universe in (None, row.universe)]
        known = [float(value) for value in own if value is not None]
        values.append(sum(known) / len(known) if known else None)
    return values


def _case_as_json(
    data: PageData,
    case: str,
    drawing: CaseDrawing | None,
    curves: Mapping[tuple[str, RunKey], Sequence[CurveRow]],
    text: CaseText | None,
) -> dict[str, object]:
    rows = [row for (_, own, _), rows in data.results.items() if own == case for row in rows]
    return {
        "id": case,
        "tier": data.tier_of[case],
        "releases": [] if text is None else list(text.releases),
        "description": "" if text is None else text.description,
        "program": "" if text is None else text.program,
        "note": "" if text is None else text.note,
        "facts": [
            [name, ", ".join(found)]
            for column, name in _FACTS
            if (found := list(dict.fromkeys(str(getattr(row, column) or "") for row in rows)))
            and any(found)
        ],
        "drawing": None if drawing is None else _drawing_as_json(data, case, drawing, curves),
    }


def _drawing_as_json(
    data: PageData,
    case: str,
    drawing: CaseDrawing,
    curves: Mapping[tuple[str, RunKey], Sequence[CurveRow]],
) -> dict[str, object]:
    """Return a case's circuit, and of each contender the run of the lowest seed and order."""
    runs = []
    for index, contender in enumerate(data.contenders):
        own = [run for run in drawing.values if run[:2] == (contender.method, contender.ablation)]
        if not own:
            continue
        run = min(own, key=lambda run: run[2:])
        runs.append(
            {
                "contender": index,
                "seed": run[2],
                "order": run[3],
                "of": len(own),
                "values": drawing.values[run],
                "curves": _curves_as_json(curves.get((case, run), ())),
            }
        )
    return {
        "shape": _shape_name(drawing.shape),
        "truths": dict(drawing.truths),
        "runs": runs,
    }


def _curves_as_json(rows: Sequence[CurveRow]) -> dict[str, list[list[float | int]]] | None:
    """Return a run's curves as lists of share, number of edges and faithfulness."""
    if not rows:
        return None
    return {
        name: [
            [row.fraction, row.n_edges, row.faithfulness]
            for row in rows
            if row.absolute == absolute
        ]
        for name, absolute in (("absolute", True), ("signed", False))
    }
