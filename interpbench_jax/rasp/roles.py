"""What each step of a laid-out program does, in words and as text."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import NamedTuple

from interpbench_jax.rasp.expressions import (
    Aggregate,
    Expression,
    Indices,
    LinearSequenceMap,
    Map,
    Select,
    Selector,
    SelectorAnd,
    SelectorNot,
    SelectorOr,
    SelectorWidth,
    SequenceMap,
    Tokens,
    Variable,
)
from interpbench_jax.rasp.functions import (
    Comparison,
    KeyBefore,
    Lookup,
    describe,
    describe_briefly,
    logical_and,
    logical_or,
)
from interpbench_jax.rasp.lowering import WidthAttention
from interpbench_jax.sites import Node

_WHETHER = "Whether "
_RELATIONS = {
    Comparison.EQ: "equals",
    Comparison.NEQ: "differs from",
    Comparison.LT: "is less than",
    Comparison.LEQ: "is at most",
    Comparison.GT: "is more than",
    Comparison.GEQ: "is at least",
}


class Role(NamedTuple):
    """What a component does for one variable of its program.

    Attributes:
        name: the variable's name, or the type of its operation if it has none.
        program: how it is computed, as `rendering.render` writes it.
        words: the same as a sentence.
    """

    name: str
    program: str
    words: str


def role_of(variable: Variable) -> Role:
    """The role of the component that computes a variable.

    A variable without a name is called the output: all others of the declared tasks have names.
    """
    return Role(variable.label, _text(variable), _sentence(variable, variable.name or "the output"))


def distinct_names(roles: Mapping[Node, Sequence[Role]]) -> dict[Node, str]:
    """A name for each component: those of its variables, and the component where names clash.

    Variables that one component computes are interchanged together, so they share a name.
    """
    plain = {node: ", ".join(role.name for role in own) for node, own in roles.items()}
    given = list(plain.values())
    return {
        node: name if given.count(name) == 1 else f"{name} at {node}"
        for node, name in plain.items()
    }


def _sentence(variable: Variable, name: str) -> str:
    match variable:
        case Map(function=function, inner=inner):
            return f"Computes {name}: {_applied(function, _named(inner))}"
        case SequenceMap(function=function, first=first, second=second):
            return f"Computes {name}: {_applied(function, _named(first), _named(second))}"
        case LinearSequenceMap():
            return f"Computes {name}: {_text(variable)}."
        case Aggregate(selector=selector, values=values):
            where = _positions(selector)
            return f"Attends to {where}, and writes the mean of {_named(values)} there."
        case WidthAttention(owner=owner):
            where = _positions(owner.selector)
            return f"Attends to BOS and {where}, all alike, and so writes 1 / (1 + their number)."
        case SelectorWidth(selector=selector):
            where = _positions(selector).removeprefix("all ")
            return f"Computes {name}: the number of {where}."
        case _:
            return f"Writes the {variable.label} of each position."


def _applied(function: Callable[..., object], *reads: str) -> str:
    """A function of one or two variables, in its own words if it has any."""
    in_words = getattr(function, "in_words", None)
    if in_words is not None:
        return f"{in_words(*reads)}."
    told = _told(function)
    if told:
        return f"{told} Read from {' and '.join(dict.fromkeys(reads))}."
    symbol = describe_briefly(function)
    if isinstance(function, Lookup):
        return f"what {symbol} has for {reads[0]}."
    if symbol.isidentifier() and symbol not in ("and", "or", "not"):
        return f"{symbol}({', '.join(reads)})."
    if len(reads) == 2:
        return f"{reads[0]} {symbol} {reads[1]}."
    comes_first = getattr(function, "is_first", True)
    return f"{symbol} {reads[0]}." if comes_first else f"{reads[0]} {symbol}."


def _told(function: Callable[..., object]) -> str:
    """The first line of a function's own docstring; nothing for operators and objects."""
    if not isinstance(function, FunctionType) or function in (logical_and, logical_or):
        return ""
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _positions(selector: Selector) -> str:
    """The selected positions."""
    rule = _rule(selector)
    return f"the positions where {rule}" if rule else "all positions"


def _rule(selector: Selector) -> str:
    """When a key is selected; nothing if all are."""
    match selector:
        case Select(predicate=Comparison.TRUE):
            return ""
        case Select(keys=keys, queries=queries, predicate=predicate):
            ends = f"the key's {_singular(keys)}", f"the query's {_singular(queries)}"
            if isinstance(predicate, Comparison) and predicate in _RELATIONS:
                return f"{ends[0]} {_RELATIONS[predicate]} {ends[1]}"
            if isinstance(predicate, KeyBefore):
                sign = "-" if predicate.distance >= 0 else "+"
                return f"{ends[0]} equals {ends[1]} {sign} {abs(predicate.distance)}"
            in_words = getattr(predicate, "in_words", None)
            if in_words is not None:
                return in_words(*ends)
            told = _told(predicate)
            if told.startswith(_WHETHER):
                return f"{told.removeprefix(_WHETHER).rstrip('.')}, comparing {' with '.join(ends)}"
            return f"{describe(predicate)} holds of {' and '.join(ends)}"
        case SelectorAnd(first=first, second=second):
            return " and ".join(filter(None, (_rule(first), _rule(second))))
        case SelectorOr(first=first, second=second):
            rules = _rule(first), _rule(second)
            return " or ".join(rules) if all(rules) else ""
        case SelectorNot(inner=inner):
            return f"it is not so that {_rule(inner) or 'it is any position'}"
        case _:
            raise TypeError(f"Expected a known kind of selector, got {selector!r}.")


def _text(part: Expression) -> str:
    return part.text(*(_named(child) for child in part.children))


def _singular(variable: Variable) -> str:
    """What a variable is called at one position."""
    if variable.name is None and isinstance(variable, Tokens | Indices):
        return "token" if isinstance(variable, Tokens) else "index"
    return _named(variable)


def _named(part: Expression) -> str:
    """A part by its name, or written out if it has none."""
    return part.name or _text(part)
