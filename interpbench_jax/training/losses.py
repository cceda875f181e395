"""The three losses of strict interchange intervention training, as pure functions.

Each is a mean over examples and a weighted one over positions; by default all but BOS, which
comes first, count alike. For classes the unit is nats (cross-entropy), for a regression the
output's own, squared.
Source: Gupta et al. 2024 (arXiv:2407.14494, section 3); the interchange loss is Geiger et al. 2022
(arXiv:2112.00826, section 3). As in InterpBench's trainer, no gradient flows into the run that the
values are taken from.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.axes import Tokens
from interpbench_jax.metrics import Targets
from interpbench_jax.model import Transformer
from interpbench_jax.training.interchange import (
    LayerValues,
    NodeMask,
    run,
    run_interchanged,
)

Loss = Float[Array, ""]


def output_loss(
    logits: Float[Array, "batch used_pos vocab_out"],
    targets: Targets,
    weights: tuple[float, ...] | None = None,
) -> Loss:
    """Cross-entropy against classes, or mean squared error where there is one output.

    Args:
        logits: `[batch, pos, vocab_out]`; where there are fewer positions than targets have, they
            are the last ones.
        targets: `[batch, pos]`.
        weights: how much each position counts, relative to one another; by default all but the
            first alike.
    """
    targets = jnp.asarray(targets)
    n_pos = targets.shape[1]
    counts = np.asarray(weights or [0.0] + [1.0] * (n_pos - 1))
    first = max(n_pos - logits.shape[1], int(np.flatnonzero(counts)[0]))
    shares = (counts[first:] / counts[first:].mean()).astype(logits.dtype)
    scored, wanted = logits[:, first - n_pos :], targets[:, first:]
    if logits.shape[-1] == 1:
        losses = (scored[..., 0] - wanted.astype(logits.dtype)) ** 2
    else:
        chosen = jax.nn.one_hot(wanted, logits.shape[-1], dtype=logits.dtype)
        # A class that the model lacks has a logit of -inf, which 0 does not multiply away.
        log_p = jnp.where(chosen > 0, jax.nn.log_softmax(scored), 0)
        losses = -(log_p * chosen).sum(axis=-1)
    return (losses * shares[None]).mean()


def behavior_loss(
    model: Transformer,
    tokens: Tokens,
    targets: Targets,
    weights: tuple[float, ...] | None = None,
) -> Loss:
    """How far plain outputs are from the program's; `weights` as for `output_loss`."""
    return output_loss(run(model, tokens).logits, targets, weights)


def interchange_loss(
    model: Transformer,
    tokens: Tokens,
    values: tuple[LayerValues, ...],
    mask: NodeMask,
    targets: Targets,
    weights: tuple[float, ...] | None = None,
) -> Loss:
    """How far outputs under interchange are from the program's under the same interchange.

    Args:
        model: the model.
        tokens: `[batch, pos]`: the base inputs.
        values: what the nodes computed on the source inputs.
        mask: per example, the nodes aligned with the interchanged variables.
        targets: the program's outputs when those variables are interchanged.
        weights: as for `output_loss`.
    """
    embed, pos_embed = model.embed_tokens(tokens)
    logits = run_interchanged(model, embed + pos_embed, values, mask)
    return output_loss(logits, targets, weights)


def strict_loss(
    model: Transformer,
    tokens: Tokens,
    values: tuple[LayerValues, ...],
    mask: NodeMask,
    targets: Targets,
    weights: tuple[float, ...] | None = None,
) -> Loss:
    """How far outputs are from the program's when nodes outside the circuit are replaced.

    Arguments as for `interchange_loss`; `mask` chooses nodes outside the circuit and `targets`
    are the program's outputs for `tokens`, unchanged.
    """
    return interchange_loss(model, tokens, values, mask, targets, weights)
