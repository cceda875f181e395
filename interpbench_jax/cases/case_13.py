"""Case 13: whether numbers rise, fall or stay level."""

from dataclasses import replace

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import QUICK
from interpbench_jax.rasp import SequenceMap, Value, shift, tokens


def compare(low: int, high: int) -> str:
    """Whether `high` is above `low`, below it or equal to it."""
    if high == low:
        return "constant"
    return "increasing" if high > low else "decreasing"


def step_in(previous: int, current: int) -> str:
    """The trend from the previous token to this one."""
    return compare(previous, current)


def step_out(current: int, following: int) -> str:
    """This token compared with the next one: increasing if this one is larger."""
    return compare(following, current)


def latest(first: Value, second: Value) -> Value:
    """The second trend, or the first if the second is constant."""
    return first if second == "constant" else second


before = SequenceMap(step_in, shift(tokens, 1), tokens, name="against_previous")
after = SequenceMap(step_out, tokens, shift(tokens, -1), name="against_next")

TASK = RaspTask(
    case_id="13",
    description=(
        "Whether each number lies above ('increasing'), below ('decreasing') or at ('constant') "
        "its neighbours; the next one decides unless it is equal."
    ),
    program=SequenceMap(latest, before, after, name="trend"),
    vocab=(0, 1, 2),
    max_seq_len=10,
    d_model=20,
    attention="bidirectional",
    training=replace(QUICK, compiled_width=30),
    recipe=Recipe(
        epochs=60,
        note="More epochs, because there are only 19,683 inputs and an epoch has few steps.",
    ),
    note=(
        "This is release 1.0.0's program; the current release's case 13 looks at one neighbour "
        "only. The first and the last position lack a neighbour and count as class 0."
    ),
)
