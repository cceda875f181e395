"""The tiers of difficulty by which results are grouped."""

from interpbench_jax.cases import Task

REGRESSION = "regression"


def tier_of(task: Task) -> str:
    """Return a task's tier in results; regressions, whose metric differs, have their own tier."""
    return REGRESSION if task.config.is_regression else task.tier
