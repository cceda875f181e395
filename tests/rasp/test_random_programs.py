"""Compiled evaluation equals plain Python, on at least 500 distinct random programs."""

import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.rasp import (
    Aggregate,
    Expression,
    LinearSequenceMap,
    Map,
    SelectorWidth,
    SequenceMap,
    Variable,
    in_order,
)
from interpbench_jax.rasp.compiled import TokenIds, compile_program, evaluate
from interpbench_jax.rasp.functions import Value
from interpbench_jax.rasp.plain import PlainValues, Selection, read_parts
from tests.rasp.random_programs import (
    MAX_OPERATIONS,
    N_POSITIONS,
    N_PROGRAMS,
    SEQUENCES,
    VOCAB,
    distinct_programs,
)

TOKEN_IDS = TokenIds(vocab=VOCAB, ids=(0, 1), bos=2, pad=3)
INPUTS = jnp.asarray([(2, *sequence) for sequence in SEQUENCES], jnp.int32)

# Checking every annotation would take most of the time.
pytestmark = pytest.mark.usefixtures("unchecked")


def test_there_are_enough_different_programs() -> None:
    assert len(set(distinct_programs())) == N_PROGRAMS
    sizes = [_n_operations(program) for program in distinct_programs()]
    assert max(sizes) == MAX_OPERATIONS
    kinds = {type(part) for program in distinct_programs() for part in in_order(program)}
    assert {Map, SequenceMap, LinearSequenceMap, Aggregate, SelectorWidth} <= kinds


@pytest.mark.slow
def test_compiled_reading_equals_plain_reading() -> None:
    n_compared = 0
    for program in distinct_programs():
        compiled = compile_program(program, TOKEN_IDS, N_POSITIONS, False)
        rows = np.asarray(evaluate(compiled, INPUTS).output)[:, 1:]
        for sequence, found in zip(SEQUENCES, rows, strict=True):
            values, selections = read_parts(program, sequence)
            if any(_is_mixed(part, values, selections) for part in values):
                continue
            expected = _expected_rows(values[program], compiled.classes)
            message = f"{program}\non {sequence}"
            np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=message)
            n_compared += 1
    assert n_compared > len(distinct_programs()) * len(SEQUENCES) / 4


def _n_operations(program: Variable) -> int:
    return sum(isinstance(part, Variable) and bool(part.children) for part in in_order(program))


def _expected_rows(values: PlainValues, classes: tuple[Value, ...] | None) -> np.ndarray:
    if classes is None:
        numbers = [value for value in values if isinstance(value, (int, float))]
        return np.asarray(numbers, np.float32)[:, None]
    rows = np.zeros((len(values), len(classes)), np.float32)
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            row[classes.index(value)] = 1
    return rows


def _is_mixed(
    part: Expression, values: dict[Expression, PlainValues], selections: dict[Expression, Selection]
) -> bool:
    """Whether a part has a value without a row of its own: a mixture, or a missing number."""
    assert isinstance(part, Variable)
    if not part.is_categorical:
        return None in values[part]
    if not isinstance(part, Aggregate):
        return False
    # If nothing is selected, the row is zero; any other None is a mixture.
    rows = zip(values[part], selections[part.selector], strict=True)
    return any(value is None and any(row) for value, row in rows)
