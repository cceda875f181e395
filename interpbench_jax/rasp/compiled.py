"""The compiled reading: what a program's compiled transformer outputs, in JAX.

A categorical variable is a row with one entry per value, a numerical one a row of one number.
Nothing forces a row to be one-hot: a missing value is a row of zeros, a mean over several values
is fractional, and both pass through tables and heads as they pass through compiled weights.
Source: Lindner et al. 2023 (Tracr, arXiv:2301.05062), and its code at `9ce2b8c`.

It differs knowingly from Tracr's weights in four things, none of which moves a released case by
more than a few entries. Steps are sharp (theirs rise over a hundredth, so that a few large widths
come out off their one-hot row). Numbers that a `Map` makes from values may be negative (theirs
are cut at 0). What a `Map` makes from a number is missing at BOS (theirs is the result for 0).
PAD is never attended to (theirs is, by its position).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from interpbench_jax.axes import Array, Bool, Float, Tokens
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
from interpbench_jax.rasp.lowering import Lowering, Step, WidthAttention
from interpbench_jax.rasp.placement import lower
from interpbench_jax.rasp.tables import NumberTable, Table, build_table
from interpbench_jax.rasp.traversal import in_order
from interpbench_jax.rasp.value_sets import sort_values, value_sets

Rows = Float[Array, "batch pos _"]

_BOS_IF_NOTHING_ELSE = 0.5
_BOS_ALWAYS = 1.0


@dataclass(frozen=True)
class TokenIds:
    """Which id is which token.

    Attributes:
        vocab: the program's tokens.
        ids: the id of each.
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
                f"Expected one id from 0 up for each of {len(self.vocab)} tokens, BOS and PAD, "
                f"all different, got {every}."
            )


@dataclass(frozen=True, eq=False)
class CompiledProgram:
    """A program with every table that its evaluation needs; equal only to itself.

    Attributes:
        lowering: the components and what they compute.
        token_ids: how tokens are numbered.
        n_positions: positions of the longest input, BOS not counted.
        is_causal: whether selectors are masked causally, whatever the program says.
        classes: the output's values in the order of the output rows; None for a number.
        token_rows: float32, one row per token id; BOS's and PAD's are zeros.
        tables: what the component of each computed variable knows.
    """

    lowering: Lowering
    token_ids: TokenIds
    n_positions: int
    is_causal: bool
    classes: tuple[Value, ...] | None
    token_rows: np.ndarray
    tables: Mapping[Variable, Table]


class Run(NamedTuple):
    """One evaluation.

    Attributes:
        output: rows of the output; shape `[batch, pos, classes or 1]`.
        values: rows of every computed variable, in the order of `Lowering.steps`.
    """

    output: Rows
    values: tuple[Rows, ...]


class Interchange(NamedTuple):
    """Which components take their values from another run.

    Attributes:
        values: that run's `Run.values`.
        mask: True for the components to replace, per example, in the order of `Lowering.nodes`.
    """

    values: tuple[Rows, ...]
    mask: Bool[Array, "batch nodes"]


@lru_cache(maxsize=256)
def compile_program(
    program: Variable, token_ids: TokenIds, n_positions: int, is_causal: bool
) -> CompiledProgram:
    """Compute every table of a program, once.

    Raises:
        ValueError: if a part needs an encoding that it cannot have, a function does not accept
            its arguments, or a value set or a table is too large to be written out.
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
) -> Run:
    """Run a compiled program, with the values of some components taken from another run.

    Pure, and without effect on shapes: it may stand inside `jit`, `vmap` and `scan`, with
    `program` static. A component's replaced values are what its later readers read.

    Args:
        program: a compiled program.
        tokens: ids; BOS first, at most `n_positions` more, PAD at the end only.
        interchange: what to replace; None for a plain run.

    Raises:
        ValueError: if the inputs are longer than the program's longest.
    """
    if not 1 <= tokens.shape[1] <= program.n_positions + 1:
        raise ValueError(
            f"Expected inputs of 1 to {program.n_positions + 1} positions (BOS counts), got "
            f"{tokens.shape[1]}; cut them, or compile the program for longer ones."
        )
    inputs = _Inputs(program, tokens)
    node_index = {node: i for i, node in enumerate(program.lowering.nodes)}
    rows: dict[Variable, Rows] = dict(inputs.rows)
    values = []
    for i, step in enumerate(program.lowering.steps):
        computed = _compute(program.tables[step.variable], step, rows, inputs)
        if interchange is not None:
            is_replaced = interchange.mask[:, node_index[step.node], None, None]
            computed = jnp.where(is_replaced, interchange.values[i], computed)
        rows[step.variable] = computed
        values.append(computed)
    return Run(rows[program.lowering.program], tuple(values))


class _Inputs:
    """What heads and MLPs read besides variables."""

    def __init__(self, program: CompiledProgram, tokens: Tokens) -> None:
        n_pos = tokens.shape[1]
        indices = np.eye(n_pos, program.n_positions, k=-1, dtype=np.float32)
        self.is_bos = tokens == program.token_ids.bos
        is_pad = tokens == program.token_ids.pad
        is_earlier = np.tril(np.ones((n_pos, n_pos), bool))
        is_visible = jnp.asarray(is_earlier if program.is_causal else np.ones_like(is_earlier))
        self.is_visible = is_visible[None] & ~is_pad[:, None, :]
        self.rows: dict[Variable, Rows] = {}
        for part in in_order(program.lowering.program):
            if isinstance(part, TokensVariable):
                self.rows[part] = jnp.asarray(program.token_rows)[tokens]
            elif isinstance(part, Indices):
                shape = (tokens.shape[0], *indices.shape)
                self.rows[part] = jnp.broadcast_to(jnp.asarray(indices), shape)

    def bos_score(self, score: float) -> Float[Array, "batch k_pos"]:
        return jnp.where(self.is_bos, jnp.float32(score), jnp.float32(0))


def _compute(table: Table, step: Step, rows: Mapping[Variable, Rows], inputs: _Inputs) -> Rows:
    if isinstance(table, NumberTable):
        return _look_up_number(table, step, rows, inputs)
    weights = jnp.asarray(table)
    variable, select = step.variable, step.select
    if select is not None:
        keys, queries = rows[select.keys], rows[select.queries]
        is_width = isinstance(variable, WidthAttention)
        bos_score = inputs.bos_score(_BOS_ALWAYS if is_width else _BOS_IF_NOTHING_ELSE)
        pattern = operations.attention_pattern(keys, queries, weights, bos_score, inputs.is_visible)
        if isinstance(variable, Aggregate):
            return operations.attend(pattern, rows[variable.values])
        return operations.attend(pattern, inputs.is_bos[..., None].astype(jnp.float32))
    match variable:
        case LinearSequenceMap():
            return weights[0] * rows[variable.first] + weights[1] * rows[variable.second]
        case SequenceMap() if variable.first != variable.second:
            return operations.look_up_pair(rows[variable.first], rows[variable.second], weights)
    (read,) = step.reads
    return operations.look_up(rows[read.variable], weights)


def _look_up_number(
    table: NumberTable, step: Step, rows: Mapping[Variable, Rows], inputs: _Inputs
) -> Rows:
    (read,) = step.reads
    found = operations.look_up_number(
        rows[read.variable], jnp.asarray(table.thresholds), jnp.asarray(table.rows)
    )
    # At BOS a number is 0 without meaning it.
    return jnp.where(inputs.is_bos[..., None], jnp.float32(0), found)
