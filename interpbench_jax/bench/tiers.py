"""The tiers of difficulty and the distinct circuits by which results are grouped."""

from interpbench_jax.cases import Task
from interpbench_jax.cases.health import read_health
from interpbench_jax.report.groups import Circuits, KnownCircuit

REGRESSION = "regression"


def tier_of(task: Task) -> str:
    """Return a task's tier in results; regressions, whose metric differs, have their own tier."""
    return REGRESSION if task.config.is_regression else task.tier


def known_circuits() -> Circuits:
    """Return what is known of the circuit of every declared task, by case id."""
    return {
        case_id: KnownCircuit(health.circuit, health.is_live)
        for case_id, health in read_health().items()
    }
