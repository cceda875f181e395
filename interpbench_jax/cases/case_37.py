"""Case 37: words spelled backwards."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.cases.words import WORDS
from interpbench_jax.rasp import Map, tokens


def spell_backwards(word: str) -> str:
    """The word with its letters in reverse order."""
    return word[::-1]


TASK = RaspTask(
    case_id="37",
    description="Each word spelled backwards.",
    program=Map(spell_backwards, tokens, name="reversed"),
    vocab=WORDS,
    max_seq_len=10,
    d_model=4,
    training=TrainingArguments(compiled_width=27),
    recipe=Recipe(
        epochs=30,
        note="More epochs: so many words in a stream of four dimensions take long to settle.",
    ),
    note="Upstream's program spares some words, none of which is in the released vocabulary.",
)
