"""Case 20: spam words."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.cases.words import WORDS
from interpbench_jax.rasp import Map, tokens

SPAM_WORDS = ("click", "now", "offer")


def judge(word: str) -> str:
    """The verdict on a word: spam if it is one of `SPAM_WORDS`."""
    return "spam" if word in SPAM_WORDS else "not spam"


TASK = RaspTask(
    case_id="20",
    releases=("1.0.0", "current"),
    description="Whether each word is one of the words that give spam away.",
    program=Map(judge, tokens, name="verdict"),
    vocab=tuple(sorted((*WORDS, *SPAM_WORDS, "spam"))),
    max_seq_len=10,
    d_model=4,
    training=TrainingArguments(compiled_width=25, strict_weight=1.0),
    note="The word 'spam' itself is not on the list, as released.",
)
