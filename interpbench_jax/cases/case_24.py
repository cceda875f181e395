"""Case 24: the token at each position, fetched by attention."""

from dataclasses import replace

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import QUICK
from interpbench_jax.rasp import Aggregate, Comparison, Select, indices, tokens

TASK = RaspTask(
    case_id="24",
    description="Each token unchanged, fetched by a head in which every position selects itself.",
    program=Aggregate(Select(indices, indices, Comparison.EQ), tokens, name="first_occurrence"),
    vocab=("a", "b", "c"),
    max_seq_len=10,
    d_model=20,
    training=replace(QUICK, compiled_width=18),
    recipe=Recipe(
        epochs=60,
        note="More epochs, because there are only 19,683 inputs and an epoch has few steps.",
    ),
    note="Released as a task on first occurrences, but its program copies every token.",
)
