"""Case 4: opening minus closing brackets."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    LinearSequenceMap,
    Select,
    indices,
    numerical,
    tokens,
)

so_far = Select(indices, indices, Comparison.LEQ)
is_open = numerical(tokens.equals("(")).named("is_open")
is_close = numerical(tokens.equals(")")).named("is_close")
share_open = Aggregate(so_far, is_open, name="share_open")
share_close = Aggregate(so_far, is_close, name="share_close")

TASK = RaspTask(
    case_id="4",
    releases=("1.0.0", "current"),
    description=(
        "At each position, the share of opening brackets among the tokens so far, less the "
        "share of closing ones."
    ),
    program=LinearSequenceMap(share_open, share_close, 1.0, -1.0, name="balance"),
    vocab=("(", ")", "a", "b", "c"),
    max_seq_len=10,
    d_model=20,
    training=TrainingArguments(compiled_width=22),
    recipe=Recipe(
        epochs=20,
        target_loss=1e-9,
        note="More epochs and a smaller loss, because two averages are to be told apart.",
    ),
)
