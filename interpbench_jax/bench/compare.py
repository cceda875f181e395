"""Comparisons of two benchmarks: what changed, and whether by more than chance."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from interpbench_jax.bench.problems import list_some
from interpbench_jax.names import CaseOrder, Level, case_order
from interpbench_jax.report.bench import RANKED, comparisons_grid
from interpbench_jax.report.grids import Grid, number
from interpbench_jax.report.rows import ResultRow
from interpbench_jax.statistics import MethodComparison, adjust, compare
from interpbench_jax.universes import UniverseName

# The facts that should be the same if only the code under test changed.
_FACTS = (
    "package_version",
    "jax_version",
    "device",
    "model_digest",
    "circuit_digest",
    "data_digest",
    "settings",
    "metric",
    "n_inputs",
)
_OF_THE_CASE = ("model_digest", "circuit_digest", "data_digest")
_SHOWN = 12
# Areas that are equal as fractions differ by less than this.
_NOISE = 1e-12

RunKey = tuple[str, str, str]


@dataclass(frozen=True)
class Change:
    """One case under one method and ablation in both benchmarks.

    Attributes:
        case: the case.
        method: the method.
        ablation: the method's ablation.
        first: ROC-AUC in the first benchmark, mean over runs.
        second: ROC-AUC in the second benchmark, likewise.
    """

    case: str
    method: str
    ablation: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        """Second minus first: positive if the second is better."""
        return self.second - self.first


@dataclass(frozen=True)
class BenchComparison:
    """The comparison of a second benchmark with a first.

    Attributes:
        universe: the universe in which ROC-AUC was compared.
        level: whether edges or nodes were compared.
        methods: comparisons over cases by method and ablation, second minus first, with Holm's
            correction over all of them.
        cases: comparisons over methods and ablations by case, likewise.
        changes: every run that has an area in both, by case, method and ablation.
        only_first: runs (case, method, ablation) that only the first has.
        only_second: runs that only the second has.
        mismatches: the facts that differ between the runs of both, in words.
    """

    universe: UniverseName
    level: Level
    methods: tuple[MethodComparison, ...]
    cases: tuple[MethodComparison, ...]
    changes: tuple[Change, ...]
    only_first: tuple[RunKey, ...]
    only_second: tuple[RunKey, ...]
    mismatches: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether both have the same runs with the same areas."""
        is_equal = all(abs(change.difference) <= _NOISE for change in self.changes)
        return is_equal and not self.only_first and not self.only_second


def compare_results(
    first: Sequence[ResultRow],
    second: Sequence[ResultRow],
    *,
    universe: UniverseName = RANKED,
    level: Level = "edge",
) -> BenchComparison:
    """Compare two benchmarks run by run, paired by case; second minus first.

    Raises:
        ImportError: if scipy is not installed.
        ValueError: if they share no run that has an area.
    """
    before, after = (_runs(rows, universe, level) for rows in (first, second))
    shared = sorted(before.keys() & after.keys(), key=_run_order)
    changes = []
    for run in shared:
        areas = [_mean_area(rows[run]) for rows in (before, after)]
        if areas[0] is not None and areas[1] is not None:
            changes.append(Change(*run, areas[0], areas[1]))
    if not changes:
        raise ValueError(
            f"Expected results of the same cases, methods and ablations with a ROC-AUC of {level}s "
            f"in {universe}; the first has {_describe(before)}, the second {_describe(after)}, and "
            "they share none."
        )
    return BenchComparison(
        universe=universe,
        level=level,
        methods=_over(changes, lambda each: _name(each.method, each.ablation)),
        cases=_over(changes, lambda each: f"case {each.case}"),
        changes=tuple(changes),
        only_first=tuple(sorted(before.keys() - after.keys(), key=_run_order)),
        only_second=tuple(sorted(after.keys() - before.keys(), key=_run_order)),
        mismatches=tuple(_mismatches(shared, before, after)),
    )


def comparison_grids(comparison: BenchComparison) -> tuple[Grid, ...]:
    """Return the comparison as tables: by method, by case, and the largest changes."""
    title = f"ROC-AUC of {comparison.level}s in {comparison.universe}, second minus first"
    largest = sorted(comparison.changes, key=lambda change: -abs(change.difference))
    rows = [
        (
            change.case,
            _name(change.method, change.ablation),
            number(change.first),
            number(change.second),
            f"{change.difference:+.3f}",
        )
        for change in largest[:_SHOWN]
        if abs(change.difference) > _NOISE
    ]
    grids = [
        _overall_grid(f"By method: {title}", "method", comparison.methods),
        _overall_grid(f"By case: {title}", "case", comparison.cases),
    ]
    if rows:
        headers = ("case", "method", "first", "second", "difference")
        grids.append(Grid("Largest changes", headers, tuple(rows), n_left=2))
    return tuple(grids)


