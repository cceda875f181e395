"""The loss of a run's outputs in strict interchange intervention training, as pure functions.

A loss is a mean over examples and a weighted mean over positions; by default all positions but the
first, BOS, have the same weight. The unit is nats (cross-entropy) or squared logits (with a margin)
for classes, and the square of the output's unit for a regression. Plain runs, runs with variables
interchanged, with nodes outside the circuit replaced and with edges cut all have this loss; they
differ in the run and in its targets (`epoch`).
Source: Gupta et al. 2024 (arXiv:2407.14494); the interchange loss is Geiger et al. 2022
(arXiv:2112.00826).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from interpbench_jax.targets import Targets

Loss = Float[Array, ""]


class Losses(NamedTuple):
    """The losses of one step, in the order in which an alternating recipe trains on them.

    Those that a recipe gives no weight are 0.
    """

    interchange: Float[Array, "..."]
    strict: Float[Array, "..."]
    behavior: Float[Array, "..."]
    edges: Float[Array, "..."]
    attention: Float[Array, "..."]


def output_loss(
    logits: Float[Array, "batch used_pos vocab_out"],
    targets: Targets | Float[Array, "batch pos vocab_out"],
    weights: tuple[float, ...] | None = None,
    *,
    is_real: Bool[Array, "batch pos"] | None = None,
) -> Loss:
    """The distance of outputs from their targets.

    Args:
        logits: the logits, `[batch, pos, vocab_out]`, at all positions of the targets or at the
            last ones.
        targets: classes or numbers, `[batch, pos]`; or target logits, `[batch, pos, vocab_out]`,
            whose mean over the classes does not matter.
        weights: the relative weight of each position; by default all but the first have the same.
        is_real: False at padding, which is not scored; by default there is none.

    Returns:
        The mean of squared errors for numbers, of cross-entropies for classes, of `logits_loss` for
        target logits.
    """
    targets = jnp.asarray(targets)
    n_pos = targets.shape[1]
    counts = np.asarray(weights or [0.0] + [1.0] * (n_pos - 1))
    first = max(n_pos - logits.shape[1], int(np.flatnonzero(counts)[0]))
    shares = jnp.asarray(counts[first:], logits.dtype)[None]
    if is_real is not None:
        shares = shares * is_real[:, first:].astype(logits.dtype)
    shares = jnp.broadcast_to(shares, (logits.shape[0], n_pos - first))
    scored, wanted = logits[:, first - n_pos :], targets[:, first:]
    if logits.shape[-1] == 1:
        losses = (scored[..., 0] - wanted.astype(logits.dtype)) ** 2
    elif targets.ndim == 2:
        losses = _cross_entropy(scored, wanted)
    else:
        losses = logits_loss(scored, wanted)
    return (losses * shares).sum() / shares.sum()


def band_loss(
    logits: Float[Array, "batch pos vocab_out"],
    reference: Float[Array, "batch pos vocab_out"],
    weights: tuple[float, ...],
    *,
    band: tuple[Float[Array, ""] | float, Float[Array, ""] | float],
    counts: Bool[Array, "batch pos"],
) -> Loss:
    """How far outputs lie outside a band around others, as squared shares of the band's ends.

    So a model that changes nothing costs 1, however low the band lies.

    Args:
        logits: the logits.
        reference: the logits that they are compared with.
        weights: the relative weight of each position.
        band: the smallest and the largest distance that cost nothing: the square root of
            `logits_loss`, averaged over the positions of an example. The smallest may be 0.
        counts: False at padding, and for examples that are left out.

    Returns:
        The mean over all examples that are not left out; 0 if there are none.
    """
    shares = jnp.asarray(weights, logits.dtype)[None] * counts.astype(logits.dtype)
    total = shares.sum(axis=1)
    squares = (logits_loss(logits, reference) * shares).sum(axis=1) / jnp.maximum(total, 1)
    # The root has no derivative at 0.
    distance = jnp.sqrt(squares + 1e-12)
    low, high = band
    below = jnp.maximum(1 - distance / jnp.maximum(low, 1e-9), 0)
    beyond = below**2 + jnp.maximum(distance / high - 1, 0) ** 2
    is_in = (total > 0).astype(logits.dtype)
    return (beyond * is_in).sum() / jnp.maximum(is_in.sum(), 1)


def change_loss(
    logits: Float[Array, "batch pos vocab_out"],
    reference: Float[Array, "batch pos vocab_out"],
    weights: tuple[float, ...],
    *,
    counts: Bool[Array, "batch pos"],
) -> Loss:
    """How much outputs differ from others, as a share of the variance of the others.

    Unlike a margin (`logits_loss`), it leaves the logits free to lie where the model put them.

    Args:
        logits: the logits.
        reference: the logits that they are compared with.
        weights: the relative weight of each position.
        counts: False at padding, and for examples that are left out.

    Returns:
        The mean of `logits_loss` over all positions that count, divided by the mean variance of
        the reference's logits over the classes; 0 if none count.
    """
    shares = jnp.asarray(weights, logits.dtype)[None] * counts.astype(logits.dtype)
    moved = (logits_loss(logits, reference) * shares).sum()
    size = (logits_loss(reference, jnp.zeros_like(reference)) * shares).sum()
    return moved / jnp.maximum(size, 1e-9)


def logits_loss(
    logits: Float[Array, "batch pos vocab_out"], wanted: Float[Array, "batch pos vocab_out"]
) -> Float[Array, "batch pos"]:
    """The mean square, over the classes, of the difference of two rows of centred logits.

    Unlike cross-entropy, it bounds the logits and depends on each of them however confident the
    model is: no node, and no edge, can make a right answer more confident at no cost.
    """
    # A class that the model lacks has a logit of -inf.
    exists = jnp.isfinite(logits)
    n_classes = exists.sum(axis=-1, keepdims=True).astype(logits.dtype)
    gaps = jnp.where(exists, logits - wanted, 0)
    gaps = jnp.where(exists, gaps - gaps.sum(axis=-1, keepdims=True) / n_classes, 0)
    return (gaps**2).sum(axis=-1) / n_classes[..., 0]


def _cross_entropy(
    logits: Float[Array, "batch pos vocab_out"], classes: Int[Array, "batch pos"]
) -> Float[Array, "batch pos"]:
    chosen = jax.nn.one_hot(classes, logits.shape[-1], dtype=logits.dtype)
    # A class that the model lacks has a logit of -inf, which 0 does not multiply away.
    log_p = jnp.where(chosen > 0, jax.nn.log_softmax(logits), 0)
    return -(log_p * chosen).sum(axis=-1)
