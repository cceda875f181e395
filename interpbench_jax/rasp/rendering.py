"""Programs as text, with one named step per line."""

from collections import Counter
from collections.abc import Mapping

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
)
from interpbench_jax.rasp.functions import Comparison, Lookup, describe
from interpbench_jax.rasp.traversal import in_order, walk

_LONG = 60


def render(program: Expression) -> str:
    """The program as readable text: inputs first, the output last.

    The output and every part that is named or used more than once get a line of their own; other
    parts are written where they are used. Example: `same = select(key tokens == query tokens)`,
    then `output = width(same)`.
    """
    parts = list(walk(program))
    uses = Counter(child for part in parts for child in part.children)
    names: dict[Expression, str] = {}
    lines: list[str] = []
    for part in in_order(program):
        if not part.children:
            names[part] = _call(part, names)
        elif part == program or part.name is not None or uses[part] > 1:
            text = _call(part, names)
            names[part] = _fresh(part, set(names.values()), is_output=part == program)
            lines.append(f"{names[part]} = {text}")
        else:
            names[part] = _call(part, names)
    return "\n".join(lines) if lines else names[program]


def _fresh(part: Expression, taken: set[str], *, is_output: bool) -> str:
    wanted = part.name or ("output" if is_output else type(part).__name__.lower())
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name


def _call(part: Expression, names: Mapping[Expression, str]) -> str:
    reads = [names[child] for child in part.children]
    match part:
        case Tokens() | Indices():
            return part.name or type(part).__name__.lower()
        case Map():
            return f"map({_function(part.function)}, {reads[0]}{_suffix(part)})"
        case SequenceMap():
            return f"sequence_map({_function(part.function)}, {reads[0]}, {reads[1]})"
        case LinearSequenceMap():
            sign = "-" if part.second_factor < 0 else "+"
            second = f"{abs(part.second_factor):g} * {reads[1]}"
            return f"{part.first_factor:g} * {reads[0]} {sign} {second}"
        case Aggregate():
            return f"aggregate({reads[0]}, {reads[1]})"
        case SelectorWidth():
            return f"width({reads[0]}{_suffix(part)})"
        case Select():
            return _select(part, *reads)
        case SelectorAnd():
            return f"({reads[0]} and {reads[1]})"
        case SelectorOr():
            return f"({reads[0]} or {reads[1]})"
        case SelectorNot():
            return f"(not {reads[0]})"
    raise AssertionError(f"unknown expression {type(part).__name__}")


def _select(part: Select, keys: str, queries: str) -> str:
    if part.predicate in (Comparison.TRUE, Comparison.FALSE):
        return f"select({part.predicate})"
    if isinstance(part.predicate, Comparison):
        return f"select(key {keys} {part.predicate} query {queries})"
    return f"select(key {keys}, query {queries}: {describe(part.predicate)})"


def _function(function: object) -> str:
    assert callable(function)
    text = describe(function)
    if isinstance(function, Lookup) and len(text) > _LONG:
        return f"table of {len(function.entries)}"
    return text


def _suffix(part: Map | SelectorWidth) -> str:
    return "" if part.is_categorical else ", numerical"
