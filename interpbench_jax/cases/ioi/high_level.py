"""Indirect object identification as a causal model on exact integers.

Source: InterpBench's task (iit `ed44cbf`, `tasks/ioi`), after the circuit of Wang et al. 2023
(arXiv:2211.00593, section 3): duplicate-token, S-inhibition and name-mover heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interpbench_jax.axes import Array, Bool, Int
from interpbench_jax.cases.ioi.components import components
from interpbench_jax.cases.ioi.vocabulary import Vocabulary
from interpbench_jax.high_level import (
    Chosen,
    HighLevelModel,
    Inputs,
    Outputs,
    Sources,
    Targets,
    check_token_ids,
    classify,
    in_chunks,
)
from interpbench_jax.sites import Node

_FOR_A_NAME = 10
_AGAINST_A_REPEATED = 15
# The scores of so many prompts take 8 MB.
_CHUNK = 1024


class IoiValues(NamedTuple):
    """What each component computes.

    Attributes:
        tokens: ids.
        duplicate: the last earlier position that holds the same token; -1 where none does.
        s_inhibition: the token there; -1 where there is none.
        name_mover: a score of every token of the vocabulary's table, at every position.
    """

    tokens: Int[Array, "batch pos"]
    duplicate: Int[Array, "batch pos"]
    s_inhibition: Int[Array, "batch pos"]
    name_mover: Int[Array, "batch pos known"]


@dataclass(frozen=True)
class IoiModel(HighLevelModel):
    """The rule of the task, with interchange.

    `duplicate` is the last earlier position with the same token, `s_inhibition` the token there,
    and `name_mover` adds, over the positions so far, 10 for every token that is a name and -15
    for every token that `s_inhibition` names. The answer is the token with the highest score.
    Each component reads what the others have under the interchange, whatever it is: a position
    from another prompt is looked up in this one.

    Attributes:
        vocabulary: the ids.
        has_tokens: whether the tokens are a component too.
    """

    vocabulary: Vocabulary
    has_tokens: bool = True

    @property
    def names(self) -> Mapping[str, Node]:
        return components(self.has_tokens)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self.names.values())

    @property
    def is_categorical(self) -> bool:
        return True

    def check_ids(self, tokens: np.ndarray) -> None:
        check_token_ids(tokens, self.vocabulary.size, self.vocabulary.bos)

    def values(self, tokens: Inputs) -> IoiValues:
        """What every component computes in a plain run."""
        return _evaluate(self.vocabulary, jnp.asarray(tokens), None, None)

    def outputs(
        self,
        tokens: Int[Array, "batch pos"],
        source_tokens: Int[Array, "batch pos"] | None,
        mask: Bool[Array, "batch nodes"] | None,
    ) -> Outputs:
        scores = self._scores(tokens, source_tokens, mask).astype(jnp.float32)
        if not self.vocabulary.is_whole:
            return scores
        rows = jnp.zeros((*scores.shape[:-1], self.vocabulary.size), jnp.float32)
        return rows.at[..., jnp.asarray(self.vocabulary.ids)].set(scores)

    def targets(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
    ) -> Targets:
        arguments = self._checked(tokens, source_tokens, node)
        return in_chunks(lambda chunk: self._answers(*chunk), arguments, _CHUNK)

    def _answers(
        self,
        tokens: Int[Array, "batch pos"],
        source_tokens: Int[Array, "batch pos"] | None,
        mask: Bool[Array, "batch nodes"] | None,
    ) -> Int[Array, "batch pos"]:
        scores = self._scores(tokens, source_tokens, mask)
        if not self.vocabulary.is_whole:
            return classify(scores.astype(jnp.float32))
        # Tokens that are in no prompt score 0, and id 0 is one of them.
        ids = jnp.asarray(self.vocabulary.ids, jnp.int32)
        return jnp.where(scores.max(axis=-1) > 0, ids[scores.argmax(axis=-1)], jnp.int32(0))

    def _scores(
        self,
        tokens: Int[Array, "batch pos"],
        source_tokens: Int[Array, "batch pos"] | None,
        mask: Bool[Array, "batch nodes"] | None,
    ) -> Int[Array, "batch pos known"]:
        if source_tokens is None or mask is None:
            return _evaluate(self.vocabulary, tokens, None, None).name_mover
        if not self.has_tokens:
            mask = jnp.pad(mask, ((0, 0), (1, 0)))
        source = _evaluate(self.vocabulary, source_tokens, None, None)
        return _evaluate(self.vocabulary, tokens, source, mask).name_mover


@partial(jax.jit, static_argnums=0)
def _evaluate(
    vocabulary: Vocabulary,
    tokens: Int[Array, "batch pos"],
    source: IoiValues | None,
    mask: Bool[Array, "batch components"] | None,
) -> IoiValues:
    """Every component in turn, replaced where the mask says so before the next reads it."""

    def swap(field: str, value: Array) -> Array:
        if source is None or mask is None:
            return value
        chosen = mask[:, IoiValues._fields.index(field)]
        chosen = chosen.reshape(-1, *[1] * (value.ndim - 1))
        return jnp.where(chosen, getattr(source, field), value)

    tokens = swap("tokens", tokens.astype(jnp.int32))
    positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)
    is_earlier = positions[None] < positions[:, None]
    is_same = (tokens[:, None, :] == tokens[:, :, None]) & is_earlier[None]
    duplicate = jnp.where(is_same, positions[None, None], jnp.int32(-1)).max(axis=2)
    duplicate = swap("duplicate", duplicate)
    found = jnp.take_along_axis(tokens, jnp.maximum(duplicate, 0), axis=1)
    s_inhibition = swap("s_inhibition", jnp.where(duplicate < 0, jnp.int32(-1), found))
    known = jnp.asarray(vocabulary.ids, jnp.int32)[None, None]
    is_name = jnp.asarray(vocabulary.is_name)[None, None]
    names = ((tokens[..., None] == known) & is_name).astype(jnp.int32)
    repeated = (s_inhibition[..., None] == known).astype(jnp.int32)
    scores = _FOR_A_NAME * names - _AGAINST_A_REPEATED * repeated
    name_mover = swap("name_mover", jnp.cumsum(scores, axis=1, dtype=jnp.int32))
    return IoiValues(tokens, duplicate, s_inhibition, name_mover)
