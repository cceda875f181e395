"""The plain evaluator: the meaning of a program, on Python lists, for users and for tests."""

from collections.abc import Callable, Sequence

from interpbench_jax.rasp.expressions import (
    Aggregate,
    Expression,
    Indices,
    LinearSequenceMap,
    Map,
    Select,
    SelectorAnd,
    SelectorNot,
    SelectorOr,
    SelectorWidth,
    SequenceMap,
    Tokens,
    Variable,
)
from interpbench_jax.rasp.functions import Value, apply
from interpbench_jax.rasp.traversal import in_order

PlainValues = list[Value | None]
Selection = list[list[bool | None]]


def read(program: Variable, sequence: Sequence[Value], *, is_causal: bool = False) -> PlainValues:
    """The program's output at each position of a sequence of tokens (without BOS and PAD).

    None is a missing value: it results where a categorical aggregate selects nothing or selects
    values that differ (no single value is their mean), where a function has no result, and where
    a value that is read is missing. A missing key or query selects nothing.

    Args:
        program: the output variable.
        sequence: the tokens.
        is_causal: whether selectors are masked to earlier positions and the query's own.
    """
    values, _ = read_parts(program, sequence, is_causal=is_causal)
    return values[program]


def read_parts(
    program: Variable, sequence: Sequence[Value], *, is_causal: bool = False
) -> tuple[dict[Expression, PlainValues], dict[Expression, Selection]]:
    """Every variable and every selector of a program, evaluated on a sequence; see `read`.

    Returns:
        The values of each variable; and for each selector, for each query position, whether
        each key position is selected, None where the key or the query is missing or the key is
        masked.
    """
    values: dict[Expression, PlainValues] = {}
    selections: dict[Expression, Selection] = {}
    for part in in_order(program):
        if isinstance(part, Variable):
            values[part] = _read_variable(part, sequence, values, selections)
        else:
            selections[part] = _select(part, values, selections, is_causal)
    return values, selections


def _read_variable(
    variable: Variable,
    sequence: Sequence[Value],
    values: dict[Expression, PlainValues],
    selections: dict[Expression, Selection],
) -> PlainValues:
    match variable:
        case Tokens():
            return list(sequence)
        case Indices():
            return list(range(len(sequence)))
        case Map():
            return [apply(variable.function, value) for value in values[variable.inner]]
        case SequenceMap():
            pairs = zip(values[variable.first], values[variable.second], strict=True)
            return [apply(variable.function, *pair) for pair in pairs]
        case LinearSequenceMap():
            pairs = zip(values[variable.first], values[variable.second], strict=True)
            factors = (variable.first_factor, variable.second_factor)
            return [apply(lambda x, y: factors[0] * x + factors[1] * y, *pair) for pair in pairs]
        case SelectorWidth():
            return [sum(map(bool, row)) for row in selections[variable.selector]]
        case Aggregate():
            mean = _only_value if variable.is_categorical else _mean
            return [
                mean([value for value, is_selected in zip(read, row, strict=True) if is_selected])
                for read, row in (
                    (values[variable.values], row) for row in selections[variable.selector]
                )
            ]
    raise AssertionError(f"unknown variable {type(variable).__name__}")


def _only_value(selected: PlainValues) -> Value | None:
    """The value that all selected positions share, or None."""
    return selected[0] if selected and all(value == selected[0] for value in selected) else None


def _mean(selected: PlainValues) -> Value | None:
    if not selected:
        return 0
    numbers = [value for value in selected if isinstance(value, (bool, int, float))]
    return sum(numbers) / len(numbers) if len(numbers) == len(selected) else None


def _select(
    selector: Expression,
    values: dict[Expression, PlainValues],
    selections: dict[Expression, Selection],
    is_causal: bool,
) -> Selection:
    """For each query, whether each key is selected; None where one is missing or masked."""
    match selector:
        case Select():
            keys, queries = values[selector.keys], values[selector.queries]
            predicate = selector.predicate
            return [
                [
                    None
                    if key is None or query is None or (is_causal and k_pos > q_pos)
                    else bool(predicate(key, query))
                    for k_pos, key in enumerate(keys)
                ]
                for q_pos, query in enumerate(queries)
            ]
        case SelectorNot():
            return _elementwise(lambda x: not x, selections[selector.inner])
        case SelectorAnd():
            both = (selections[selector.first], selections[selector.second])
            return _elementwise(lambda x, y: x and y, *both)
        case SelectorOr():
            both = (selections[selector.first], selections[selector.second])
            return _elementwise(lambda x, y: x or y, *both)
    raise AssertionError(f"unknown selector {type(selector).__name__}")


def _elementwise(function: Callable[..., bool], *selections: Selection) -> Selection:
    return [
        [
            None if any(item is None for item in items) else function(*items)
            for items in zip(*rows, strict=True)
        ]
        for rows in zip(*selections, strict=True)
    ]
