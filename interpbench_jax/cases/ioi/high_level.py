"""Indirect object identification as a causal model on exact integers.

Source: InterpBench's task (iit `ed44cbf`, `tasks/ioi`), after the circuit of Wang et al. 2023
(arXiv:2211.00593): duplicate-token, S-inhibition and name-mover heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from interpbench_jax.axes import AnyArray, Bool, Int
from interpbench_jax.cases.ioi.circuit import OUTPUT_EDGE, ComponentRead, ioi_edges
from interpbench_jax.cases.ioi.components import components
from interpbench_jax.cases.ioi.vocabulary import Vocabulary
from interpbench_jax.high_level import (
    Chosen,
    ChosenEdges,
    HighLevelModel,
    Inputs,
    Outputs,
    Position,
    ProgramTargets,
    Sources,
    Swap,
    check_token_ids,
    classify,
    in_chunks,
)
from interpbench_jax.sites import Edge, Kind, Node

_FOR_A_NAME = 10
_AGAINST_A_REPEATED = 15
# The scores of this many prompts take about 8 MB.
_CHUNK = 1024


class IoiValues(NamedTuple):
    """The values that the components compute.

    Attributes:
        tokens: token ids.
        duplicate: the last earlier position with the same token; -1 if there is none.
        s_inhibition: the id of the token at that position; -1 if there is none.
        name_mover: the score of every token in the vocabulary's table, at every position.
    """

    tokens: Int[AnyArray, "batch pos"]
    duplicate: Int[AnyArray, "batch pos"]
    s_inhibition: Int[AnyArray, "batch pos"]
    name_mover: Int[AnyArray, "batch pos known"]


@dataclass(frozen=True)
class IoiModel(HighLevelModel):
    """The task's rule as a model that supports interchange.

    `duplicate` is the last earlier position with the same token, `s_inhibition` is the token
    there, and `name_mover` sums, over the positions so far, 10 for every token that is a name and
    -15 for every token that `s_inhibition` names. The answer is the token with the highest score.
    Under an interchange, each component reads the other components' replaced values, whatever
    they are: a position from another prompt is looked up in this one.

    Attributes:
        vocabulary: the tokens and their ids.
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
    def edges(self) -> tuple[Edge, ...]:
        return (*ioi_edges(self.has_tokens).values(), OUTPUT_EDGE)

    @property
    def is_categorical(self) -> bool:
        return True

    @property
    def n_classes(self) -> int:
        return self.vocabulary.size

    @property
    def adds_scores(self) -> bool:
        return True

    def shares_of_rows(self, rows: Outputs) -> Outputs:
        """The names' scores, in units of the score for one mention; 0 for all other tokens.

        Repeated words that are not names score far below 0, and no answer depends on them.
        """
        is_name = np.zeros(rows.shape[-1], bool)
        is_name[list(self.vocabulary.ids)] = self.vocabulary.is_name
        return jnp.where(is_name, rows, 0) / _FOR_A_NAME

    def check_ids(self, tokens: np.ndarray) -> None:
        check_token_ids(tokens, self.vocabulary.size, self.vocabulary.bos)

    def values(self, tokens: Inputs) -> IoiValues:
        """The value of every component in a plain run."""
        return _evaluate(self, jnp.asarray(tokens), None)

    def differs(self, tokens: Inputs, others: Inputs) -> Bool[AnyArray, "batch edges pos"]:
        values = [self.values(each) for each in (tokens, others)]
        changed = {
            field: (one != other).reshape(*one.shape[:2], -1).any(axis=-1)
            for field, one, other in zip(IoiValues._fields, *values, strict=True)
        }
        # Positions are the same in every prompt.
        changed["positions"] = jnp.zeros_like(changed["tokens"])
        fields = [read.source for read in ioi_edges(self.has_tokens)]
        return jnp.stack([changed[field] for field in (*fields, "name_mover")], axis=1)

    def outputs(self, tokens: Int[AnyArray, "batch pos"], swap: Swap | None) -> Outputs:
        scores = self._scores(tokens, swap).astype(jnp.float32)
        if not self.vocabulary.is_whole:
            return scores
        rows = jnp.zeros((*scores.shape[:-1], self.vocabulary.size), jnp.float32)
        return rows.at[..., jnp.asarray(self.vocabulary.ids)].set(scores)

    def targets(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
        edge: ChosenEdges | None = None,
        position: Position | None = None,
    ) -> ProgramTargets:
        arguments = self._checked(tokens, source_tokens, node, edge, position)
        return in_chunks(lambda chunk: self._answers(*chunk), arguments, _CHUNK)

    def _answers(
        self, tokens: Int[AnyArray, "batch pos"], swap: Swap | None
    ) -> Int[AnyArray, "batch pos"]:
        scores = self._scores(tokens, swap)
        if not self.vocabulary.is_whole:
            return classify(scores.astype(jnp.float32))
        # Tokens that occur in no prompt score 0, and id 0 is one of them.
        ids = jnp.asarray(self.vocabulary.ids, jnp.int32)
        return jnp.where(scores.max(axis=-1) > 0, ids[scores.argmax(axis=-1)], jnp.int32(0))

    def _scores(
        self, tokens: Int[AnyArray, "batch pos"], swap: Swap | None
    ) -> Int[AnyArray, "batch pos known"]:
        if swap is None:
            return _evaluate(self, tokens, None).name_mover
        return _evaluate(self, tokens, _Given(self.values(swap.tokens), swap)).name_mover


