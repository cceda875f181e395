"""The compiled evaluator: the output of a program's compiled transformer, in JAX or in NumPy.

A categorical variable is a row with one entry per value, a numerical one a row of one number.
Nothing forces a row to be one-hot: a missing value is a row of zeros, a mean over several values
is fractional, and both pass through tables and heads as they pass through compiled weights.
Source: Lindner et al. 2023 (Tracr, arXiv:2301.05062), and its code at `9ce2b8c`.

It deliberately differs from Tracr's weights in four ways, none of which changes more than a few
entries of a released case. Steps are sharp (Tracr's rise over an interval of a hundredth, so that
the rows of a few large widths are not one-hot). Numbers that a `Map` computes from categorical
values can be negative (Tracr's are clipped at 0). The result of a `Map` of a number is missing at
BOS (Tracr's is the result for 0). PAD is never attended to (Tracr's is, by its position).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from interpbench_jax.axes import AnyArray, Bool, Float, Int, Tokens
from interpbench_jax.namespaces import namespace
from interpbench_jax.rasp import operations
from interpbench_jax.rasp.expressions import (
    Aggregate,
    Indices,
    LinearSequenceMap,
    SequenceMap,
    Variable,
)
from interpbench_jax.rasp.expressions import Tokens as TokensVariable
from interpbench_jax.rasp.functions import Value
from interpbench_jax.rasp.lowering import Lowering, Step, VariableRead, WidthAttention
from interpbench_jax.rasp.placement import lower
from interpbench_jax.rasp.tables import NumberTable, Table, build_table
from interpbench_jax.rasp.value_sets import sort_values, value_sets
from interpbench_jax.sites import Edge, Kind, Node

Rows = Float[AnyArray, "batch pos _"]
Patterns = tuple[operations.Pattern, ...]

_BOS_IF_NOTHING_ELSE = 0.5
_BOS_ALWAYS = 1.0


@dataclass(frozen=True)
class TokenIds:
    """The ids of a program's tokens.

    Attributes:
        vocab: the program's tokens.
        ids: the id of each token.
        bos: the id of BOS.
        pad: the id of PAD.
    """

    vocab: tuple[Value, ...]
    ids: tuple[int, ...]
    bos: int
    pad: int

    def __post_init__(self) -> None:
        every = (*self.ids, self.bos, self.pad)
        if len(self.ids) != len(self.vocab) or sorted(every) != list(range(len(every))):
            raise ValueError(
                f"Expected distinct ids, numbered from 0, for {len(self.vocab)} tokens, BOS and "
                f"PAD; got {every}."
            )


@dataclass(frozen=True, eq=False)
class CompiledProgram:
    """A program with every table that its evaluation needs; equal only to itself.

    Attributes:
        lowering: the components and the variables that they compute.
        token_ids: the ids of the tokens.
        n_positions: positions of the longest input, BOS not counted.
        is_causal: whether selectors are masked causally, regardless of the program.
        classes: the output's values in the order of the output rows; None for a number.
        token_rows: float32, one row per token id; zeros for BOS and PAD.
        tables: the table of the component that computes each variable.
    """

    lowering: Lowering
    token_ids: TokenIds
    n_positions: int
    is_causal: bool
    classes: tuple[Value, ...] | None
    token_rows: np.ndarray
    tables: Mapping[Variable, Table]


class Evaluation(NamedTuple):
    """The result of an evaluation.

    Attributes:
        output: rows of the output; shape `[batch, pos, classes or 1]`.
        values: rows of every variable, in the order of `Lowering.variables`.
        patterns: the attention of every head, in the order of `Lowering.heads`.
    """

    output: Rows
    values: tuple[Rows, ...]
    patterns: Patterns


class Interchange(NamedTuple):
    """The values to take from another run.

    Attributes:
        values: that run's `Evaluation.values`.
        nodes: True for the components to replace for all of their readers, per example, in the
            order of `Lowering.nodes`; None for none.
        edges: True for the edges to replace for the one input that reads them, per example, in
            the order of `Lowering.edges`; None for none.
        position: the only position at which those edges are replaced, per example; None for all.
    """

    values: tuple[Rows, ...]
    nodes: Bool[AnyArray, "batch nodes"] | None
    edges: Bool[AnyArray, "batch edges"] | None
    position: Int[AnyArray, " batch"] | None = None


@lru_cache(maxsize=256)
def compile_program(
    program: Variable, token_ids: TokenIds, n_positions: int, is_causal: bool
) -> CompiledProgram:
    """Compute every table of a program; recent results are cached.

    Raises:
        ValueError: if an operation reads a variable of the wrong encoding, a selector combines
            selects of different variables, a function does not accept its arguments, or a value
            set or a table is too large to write out.
    """
    lowering = lower(program)
    sets = value_sets(program, token_ids.vocab, n_positions)
    index = {value: i for i, value in enumerate(sort_values(token_ids.vocab))}
    token_rows = np.zeros((len(token_ids.vocab) + 2, len(index)), np.float32)
    for value, token_id in zip(token_ids.vocab, token_ids.ids, strict=True):
        token_rows[token_id, index[value]] = 1
    return CompiledProgram(
        lowering=lowering,
        token_ids=token_ids,
        n_positions=n_positions,
        is_causal=is_causal,
        classes=sets[program] if program.is_categorical else None,
        token_rows=token_rows,
        tables={step.variable: build_table(step, sets, n_positions) for step in lowering.steps},
    )


def evaluate(
    program: CompiledProgram, tokens: Tokens, interchange: Interchange | None = None
) -> Evaluation:
    """Run a compiled program, optionally with some values taken from another run.

    NumPy inputs are evaluated with NumPy, all others with JAX. The function is pure and its shapes
    do not depend on values: it works inside `jit`, `vmap` and `scan`, with `program` static. The
    replaced values of a component are read by all of its later readers, and those of an edge by
    its one reader. Where a component and one of its edges are both replaced, every reader reads
    the other run's values.

    Args:
        program: a compiled program.
        tokens: token ids; BOS first, at most `n_positions` more, PAD only at the end.
        interchange: the values to replace; None for a plain run.

    Raises:
        ValueError: if the inputs have no position, or more than the program's longest input.
    """
    if not 1 <= tokens.shape[1] <= program.n_positions + 1:
        raise ValueError(
            f"Expected inputs of 1 to {program.n_positions + 1} positions (BOS counts), got "
            f"{tokens.shape[1]}; shorten them, or compile the program for longer inputs."
        )
    reads = _Reads(program, tokens, interchange)
    for step in program.lowering.steps:
        reads.write(step, _compute(program.tables[step.variable], step, reads))
    return reads.finish()


class _Reads:
    """The inputs of heads and MLPs: the variables so far, and the positions of BOS and PAD."""

    def __init__(
        self, program: CompiledProgram, tokens: Tokens, interchange: Interchange | None
    ) -> None:
        n_pos = tokens.shape[1]
        lowering = program.lowering
        self.xp = namespace(tokens)
        is_pad = tokens == program.token_ids.pad
        is_earlier = np.tril(np.ones((n_pos, n_pos), bool))
        is_visible = is_earlier if program.is_causal else np.ones_like(is_earlier)
        self.is_bos = tokens == program.token_ids.bos
        self.is_visible = is_visible[None] & ~is_pad[:, None, :]
        self.lowering = lowering
        self.interchange = interchange
        self.rows: dict[Variable, Rows] = {}
        self.patterns: dict[Node, operations.Pattern] = {}
        self._index = {variable: i for i, variable in enumerate(lowering.variables)}
        self._nodes = {node: i for i, node in enumerate(lowering.nodes)}
        self._edges = {edge: i for i, edge in enumerate(lowering.edges)}
        indices = np.eye(n_pos, program.n_positions, k=-1, dtype=np.float32)
        for variable in lowering.variables:
            if isinstance(variable, TokensVariable):
                self.rows[variable] = self.xp.asarray(program.token_rows)[tokens]
            elif isinstance(variable, Indices):
                shape = (tokens.shape[0], *indices.shape)
                self.rows[variable] = self.xp.broadcast_to(indices, shape)

    def write(self, step: Step, rows: Rows) -> None:
        """Store the rows that a step computed, or their replacement."""
        given = self.interchange
        if given is not None and given.nodes is not None:
            is_replaced = given.nodes[:, self._nodes[step.node], None, None]
            rows = self.xp.where(is_replaced, given.values[self._index[step.variable]], rows)
        self.rows[step.variable] = rows

    def read(self, step: Step, slot: Kind, variable: Variable) -> Rows:
        """The rows of a variable as a step reads them by one of its inputs."""
        return self._along(self.lowering.edge_of(step, VariableRead(slot, variable)), variable)

    def finish(self) -> Evaluation:
        """The output, with any replacement along its edge, all variables and all attention."""
        return Evaluation(
            self._along(self.lowering.output_edge, self.lowering.program),
            tuple(self.rows[variable] for variable in self.lowering.variables),
            tuple(self.patterns[head] for head in self.lowering.heads),
        )

    def bos_score(self, score: float) -> Float[AnyArray, "batch k_pos"]:
        return self.xp.where(self.is_bos, np.float32(score), np.float32(0))

    def _along(self, edge: Edge, variable: Variable) -> Rows:
        rows, given = self.rows[variable], self.interchange
        if given is None or given.edges is None:
            return rows
        is_replaced = given.edges[:, self._edges[edge], None, None]
        if given.position is not None:
            here = np.arange(rows.shape[1], dtype=given.position.dtype)
            is_here = (here[None] == given.position[:, None])[..., None]
            is_replaced = is_replaced & is_here
        return self.xp.where(is_replaced, given.values[self._index[variable]], rows)


def _compute(table: Table, step: Step, reads: _Reads) -> Rows:
    if isinstance(table, NumberTable):
        return _look_up_number(table, step, reads)
    weights = reads.xp.asarray(table)
    variable, select = step.variable, step.select
    if select is not None:
        keys = reads.read(step, Kind.K_INPUT, select.keys)
        queries = reads.read(step, Kind.Q_INPUT, select.queries)
        is_width = isinstance(variable, WidthAttention)
        bos_score = reads.bos_score(_BOS_ALWAYS if is_width else _BOS_IF_NOTHING_ELSE)
        pattern = operations.attention_pattern(keys, queries, weights, bos_score, reads.is_visible)
        reads.patterns[step.node] = pattern
        if isinstance(variable, Aggregate):
            values = reads.read(step, Kind.V_INPUT, variable.values)
            return operations.attend(pattern, values)
        return operations.attend(pattern, reads.is_bos[..., None].astype(np.float32))
    rows = [reads.read(step, read.slot, read.variable) for read in step.reads]
    match variable:
        case LinearSequenceMap():
            # If both are the same variable, there is only one read.
            return weights[0] * rows[0] + weights[1] * rows[-1]
        case SequenceMap() if len(rows) > 1:
            return operations.look_up_pair(rows[0], rows[1], weights)
    return operations.look_up(rows[0], weights)


def _look_up_number(table: NumberTable, step: Step, reads: _Reads) -> Rows:
    (read,) = step.reads
    found = operations.look_up_number(
        reads.read(step, read.slot, read.variable),
        reads.xp.asarray(table.thresholds),
        reads.xp.asarray(table.rows),
    )
    # The number 0 at BOS is not a value.
    return reads.xp.where(reads.is_bos[..., None], np.float32(0), found)
