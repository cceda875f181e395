"""How results are grouped by difficulty."""

from interpbench_jax.cases import Task

REGRESSION = "regression"


def tier_of(task: Task) -> str:
    """A task's tier in results: regressions, which are scored by another metric, are their own."""
    return REGRESSION if task.config.is_regression else task.tier
