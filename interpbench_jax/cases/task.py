"""The interface of every benchmark task, be it a RASP program or a language task."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from interpbench_jax.bands import Band
from interpbench_jax.cases import encoding
from interpbench_jax.cases.pairs import (
    Seed,
    TaskPairs,
    check_count,
    check_counterfactual,
    join_pairs,
    make_generator,
)
from interpbench_jax.cases.position_truth import N_POSITION_PAIRS, find_position_truth
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.sequences import Split
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.cases.truth import N_PAIRS, TRUTHS, TruthName, find_circuit
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.names import ReleaseName
from interpbench_jax.pairs import PairStream, block_sizes
from interpbench_jax.position_truth import PositionTruth
from interpbench_jax.rasp import Value
from interpbench_jax.rasp.roles import Role, distinct_names
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
    """The declaration of a task, from which everything else about it is derived.

    Attributes:
        case_id: the id that InterpBench gives the case.
        description: the output that the model should compute at each scored position.
        max_seq_len: positions of the longest input, BOS counted.
        min_seq_len: positions of the shortest input, BOS counted.
        training: the settings with which release 1.0.0 trained the model.
        recipe: the settings with which we train it.
        moved: components of the high-level model that are aligned with nodes other than those of
            the same name, each with its nodes.
        note: facts to know before comparing with upstream; empty if there are none.
        releases: the releases of InterpBench that have this task and a model of this shape, or our
            own `pilot`.
    """

    case_id: str
    description: str
    max_seq_len: int
    min_seq_len: int = 4
    training: TrainingArguments = _TRAINING
    recipe: Recipe = _RECIPE
    moved: tuple[tuple[Node, tuple[Node, ...]], ...] = ()
    note: str = ""
    releases: tuple[ReleaseName, ...] = ("1.0.0",)

    @property
    @abstractmethod
    def program_text(self) -> str:
        """The program as readable text, one step per line."""

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
        """The id of padding; None if inputs are never padded."""

    @cached_property
    @abstractmethod
    def classes(self) -> tuple[Value, ...] | None:
        """The label of every output class, in order; None for a regression."""

    @cached_property
    @abstractmethod
    def config(self) -> TransformerConfig:
        """The config of the model that learns the task."""

    @cached_property
    @abstractmethod
    def alignment(self) -> Mapping[Node, tuple[Node, ...]]:
        """The model's nodes that are aligned with each component of the high-level model."""

    @cached_property
    @abstractmethod
    def roles(self) -> Mapping[Node, tuple[Role, ...]]:
        """What each component computes: the role of every variable of its own."""

    @cached_property
    def component_names(self) -> Mapping[Node, str]:
        """A distinct name for each component: its variables, and the component if names clash."""
        return distinct_names(self.roles)

    @cached_property
    @abstractmethod
    def upstream_circuit(self) -> Circuit:
        """The circuit as InterpBench lists and scores it; none of its edges counts as constant."""

    @cached_property
    @abstractmethod
    def edge_alignment(self) -> Mapping[Edge, tuple[Edge, ...]]:
        """The model's fine edges that are aligned with each edge of the high-level model."""

    @cached_property
    def complete_circuit(self) -> Circuit:
        """Every edge that the high-level model uses, each into the one input that reads it.

        Its `constant` edges carry a variable that does not differ between the two inputs of any
        pair: patching the edge in the high-level model changes no output (`cases.truth`).
        """
        pairs = self.sample(N_PAIRS, 0)
        return find_circuit(self.config, self.edge_alignment, self.high_level, pairs)

    def truth(self, name: TruthName = "complete") -> Circuit:
        """A circuit to score against: `complete_circuit`, or `upstream_circuit`.

        Raises:
            ValueError: if there is no truth of that name.
        """
        if name not in TRUTHS:
            raise ValueError(f"Expected truth to be one of {', '.join(TRUTHS)}; got {name!r}.")
        return self.complete_circuit if name == "complete" else self.upstream_circuit

    def position_truth(self, pairs: TaskPairs | None = None) -> PositionTruth:
        """The positions at which each edge of the program matters, on some pairs of inputs.

        The default is 256 pairs that `sample` draws with seed 0.
        """
        drawn = self.sample(N_POSITION_PAIRS, 0) if pairs is None else pairs
        return find_position_truth(self.config, self.edge_alignment, self.high_level, drawn)

    @cached_property
    @abstractmethod
    def high_level(self) -> "HighLevelModel":
        """The high-level model, with outputs, targets and interchange."""

    @property
    @abstractmethod
    def tier(self) -> Tier:
        """The complexity of the task, judged by the components that the program needs."""

    @property
    @abstractmethod
    def n_inputs(self) -> int:
        """The number of different inputs of the full length."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator, split: Split | None = None) -> np.ndarray:
        """Independent inputs of a split, uniform at each length that it draws: int32 `[n, pos]`."""

    @abstractmethod
    def all_inputs(self, split: Split | None = None) -> np.ndarray:
        """Every input of the full length: int32 `[inputs, max_seq_len]`.

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
        """`n` pairs, drawn at once; users call `sample` or `stream` instead."""

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

        A stream can have more pairs than fit in memory; sweeps accept it in place of pairs.

        Args:
            n: number of rows.
            seed: random seed, an int, so that every pass draws the same pairs.
            split: as for `sample`, like the arguments that follow.
            variable_length: whether lengths are drawn too.
            counterfactual: the kind of corrupted inputs.

        Raises:
            TypeError: if the seed or `n` is not an int.
            ValueError: as for `sample`.
        """
        check_count(n)
        if isinstance(seed, np.random.Generator):
            raise TypeError(
                "Expected the seed to be an int, from which a stream can be drawn again, got a "
                "generator, which advances with every draw."
            )
        make_generator(seed)
        check_counterfactual(counterfactual, self.counterfactuals)

        how: dict[str, Any] = {"variable_length": variable_length, "counterfactual": counterfactual}

        def draw_blocks() -> Iterator[TaskPairs]:
            rng = make_generator(seed)
            for size in block_sizes(n):
                yield self.draw_pairs(size, rng, split=split, unique=False, **how)

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
            n: number of rows.
            seed: random seed, an int, or a NumPy generator, which then advances.
            split: `"train"` (80 % of all inputs), `"validation"` or `"test"` (10 % each),
                decided by a hash of the input, so that splits share no input; None for all.
            unique: whether all `input_ids` must differ.
            variable_length: whether lengths are drawn too, uniformly from `min_seq_len` to
                `max_seq_len`, and rows are padded with PAD; the default is the task's own choice
                (`RaspTask.varies_length`). Both inputs of a pair have the same length, unless
                the task varies lengths. The program is evaluated as if PAD were not there;
                targets at PAD are 0 and `is_scored` is False.
            counterfactual: the kind of corrupted inputs, one of `counterfactuals`; the default
                is the first of these.

        Raises:
            TypeError: if the seed or `n` has the wrong type.
            ValueError: if there is no such split or counterfactual, `n` or the seed is negative,
                the task has only one length, or fewer different inputs exist than are requested.
        """
        check_count(n)
        rng = make_generator(seed)
        sizes = [n] if unique else block_sizes(n) or [0]
        how: dict[str, Any] = {"variable_length": variable_length, "counterfactual": counterfactual}
        parts = [self.draw_pairs(size, rng, split=split, unique=unique, **how) for size in sizes]
        return join_pairs(parts)

    @property
    def has_padding(self) -> bool:
        """Whether the inputs of `draw` and `sample` contain padding by default."""
        return False

    @property
    def counterfactuals(self) -> tuple[str, ...]:
        """The kinds of corrupted inputs that `sample` draws."""
        return ("random",)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.case_id!r}, {self.description!r})"

    @property
    def metric(self) -> "MetricName":
        """The metric that scores patched runs, unless the user chooses another."""
        from interpbench_jax.metrics import default_metric

        return default_metric(self.config)

    @property
    def own_metric(self) -> "MetricName | None":
        """`metric` if it differs from the default metric for the task's config; else None."""
        from interpbench_jax.metrics import default_metric

        return None if self.metric == default_metric(self.config) else self.metric

    @property
    def bench_inputs(self) -> int:
        """The number of pairs that methods run on, unless the user chooses another."""
        return 1000

    @property
    def leak(self) -> Band | None:
        """The band, as shares of the smallest change by an edge of the program, within which
        cutting an edge outside must change the output; None if it must change nothing."""
        return None

    @property
    def whole(self) -> "Task":
        """The task that its model learns: itself, or that whose inputs it has some of."""
        return self

    @property
    def first_scored(self) -> int:
        """The first position that is scored; all later ones are too."""
        return 1

    @property
    def n_positions(self) -> int:
        """The number of positions of the longest input, BOS not counted."""
        return self.max_seq_len - 1

    @property
    def is_categorical(self) -> bool:
        """Whether the output is a class rather than a number."""
        return self.classes is not None

    @cached_property
    def token_ids(self) -> Mapping[str, int]:
        """The id of every token."""
        return MappingProxyType({token: index for index, token in enumerate(self.tokens)})

    @cached_property
    def nodes_not_in_circuit(self) -> tuple[Node, ...]:
        """The heads and MLPs that must have no effect, in forward order."""
        used = {node for nodes in self.alignment.values() for node in nodes}
        every = components(self.config.n_layers, self.config.n_heads)
        return tuple(node for node in every if node not in used)

    def scored_positions(self, tokens: np.ndarray) -> np.ndarray:
        """Which positions are scored, bool `[batch, pos]`: from `first_scored`, without padding."""
        is_scored = np.broadcast_to(np.arange(tokens.shape[1]) >= self.first_scored, tokens.shape)
        return is_scored if self.pad_id is None else is_scored & (tokens != self.pad_id)

    @property
    def scored_weights(self) -> tuple[float, ...]:
        """The weight of each position in the interchange losses: 1 if it is scored, else 0."""
        return tuple(float(pos >= self.first_scored) for pos in range(self.max_seq_len))

    @property
    def loss_weights(self) -> tuple[float, ...]:
        """The weight of each position in the loss on plain outputs."""
        return self.scored_weights

    def labels(self, tokens: Any, targets: Any) -> Any:
        """The labels that plain outputs are trained on, `[batch, pos]`; works on traced arrays.

        Args:
            tokens: `[batch, pos]`.
            targets: the high-level model's targets, int or float `[batch, pos]`.
        """
        return targets

    def densely_labelled(self) -> "Task":
        """The task with a label at every position that can have one; itself if all have one."""
        return self

    def in_vocabulary_of(self, config: TransformerConfig) -> "Task":
        """The task in the ids of a model; itself unless it is a language task."""
        return self

    def encode(self, sequence: Sequence[Value]) -> np.ndarray:
        """The ids of a sequence of tokens, with BOS before it: int32 `[pos]`.

        Tokens are matched by their text, so that 1 and "1" are the same token. BOS at the start
        and PAD at the end are allowed; no padding is added.

        Raises:
            TypeError: if the sequence is a single string.
            ValueError: if a token is unknown or out of place, or the length is wrong.
        """
        return encoding.encode(sequence, self.token_ids, self.min_seq_len, self.max_seq_len)

    def decode(self, ids: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """The tokens of one sequence of ids, BOS and PAD included.

        Raises:
            ValueError: if an id is unknown.
        """
        return encoding.decode(ids, self.token_ids)
