"""What every benchmark task offers, whether a RASP program or a language task states it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from interpbench_jax.cases import encoding
from interpbench_jax.cases.pairs import (
    Seed,
    TaskPairs,
    check_count,
    check_counterfactual,
    join_pairs,
    make_generator,
)
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.sequences import Split
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.cases.truth import TRUTHS, TruthName, find_circuit
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.pairs import BLOCK, PairStream
from interpbench_jax.rasp import Value
from interpbench_jax.sites import Edge, Node, components
from interpbench_jax.travel import Travels

if TYPE_CHECKING:
    from interpbench_jax.high_level import HighLevelModel
    from interpbench_jax.metrics import MetricName

_TRAINING = TrainingArguments()
_RECIPE = Recipe()

Tier = Literal["embedding and one MLP only", "one attention step", "multi-step"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Task(Travels, ABC):
    """A declaration; everything else about the task is derived from it.

    Attributes:
        case_id: as InterpBench numbers it.
        description: what the model is to compute at each scored position.
        max_seq_len: positions of the longest input, BOS counted.
        min_seq_len: positions of the shortest input, BOS counted.
        training: how release 1.0.0 trained the model.
        recipe: how we train it.
        moved: components of the high-level model that are aligned with other nodes of the model
            than those of the same name.
        note: what a user should know before comparing with upstream; empty where nothing.
    """

    case_id: str
    description: str
    max_seq_len: int
    min_seq_len: int = 4
    training: TrainingArguments = _TRAINING
    recipe: Recipe = _RECIPE
    moved: tuple[tuple[Node, tuple[Node, ...]], ...] = ()
    note: str = ""

    @property
    @abstractmethod
    def program_text(self) -> str:
        """The program for people to read, one step a line."""

    @cached_property
    @abstractmethod
    def tokens(self) -> tuple[str, ...]:
        """The token of every id, BOS and PAD included."""

    @property
    @abstractmethod
    def bos_id(self) -> int:
        """The id that every input starts with."""

    @property
    @abstractmethod
    def pad_id(self) -> int | None:
        """The id that fills up shorter inputs; None where all are of one length."""

    @cached_property
    @abstractmethod
    def classes(self) -> tuple[Value, ...] | None:
        """The label of every output class, in order; None for a regression."""

    @cached_property
    @abstractmethod
    def config(self) -> TransformerConfig:
        """The shape of the model that is to learn the task."""

    @cached_property
    @abstractmethod
    def alignment(self) -> Mapping[Node, tuple[Node, ...]]:
        """For each component of the high-level model, the model's nodes that stand for it."""

    @cached_property
    @abstractmethod
    def component_names(self) -> Mapping[Node, str]:
        """For each component, the variables that it computes, in words; all different."""

    @cached_property
    @abstractmethod
    def upstream_circuit(self) -> Circuit:
        """The circuit as InterpBench lists and scores it; none of its edges counts as constant."""

    @cached_property
    @abstractmethod
    def edge_alignment(self) -> Mapping[Edge, tuple[Edge, ...]]:
        """For each edge of the high-level model, the model's fine edges that stand for it."""

    @cached_property
    def complete_circuit(self) -> Circuit:
        """Every edge that the high-level model uses, into the one input that reads it.

        Its `constant` edges carry a variable that does not differ between the two inputs of any
        pair: patching the edge in the high-level model changes no output (`cases.truth`).
        """
        return find_circuit(self)

    def truth(self, name: TruthName = "complete") -> Circuit:
        """A circuit to score against: `complete_circuit`, or `upstream_circuit`.

        Raises:
            ValueError: if there is no truth of that name.
        """
        if name not in TRUTHS:
            raise ValueError(f"Expected a truth out of {', '.join(TRUTHS)}, got {name!r}.")
        return self.complete_circuit if name == "complete" else self.upstream_circuit

    @cached_property
    @abstractmethod
    def high_level(self) -> "HighLevelModel":
        """What the model is to do: outputs, targets, interchange."""

    @property
    @abstractmethod
    def tier(self) -> Tier:
        """How much the model has to do, by the components that the program needs."""

    @property
    @abstractmethod
    def n_inputs(self) -> int:
        """How many different inputs of the full length there are."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator, split: Split | None = None) -> np.ndarray:
        """Independent inputs of the full length, uniform over a split: int32 `[n, pos]`."""

    @abstractmethod
    def all_inputs(self, split: Split | None = None) -> np.ndarray:
        """Every input of the full length.

        Returns:
            int32 of shape `[inputs, max_seq_len]`.

        Raises:
            ValueError: if there are more than a million (the message says how many), or there
                is no such split.
        """

    @abstractmethod
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
        """`n` pairs, drawn at once; for callers there are `sample` and `stream`."""

    def stream(
        self,
        n: int,
        seed: int,
        *,
        split: Split | None = None,
        variable_length: bool | None = None,
        counterfactual: str | None = None,
    ) -> PairStream:
        """The pairs of `sample`, drawn block by block whenever they are needed.

        For more pairs than memory holds: sweeps take a stream as they take pairs.

        Args:
            n: rows.
            seed: an int, so that every pass draws the same.
            split: as for `sample`, like all that follows.
            variable_length: whether lengths are drawn too.
            counterfactual: what the corrupted inputs are.

        Raises:
            TypeError: if the seed or `n` is not an int.
            ValueError: as `sample` does.
        """
        check_count(n)
        if isinstance(seed, np.random.Generator):
            raise TypeError(
                "Expected a seed as an int, from which a stream can be drawn again, got a "
                "generator, which moves on."
            )
        make_generator(seed)
        check_counterfactual(counterfactual, self.counterfactuals)

        def draw_blocks() -> Iterator[TaskPairs]:
            rng = make_generator(seed)
            for start in range(0, n, BLOCK):
                yield self.draw_pairs(
                    min(BLOCK, n - start),
                    rng,
                    split=split,
                    unique=False,
                    variable_length=variable_length,
                    counterfactual=counterfactual,
                )

        return PairStream(n, draw_blocks)

    def sample(
        self,
        n: int,
        seed: Seed,
        *,
        split: Split | None = None,
        unique: bool = False,
        variable_length: bool | None = None,
        counterfactual: str | None = None,
    ) -> TaskPairs:
        """Draw `n` pairs of inputs with their targets.

        Args:
            n: rows.
            seed: an int, or a NumPy generator, which then moves on.
            split: `"train"` (80 % of all inputs), `"validation"` or `"test"` (10 % each),
                decided by a hash of the input, so that splits never share one; None for all.
            unique: whether no two `input_ids` may be equal.
            variable_length: whether lengths are drawn too, uniformly from `min_seq_len` to
                `max_seq_len`, and rows are padded with PAD; by default as the task says
                (`RaspTask.varies_length`). Both inputs of a pair are equally long, except where
                the task varies lengths. The program is evaluated as if PAD were not there;
                targets at PAD are 0 and `is_scored` is False.
            counterfactual: what the corrupted inputs are, out of `counterfactuals`; by default
                the first of these.

        Raises:
            TypeError: if the seed or `n` is of another type.
            ValueError: if there is no such split or counterfactual, `n` or the seed is negative,
                lengths do not vary, or more different inputs are asked for than exist.
        """
        check_count(n)
        rng = make_generator(seed)
        sizes = [n] if unique else [min(BLOCK, n - start) for start in range(0, n, BLOCK)] or [0]
        return join_pairs(
            [
                self.draw_pairs(
                    size,
                    rng,
                    split=split,
                    unique=unique,
                    variable_length=variable_length,
                    counterfactual=counterfactual,
                )
                for size in sizes
            ]
        )

    @property
    def has_padding(self) -> bool:
        """Whether inputs, as `draw` and `sample` give them, hold padding."""
        return False

    @property
    def counterfactuals(self) -> tuple[str, ...]:
        """The kinds of corrupted inputs that `sample` draws."""
        return ("random",)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.case_id!r}, {self.description!r})"

    @property
    def metric(self) -> "MetricName":
        """What patching is judged by, unless a user says otherwise."""
        from interpbench_jax.metrics import default_metric

        return default_metric(self.config)

    @property
    def own_metric(self) -> "MetricName | None":
        """`metric` where it is another than what suits every task of its kind; else None."""
        from interpbench_jax.metrics import default_metric

        return None if self.metric == default_metric(self.config) else self.metric

    @property
    def bench_inputs(self) -> int:
        """On how many pairs methods are run, unless a user says otherwise."""
        return 1000

    @property
    def first_scored(self) -> int:
        """The first position whose output counts; all later ones do too."""
        return 1

    @property
    def n_positions(self) -> int:
        """Positions of the longest input, BOS not counted."""
        return self.max_seq_len - 1

    @property
    def is_categorical(self) -> bool:
        """Whether the output is a class rather than a number."""
        return self.classes is not None

    @cached_property
    def token_ids(self) -> Mapping[str, int]:
        """Every token's id."""
        return MappingProxyType({token: index for index, token in enumerate(self.tokens)})

    @cached_property
    def nodes_not_in_circuit(self) -> tuple[Node, ...]:
        """The heads and MLPs that must have no effect, in forward order."""
        used = {node for nodes in self.alignment.values() for node in nodes}
        every = components(self.config.n_layers, self.config.n_heads)
        return tuple(node for node in every if node not in used)

    def scored_positions(self, tokens: np.ndarray) -> np.ndarray:
        """Where outputs count: from `first_scored` on, where there is no padding.

        Args:
            tokens: `[batch, pos]`.

        Returns:
            bool of the same shape.
        """
        is_scored = np.broadcast_to(np.arange(tokens.shape[1]) >= self.first_scored, tokens.shape)
        return is_scored if self.pad_id is None else is_scored & (tokens != self.pad_id)

    @property
    def scored_weights(self) -> tuple[float, ...]:
        """How much each position counts in the losses under interchange: the scored ones, alike."""
        return tuple(float(pos >= self.first_scored) for pos in range(self.max_seq_len))

    @property
    def loss_weights(self) -> tuple[float, ...]:
        """How much each position counts in the loss on plain outputs."""
        return self.scored_weights

    def labels(self, tokens: Any, targets: Any) -> Any:
        """What plain outputs are trained on; may be traced.

        Args:
            tokens: `[batch, pos]`.
            targets: what the high-level model answers.

        Returns:
            int or float of shape `[batch, pos]`.
        """
        return targets

    def densely_labelled(self) -> "Task":
        """The task with a label at every position that can have one; itself where all have."""
        return self

    def in_vocabulary_of(self, config: TransformerConfig) -> "Task":
        """The task in the ids of a model; itself, but for language tasks."""
        return self

    def encode(self, sequence: Sequence[Value]) -> np.ndarray:
        """The ids of a sequence of tokens, with BOS before it.

        Tokens are matched by their text, so that 1 and "1" are the same token; BOS first and
        PAD at the end may be given. Nothing is padded.

        Returns:
            int32 of shape `[pos]`.

        Raises:
            TypeError: if the sequence is one string.
            ValueError: if a token is unknown or out of place, or the length is wrong.
        """
        return encoding.encode(sequence, self.token_ids, self.min_seq_len, self.max_seq_len)

    def decode(self, ids: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """The tokens of one sequence of ids, BOS and PAD included.

        Raises:
            ValueError: if an id is unknown.
        """
        return encoding.decode(ids, self.token_ids)
