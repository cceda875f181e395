"""A benchmark's rows by tier of difficulty, and by distinct circuit."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from interpbench_jax.report.bench import RANKED, case_matrix
from interpbench_jax.report.grids import Grid, number
from interpbench_jax.report.rows import ResultRow
from interpbench_jax.universes import UniverseName

# From easy to hard; any other tiers come after them.
TIERS = ("embedding and one MLP only", "one attention step", "multi-step", "regression")


class KnownCircuit(NamedTuple):
    """What decides how a case counts among distinct circuits.

    Attributes:
        number: the number of its circuit; cases with one circuit share it.
        is_live: whether every output has a value, every part matters, and outputs are not inputs.
    """

    number: int
    is_live: bool


Circuits = Mapping[str, KnownCircuit]


def group_grids(rows: Sequence[ResultRow], circuits: Circuits | None = None) -> list[Grid]:
    """Tabulate the mean ROC-AUC of edges by tier and, where cases share circuits, by circuit.

    Without areas of edges there is no table.
    """
    if not case_matrix(rows, RANKED).methods:
        return []
    by_circuit = circuits_grid(rows, circuits or {})
    return [tiers_grid(rows)] + ([] if by_circuit is None else [by_circuit])


def tiers_grid(rows: Sequence[ResultRow], universe: UniverseName = RANKED) -> Grid:
    """Tabulate the mean ROC-AUC of edges by tier: the many easy cases would hide the others."""
    matrix = case_matrix(rows, universe)
    tier_of = {row.case: row.tier for row in rows}
    tiers = sorted(set(tier_of.values()), key=tier_order)
    columns = {
        tier: [i for i, case in enumerate(matrix.cases) if tier_of[case] == tier] for tier in tiers
    }
    shown = []
    for method, values, mean in zip(matrix.methods, matrix.values, matrix.means, strict=True):
        own = [values[where][~np.isnan(values[where])] for where in columns.values()]
        means = (float(each.mean()) if each.size else None for each in own)
        shown.append((method, *map(number, means), number(float(mean))))
    headers = (f"{tier or 'no tier'} ({len(where)})" for tier, where in columns.items())
    return Grid(
        f"By tier: mean ROC-AUC in {universe}",
        ("method", *headers, f"all ({len(matrix.cases)})"),
        tuple(shown),
        "In parentheses: the number of cases.",
    )


def circuits_grid(
    rows: Sequence[ResultRow], circuits: Circuits, universe: UniverseName = RANKED
) -> Grid | None:
    """Tabulate the mean ROC-AUC of edges over distinct circuits.

    Args:
        rows: the results.
        circuits: the circuit of each case; cases that it lacks are left out.
        universe: the universe of the areas.

    Returns:
        The table; None unless some of the cases share a circuit.
    """
    tier_of = {row.case: row.tier for row in rows if row.case in circuits}
    if len({circuits[case].number for case in tier_of}) == len(tier_of):
        return None
    columns: Mapping[str, Callable[[str], bool]] = {
        "every circuit": lambda case: True,
        "live": lambda case: circuits[case].is_live,
        "live, more than one MLP": (
            lambda case: circuits[case].is_live and tier_of[case] != TIERS[0]
        ),
    }
    matrix = case_matrix(rows, universe)
    headers, means = [], []
    for name, belongs in columns.items():
        groups = _by_circuit(matrix.cases, circuits, belongs)
        headers.append(f"{name} ({len(groups)})")
        means.append([_mean_of_means(values, groups) for values in matrix.values])
    shown = [
        (method, *map(number, own)) for method, *own in zip(matrix.methods, *means, strict=True)
    ]
    return Grid(
        f"By distinct circuit: mean ROC-AUC in {universe}",
        ("method", *headers),
        tuple(shown),
        "The cases that share a circuit count as one. In parentheses: the number of circuits. "
        "Live: every output has a value, every part matters, and the output is not the input.",
    )


def _by_circuit(
    cases: Sequence[str], circuits: Circuits, belongs: Callable[[str], bool]
) -> list[list[int]]:
    """The places of the cases that belong, circuit by circuit."""
    groups: dict[int, list[int]] = {}
    for place, case in enumerate(cases):
        if case in circuits and belongs(case):
            groups.setdefault(circuits[case].number, []).append(place)
    return list(groups.values())


def _mean_of_means(values: np.ndarray, groups: Sequence[list[int]]) -> float | None:
    """The mean over groups of the mean in each; values that are not defined do not count."""
    own = [values[group][~np.isnan(values[group])] for group in groups]
    means = [each.mean() for each in own if each.size]
    return float(np.mean(means)) if means else None


def tier_order(tier: str) -> tuple[int, str]:
    """Return a sort key that puts tiers from easy to hard, and any others after them."""
    return (TIERS.index(tier) if tier in TIERS else len(TIERS)), tier
