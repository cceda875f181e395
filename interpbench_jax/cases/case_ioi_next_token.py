"""Case ioi_next_token: indirect object identification by a model that predicts every token."""

from interpbench_jax.cases import case_ioi
from interpbench_jax.cases.ioi.task import IoiTask

TASK = IoiTask(
    case_id="ioi_next_token",
    releases=("1.0.0", "current"),
    description="The next token; scored at the last position, where it is the indirect object.",
    predicts_next_token=True,
    training=case_ioi.TRAINING,
    recipe=case_ioi.RECIPE,
    note=(
        "As for ioi; and upstream released this case in 2024 with the weights of ioi, whereas "
        "ours are trained by themselves, from first weights of their own."
    ),
)
