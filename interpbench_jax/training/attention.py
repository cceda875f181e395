"""The loss on attention: heads of the circuit attend to what the program's heads attend to.

A head that waits for its query to mean something learns late, and until then what reads it finds
another way to the right output. This loss tells every head of the program where to attend from the
first step on. It says nothing about what the head writes, nor about any node outside the circuit.
It is our own; strict interchange intervention training has no such loss.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from interpbench_jax.axes import Tokens
from interpbench_jax.cases import Task
from interpbench_jax.config import TransformerConfig
from interpbench_jax.sites import Kind, Node
from interpbench_jax.training.losses import Loss

Attention = Float[Array, "batch layers heads q_pos k_pos"]


@dataclass(frozen=True)
class AttentionScores:
    """An edit that changes nothing and keeps every layer's attention scores.

    Attributes:
        found: the scores of the layers so far, `[batch, heads, q_pos, k_pos]` each.
    """

    found: list[Array] = field(default_factory=list)

    def __call__(self, node: Node, activation: Array) -> Array:
        if node.kind is Kind.ATTN_SCORES:
            self.found.append(activation)
        return activation

    @property
    def every_layer(self) -> Attention:
        """The scores of all layers."""
        return jnp.stack(self.found, axis=1)


def wanted_attention(
    task: Task,
    config: TransformerConfig,
    tokens: Tokens,
    source: Tokens | None = None,
    edges: Bool[Array, "batch edges"] | None = None,
) -> Attention:
    """The attention of the program's heads, in the places of the nodes that stand for them.

    Args:
        task: the task.
        config: the model's config, which may have more heads than the task's.
        tokens: the inputs.
        source: the inputs of the run from which `edges` carry their values, if any do.
        edges: the edges of the program that are interchanged, for each example.

    Returns:
        Rows that sum to 1; rows of zeros for heads that the program does not have.
    """
    batch, n_pos = tokens.shape
    wanted = jnp.zeros((batch, config.n_layers, config.n_heads, n_pos, n_pos))
    for component, pattern in task.high_level.patterns(tokens, source, edges).items():
        for node in task.alignment[component]:
            wanted = wanted.at[:, node.layer, node.head].set(pattern)
    return wanted


def attention_loss(scores: Attention, wanted: Attention, is_real: Bool[Array, "batch pos"]) -> Loss:
    """The cross-entropy of attention, in nats: its mean over all queries but BOS and padding.

    Args:
        scores: the heads' scores before the softmax, -inf where a query cannot attend.
        wanted: where they are to attend, as `wanted_attention` returns it.
        is_real: False at padding.
    """
    log_pattern = jnp.where(wanted > 0, jax.nn.log_softmax(scores), 0)
    losses = -(wanted * log_pattern).sum(axis=-1)
    counts = (wanted.sum(axis=-1) > 0) & is_real[:, None, None]
    shares = counts.at[..., 0].set(False).astype(losses.dtype)
    return (losses * shares).sum() / jnp.maximum(shares.sum(), 1)
