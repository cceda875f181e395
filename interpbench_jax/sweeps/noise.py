"""The size of a sweep's clean outputs, which decides how large a rounding error can be."""

import jax
import numpy as np
from jaxtyping import Float

# The logit of a padding class, with which models of different vocabularies share a program.
ABSENT = -1e9

_MOST_INPUTS = 64
_MANY_BYTES = 16 * 2**20


def largest_outputs(logits: jax.Array, first_scored: int) -> Float[np.ndarray, "*models"]:
    """The largest centred output of a position, averaged over the positions of some inputs.

    Args:
        logits: clean logits, `[vocab_out, pos, batch]`, or with an axis of models in front.
        first_scored: the first position that is scored.
    """
    own = logits.addressable_shards[0].data
    if own.nbytes > _MANY_BYTES:
        own = own[..., :_MOST_INPUTS]
    outputs = np.asarray(own, np.float64)[..., first_scored:, :_MOST_INPUTS]
    is_class = outputs > ABSENT / 2
    if outputs.shape[-3] > 1:
        n_classes = is_class.sum(axis=-3, keepdims=True)
        outputs = outputs - np.where(is_class, outputs, 0).sum(axis=-3, keepdims=True) / n_classes
    sizes = np.where(is_class, np.abs(outputs), 0).max(axis=-3)
    return np.asarray(sizes.mean(axis=(-2, -1)))
