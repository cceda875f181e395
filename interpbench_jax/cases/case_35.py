"""Case 35: words in alternating capitals."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.cases.words import WORDS
from interpbench_jax.rasp import Map, tokens


def alternate_capitals(word: str) -> str:
    """The word with capitals at even indices and lowercase letters at odd ones."""
    return "".join(
        letter.lower() if place % 2 else letter.upper() for place, letter in enumerate(word)
    )


TASK = RaspTask(
    case_id="35",
    description="Each word with its letters in turn capital and small, the first one capital.",
    program=Map(alternate_capitals, tokens, name="alternated"),
    vocab=WORDS,
    max_seq_len=10,
    d_model=4,
    training=TrainingArguments(compiled_width=27),
    recipe=Recipe(
        epochs=30,
        note="More epochs: so many words in a stream of four dimensions take long to settle.",
    ),
)
