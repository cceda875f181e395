"""Tasks that are defined by a RASP program."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from interpbench_jax.cases.encoding import BOS, PAD
from interpbench_jax.cases.pairs import TaskPairs, check_counterfactual, sample_pairs
from interpbench_jax.cases.sequences import Oversampled, SequenceSpace, Split
from interpbench_jax.cases.task import Task, Tier
from interpbench_jax.cases.truth import N_PAIRS, find_circuit
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import AttentionDirection, TransformerConfig
from interpbench_jax.rasp import Value, Variable
from interpbench_jax.rasp.lowering import Lowering
from interpbench_jax.rasp.placement import lower
from interpbench_jax.rasp.rendering import render
from interpbench_jax.rasp.roles import Role, role_of
from interpbench_jax.rasp.value_sets import sort_values, value_sets
from interpbench_jax.sites import Edge, Kind, Node

if TYPE_CHECKING:
    from interpbench_jax.rasp.high_level import CompiledModel


@dataclass(frozen=True, kw_only=True, repr=False)
class RaspTask(Task):
    """A RASP program, its vocabulary and lengths, and the model that is to learn it.

    Inputs are uniform over the vocabulary at every position, and `max_seq_len` long, unless
    `oversampled` or `varies_length` is set. The corrupted input of a pair is drawn like the input,
    from the same split, and differs from it.

    Attributes:
        program: the RASP program; its output is what the model learns to output.
        vocab: the tokens that the program can read, without BOS and PAD.
        d_model: width of the model's residual stream.
        n_layers: number of layers of the model.
        n_heads: number of heads per layer.
        attention: the direction of attention: whether a position attends to later ones.
        varies_length: whether the length of each input is uniform from `min_seq_len` to
            `max_seq_len`, and drawn separately for the two inputs of a pair; meant for programs
            that depend on the length, which would otherwise be constant.
        oversampled: inputs that half of the draws are to be, for programs that do something else
            with them although they are rare: `"ascending"` or `"equal"` tokens (`SequenceSpace`).
        prefix: the tokens that may stand at the first positions, one tuple for each, if not all
            may: of a model that has learned several tasks, the inputs of one of them. An edge of
            the program that never changes an output on such inputs, although it carries different
            values in the two inputs of a pair, is then out of `complete_circuit`.

    Raises:
        ValueError: if the vocabulary or the lengths allow no inputs.
    """

    program: Variable
    vocab: tuple[Value, ...]
    d_model: int
    n_layers: int = 2
    n_heads: int = 4
    attention: AttentionDirection = "causal"
    varies_length: bool = False
    oversampled: Oversampled | None = None
    prefix: tuple[tuple[Value, ...], ...] = ()

    def __post_init__(self) -> None:
        texts = {str(token) for token in self.vocab}
        n_tokens = len(self.vocab)
        is_distinct = len(set(self.vocab)) == n_tokens == len(texts)
        if not n_tokens or not is_distinct or {BOS, PAD} & texts:
            raise ValueError(
                f"Case {self.case_id!r}: expected a vocabulary of distinct tokens without "
                f"{BOS!r} and {PAD!r}, got {self.vocab!r}."
            )
        if not 2 <= self.min_seq_len <= self.max_seq_len:
            raise ValueError(
                f"Case {self.case_id!r}: expected lengths with 2 <= min_seq_len <= max_seq_len "
                f"(BOS counts), got {self.min_seq_len} and {self.max_seq_len}."
            )
        allowed = set(self.vocab)
        if len(self.prefix) >= self.min_seq_len or not all(
            tokens and set(tokens) <= allowed for tokens in self.prefix
        ):
            raise ValueError(
                f"Case {self.case_id!r}: expected a prefix of tokens of the vocabulary, at least "
                f"one at each of fewer than {self.min_seq_len} positions, got {self.prefix!r}."
            )

    @property
    def is_causal(self) -> bool:
        """Whether selectors are masked causally, regardless of the program."""
        return self.attention == "causal"

    @property
    def program_text(self) -> str:
        return render(self.program)

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Numbers by value, then BOS and PAD; words by text, BOS and PAD among them."""
        if all(isinstance(token, int | float) for token in self.vocab):
            return (*map(str, sort_values(self.vocab)), BOS, PAD)
        return tuple(sorted({BOS, PAD, *(str(token) for token in self.vocab)}))

    @property
    def bos_id(self) -> int:
        return self.token_ids[BOS]

    @property
    def pad_id(self) -> int:
        return self.token_ids[PAD]

    @property
    def has_padding(self) -> bool:
        return self.varies_length

    @cached_property
    def classes(self) -> tuple[Value, ...] | None:
        if not self.program.is_categorical:
            return None
        return value_sets(self.program, self.vocab, self.n_positions)[self.program]

    @cached_property
    def config(self) -> TransformerConfig:
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
            # In a causal model, no token attends to the padding after it anyway.
            pad_token=None if self.is_causal else self.pad_id,
        )

    @cached_property
    def lowering(self) -> Lowering:
        """The program laid out on layers, heads and MLPs."""
        return lower(self.program)

    @property
    def whole(self) -> "RaspTask":
        return replace(self, prefix=()) if self.prefix else self

    @cached_property
    def alignment(self) -> Mapping[Node, tuple[Node, ...]]:
        same = {node: (node,) for node in self.lowering.nodes}
        return MappingProxyType(same | dict(self.moved))

    @cached_property
    def roles(self) -> Mapping[Node, tuple[Role, ...]]:
        return {
            node: tuple(role_of(variable) for variable in self.lowering.variables_of(node))
            for node in self.alignment
        }

    @cached_property
    def upstream_circuit(self) -> Circuit:
        """The circuit as InterpBench scores it (see `Lowering.scored_circuit`).

        In the `head` universe it has the edges of `complete_circuit`, including the constant ones,
        except in cases 8, 13, 13-current, 19 and 38, where it lacks the edge from the embedding to
        the first MLP, and in 97, 113 and 130, where it lacks edges into later MLPs.
        """
        config = self.config
        return self.lowering.scored_circuit(config.n_layers, config.n_heads, self.alignment)

    @cached_property
    def edge_alignment(self) -> Mapping[Edge, tuple[Edge, ...]]:
        n_layers = self.config.n_layers
        return MappingProxyType(
            {
                edge: self.lowering.low_level_edges(edge, n_layers, self.alignment)
                for edge in self.lowering.edges
            }
        )

    @cached_property
    def high_level(self) -> "CompiledModel":
        """The compiled program as a model, with outputs, targets and interchange."""
        from interpbench_jax.rasp.compiled import TokenIds, compile_program
        from interpbench_jax.rasp.high_level import CompiledModel

        token_ids = TokenIds(
            vocab=self.vocab,
            ids=tuple(self.token_ids[str(token)] for token in self.vocab),
            bos=self.token_ids[BOS],
            pad=self.token_ids[PAD],
        )
        compiled = compile_program(self.program, token_ids, self.n_positions, self.is_causal)
        return CompiledModel(compiled)

    @cached_property
    def complete_circuit(self) -> Circuit:
        """See `Task`; where `prefix` is set, edges that matter on other inputs alone are out."""
        pairs = self.sample(N_PAIRS, 0)
        silent = "out" if self.prefix else "constant"
        return find_circuit(self.config, self.edge_alignment, self.high_level, pairs, silent)

    @property
    def tier(self) -> Tier:
        heads = [node for node in self.lowering.nodes if node.kind is Kind.HEAD]
        if not heads and len(self.lowering.nodes) == 1:
            return "embedding and one MLP only"
        return "one attention step" if len(heads) == 1 else "multi-step"

    @cached_property
    def space(self) -> SequenceSpace:
        """The space of the task's inputs."""
        return SequenceSpace(
            token_ids=tuple(sorted(self.token_ids[str(token)] for token in self.vocab)),
            bos=self.token_ids[BOS],
            pad=self.token_ids[PAD],
            min_seq_len=self.min_seq_len,
            max_seq_len=self.max_seq_len,
            oversampled=self.oversampled,
            prefix=tuple(
                tuple(sorted(self.token_ids[str(token)] for token in tokens))
                for tokens in self.prefix
            ),
        )

    @property
    def n_inputs(self) -> int:
        return self.space.size(self.max_seq_len)

    def draw(self, n: int, rng: np.random.Generator, split: Split | None = None) -> np.ndarray:
        return self.space.draw(n, rng, split, is_variable=self.varies_length)

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
        return sample_pairs(
            self.space,
            self.high_level,
            self._numbers,
            n,
            rng,
            split=split,
            is_unique=unique,
            is_variable=self.varies_length if variable_length is None else variable_length,
            pairs_lengths=not self.varies_length,
            metric=self.own_metric,
        )

    @cached_property
    def _numbers(self) -> np.ndarray | None:
        """Every number that a regression can output, ascending."""
        if self.program.is_categorical:
            return None
        sets = value_sets(self.program, self.vocab, self.n_positions, includes_output=True)
        return np.asarray(sets[self.program], np.float64)
