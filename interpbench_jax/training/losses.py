"""The three losses of strict interchange intervention training, as pure functions.

Each is a mean over examples and over the scored positions: all but BOS, which comes first. For
classes the unit is nats (cross-entropy), for a regression the output's own, squared.
Source: Gupta et al. 2024 (arXiv:2407.14494, section 3); the interchange loss is Geiger et al. 2022
(arXiv:2112.00826, section 3). As in InterpBench's trainer, no gradient flows into the run that the
values are taken from.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interpbench_jax.axes import Logits, Tokens
from interpbench_jax.metrics import Targets
from interpbench_jax.model import Transformer
from interpbench_jax.training.interchange import (
    LayerValues,
    NodeMask,
    run,
    run_interchanged,
)

Loss = Float[Array, ""]


def output_loss(logits: Logits, targets: Targets) -> Loss:
    """Cross-entropy against classes, or mean squared error where there is one output."""
    scored, wanted = logits[:, 1:], jnp.asarray(targets)[:, 1:]
    if logits.shape[-1] == 1:
        return ((scored[..., 0] - wanted.astype(logits.dtype)) ** 2).mean()
    chosen = jax.nn.one_hot(wanted, logits.shape[-1], dtype=logits.dtype)
    # A class that the model lacks has a logit of -inf, which 0 does not multiply away.
    log_p = jnp.where(chosen > 0, jax.nn.log_softmax(scored), 0)
    return -(log_p * chosen).sum(axis=-1).mean()


def behavior_loss(model: Transformer, tokens: Tokens, targets: Targets) -> Loss:
    """How far plain outputs are from the program's."""
    return output_loss(run(model, tokens).logits, targets)


def interchange_loss(
    model: Transformer,
    tokens: Tokens,
    values: tuple[LayerValues, ...],
    mask: NodeMask,
    targets: Targets,
) -> Loss:
    """How far outputs under interchange are from the program's under the same interchange.

    Args:
        model: the model.
        tokens: `[batch, pos]`: the base inputs.
        values: what the nodes computed on the source inputs.
        mask: per example, the nodes aligned with the interchanged variables.
        targets: the program's outputs when those variables are interchanged.
    """
    embed, pos_embed = model.embed_tokens(tokens)
    logits = run_interchanged(model, embed + pos_embed, jax.lax.stop_gradient(values), mask)
    return output_loss(logits, targets)


def strict_loss(
    model: Transformer,
    tokens: Tokens,
    values: tuple[LayerValues, ...],
    mask: NodeMask,
    targets: Targets,
) -> Loss:
    """How far outputs are from the program's when nodes outside the circuit are replaced.

    Arguments as for `interchange_loss`; `mask` chooses nodes outside the circuit and `targets`
    are the program's outputs for `tokens`, unchanged.
    """
    return interchange_loss(model, tokens, values, mask, targets)
