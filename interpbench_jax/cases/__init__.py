"""The benchmark's tasks, as declarations; importing them imports neither JAX nor Flax."""

from interpbench_jax.cases.encoding import BOS, PAD
from interpbench_jax.cases.ioi.task import IoiTask
from interpbench_jax.cases.minimal import minimal_circuits
from interpbench_jax.cases.pairs import Seed, TaskPairs
from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.sequences import SPLITS, Split
from interpbench_jax.cases.table import CASES, RASP_CASES, RELEASES, find_task, task_in, task_of
from interpbench_jax.cases.task import Task, Tier
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.cases.truth import TRUTHS, TruthName

__all__ = [
    "BOS",
    "CASES",
    "PAD",
    "RASP_CASES",
    "RELEASES",
    "SPLITS",
    "TRUTHS",
    "IoiTask",
    "RaspTask",
    "Recipe",
    "Seed",
    "Split",
    "Task",
    "TaskPairs",
    "Tier",
    "TrainingArguments",
    "TruthName",
    "find_task",
    "minimal_circuits",
    "task_in",
    "task_of",
]
