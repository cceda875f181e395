"""The placement of a program's variables on heads and MLPs.

Source: Lindner et al. 2023 (Tracr, arXiv:2301.05062), `compiler/craft_graph_to_model.py`. A
variable's depth is the number of variables on the longest path to it; the attention and the MLP of
a selector's width have one depth. Variables of one depth share a layer, with attention before the
MLP. Two depths share one only if the first has attention alone and the second MLPs alone. Heads are
numbered in breadth-first order from the output.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from interpbench_jax.rasp.expressions import (
    Aggregate,
    Encoding,
    LinearSequenceMap,
    Map,
    Select,
    Selector,
    SelectorAnd,
    SelectorNot,
    SelectorOr,
    SelectorWidth,
    SequenceMap,
    Variable,
)
from interpbench_jax.rasp.functions import Both, Either, Not
from interpbench_jax.rasp.lowering import Lowering, Step, VariableRead, WidthAttention
from interpbench_jax.rasp.traversal import in_order, walk
from interpbench_jax.sites import Kind, Node


@lru_cache(maxsize=256)
def lower(program: Variable) -> Lowering:
    """Lay a program out on the heads and MLPs of a transformer.

    Equal parts are one variable, computed once.

    Raises:
        ValueError: if an operation reads a variable of the wrong encoding, or a selector
            combines selects of different variables.
    """
    variables = tuple(_breadth_first(program))
    depths = _depths(program)
    layers = _layers(variables, depths)
    places = {each: (layers[depths[each]], _select_of(each) is None) for each in variables}
    heads: dict[int, int] = {}
    steps = []
    for variable in sorted(variables, key=places.__getitem__):
        layer, is_mlp = places[variable]
        if is_mlp:
            node = Node(Kind.MLP_POST, layer)
        else:
            heads[layer] = heads.get(layer, -1) + 1
            node = Node(Kind.HEAD, layer, heads[layer])
        steps.append(Step(variable, node, _reads(variable), _select_of(variable)))
    return Lowering(program, tuple(steps))


def merge(selector: Selector) -> Select:
    """A selector as one `Select`, the only kind that a head can compute.

    Raises:
        ValueError: if it combines selects whose keys or queries differ.
    """
    match selector:
        case Select():
            return selector
        case SelectorNot():
            inner = merge(selector.inner)
            return Select(inner.keys, inner.queries, Not(inner.predicate))
        case SelectorAnd() | SelectorOr():
            first, second = merge(selector.first), merge(selector.second)
            if (first.keys, first.queries) != (second.keys, second.queries):
                raise ValueError(
                    f"Expected the parts of a combined selector to read the same keys and "
                    f"queries, got {first} and {second}; a head compares one key with one query, "
                    "so join the variables with a SequenceMap first."
                )
            joined = Both if isinstance(selector, SelectorAnd) else Either
            predicate = joined(first.predicate, second.predicate)
            return Select(first.keys, first.queries, predicate)
    raise AssertionError(f"unknown selector {type(selector).__name__}")


def _breadth_first(program: Variable) -> Iterator[Variable]:
    """Every computed variable, in the order in which heads are numbered."""
    for part in walk(program):
        if isinstance(part, SelectorWidth):
            yield WidthAttention(part, name=_attention_name(part))
        if isinstance(part, Variable) and part.children:
            yield part


def _attention_name(width: SelectorWidth) -> str:
    return f"{width.name or 'width'}_attention"


def _depths(program: Variable) -> dict[Variable, int]:
    """The depth of each variable: 0 for tokens and indices."""
    depths: dict[Variable, int] = {}
    for part in in_order(program):
        if not isinstance(part, Variable):
            continue
        if not part.children:
            depths[part] = 0
            continue
        own = part
        if isinstance(part, SelectorWidth):
            own = WidthAttention(part, name=_attention_name(part))
        for variable in dict.fromkeys((own, part)):
            _check_encodings(variable)
        depths[part] = 1 + max(depths[read.variable] for read in _reads(own))
        depths[own] = depths[part]
    return depths


def _layers(variables: Iterable[Variable], depths: Mapping[Variable, int]) -> dict[int, int]:
    """The layer of each depth."""
    kinds: dict[int, set[bool]] = {}
    for variable in variables:
        kinds.setdefault(depths[variable], set()).add(_select_of(variable) is None)
    layers: dict[int, int] = {}
    layer, is_open = -1, False
    for depth in sorted(kinds):
        joins = is_open and kinds[depth] == {True}
        layer += not joins
        layers[depth] = layer
        # A depth of attention alone leaves room for MLPs in its layer.
        is_open = kinds[depth] == {False}
    return layers


def _reads(variable: Variable) -> tuple[VariableRead, ...]:
    match variable:
        case Map():
            return (VariableRead(Kind.MLP_IN, variable.inner),)
        case SequenceMap() | LinearSequenceMap():
            both = (variable.first, variable.second)
            return tuple(VariableRead(Kind.MLP_IN, each) for each in dict.fromkeys(both))
        case SelectorWidth():
            head = WidthAttention(variable, name=_attention_name(variable))
            return (VariableRead(Kind.MLP_IN, head),)
        case WidthAttention() | Aggregate():
            select = _select_of(variable)
            assert select is not None
            reads = (
                VariableRead(Kind.Q_INPUT, select.queries),
                VariableRead(Kind.K_INPUT, select.keys),
            )
            if isinstance(variable, Aggregate):
                return (*reads, VariableRead(Kind.V_INPUT, variable.values))
            return reads
    raise AssertionError(f"unknown variable {type(variable).__name__}")


def _select_of(variable: Variable) -> Select | None:
    match variable:
        case Aggregate():
            return merge(variable.selector)
        case WidthAttention():
            return merge(variable.owner.selector)
    return None


def _check_encodings(variable: Variable) -> None:
    """Check the encodings of the variables that an operation reads, as Tracr does."""
    select = _select_of(variable)
    if select is not None:
        for role, read in (("keys", select.keys), ("queries", select.queries)):
            _check(read, Encoding.CATEGORICAL, f"the {role} of a selector")
    if isinstance(variable, SequenceMap):
        for read in (variable.first, variable.second):
            _check(read, Encoding.CATEGORICAL, "the inputs of a SequenceMap")
    if isinstance(variable, LinearSequenceMap):
        for read in (variable.first, variable.second):
            _check(read, Encoding.NUMERICAL, "the inputs of a LinearSequenceMap")


def _check(variable: Variable, encoding: Encoding, role: str) -> None:
    if variable.encoding is not encoding:
        hint = (
            "encode it with `numerical`, or convert it with a Map"
            if encoding is Encoding.NUMERICAL
            else "convert it with a Map, whose result is categorical"
        )
        raise ValueError(
            f"Expected {role} to be {encoding.value}, got the {variable.encoding.value} "
            f"{variable.label}; {hint}."
        )
