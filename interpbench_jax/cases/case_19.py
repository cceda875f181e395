"""Case 19: tokens without immediate repetitions."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.rasp import SequenceMap, Value, shift, tokens


def unless_repeated(token: Value, previous: Value) -> Value | None:
    """The token, or None if it repeats the previous one."""
    return None if token == previous else token


TASK = RaspTask(
    case_id="19",
    releases=("1.0.0", "current"),
    description="Each token that differs from the one before it; nothing where it repeats it.",
    program=SequenceMap(unless_repeated, tokens, shift(tokens, 1), name="without_repeats"),
    vocab=("a", "b", "c"),
    max_seq_len=15,
    d_model=32,
    recipe=Recipe(n_samples=60_000, note="Fewer examples, because this model is wide."),
    training=TrainingArguments(compiled_width=26),
    note="Where the program gives nothing the output is a row of zeros, which counts as class 0.",
)
