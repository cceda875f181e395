"""Print the tables of docs/pilot.md from benchmarks of the pilot, as Markdown.

Usage: `python scripts/pilot_table.py DIR...`, with one benchmark for each number of pairs.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from interpbench_jax.bench.table import read_results
from interpbench_jax.report.bench import show_interval, show_p
from interpbench_jax.report.rows import ResultRow
from interpbench_jax.statistics import bootstrap_mean, compare_methods

UNIVERSE = "head-no-embed"
IDEAS = ("two-tasks", "leak", "rare")
N_BEST = 8
LEVEL = 0.05


def by_method(rows: Sequence[ResultRow], score: str) -> dict[str, dict[str, float]]:
    """A score of edges for each method and case: its mean over seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        value = getattr(row, score)
        if row.universe == UNIVERSE and row.level == "edge" and value is not None:
            found.setdefault(row.method, {}).setdefault(row.case, []).append(value)
    return {
        method: {case: float(np.mean(values)) for case, values in own.items()}
        for method, own in found.items()
    }


def mean(values: Iterable[float]) -> float:
    return float(np.mean([*values]))


def methods_table(tables: Mapping[int, Sequence[ResultRow]]) -> tuple[str, list[str]]:
    """The Markdown table of methods, the best first, and the methods in that order."""
    most, *fewer = sorted(tables, reverse=True)
    precision = by_method(tables[most], "average_precision")
    areas = by_method(tables[most], "roc_auc")
    others = {n: by_method(tables[n], "average_precision") for n in fewer}
    order = sorted(precision, key=lambda each: -mean(precision[each].values()))
    header = ("method", *IDEAS, "all", *(f"{n} pairs" for n in fewer), "ROC-AUC")
    rows = [header, ("---",) * len(header)]
    for method in order:
        own = precision[method]
        interval = bootstrap_mean(np.asarray([own[case] for case in sorted(own)]))
        rows.append(
            (
                f"`{method}`",
                *(
                    f"{mean(value for case, value in own.items() if case.startswith(idea)):.3f}"
                    for idea in IDEAS
                ),
                show_interval(interval),
                *(
                    f"{mean(others[n][method].values()):.3f}" if method in others[n] else "-"
                    for n in fewer
                ),
                f"{mean(areas[method].values()):.3f}",
            )
        )
    return _markdown(rows), order


def comparisons_table(rows: Sequence[ResultRow], methods: Sequence[str]) -> str:
    """The pairs of methods whose average precision differs by more than chance, and how many."""
    precision = by_method(rows, "average_precision")
    cases = sorted({case for own in precision.values() for case in own})
    table = {
        method: np.asarray([precision[method].get(case, np.nan) for case in cases])
        for method in methods
    }
    every = compare_methods(table)
    found = [each for each in every if each.p_holm is not None and each.p_holm < LEVEL]
    header = ("first", "second", "difference", "p", "p (Holm)")
    lines = [
        (
            f"`{each.first}`",
            f"`{each.second}`",
            show_interval(each.difference, signed=True),
            show_p(each.p),
            show_p(each.p_holm),
        )
        for each in sorted(found, key=lambda each: each.p_holm or 0)
    ]
    told = f"{len(found)} of {len(every)} pairs differ, on {len(cases)} cases."
    return f"{told}\n\n{_markdown([header, ('---',) * len(header), *lines])}"


def cases_table(rows: Sequence[ResultRow], methods: Sequence[str]) -> str:
    """The average precision of every method on every case."""
    precision = by_method(rows, "average_precision")
    cases = sorted({case for own in precision.values() for case in own})
    lines = [
        (f"`{method}`", *(f"{precision[method].get(case, np.nan):.3f}" for case in cases))
        for method in methods
    ]
    return _markdown([("method", *cases), ("---",) * (len(cases) + 1), *lines])


def _markdown(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(folders: Sequence[str]) -> None:
    """Print all tables of some benchmarks."""
    tables: dict[int, Sequence[ResultRow]] = {}
    for folder in folders:
        rows = read_results(Path(folder))
        tables[rows[0].n_inputs] = rows
    shown, order = methods_table(tables)
    rows = tables[max(tables)]
    print(shown, comparisons_table(rows, order[:N_BEST]), cases_table(rows, order), sep="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
