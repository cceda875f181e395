"""The optimizer of a recipe, as one optax transformation."""

import jax
import optax
from jaxtyping import PyTree

from interpbench_jax.cases import Recipe

_PLATEAU_FACTOR = 0.5
_PLATEAU_EPOCHS = 3


def make_optimizer(recipe: Recipe, steps_per_epoch: int) -> optax.GradientTransformationExtraArgs:
    """Chain clipping, Adam and the schedule; `update` must be given the loss as `value`.

    Args:
        recipe: the training settings.
        steps_per_epoch: number of calls of `update` in one epoch.
    """
    rate: optax.ScalarOrSchedule = recipe.learning_rate
    if recipe.schedule == "linear":
        rate = optax.linear_schedule(recipe.learning_rate, 0.0, recipe.epochs * steps_per_epoch)
    parts: list[optax.GradientTransformation] = [
        optax.clip_by_global_norm(recipe.clip_grad_norm),
        optax.adam(rate, b1=recipe.betas[0], b2=recipe.betas[1]),
    ]
    if recipe.schedule == "plateau":
        parts.append(
            optax.contrib.reduce_on_plateau(
                _PLATEAU_FACTOR, patience=_PLATEAU_EPOCHS, accumulation_size=steps_per_epoch
            )
        )
    chained = optax.with_extra_args_support(optax.chain(*parts))

    def update(
        updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: PyTree
    ) -> tuple[PyTree, PyTree]:
        # Optax mixes dtypes and ranks, which a user may have made JAX forbid.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return chained.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(chained.init, update)