class _Given(NamedTuple):
    """The values of another run, and the nodes and edges to take from it."""

    values: IoiValues
    swap: Swap


@partial(jax.jit, static_argnums=0)
def _evaluate(
    model: IoiModel, tokens: Int[AnyArray, "batch pos"], given: _Given | None
) -> IoiValues:
    """Compute every component in turn, with replacements for all of its readers or for one."""
    names = tuple(model.names)
    reads = tuple(ioi_edges(model.has_tokens))

    def choose(mask: Bool[AnyArray, "batch one_or_pos"], field: str, value: AnyArray) -> AnyArray:
        assert given is not None
        chosen = mask.reshape(*mask.shape, *[1] * (value.ndim - 2))
        return jnp.where(chosen, getattr(given.values, field), value)

    def along(number: int, field: str, value: AnyArray) -> AnyArray:
        """A value as it is read along one edge."""
        assert given is not None
        mask, where = given.swap.edges[:, number, None], given.swap.position
        if where is not None:
            mask = mask & (jnp.arange(value.shape[1], dtype=where.dtype)[None] == where[:, None])
        return choose(mask, field, value)

    def write(field: str, value: AnyArray) -> AnyArray:
        if given is None or field not in names:
            return value
        return choose(given.swap.nodes[:, names.index(field), None], field, value)

    def read(field: str, target: str, slot: Kind, value: AnyArray) -> AnyArray:
        wanted = ComponentRead(field, target, slot)
        # Without the first MLP, no edge leads into the tokens.
        if given is None or wanted not in reads:
            return value
        return along(reads.index(wanted), field, value)

    tokens = tokens.astype(jnp.int32)
    tokens = write("tokens", read("tokens", "tokens", Kind.MLP_IN, tokens))
    # Positions are the same in every prompt, so an edge from them never changes anything.
    positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)
    is_earlier = positions[None] < positions[:, None]
    keys = read("tokens", "duplicate", Kind.K_INPUT, tokens)[:, None, :]
    queries = read("tokens", "duplicate", Kind.Q_INPUT, tokens)[:, :, None]
    is_same = (keys == queries) & is_earlier[None]
    duplicate = jnp.where(is_same, positions[None, None], jnp.int32(-1)).max(axis=2)
    duplicate = write("duplicate", duplicate)
    asked = read("duplicate", "s_inhibition", Kind.Q_INPUT, duplicate)
    values = read("tokens", "s_inhibition", Kind.V_INPUT, tokens)
    found = jnp.take_along_axis(values, jnp.maximum(asked, 0), axis=1)
    s_inhibition = write("s_inhibition", jnp.where(asked < 0, jnp.int32(-1), found))
    known = jnp.asarray(model.vocabulary.ids, jnp.int32)[None, None]
    is_name = jnp.asarray(model.vocabulary.is_name)[None, None]
    named = read("tokens", "name_mover", Kind.V_INPUT, tokens)[..., None]
    against = read("s_inhibition", "name_mover", Kind.V_INPUT, s_inhibition)[..., None]
    scores = _FOR_A_NAME * ((named == known) & is_name).astype(jnp.int32)
    scores -= _AGAINST_A_REPEATED * (against == known).astype(jnp.int32)
    name_mover = write("name_mover", jnp.cumsum(scores, axis=1, dtype=jnp.int32))
    if given is not None:
        name_mover = along(len(reads), "name_mover", name_mover)
    return IoiValues(tokens, duplicate, s_inhibition, name_mover)
