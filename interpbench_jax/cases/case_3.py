"""Case 3: the share of 'x' among the tokens so far."""

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.rasp import Aggregate, Comparison, Select, indices, numerical, tokens
from interpbench_jax.sites import Kind, Node

is_x = numerical(tokens.equals("x")).named("is_x")
so_far = Select(indices, indices, Comparison.LEQ)

TASK = RaspTask(
    case_id="3",
    releases=("1.0.0", "current"),
    description="At each position, which share of the tokens up to and including it is 'x'.",
    program=Aggregate(so_far, is_x, name="share_of_x"),
    vocab=("a", "b", "c", "x"),
    max_seq_len=5,
    d_model=12,
    training=TrainingArguments(compiled_width=13, strict_weight=10.0),
    recipe=Recipe(
        epochs=20,
        target_loss=1e-9,
        note="A smaller loss is asked for, because outputs are shares rather than logits.",
    ),
    moved=((Node(Kind.HEAD, 1, 0), (Node(Kind.HEAD, 1, 2),)),),
    note="The mean over earlier positions is aligned with head 2 of layer 1, not head 0.",
)
