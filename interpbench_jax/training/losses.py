"""What a run's outputs cost in strict interchange intervention training, as pure functions.

A loss is a mean over examples and a weighted one over positions; by default all but BOS, which
comes first, count alike. For classes the unit is nats (cross-entropy) or logits squared (with a
margin), for a regression the output's own, squared. Plain outputs, outputs under interchange, with
nodes outside the circuit replaced and with edges cut all have the same loss; what differs is the
run and what it is compared with (`epoch`).
Source: Gupta et al. 2024 (arXiv:2407.14494); the interchange loss is Geiger et al. 2022
(arXiv:2112.00826).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from interpbench_jax.targets import Targets

Loss = Float[Array, ""]


def output_loss(
    logits: Float[Array, "batch used_pos vocab_out"],
    targets: Targets | Float[Array, "batch pos vocab_out"],
    weights: tuple[float, ...] | None = None,
    *,
    is_real: Bool[Array, "batch pos"] | None = None,
) -> Loss:
    """How far outputs are from their targets.

    Args:
        logits: `[batch, pos, vocab_out]`; where there are fewer positions than targets have, they
            are the last ones.
        targets: `[batch, pos]`: classes or numbers; or `[batch, pos, vocab_out]`: the logits that
            a model is to have, but for their mean over the classes.
        weights: how much each position counts, relative to one another; by default all but the
            first alike.
        is_real: False at padding, which does not count; by default there is none.

    Returns:
        The mean of squared errors for numbers, of cross-entropies for classes, of `logits_loss` for
        logits.
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


def logits_loss(
    logits: Float[Array, "batch pos vocab_out"], wanted: Float[Array, "batch pos vocab_out"]
) -> Float[Array, "batch pos"]:
    """Mean square, over the classes, of the difference of two rows of centred logits.

    Unlike cross-entropy it bounds the logits and sees a change of any of them, however sure the
    answer: no node, and no edge, can make a right answer surer unseen.
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
