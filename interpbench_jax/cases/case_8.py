"""Case 8: each token that another token follows."""

from dataclasses import replace

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import QUICK
from interpbench_jax.cases.words import WORDS
from interpbench_jax.rasp import SequenceMap, Value, shift, tokens


def keep_first(token: Value, following: Value) -> Value:
    """The first of the two tokens."""
    return token


TASK = RaspTask(
    case_id="8",
    description="Each token unchanged, wherever another token follows it.",
    program=SequenceMap(keep_first, tokens, shift(tokens, -1), name="filled"),
    vocab=WORDS,
    max_seq_len=10,
    d_model=20,
    attention="bidirectional",
    varies_length=True,
    recipe=Recipe(epochs=20, note="More epochs, so that all that is outside falls silent."),
    training=replace(QUICK, compiled_width=36),
    note=(
        "Release 1.0.0 masked this case causally although its program looks one token ahead, so "
        "that its compiled output was float noise; here it looks both ways, as it means to."
    ),
)
