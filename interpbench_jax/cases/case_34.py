"""Case 34: vowels per consonant."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.cases.words import WORDS
from interpbench_jax.rasp import Map, tokens


def vowels_per_consonant(word: str) -> float:
    """The number of vowels divided by the number of other letters."""
    n_vowels = sum(letter in "aeiou" for letter in word.lower())
    return n_vowels / (len(word) - n_vowels)


TASK = RaspTask(
    case_id="34",
    description="How many vowels each word has per consonant.",
    program=Map(vowels_per_consonant, tokens, name="ratio"),
    vocab=WORDS,
    max_seq_len=10,
    d_model=4,
    training=TrainingArguments(compiled_width=24),
)