def comparison_as_json(comparison: BenchComparison) -> dict[str, object]:
    """Return the comparison as plain JSON values."""
    return {
        "universe": comparison.universe,
        "level": comparison.level,
        "is_same": comparison.is_same,
        "methods": [_as_json("method", each) for each in comparison.methods],
        "cases": [_as_json("case", each) for each in comparison.cases],
        "changes": [
            {
                "case": change.case,
                "method": change.method,
                "ablation": change.ablation,
                "first": change.first,
                "second": change.second,
                "difference": change.difference,
            }
            for change in comparison.changes
        ],
        "only_first": [list(run) for run in comparison.only_first],
        "only_second": [list(run) for run in comparison.only_second],
        "mismatches": list(comparison.mismatches),
    }


def _runs(
    rows: Sequence[ResultRow], universe: UniverseName, level: Level
) -> dict[RunKey, list[ResultRow]]:
    found: dict[RunKey, list[ResultRow]] = {}
    for row in rows:
        if row.universe == universe and row.level == level:
            found.setdefault((row.case, row.method, row.ablation), []).append(row)
    return found


def _mean_area(rows: Iterable[ResultRow]) -> float | None:
    areas = [row.roc_auc for row in rows if row.roc_auc is not None]
    return float(np.mean(areas)) if areas else None


def _over(
    changes: Sequence[Change], group_of: Callable[[Change], str]
) -> tuple[MethodComparison, ...]:
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(group_of(change), []).append(change)
    return adjust(
        [
            compare(
                name,
                name,
                np.asarray([change.second for change in own]),
                np.asarray([change.first for change in own]),
            )
            for name, own in groups.items()
        ]
    )


def _mismatches(
    shared: Sequence[RunKey],
    before: Mapping[RunKey, Sequence[ResultRow]],
    after: Mapping[RunKey, Sequence[ResultRow]],
) -> list[str]:
    """Describe each fact that differs: in which cases, and for example from what to what."""
    texts = []
    for fact in _FACTS:
        differing = []
        for run in shared:
            pair = [{getattr(row, fact) for row in rows[run]} for rows in (before, after)]
            if pair[0] != pair[1]:
                differing.append((run, pair))
        if not differing:
            continue
        cases = dict.fromkeys(run[0] for run, _ in differing)
        where = f"in {len(differing)} of {len(shared)} runs (cases {list_some(list(cases))})"
        if fact in _OF_THE_CASE:
            what = {"model_digest": "models", "circuit_digest": "circuits", "data_digest": "inputs"}
            texts.append(f"{fact} differs {where}: the {what[fact]} are not the same")
        else:
            old, new = (", ".join(sorted(map(str, side))) for side in differing[0][1])
            texts.append(f"{fact} differs {where}: for example, {old or '-'} and {new or '-'}")
    seeds = [{row.seed for run in shared for row in rows[run]} for rows in (before, after)]
    if seeds[0] != seeds[1]:
        texts.append(f"seeds differ: {sorted(seeds[0])} and {sorted(seeds[1])}")
    return texts


def _overall_grid(title: str, what: str, comparisons: Sequence[MethodComparison]) -> Grid:
    """Return `comparisons_grid` with one column of names, because both names are the same."""
    grid = comparisons_grid(title, comparisons)
    rows = tuple((first, *rest) for first, _, *rest in grid.rows)
    counted = "cases" if what == "method" else "runs"
    note = (
        f"Two-sided Wilcoxon signed-rank test over {counted}; A12: how often a value of the "
        "second exceeds a value of the first."
    )
    return Grid(title, (what, counted, *grid.headers[3:]), rows, note)


def _as_json(what: str, each: MethodComparison) -> dict[str, object]:
    difference = each.difference
    return {
        what: each.first.removeprefix("case ") if what == "case" else each.first,
        "n": each.n,
        "difference": None if difference is None else difference.mean,
        "low": None if difference is None else difference.low,
        "high": None if difference is None else difference.high,
        "p": each.p,
        "p_holm": each.p_holm,
        "a12": each.a12,
    }


def _describe(runs: Mapping[RunKey, object]) -> str:
    if not runs:
        return "none"
    cases, methods, ablations = (sorted({run[index] for run in runs}) for index in range(3))
    return f"cases {', '.join(cases)}, methods {', '.join(methods)}, {', '.join(ablations)}"


def _name(method: str, ablation: str) -> str:
    return f"{method} ({ablation})" if ablation else method


def _run_order(run: RunKey) -> tuple[CaseOrder, str, str]:
    return case_order(run[0]), run[1], run[2]
