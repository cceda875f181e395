"""Case 18: how frequent each token is."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.rasp import Comparison, SequenceMap, tokens, width


def grade(count: int, length: int) -> str:
    """The grade of a token: frequent above half of the input, common above a quarter, or rare."""
    if 2 * count > length:
        return "frequent"
    return "common" if 4 * count > length else "rare"


count = width(tokens, tokens, Comparison.EQ).named("count")
length = width(tokens, tokens, Comparison.TRUE).named("length")

TASK = RaspTask(
    case_id="18",
    description=(
        "Whether each token makes up more than half of the input ('frequent'), more than a "
        "quarter ('common') or less ('rare')."
    ),
    program=SequenceMap(grade, count, length, name="frequency"),
    vocab=("a", "b", "c", "d", "e"),
    max_seq_len=10,
    d_model=12,
    attention="bidirectional",
    varies_length=True,
    training=TrainingArguments(compiled_width=42),
    recipe=Recipe(
        epochs=30,
        note="More epochs: a head of three dimensions has to count five tokens at any length.",
    ),
)
