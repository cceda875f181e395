"""Case 11: word lengths, read from words of the same length."""

from dataclasses import replace

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import QUICK
from interpbench_jax.cases.words import WORDS
from interpbench_jax.rasp import Aggregate, Comparison, Map, Select, tokens

length = Map(len, tokens, name="length")
same_length = Select(length, length, Comparison.EQ)

TASK = RaspTask(
    case_id="11",
    releases=("1.0.0", "current"),
    description="The length of each word, read off the earlier words that are as long.",
    program=Aggregate(same_length, length, name="length_of_alike"),
    vocab=WORDS,
    max_seq_len=10,
    d_model=12,
    recipe=Recipe(epochs=20, note="More epochs, so that all that is outside falls silent."),
    training=replace(QUICK, compiled_width=30),
)
