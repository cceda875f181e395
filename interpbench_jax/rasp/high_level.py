"""A compiled program as a model: outputs, targets, and outputs under interchange."""

import operator
from dataclasses import dataclass
from functools import reduce

import jax
import numpy as np

from interpbench_jax.axes import AnyArray, Bool, Float, Int
from interpbench_jax.high_level import (
    MARGIN,
    ChosenEdges,
    HighLevelModel,
    Inputs,
    Outputs,
    Sources,
    Swap,
    check_token_ids,
    classify,
    in_chunks,
    one_hot,
)
from interpbench_jax.namespaces import jit_unless_numpy, namespace
from interpbench_jax.rasp.compiled import (
    CompiledProgram,
    Evaluation,
    Interchange,
    Patterns,
    evaluate,
)
from interpbench_jax.rasp.functions import Value
from interpbench_jax.sites import Edge, Node

# On a CPU, chunks that fit in the cache are fastest; elsewhere, a few large chunks are.
_CPU_CHUNK_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 28
_NUMPY_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, repr=False)
class CompiledModel(HighLevelModel):
    """A compiled program as a high-level model.

    Attributes:
        program: the compiled program.
    """

    program: CompiledProgram

    def __repr__(self) -> str:
        return f"CompiledModel({len(self.nodes)} components, {len(self.edges)} edges)"

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.program.lowering.nodes

    @property
    def edges(self) -> tuple[Edge, ...]:
        return self.program.lowering.edges

    @property
    def classes(self) -> tuple[Value, ...] | None:
        """The label of every output class, in order; None for a regression."""
        return self.program.classes

    @property
    def is_categorical(self) -> bool:
        return self.program.classes is not None

    @property
    def n_classes(self) -> int:
        return 1 if self.classes is None else len(self.classes)

    def check_ids(self, tokens: np.ndarray) -> None:
        token_ids = self.program.token_ids
        check_token_ids(tokens, len(token_ids.ids) + 2, token_ids.bos)

    def outputs(self, tokens: Int[AnyArray, "batch pos"], swap: Swap | None) -> Outputs:
        return _outputs(self.program, tokens, swap)

    def differs(self, tokens: Inputs, others: Inputs) -> Bool[AnyArray, "batch edges pos"]:
        return _differs(self.program, tokens, others)

    def patterns(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        edge: ChosenEdges | None = None,
    ) -> dict[Node, Float[AnyArray, "batch q_pos k_pos"]]:
        found = _patterns(self.program, *self._checked(tokens, source_tokens, None, edge, None))
        return dict(zip(self.program.lowering.heads, found, strict=True))

    def mixed_rows(self, rows: Outputs) -> Bool[AnyArray, "batch pos"]:
        """Which output rows are a mean of several classes, as attention to several values gives.

        A row of zeros is not mixed: it counts as class 0.
        """
        return (rows > MARGIN).sum(axis=-1) > 1

    def shares_of_rows(self, rows: Outputs) -> Outputs:
        classes = one_hot(classify(rows), self.n_classes)
        # A row of zeros counts as class 0.
        has_value = rows.max(axis=-1, keepdims=True) > MARGIN
        return namespace(rows).where(has_value, rows, classes)


@jit_unless_numpy
def _outputs(
    program: CompiledProgram, tokens: Int[AnyArray, "batch pos"], swap: Swap | None
) -> Outputs:
    """The outputs of any number of inputs, in chunks that keep intermediate arrays small."""
    return in_chunks(
        lambda chunk: _evaluated(program, *chunk).output,
        (tokens, swap),
        _rows_per_chunk(program, tokens),
    )


@jit_unless_numpy
def _patterns(
    program: CompiledProgram, tokens: Int[AnyArray, "batch pos"], swap: Swap | None
) -> Patterns:
    """The attention of every head, as `_outputs` computes outputs."""
    return in_chunks(
        lambda chunk: _evaluated(program, *chunk).patterns,
        (tokens, swap),
        _rows_per_chunk(program, tokens),
    )


def _evaluated(program: CompiledProgram, inputs: AnyArray, given: Swap | None) -> Evaluation:
    if given is None:
        return evaluate(program, inputs)
    values = evaluate(program, given.tokens).values
    return evaluate(program, inputs, Interchange(values, given.nodes, given.edges, given.position))


@jit_unless_numpy
def _differs(
    program: CompiledProgram, tokens: Int[AnyArray, "batch pos"], others: Int[AnyArray, "batch pos"]
) -> Bool[AnyArray, "batch edges pos"]:
    lowering = program.lowering
    carried = lowering.carried

    def run_chunk(chunk: tuple[AnyArray, AnyArray]) -> Bool[AnyArray, "rows edges pos"]:
        pairs = zip(*(evaluate(program, each).values for each in chunk), strict=True)
        changed = [(abs(one - other) > MARGIN).any(axis=-1) for one, other in pairs]
        by_variable = dict(zip(lowering.variables, changed, strict=True))
        return namespace(*changed).stack(
            [
                reduce(operator.or_, [by_variable[variable] for variable in carried[edge]])
                for edge in lowering.edges
            ],
            axis=1,
        )

    return in_chunks(run_chunk, (tokens, others), _rows_per_chunk(program, tokens))


def _rows_per_chunk(program: CompiledProgram, tokens: Inputs) -> int:
    tables = [table for table in program.tables.values() if isinstance(table, np.ndarray)]
    n_pos = tokens.shape[1]
    if namespace(tokens) is np:
        # No array is as large as a table of pairs for each input.
        widest, budget = max((max(table.shape) for table in tables), default=1), _NUMPY_CHUNK_BYTES
    else:
        widest = max((table.size for table in tables), default=1)
        budget = _CPU_CHUNK_BYTES if jax.default_backend() == "cpu" else _CHUNK_BYTES
    return max(1, budget // (4 * n_pos * max(widest, n_pos)))
