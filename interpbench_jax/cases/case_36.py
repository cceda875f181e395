"""Case 36: the mood of an emoji."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.rasp import Map, lookup, tokens

MOODS = {"📘": "neutral", "😊": "positive", "😢": "negative"}

TASK = RaspTask(
    case_id="36",
    description="Whether each emoji is glad ('positive'), sad ('negative') or neither ('neutral').",
    program=Map(lookup(MOODS), tokens, name="mood"),
    vocab=tuple(MOODS),
    max_seq_len=10,
    d_model=4,
    training=TrainingArguments(compiled_width=17, strict_weight=10.0),
    recipe=Recipe(
        epochs=60,
        note="More epochs, because there are only 19,683 inputs and an epoch has few steps.",
    ),
)
