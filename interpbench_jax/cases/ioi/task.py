"""Indirect object identification as a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from interpbench_jax.cases.ioi.circuit import OUTPUT_EDGE, ioi_edges, scored_ioi_circuit
from interpbench_jax.cases.ioi.components import ROLES, components
from interpbench_jax.cases.ioi.counterfactuals import COUNTERFACTUALS, Counterfactual, corrupt
from interpbench_jax.cases.ioi.prompts import N_POSITIONS, PromptSpace
from interpbench_jax.cases.ioi.vocabulary import GPT2, GPT2_IDS, PROMPT_TOKENS, Vocabulary
from interpbench_jax.cases.pairs import (
    Seed,
    TaskPairs,
    check_counterfactual,
    make_generator,
)
from interpbench_jax.cases.sequences import Split
from interpbench_jax.cases.task import Task, Tier
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.rasp import Value
from interpbench_jax.rasp.roles import Role
from interpbench_jax.sites import Edge, Kind, Node

if TYPE_CHECKING:
    from interpbench_jax.cases.ioi.high_level import IoiModel
    from interpbench_jax.metrics import MetricName

_OUTPUT = "output       = the token with the highest score"

# GPT-2's context length, which upstream's models keep although a prompt has 16 positions.
_N_CTX = 1024


@dataclass(frozen=True, kw_only=True, repr=False)
class IoiTask(Task):
    """Indirect object identification: of two names, the answer is the one that occurs only once.

    Inputs are the prompts of `ioi.prompts`. Only the last position is scored, by the answer's
    logit minus that of the distractor, which is the giver's name. Ids number the few tokens that
    occur in prompts; `in_full_vocabulary` returns the same task in GPT-2's ids, for upstream's
    models.

    Attributes:
        predicts_next_token: whether the model is trained on the next token at every position,
            with ten times the weight at the last one, or only on the answer at the last position.
        has_tokens: whether the first MLP is aligned with the tokens, so that the other components
            read them there; if not, the heads read the embedding.
        vocabulary: the tokens and their ids.
    """

    max_seq_len: int = N_POSITIONS
    min_seq_len: int = N_POSITIONS
    predicts_next_token: bool = False
    has_tokens: bool = True
    vocabulary: Vocabulary = PROMPT_TOKENS

    def in_full_vocabulary(self) -> "IoiTask":
        """The same task in GPT-2's ids, which upstream's models use."""
        return replace(self, vocabulary=GPT2)

    def densely_labelled(self) -> "IoiTask":
        """The same task, trained on the next token at every position."""
        return replace(self, predicts_next_token=True)

    def in_vocabulary_of(self, config: TransformerConfig) -> "IoiTask":
        """The task in GPT-2's ids if the model has all of them; otherwise this task."""
        return self.in_full_vocabulary() if config.d_vocab == GPT2.size else self

    @property
    def program_text(self) -> str:
        places = components(self.has_tokens)
        lines = [
            f"{name:12} = {role.program}" + (f"  [{places[name]}]" if name in places else "")
            for name, role in ROLES.items()
        ]
        return "\n".join([*lines, _OUTPUT])

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The token of every id; `<id>` for GPT-2's other tokens, which the table lacks."""
        known = dict(zip(self.vocabulary.ids, self.vocabulary.tokens, strict=True))
        return tuple(known.get(index, f"<{index}>") for index in range(self.vocabulary.size))

    @property
    def gpt2_ids(self) -> tuple[int, ...]:
        """GPT-2's id of every token of the prompts, in the order of `vocabulary.tokens`."""
        return GPT2_IDS

    @property
    def bos_id(self) -> int:
        return self.vocabulary.bos

    @property
    def pad_id(self) -> None:
        return None

    @cached_property
    def classes(self) -> tuple[Value, ...]:
        """The tokens, because the output is one of them."""
        return self.tokens

    @cached_property
    def config(self) -> TransformerConfig:
        return TransformerConfig(
            n_layers=6,
            n_heads=4,
            d_model=64,
            d_head=16,
            d_mlp=3072,
            d_vocab=self.vocabulary.size,
            d_vocab_out=self.vocabulary.size,
            n_ctx=_N_CTX if self.vocabulary.is_whole else self.max_seq_len,
            act_fn="gelu_new",
            normalization_type="LNPre",
        )

    @cached_property
    def alignment(self) -> Mapping[Node, tuple[Node, ...]]:
        return MappingProxyType({node: (node,) for node in self.roles})

    @cached_property
    def roles(self) -> Mapping[Node, tuple[Role, ...]]:
        return {node: (ROLES[name],) for name, node in components(self.has_tokens).items()}

    @cached_property
    def upstream_circuit(self) -> Circuit:
        """The edges that InterpBench lists, where heads read only by their value inputs.

        In the `head` universe they are those of `complete_circuit`.
        """
        return scored_ioi_circuit(self.config, self.has_tokens)

    @cached_property
    def edge_alignment(self) -> Mapping[Edge, tuple[Edge, ...]]:
        into_output = Edge(OUTPUT_EDGE.src, Node(Kind.RESID_POST, self.config.n_layers - 1))
        reads = {edge: (edge,) for edge in ioi_edges(self.has_tokens).values()}
        return MappingProxyType({**reads, OUTPUT_EDGE: (into_output,)})

    @cached_property
    def high_level(self) -> "IoiModel":
        """The task's rule as a model that supports interchange."""
        from interpbench_jax.cases.ioi.high_level import IoiModel

        return IoiModel(self.vocabulary, self.has_tokens)

    @property
    def tier(self) -> Tier:
        return "multi-step"

    @property
    def metric(self) -> "MetricName":
        return "logit_diff"

    @property
    def bench_inputs(self) -> int:
        """Fewer than in other tasks: one run here costs about as much as a thousand of theirs."""
        return 100

    @property
    def first_scored(self) -> int:
        return self.max_seq_len - 1

    @property
    def loss_weights(self) -> tuple[float, ...]:
        if not self.predicts_next_token:
            return super().loss_weights
        return (*[1.0] * (self.max_seq_len - 1), 10.0)

    def labels(self, tokens: Any, targets: Any) -> Any:
        if not self.predicts_next_token:
            return targets
        import jax.numpy as jnp

        return jnp.concatenate([tokens[:, 1:], targets[:, -1:]], axis=1)

    @property
    def counterfactuals(self) -> tuple[str, ...]:
        """The kinds of corrupted inputs, which `ioi.counterfactuals.corrupt` describes."""
        return COUNTERFACTUALS

    @cached_property
    def space(self) -> PromptSpace:
        """The space of all prompts."""
        return PromptSpace(self.vocabulary)

    @property
    def n_inputs(self) -> int:
        return self.space.size

    def draw(self, n: int, rng: np.random.Generator, split: Split | None = None) -> np.ndarray:
        return self.space.draw(n, rng, split)

    def all_inputs(self, split: Split | None = None) -> np.ndarray:
        return self.space.list_all(split)

    def draw_pairs(
        self,
        n: int,
        rng: np.random.Generator,
        *,
        split: Split | None,
        unique: bool,
        variable_length: bool | None,
        counterfactual: str | None,
    ) -> TaskPairs:
        check_counterfactual(counterfactual, self.counterfactuals)
        if variable_length:
            raise ValueError(
                f"Case {self.case_id!r}: expected variable_length=False, because every prompt has "
                f"{self.max_seq_len} positions."
            )
        draw = self.space.draw_unique if unique else self.space.draw
        prompts = draw(n, rng, split)
        corrupted = self.corrupt(prompts, rng, counterfactual or COUNTERFACTUALS[0], split=split)
        is_scored = np.zeros(prompts.shape, bool)
        is_scored[:, self.first_scored :] = True
        return TaskPairs(
            input_ids=prompts,
            corrupted_input_ids=corrupted,
            target=self._next_tokens(prompts),
            corrupted_target=self._next_tokens(corrupted),
            is_scored=is_scored,
            distractor=self.space.answers(prompts)[1],
            metric=self.own_metric,
        )

    def corrupt(
        self,
        prompts: np.ndarray,
        seed: Seed,
        counterfactual: str,
        *,
        split: Split | None = None,
    ) -> np.ndarray:
        """A counterfactual of each prompt; see `ioi.counterfactuals.corrupt` for the kinds.

        Args:
            prompts: int32 `[prompts, pos]`.
            seed: as for `sample`.
            counterfactual: one of `counterfactuals`.
            split: the split that `"random"` draws from.

        Returns:
            int32 of the prompts' shape.

        Raises:
            TypeError: if the seed is neither an int nor a NumPy `Generator`.
            ValueError: if the counterfactual is unknown, or the seed is negative.
        """
        check_counterfactual(counterfactual, self.counterfactuals)
        kind = cast(Counterfactual, counterfactual)
        return corrupt(self.space, prompts, make_generator(seed), split, kind)

    def encode(self, sequence: str | Sequence[Value]) -> np.ndarray:
        """The ids of a prompt, given as text or as its tokens, with BOS prepended.

        Returns:
            int32 of shape `[pos]`.

        Raises:
            ValueError: if it does not have the form of a prompt; any three names are allowed.
        """
        if isinstance(sequence, str):
            return self.space.encode(sequence)
        return self.space.encode([str(token) for token in sequence])

    def text(self, ids: Sequence[int] | np.ndarray) -> str:
        """A prompt as text, without BOS; `encode` reads it back.

        Raises:
            ValueError: if an id is unknown.
        """
        return "".join(self.decode(ids)[1:])

    def _next_tokens(self, prompts: np.ndarray) -> np.ndarray:
        """The prompt's tokens after BOS, followed by the answer of the task's rule."""
        if not len(prompts):
            return np.zeros(prompts.shape, np.int32)
        answers = np.asarray(self.high_level.targets(prompts))[:, -1:]
        return np.concatenate([prompts[:, 1:], answers], axis=1)
