"""One benchmark task: a program, its vocabulary and lengths, and the model that is to learn it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from interpbench_jax.cases import encoding
from interpbench_jax.cases.encoding import BOS, PAD
from interpbench_jax.cases.pairs import Pairs, Seed, sample_pairs
from interpbench_jax.cases.recipe import Recipe
from interpbench_jax.cases.sequences import SequenceSpace, Split
from interpbench_jax.cases.training_arguments import TrainingArguments
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import AttentionDirection, TransformerConfig
from interpbench_jax.rasp import Value, Variable
from interpbench_jax.rasp.lowering import Lowering
from interpbench_jax.rasp.placement import lower
from interpbench_jax.rasp.value_sets import value_sets
from interpbench_jax.sites import Kind, Node, components

if TYPE_CHECKING:
    from interpbench_jax.rasp.high_level import HighLevelModel

_TRAINING = TrainingArguments()
_RECIPE = Recipe()

Tier = Literal["embedding and one MLP only", "one attention step", "multi-step"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A declaration; everything else about the task is derived from it.

    Attributes:
        case_id: as InterpBench numbers it.
        description: what the model is to compute at each position.
        program: the RASP program; its output is the model's output.
        vocab: what the program can read as a token; without BOS and PAD.
        max_seq_len: positions of the longest input, BOS counted.
        min_seq_len: positions of the shortest input, BOS counted.
        d_model: width of the model's residual stream.
        n_layers: the model's layers.
        n_heads: its heads per layer.
        attention: whether a position attends to later ones.
        training: how release 1.0.0 trained the model.
        recipe: how we train it.
        moved: components of the compiled program that are aligned with other nodes of the model
            than those of the same name.
        note: what a user should know before comparing with upstream; empty where nothing.

    Raises:
        ValueError: if the vocabulary or the lengths make no input.
    """

    case_id: str
    description: str
    program: Variable
    vocab: tuple[Value, ...]
    max_seq_len: int
    min_seq_len: int = 4
    d_model: int
    n_layers: int = 2
    n_heads: int = 4
    attention: AttentionDirection = "causal"
    training: TrainingArguments = _TRAINING
    recipe: Recipe = _RECIPE
    moved: tuple[tuple[Node, tuple[Node, ...]], ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        texts = {str(token) for token in self.vocab}
        n_tokens = len(self.vocab)
        is_distinct = len(set(self.vocab)) == n_tokens == len(texts)
        if not n_tokens or not is_distinct or {BOS, PAD} & texts:
            raise ValueError(
                f"Case {self.case_id!r}: expected a vocabulary of different tokens without "
                f"{BOS!r} and {PAD!r}, got {self.vocab!r}."
            )
        if not 2 <= self.min_seq_len <= self.max_seq_len:
            raise ValueError(
                f"Case {self.case_id!r}: expected lengths with 2 <= min_seq_len <= max_seq_len "
                f"(BOS counts), got {self.min_seq_len} and {self.max_seq_len}."
            )

    def __getstate__(self) -> dict[str, object]:
        # What is derived is derived again.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def n_positions(self) -> int:
        """Positions of the longest input, BOS not counted."""
        return self.max_seq_len - 1

    @property
    def is_causal(self) -> bool:
        """Whether selectors are masked causally, whatever the program says."""
        return self.attention == "causal"

    @property
    def is_categorical(self) -> bool:
        """Whether the output is a class rather than a number."""
        return self.program.is_categorical

    @cached_property
    def token_ids(self) -> Mapping[str, int]:
        """Every token's id: the sorted vocabulary, with BOS and PAD among it."""
        texts = sorted({BOS, PAD, *(str(token) for token in self.vocab)})
        return MappingProxyType({text: index for index, text in enumerate(texts)})

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The token of every id, BOS and PAD included."""
        return tuple(self.token_ids)

    @cached_property
    def classes(self) -> tuple[Value, ...] | None:
        """The label of every output class, in order; None for a regression."""
        if not self.is_categorical:
            return None
        return value_sets(self.program, self.vocab, self.n_positions)[self.program]

    @cached_property
    def config(self) -> TransformerConfig:
        """The shape of the model that is to learn the task."""
        return TransformerConfig(
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            d_model=self.d_model,
            d_head=max(1, self.d_model // self.n_heads),
            d_mlp=4 * self.d_model,
            d_vocab=len(self.token_ids),
            d_vocab_out=1 if self.classes is None else len(self.classes),
            n_ctx=self.max_seq_len,
            act_fn="gelu",
            attention_dir=self.attention,
        )

    @cached_property
    def lowering(self) -> Lowering:
        """The program laid out on layers, heads and MLPs."""
        return lower(self.program)

    @cached_property
    def alignment(self) -> Mapping[Node, tuple[Node, ...]]:
        """For each component of the compiled program, the model's nodes that stand for it."""
        same = {node: (node,) for node in self.lowering.nodes}
        return MappingProxyType(same | dict(self.moved))

    @cached_property
    def circuit(self) -> Circuit:
        """The ground truth as InterpBench scores it (`Lowering.scored_circuit`)."""
        config = self.config
        return self.lowering.scored_circuit(config.n_layers, config.n_heads, self.alignment)

    @cached_property
    def complete_circuit(self) -> Circuit:
        """Every edge that the program uses, into the one input that reads it.

        In the `head` universe it equals `circuit`, but for the cases 8, 13, 19 and 38, where
        upstream's list lacks the edge from the embedding to the first MLP.
        """
        config = self.config
        return self.lowering.circuit(config.n_layers, config.n_heads, self.alignment)

    @cached_property
    def nodes_not_in_circuit(self) -> tuple[Node, ...]:
        """The heads and MLPs that must have no effect, in forward order."""
        used = {node for nodes in self.alignment.values() for node in nodes}
        every = components(self.config.n_layers, self.config.n_heads)
        return tuple(node for node in every if node not in used)

    @cached_property
    def high_level(self) -> "HighLevelModel":
        """The compiled program as a model: outputs, targets, interchange."""
        from interpbench_jax.rasp.compiled import TokenIds, compile_program
        from interpbench_jax.rasp.high_level import HighLevelModel

        token_ids = TokenIds(
            vocab=self.vocab,
            ids=tuple(self.token_ids[str(token)] for token in self.vocab),
            bos=self.token_ids[BOS],
            pad=self.token_ids[PAD],
        )
        compiled = compile_program(self.program, token_ids, self.n_positions, self.is_causal)
        return HighLevelModel(compiled)

    @property
    def tier(self) -> Tier:
        """How much the model has to do, by the components that the program needs."""
        heads = [node for node in self.lowering.nodes if node.kind is Kind.HEAD]
        if not heads and len(self.lowering.nodes) == 1:
            return "embedding and one MLP only"
        return "one attention step" if len(heads) == 1 else "multi-step"

    @cached_property
    def space(self) -> SequenceSpace:
        """Every input of the task."""
        return SequenceSpace(
            token_ids=tuple(sorted(self.token_ids[str(token)] for token in self.vocab)),
            bos=self.token_ids[BOS],
            pad=self.token_ids[PAD],
            min_seq_len=self.min_seq_len,
            max_seq_len=self.max_seq_len,
        )

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

    def sample(
        self,
        n: int,
        seed: Seed,
        *,
        split: Split | None = None,
        unique: bool = False,
        variable_length: bool = False,
    ) -> Pairs:
        """Draw `n` pairs of inputs with their targets.

        Inputs are uniform over the vocabulary at every position, `max_seq_len` long. The
        corrupted input is drawn like the input, from the same split, until it differs.

        Args:
            n: rows.
            seed: an int, or a NumPy generator, which then moves on.
            split: `"train"` (80 % of all sequences), `"validation"` or `"test"` (10 % each),
                decided by a hash of the sequence, so that splits never share one; None for all.
            unique: whether no two `input_ids` may be equal.
            variable_length: whether lengths are drawn too, uniformly from `min_seq_len` to
                `max_seq_len`, and rows filled up with PAD. Both inputs of a pair are equally
                long. The program is then evaluated as if PAD were not there; targets at PAD
                are 0 and `is_scored` is False.

        Raises:
            TypeError: if the seed or `n` is of another type.
            ValueError: if there is no such split, `n` or the seed is negative, or more
                different inputs are asked for than exist.
        """
        return sample_pairs(
            self.space,
            self.high_level,
            self._numbers,
            n,
            seed,
            split=split,
            is_unique=unique,
            is_variable=variable_length,
        )

    def all_inputs(self, split: Split | None = None) -> np.ndarray:
        """Every input of the full length, ordered by its ids.

        Returns:
            int32 of shape `[inputs, max_seq_len]`.

        Raises:
            ValueError: if there are more than a million (the message says how many), or there
                is no such split.
        """
        return self.space.list_all(split)

    @cached_property
    def _numbers(self) -> np.ndarray | None:
        """Every number that a regression can output, ascending."""
        if self.is_categorical:
            return None
        sets = value_sets(self.program, self.vocab, self.n_positions, includes_output=True)
        return np.asarray(sets[self.program], np.float64)
