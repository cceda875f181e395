"""Targets, with which outputs are compared: the right class or number at each position.

Targets have shape `[batch, pos]`, or `[batch, pos, 2]` for pairs of the right class (the answer)
and the class to compare it with (the distractor). A target that is `unscored` (-1 for a class, NaN
for a number) marks a position that does not count, such as padding.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from interpbench_jax.axes import Logits, Tokens
from interpbench_jax.config import TransformerConfig
from interpbench_jax.model import Transformer

Targets = (
    Int[Array | np.ndarray, "batch pos"]
    | Float[Array | np.ndarray, "batch pos"]
    | Int[Array | np.ndarray, "batch pos 2"]
)
UNSCORED = -1
# The number of inputs that are run at a time.
_CHUNK = 1024


def unscored(dtype: np.dtype) -> int | float:
    """The target of this dtype that marks a position as one that does not count."""
    return np.nan if np.issubdtype(dtype, np.floating) else UNSCORED


def answers(targets: Targets) -> Shaped[Array | np.ndarray, "batch pos"]:
    """The targets without their distractors, if they have any."""
    return targets if targets.ndim == 2 else targets[..., 0]


def is_scored(
    targets: Int[Array | np.ndarray, "*axes"] | Float[Array | np.ndarray, "*axes"],
) -> Bool[Array, "*axes"]:
    """Whether each position counts, according to its target."""
    given = jnp.asarray(targets)
    is_float = jnp.issubdtype(given.dtype, jnp.floating)
    return ~jnp.isnan(given) if is_float else given != UNSCORED


def is_scored_on_host(targets: Shaped[Array | np.ndarray, "*axes"]) -> Bool[np.ndarray, "*axes"]:
    """`is_scored` without a device, which takes a tenth of the time for a few inputs."""
    values = np.asarray(targets)
    is_float = np.issubdtype(values.dtype, np.floating)
    return ~np.isnan(values) if is_float else values != UNSCORED


def check_targets(targets: Targets, shape: tuple[int, ...]) -> None:
    """Reject targets that do not fit inputs of shape `(batch, pos)`.

    Raises:
        ValueError: if their shape is neither `(batch, pos)` nor `(batch, pos, 2)`, or they are
            pairs but not integers.
    """
    if targets.shape not in (shape, (*shape, 2)):
        raise ValueError(
            f"Expected targets of shape {shape}, one per position, or {(*shape, 2)}, an answer "
            f"and a distractor, got {targets.shape}."
        )
    if targets.ndim == 3 and not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(
            f"Expected pairs of targets to be integers, the ids of classes, got {targets.dtype}."
        )


def mark_unscored(targets: np.ndarray, scored: Bool[np.ndarray, "batch pos"]) -> np.ndarray:
    """Mark targets at positions that are not scored; unsigned integers become signed for this."""
    if not np.issubdtype(targets.dtype, np.floating):
        targets = targets.astype(np.result_type(targets, np.int8))
    scored = scored[..., None] if targets.ndim == 3 else scored
    return np.where(scored, targets, np.asarray(unscored(targets.dtype), targets.dtype))


def check_target_values(targets: Targets, config: TransformerConfig) -> None:
    """Reject targets with which a model's outputs cannot be compared.

    Raises:
        ValueError: if a class is not one of the model's, a number is infinite, or an input has no
            position that counts.
    """
    values = np.asarray(targets)
    if not values.size:
        return
    if config.is_regression:
        # Among numbers -1 is one of them.
        values = values.astype(np.float64)
    counts = is_scored_on_host(values)
    known = values[counts]
    if config.is_regression:
        if not np.isfinite(known).all():
            raise ValueError("Expected finite numbers as targets, got infinite ones.")
    elif known.size and (known.min() < 0 or known.max() >= config.d_vocab_out):
        raise ValueError(
            f"Expected classes from 0 to {config.d_vocab_out - 1} as targets, got {known.min()} "
            f"to {known.max()}; {UNSCORED} marks a position that does not count."
        )
    has_any = counts.reshape(len(values), -1).any(axis=1)
    if not has_any.all():
        raise ValueError(
            f"Expected a position that counts in every input, got none in {int((~has_any).sum())} "
            f"of {len(values)}: all of their targets are marked as unscored."
        )


def clean_targets(clean_logits: Logits) -> Targets:
    """Targets from the clean run itself: its predicted class, or its number for a regression."""
    if clean_logits.shape[-1] == 1:
        return clean_logits[..., 0]
    return clean_logits.argmax(axis=-1)


def own_answers(model: Transformer, tokens: Tokens) -> np.ndarray:
    """Targets from a model's own outputs on these inputs, `[batch, pos]`."""
    given = np.asarray(tokens)
    parts = [given[start : start + _CHUNK] for start in range(0, len(given), _CHUNK)]
    return np.concatenate([np.asarray(_answers(model, part)) for part in parts])


@jax.jit
def _answers(model: Transformer, tokens: Tokens) -> Targets:
    return clean_targets(model(tokens))
