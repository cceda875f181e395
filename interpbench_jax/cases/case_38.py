"""Case 38: tokens that differ from both neighbours."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.rasp import shift, tokens

differs_from_previous = shift(tokens, 1).differs_from(tokens).named("differs_from_previous")
differs_from_next = tokens.differs_from(shift(tokens, -1)).named("differs_from_next")

TASK = RaspTask(
    case_id="38",
    description="Whether each token differs from the one before it and from the one after it.",
    program=(differs_from_previous & differs_from_next).named("alternates"),
    vocab=("a", "b", "c"),
    max_seq_len=10,
    d_model=20,
    attention="bidirectional",
    training=TrainingArguments(compiled_width=27),
    recipe=Recipe(
        epochs=60,
        note="More epochs, because there are only 19,683 inputs and an epoch has few steps.",
    ),
    note=(
        "Release 1.0.0 masked this case causally although its program looks one token ahead, so "
        "that its compiled output was float noise; here it looks both ways, as in the current "
        "release. The first and the last position lack a neighbour and count as class 0."
    ),
)
