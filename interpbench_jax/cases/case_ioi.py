"""Case ioi: indirect object identification."""

from dataclasses import replace

from interpbench_jax.cases.ioi.task import IoiTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import TrainingArguments

TRAINING = TrainingArguments(clip_grad_norm=1.0, compiled_width=64)
_FIRST = Recipe(
    learning_rate=2e-3,
    epochs=16,
    batch_size=32,
    n_samples=15_000,
    n_validation=512,
    edge_weight=0.0,
    margin=None,
    source_gradient=False,
    initializer_range=0.1,
    outside_scale=0.1,
    d_mlp=256,
    labels="dense",
    target=0.995,
    target_loss=1e-3,
)
_SECOND = replace(
    _FIRST,
    learning_rate=1e-3,
    variable_odds=(1.0, 4.0, 1.0, 1.0),
    source_gradient=True,
    before=_FIRST,
)
_THIRD = replace(
    _SECOND,
    learning_rate=2e-3,
    epochs=80,
    batch_size=64,
    n_samples=30_000,
    edge_weight=2.0,
    margin=10.0,
    variable_odds=(1.0, 3.0, 2.0, 1.0),
    labels="own",
    before=_SECOND,
)
# A step changes an MLP's output in proportion to its number of units: wide MLPs need a lower rate.
_FOURTH = replace(_THIRD, learning_rate=3e-5, epochs=1, n_samples=4_000, d_mlp=None, before=_THIRD)
RECIPE = replace(
    _FOURTH,
    learning_rate=1e-5,
    epochs=3,
    n_samples=8_000,
    before=_FOURTH,
    note=(
        "MLPs of 3,072 units are what training costs: nearly all is learned with 256 of them. At "
        "first the S-inhibition head finds the earlier name by itself; then it learns to be told "
        "by the duplicate-token head, whose values are interchanged more often, and are trained "
        "where they come from. Edges are cut, and logits bounded, once it has."
    ),
)

TASK = IoiTask(
    case_id="ioi",
    releases=("1.0.0", "current"),
    description="At the last position, the indirect object: the name that was said only once.",
    training=TRAINING,
    recipe=RECIPE,
    note=(
        "Upstream's corrupted inputs equal its clean ones, so that its patching changes nothing; "
        "here they are real (`counterfactuals`). Ids count the prompts' own 113 tokens, not "
        "GPT-2's 50,257."
    ),
)
