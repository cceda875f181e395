"""Case ioi: indirect object identification."""

from interpbench_jax.cases.ioi.task import IoiTask
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.training_arguments import TrainingArguments

TRAINING = TrainingArguments(clip_grad_norm=1.0, compiled_width=64)
RECIPE = Recipe(
    learning_rate=2e-4,
    epochs=3,
    batch_size=32,
    n_samples=15_000,
    n_validation=512,
    variable_odds=(1.0, 4.0, 1.0, 1.0),
    replaced="either",
    initializer_range=0.1,
    outside_scale=0.1,
    narrow_epochs=32,
    narrow_learning_rate=2e-3,
    narrow_labels="dense",
    target=0.999,
    target_loss=0.01,
    note=(
        "MLPs of 3,072 units are what training costs: most is learned with 256 of them, and each "
        "example is either interchanged or has other nodes replaced."
    ),
)

TASK = IoiTask(
    case_id="ioi",
    description="At the last position, the indirect object: the name that was said only once.",
    training=TRAINING,
    recipe=RECIPE,
    note=(
        "Upstream's corrupted inputs equal its clean ones, so that its patching changes nothing; "
        "here they are real (`counterfactuals`). Ids count the prompts' own 113 tokens, not "
        "GPT-2's 50,257."
    ),
)
