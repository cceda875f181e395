"""Everything about a benchmark's results, as Markdown."""

from collections.abc import Sequence

from interpbench_jax.report.bench import (
    RANKED,
    case_matrix,
    compare_with_best,
    comparisons_grid,
    leaderboard,
    leaderboard_grid,
    matrix_grid,
)
from interpbench_jax.report.grids import as_markdown, escape
from interpbench_jax.report.groups import Circuits, group_grids
from interpbench_jax.report.rows import ResultRow


def results_markdown(rows: Sequence[ResultRow], circuits: Circuits | None = None) -> str:
    """Return everything about a benchmark's results as Markdown, the text of `results.md`.

    Args:
        rows: the results.
        circuits: the circuit of each case; where cases share one, a table counts them as one.

    Raises:
        ImportError: if scipy is not installed.
        ValueError: if there are no rows.
    """
    if not rows:
        raise ValueError("Expected results of at least one run, got none.")
    entries = leaderboard(rows)
    grids = []
    if entries:
        grids += [leaderboard_grid(entries), *group_grids(rows, circuits)]
        grids += [matrix_grid(case_matrix(rows, universe)) for universe in (RANKED, "head")]
    if len(entries) > 1:
        title = f"The best method against the others: ROC-AUC in {RANKED}"
        grids.append(comparisons_grid(title, compare_with_best(rows)))
    nodes = leaderboard(rows, "node")
    if nodes:
        grids.append(leaderboard_grid(nodes, "node"))
    return "\n".join(["# Results\n", f"{_facts(rows)}\n", *map(as_markdown, grids)])


def _facts(rows: Sequence[ResultRow]) -> str:
    """Describe in one line how the results were obtained."""
    told = {
        "interpbench-jax": {row.package_version for row in rows},
        "JAX": {row.jax_version for row in rows},
        "on": {row.device for row in rows},
        "inputs": {str(row.n_inputs) for row in rows if row.n_inputs},
        "effects in": {row.metric for row in rows},
        "seeds": {str(row.seed) for row in rows},
    }
    shown = (
        f"{name} {', '.join(sorted(each - {''}))}" for name, each in told.items() if each - {""}
    )
    return escape(f"{'; '.join(shown)}.")
