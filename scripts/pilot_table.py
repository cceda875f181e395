"""Print the tables of docs/pilot.md from benchmarks of the pilot, as Markdown.

Usage: `python scripts/pilot_table.py DIR...`, with one benchmark for each number of pairs.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from interpbench_jax.bench.table import read_results
from interpbench_jax.report.bench import Matrix, case_matrix, comparisons_grid, show_interval
from interpbench_jax.report.grids import Grid, as_markdown, number
from interpbench_jax.report.rows import ResultRow
from interpbench_jax.statistics import bootstrap_mean, compare_methods

IDEAS = ("two-tasks", "leak", "rare")
N_BEST = 8
LEVEL = 0.05


def precisions(rows: Sequence[ResultRow]) -> Matrix:
    """The average precision of edges by method and case."""
    return case_matrix(rows, score="average_precision")


def methods_grid(tables: Mapping[int, Sequence[ResultRow]], order: Sequence[str]) -> Grid:
    """The methods' means by idea and over all cases, and over all with fewer pairs."""
    most, *fewer = sorted(tables, reverse=True)
    own, areas = precisions(tables[most]), case_matrix(tables[most])
    ideas = [[case.startswith(idea) for case in own.cases] for idea in IDEAS]
    means = [
        dict(zip(each.methods, each.means, strict=True))
        for each in (*(precisions(tables[n]) for n in fewer), areas)
    ]
    rows = []
    for method in order:
        values = own.values[own.methods.index(method)]
        by_idea = [number(float(values[belongs].mean())) for belongs in ideas]
        rest = [number(each.get(method)) for each in means]
        rows.append((method, *by_idea, show_interval(bootstrap_mean(values)), *rest))
    headers = ("method", *IDEAS, "all", *(f"{n} pairs" for n in fewer), "ROC-AUC")
    return Grid(f"Average precision with {most} pairs", headers, tuple(rows))


def cases_grid(own: Matrix, order: Sequence[str]) -> Grid:
    """The methods' average precision by case."""
    rows = [(each, *map(number, own.values[own.methods.index(each)])) for each in order]
    return Grid("By case", ("method", *own.cases), tuple(rows))


def differences_grid(own: Matrix, methods: Sequence[str]) -> Grid:
    """The pairs of methods that differ by more than chance, by the smallest p first."""
    every = compare_methods({each: own.values[own.methods.index(each)] for each in methods})
    found = [each for each in every if each.p_holm is not None and each.p_holm < LEVEL]
    title = f"{len(found)} of {len(every)} pairs differ, on {len(own.cases)} cases"
    return comparisons_grid(title, sorted(found, key=lambda each: each.p_holm or 0))


def main(folders: Sequence[str]) -> None:
    """Print all tables of some benchmarks."""
    tables = {rows[0].n_inputs: rows for rows in map(read_results, map(Path, folders))}
    own = precisions(tables[max(tables)])
    order = [own.methods[index] for index in np.argsort(-own.means, kind="stable")]
    grids = (
        methods_grid(tables, order),
        differences_grid(own, order[:N_BEST]),
        cases_grid(own, order),
    )
    print(*map(as_markdown, grids), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
