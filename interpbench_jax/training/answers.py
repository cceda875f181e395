"""What a task's program answers on a batch, plainly and under the interchanges that are drawn."""

from collections.abc import Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from interpbench_jax.cases import Task
from interpbench_jax.config import TransformerConfig
from interpbench_jax.training.arrays import Draw
from interpbench_jax.training.attention import wanted_attention

Rows = Shaped[Array, "batch pos *classes"]
Patterns = Float[Array, "batch layers heads q_pos k_pos"]


class Answers(NamedTuple):
    """What the program answers on a batch.

    Attributes:
        targets: its outputs: classes or numbers; for models that are trained on logits, shares of
            the classes, or logits.
        labels: the training targets of plain runs.
        interchanged: its outputs under the drawn interchange of variables.
        patched: its outputs under the drawn interchange of edges.
        attention: where its heads attend to; without layers if a recipe does not tell it.
        patched_attention: where they attend to under the interchange of edges.
        is_real: False at padding.
    """

    targets: Rows
    labels: Rows
    interchanged: Rows
    patched: Rows
    attention: Patterns
    patched_attention: Patterns
    is_real: Bool[Array, "batch pos"]

    def as_logits(self, code: Float[Array, "classes classes"]) -> "Answers":
        """The same answers with the logits of each class in place of its shares."""
        rows = (self.targets, self.labels, self.interchanged, self.patched)
        targets, labels, interchanged, patched = (
            jnp.einsum("bpc,ck->bpk", shares, code) for shares in rows
        )
        return self._replace(
            targets=targets, labels=labels, interchanged=interchanged, patched=patched
        )


class Batch(NamedTuple):
    """A batch of one task.

    Attributes:
        tokens: the inputs, `[batch, pos]`; each example's source is the one before it.
        answers: what the program answers.
        draw: the drawn interchanges.
        band: see `epoch.TaskData`.
    """

    tokens: Int[Array, "batch pos"]
    answers: Answers
    draw: Draw
    band: Float[Array, " ends"]


def find_answers(
    task: Task,
    tokens: Int[Array, "batch pos"],
    draw: Draw,
    config: TransformerConfig,
    used: Collection[str],
    as_shares: bool,
) -> Answers:
    """Run a task's program on a batch.

    Args:
        task: the task.
        tokens: the inputs; each example's source is the one before it.
        draw: the interchanges.
        config: the config of the models, whose shapes the answers have.
        used: the names of the losses; what only the losses of edges and of attention need is
            left out if they are not among them.
        as_shares: whether outputs are shares of the classes rather than classes or numbers.
    """
    model, source = task.high_level, jnp.roll(tokens, 1, axis=0)
    plain = jnp.asarray(model.targets(tokens))
    labels = task.labels(tokens, plain)
    is_real = jnp.ones_like(tokens, bool) if task.pad_id is None else tokens != task.pad_id
    outputs = model.class_shares if as_shares else model.targets
    interchanged = jnp.asarray(outputs(tokens, source, draw.variables[:, : len(model.nodes)]))
    edges = draw.program_edges[:, : len(model.edges)]
    patched = interchanged
    if "edges" in used:
        patched = jnp.asarray(outputs(tokens, source, edge=edges))
    attention = patched_attention = jnp.zeros((tokens.shape[0], 0, 0, 0, 0))
    if "attention" in used:
        attention = wanted_attention(task, config, tokens)
        if "edges" in used:
            patched_attention = wanted_attention(task, config, tokens, source, edges)
    if not as_shares:
        return Answers(plain, labels, interchanged, patched, attention, patched_attention, is_real)
    targets, scored = jnp.asarray(model.class_shares(tokens)), np.s_[:, task.first_scored :]
    wanted = jax.nn.one_hot(labels, model.n_classes, dtype=jnp.float32)
    wanted = wanted.at[scored].set(targets[scored])
    missing = ((0, 0), (0, 0), (0, config.d_vocab_out - model.n_classes))
    targets, wanted, interchanged, patched = (
        jnp.pad(rows, missing) for rows in (targets, wanted, interchanged, patched)
    )
    return Answers(targets, wanted, interchanged, patched, attention, patched_attention, is_real)
