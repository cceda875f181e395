"""Plain evaluation of a program in which single edges can be cut."""

from collections.abc import Callable
from itertools import product

from interpbench_jax.rasp import (
    Aggregate,
    Indices,
    LinearSequenceMap,
    Map,
    Selector,
    SelectorWidth,
    SequenceMap,
    Tokens,
    Variable,
    in_order,
    indices,
    tokens,
)
from interpbench_jax.rasp.functions import Value
from interpbench_jax.rasp.lowering import WidthAttention
from interpbench_jax.rasp.placement import merge
from interpbench_jax.rasp.plain import PlainValues
from interpbench_jax.sites import Edge, Kind, Node
from tests.rasp.random_programs import N_POSITIONS

Seen = Callable[[int, int, Kind], PlainValues]
Operation = Callable[[tuple[int, ...], Seen], PlainValues]


class Wiring:
    """A program as a list of operations on earlier ones, in which an edge can be cut.

    It uses indices and not the package's own evaluation: the test suite checks the types of every
    call into the package, which would make this many evaluations slow.
    """

    def __init__(self, program: Variable, component: dict[Variable, Node]) -> None:
        self.component = component
        self.order = _with_width_attentions(program, component)
        self.index = {variable: i for i, variable in enumerate(self.order)}
        self.edge_of: dict[tuple[int, int, Kind], Edge] = {}
        self.operations = [self._operation(i, part) for i, part in enumerate(self.order)]

    def run(
        self,
        sequence: tuple[int, ...],
        cut: Edge | None = None,
        replacement: list[PlainValues] | None = None,
    ) -> list[PlainValues]:
        """Return the values of every variable; the edge `cut` carries the replacement's value."""
        values: list[PlainValues] = []

        def seen(reader: int, read: int, slot: Kind) -> PlainValues:
            if replacement is not None and self.edge_of[reader, read, slot] == cut:
                return replacement[read]
            return values[read]

        for operation in self.operations:
            values.append(operation(sequence, seen))
        return values

    def _operation(self, i: int, variable: Variable) -> Operation:
        match variable:
            case Tokens():
                return lambda sequence, seen: list(sequence)
            case Indices():
                return lambda sequence, seen: list(range(len(sequence)))
            case WidthAttention():
                selected = self._selection(i, variable.owner.selector)
                return lambda _, seen: [sum(row) for row in selected(seen)]
            case SelectorWidth():
                head = next(
                    each
                    for each in self.component
                    if isinstance(each, WidthAttention) and each.owner == variable
                )
                h = self._read(i, head, Kind.MLP_IN)
                return lambda _, seen: seen(i, h, Kind.MLP_IN)
            case Aggregate():
                selected = self._selection(i, variable.selector)
                v = self._read(i, variable.values, Kind.V_INPUT)
                mean = _only if variable.is_categorical else _mean
                return lambda _, seen: [
                    mean([x for x, here in zip(seen(i, v, Kind.V_INPUT), row, strict=True) if here])
                    for row in selected(seen)
                ]
        reads, function = _arguments(variable)
        r = [self._read(i, each, Kind.MLP_IN) for each in reads]
        return lambda _, seen: [
            None if None in values else function(*values)
            for values in zip(*(seen(i, each, Kind.MLP_IN) for each in r), strict=True)
        ]

    def _selection(self, i: int, selector: Selector) -> Callable[[Seen], list[list[bool]]]:
        select = merge(selector)
        k = self._read(i, select.keys, Kind.K_INPUT)
        q = self._read(i, select.queries, Kind.Q_INPUT)
        table: dict[tuple[Value | None, Value | None], bool] = {
            (key, query): None not in (key, query) and bool(select.predicate(key, query))
            for key, query in product((None, *range(N_POSITIONS + 1)), repeat=2)
        }
        return lambda seen: [
            [table[key, query] for key in seen(i, k, Kind.K_INPUT)]
            for query in seen(i, q, Kind.Q_INPUT)
        ]

    def _read(self, i: int, variable: Variable, slot: Kind) -> int:
        node = self.component[self.order[i]]
        reader = Node(slot, node.layer, node.head)
        self.edge_of[i, self.index[variable], slot] = Edge(self._writer(variable), reader)
        return self.index[variable]

    def _writer(self, variable: Variable) -> Node:
        if variable in (tokens, indices):
            return Node(Kind.EMBED if variable == tokens else Kind.POS_EMBED)
        node = self.component[variable]
        return Node(Kind.MLP_OUT, node.layer) if node.kind is Kind.MLP_POST else node


def _with_width_attentions(program: Variable, component: dict[Variable, Node]) -> list[Variable]:
    order: list[Variable] = []
    for part in in_order(program):
        if isinstance(part, SelectorWidth):
            order += [
                each
                for each in component
                if isinstance(each, WidthAttention) and each.owner == part
            ]
        if isinstance(part, Variable):
            order.append(part)
    return order


def _arguments(variable: Variable) -> tuple[list[Variable], Callable[..., Value | None]]:
    match variable:
        case Map():
            return [variable.inner], variable.function
        case SequenceMap():
            return [variable.first, variable.second], variable.function
        case LinearSequenceMap():
            factors = (variable.first_factor, variable.second_factor)
            reads = [variable.first, variable.second]
            return reads, lambda x, y: factors[0] * x + factors[1] * y
    raise AssertionError(variable)


def _only(selected: PlainValues) -> Value | None:
    distinct = set(selected)
    return distinct.pop() if len(distinct) == 1 else None


def _mean(selected: PlainValues) -> Value | None:
    numbers = [value or 0 for value in selected if not isinstance(value, str | tuple)]
    return sum(numbers) / len(numbers) if numbers else 0
