"""How large a sweep's clean outputs are, by which it is known what rounding makes of an effect."""

import jax
import numpy as np
from jaxtyping import Float

# The logit of a class that only fills a vocabulary up, so that models can share a program.
ABSENT = -1e9

_MOST_INPUTS = 64
_MANY_BYTES = 16 * 2**20


def largest_outputs(logits: jax.Array, first_scored: int) -> Float[np.ndarray, "*models"]:
    """The largest centred output of a position, as a mean over positions of some inputs.

    Args:
        logits: clean ones, `[vocab_out, pos, batch]`, perhaps with an axis of models in front.
        first_scored: the first position that counts.
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
