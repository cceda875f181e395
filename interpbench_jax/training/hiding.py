"""Hiding the tokens from the readers that must not know them, by a projection of their weights.

A reader multiplies the residual stream by a matrix. Whatever that matrix is orthogonal to, the
reader cannot see. So an edge from the token embedding that is outside the circuit can be silenced
exactly, where a loss on it only makes it quieter.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from interpbench_jax.cases import BOS, PAD, Task
from interpbench_jax.config import TransformerConfig
from interpbench_jax.layout import N_KINDS, Layout

WeightArrays = Mapping[str, Float[Array, "..."]]
# Directions in which tokens differ by less than this share of the largest difference are rounding.
_LEAST = 1e-5


def varying_tokens(task: Task, vocab_size: int) -> Bool[np.ndarray, " vocab"]:
    """Find the token ids that can stand after BOS, and so differ between two inputs.

    Args:
        task: the task.
        vocab_size: number of ids of the model, which may have more than the task.

    Returns:
        Whether each id can: `[vocab_size]`.
    """
    varies = np.zeros(vocab_size, bool)
    left_out = {BOS} if task.has_padding else {BOS, PAD}
    varies[[number for token, number in task.token_ids.items() if token not in left_out]] = True
    return varies


def check_hiding(task: Task) -> None:
    """Check that a task's tokens can be hidden from readers.

    Raises:
        ValueError: if edges outside the task's circuit are to act; if the model has layer norms,
            through whose scale every reader sees everything; or if embeddings can differ in every
            direction of the residual stream, so that a reader would be left with nothing.
    """
    if task.config.normalization_type is not None:
        raise ValueError(
            f"Case {task.case_id!r}: expected hides_tokens=False for a model with layer norms, "
            "whose scale depends on the token; got True."
        )
    if task.leak is not None:
        raise ValueError(
            f"Case {task.case_id!r}: expected hides_tokens=False for a task with a leak, whose "
            "edges outside must act; got True."
        )
    n_tokens, d_model = varying_tokens(task, task.config.d_vocab).sum(), task.config.d_model
    if n_tokens > d_model:
        raise ValueError(
            f"Case {task.case_id!r}: expected hides_tokens=False, because the embeddings of its "
            f"{n_tokens} tokens can differ in all {d_model} dimensions of the residual stream; got "
            "True. A d_model of at least the number of tokens is needed."
        )


def hide_tokens(
    config: TransformerConfig,
    weights: WeightArrays,
    hidden: Bool[Array, " readers"],
    varies: Bool[Array, " vocab"],
) -> dict[str, Float[Array, "..."]]:
    """Make some readers of a model unable to tell one token's embedding from another's.

    The directions in which these embeddings differ are projected out of each such reader's weights.
    The reader still sees what all embeddings have in common, and the positional embedding.
    Projecting out the directions that tell something is from Ravfogel et al. 2020
    (arXiv:2004.07667), who project activations.

    Args:
        config: the model's config.
        weights: its weights by name, in the shapes of `weights.weight_shapes`.
        hidden: whether the tokens are hidden from each reader, in the order of `sites.readers`:
            `[readers]`.
        varies: whether the embedding of each token id is hidden (`varying_tokens`): `[vocab]`.

    Returns:
        All weights, in the same shapes; only those of the readers that are hidden from differ.
    """
    embeddings = weights["embed.W_E"]
    counts = varies.astype(embeddings.dtype)[:, None]
    mean = (embeddings * counts).sum(axis=0, keepdims=True) / counts.sum()
    _, sizes, directions = jnp.linalg.svd((embeddings - mean) * counts, full_matrices=False)
    spanned = directions * (sizes > _LEAST * sizes[0])[:, None].astype(embeddings.dtype)

    def project(array: Float[Array, "*heads d_model out"], is_hidden: Array) -> Array:
        seen = jnp.einsum("rd,...do->...ro", spanned, array)
        away = array - jnp.einsum("rd,...ro->...do", spanned, seen)
        return jnp.where(is_hidden[..., None, None], away, array)

    layout = Layout(config.n_layers, config.n_heads)
    found = dict(weights)
    for layer in range(config.n_layers):
        first = layout.first_reader(layer)
        heads = hidden[first : first + layout.head_inputs].reshape(N_KINDS, config.n_heads)
        for kind, name in enumerate(("W_Q", "W_K", "W_V")):
            key = f"blocks.{layer}.attn.{name}"
            found[key] = project(weights[key], heads[kind])
        key = f"blocks.{layer}.mlp.W_in"
        found[key] = project(weights[key], hidden[layout.mlp_reader(layer)])
    found["unembed.W_U"] = project(weights["unembed.W_U"], hidden[layout.output_reader])
    return found
