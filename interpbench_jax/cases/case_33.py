"""Case 33: even word lengths."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.cases.words import WORDS
from interpbench_jax.rasp import Map, tokens


def has_even_length(word: str) -> bool:
    """Whether a word has an even number of letters."""
    return len(word) % 2 == 0


TASK = RaspTask(
    case_id="33",
    releases=("1.0.0", "current"),
    description="Whether each word has an even number of letters.",
    program=Map(has_even_length, tokens, name="is_even"),
    vocab=WORDS,
    max_seq_len=10,
    d_model=4,
    training=TrainingArguments(compiled_width=21),
)
