"""Case ioi_next_token: indirect object identification by a model of the whole prompt."""

from dataclasses import replace

from interpbench_jax.cases import case_ioi
from interpbench_jax.cases.ioi.task import IoiTask

TASK = IoiTask(
    case_id="ioi_next_token",
    description="The next token; scored at the last position, where it is the indirect object.",
    predicts_next_token=True,
    training=case_ioi.TRAINING,
    # Names and nouns cannot be foretold: the loss has no small value to wait for.
    recipe=replace(case_ioi.RECIPE, target=1.0, target_loss=None),
    note=(
        "As for ioi; and upstream released this case in 2024 with the weights of ioi, whereas "
        "here the two are trained apart."
    ),
)
