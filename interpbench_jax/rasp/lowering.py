"""A program laid out on a transformer, and the circuit that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from interpbench_jax.circuit import Circuit
from interpbench_jax.rasp.expressions import (
    Encoding,
    Indices,
    Select,
    SelectorWidth,
    Tokens,
    Variable,
)
from interpbench_jax.rasp.traversal import in_order
from interpbench_jax.sites import Edge, Kind, Node, as_writer

Alignment = Mapping[Node, tuple[Node, ...]]
_HEAD_INPUTS = (Kind.Q_INPUT, Kind.K_INPUT, Kind.V_INPUT)


@dataclass(frozen=True, eq=False)
class WidthAttention(Variable):
    """The output of a selector width's head: 1 / (1 + width), because it also attends to BOS."""

    owner: SelectorWidth

    @property
    def encoding(self) -> Encoding:
        return Encoding.NUMERICAL

    def text(self, *reads: str) -> str:
        return f"width_attention({reads[0]})"


@dataclass(frozen=True)
class VariableRead:
    """One variable that a component reads.

    Attributes:
        slot: the input that it is read by: `Kind.Q_INPUT`, `K_INPUT`, `V_INPUT` or `MLP_IN`.
        variable: the variable that is read.
    """

    slot: Kind
    variable: Variable


@dataclass(frozen=True)
class Step:
    """The computation of one variable.

    Attributes:
        variable: the variable that is computed.
        node: the component that computes it: a head, or an MLP's `hook_post`.
        reads: the variables that are read, with the inputs that they are read by.
        select: the merged selector of a head; None for an MLP.
    """

    variable: Variable
    node: Node
    reads: tuple[VariableRead, ...]
    select: Select | None


@dataclass(frozen=True)
class Lowering:
    """A program laid out on layers, heads and MLPs.

    Attributes:
        program: the output variable.
        steps: the computation of every variable, in order.
    """

    program: Variable
    steps: tuple[Step, ...]

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The components that compute something, in forward order."""
        return tuple(dict.fromkeys(step.node for step in self.steps))

    @property
    def heads(self) -> tuple[Node, ...]:
        """The components that are heads, in forward order."""
        return tuple(node for node in self.nodes if node.head is not None)

    @property
    def n_layers(self) -> int:
        """The number of layers that the program needs."""
        return 1 + max((node.layer or 0 for node in self.nodes), default=-1)

    @property
    def n_heads(self) -> int:
        """The number of heads that the program needs in its fullest layer."""
        return 1 + max((node.head for node in self.nodes if node.head is not None), default=-1)

    def variables_of(self, node: Node) -> tuple[Variable, ...]:
        """The variables that a component computes; interchanging it replaces all of them.

        Raises:
            ValueError: if the program has no such component.
        """
        if node not in self.nodes:
            known = ", ".join(str(each) for each in self.nodes)
            raise ValueError(f"Expected a component of the program ({known}), got {node}.")
        return tuple(step.variable for step in self.steps if step.node == node)

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """Every variable that is embedded or computed: inputs first, then in `steps`' order."""
        parts = in_order(self.program)
        inputs = [part for part in parts if isinstance(part, Tokens | Indices)]
        return (*inputs, *(step.variable for step in self.steps))

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """The edges into each component, one per writer and input, and last that into the output.

        The nodes are the compiled program's own: the output is its last residual stream. A
        component has one edge to each input that reads it, even if several of its variables enter
        that input.
        """
        reads = [self.edge_of(step, read) for step in self.steps for read in step.reads]
        return (*dict.fromkeys(reads), self.output_edge)

    @cached_property
    def carried(self) -> Mapping[Edge, tuple[Variable, ...]]:
        """The variables that each edge of `edges` carries to the input that reads it."""
        found: dict[Edge, dict[Variable, None]] = {edge: {} for edge in self.edges}
        for step in self.steps:
            for read in step.reads:
                found[self.edge_of(step, read)][read.variable] = None
        found[self.output_edge][self.program] = None
        return {edge: tuple(variables) for edge, variables in found.items()}

    @property
    def output_edge(self) -> Edge:
        """The edge into the output."""
        output = Node(Kind.RESID_POST, max(self.n_layers, 1) - 1)
        return Edge(self._writer(self.program), output)

    def edge_of(self, step: Step, read: VariableRead) -> Edge:
        """The edge by which a step reads a variable."""
        reader = Node(read.slot, step.node.layer, step.node.head)
        return Edge(self._writer(read.variable), reader)

    def low_level_edges(
        self, edge: Edge, n_layers: int, alignment: Alignment | None = None
    ) -> tuple[Edge, ...]:
        """The model's edges that correspond to an edge of the program (see `edges`)."""
        aligned = {node: (node,) for node in self.nodes} | dict(alignment or {})
        target = edge.dst
        if target.kind is Kind.RESID_POST:
            target = Node(Kind.RESID_POST, n_layers - 1)
        return tuple(
            Edge(writer, reader)
            for writer in _low_level_writers(edge.src, aligned)
            for reader in _low_level_readers(target, aligned)
        )

    def circuit(self, n_layers: int, n_heads: int, alignment: Alignment | None = None) -> Circuit:
        """Every edge that the program uses, each into the input that reads it.

        A selector's queries enter q and its keys k; an aggregate's values enter v. The flag by
        which heads recognize BOS and the constant 1 belong to no variable and add no edge.

        Raises:
            ValueError: if the model is too small for the program.
        """
        return self._on_model(self.edges, n_layers, n_heads, alignment)

    def scored_circuit(
        self, n_layers: int, n_heads: int, alignment: Alignment | None = None
    ) -> Circuit:
        """The edges as InterpBench's release 1.0.0 lists and scores them.

        They differ from `circuit` in two ways. Everything that a head reads enters all of q, k
        and v. And a writer is left out of a reader's list if another writer of that list has
        read it as a value: if an MLP reads both the tokens and the output of a head that has
        moved tokens, the list lacks the edge from the embedding to the MLP, although the
        program needs it. Source: InterpBench `220791e`, `circuits_benchmark`:
        `transformers/tracr_circuits_builder.py` and `utils/circuit/alignment.py`.

        Raises:
            ValueError: if the model is too small for the program.
        """
        moved: dict[Node, frozenset[Node]] = {}
        edges: list[Edge] = []
        for node in self.nodes:
            slots = self._writers_by_slot(node)
            kept = {slot: _without_moved(found, moved) for slot, found in slots.items()}
            read = kept.get(Kind.V_INPUT, frozenset()) | kept.get(Kind.MLP_IN, frozenset())
            moved[as_writer(node)] = read
            targets = _HEAD_INPUTS if node.kind is Kind.HEAD else (Kind.MLP_IN,)
            edges += [
                Edge(writer, Node(target, node.layer, node.head))
                for writer in sorted(frozenset().union(*kept.values()), key=str)
                for target in targets
            ]
        return self._on_model((*edges, self.output_edge), n_layers, n_heads, alignment)

    def _writers_by_slot(self, node: Node) -> dict[Kind, frozenset[Node]]:
        slots: dict[Kind, frozenset[Node]] = {}
        for step in self.steps:
            if step.node == node:
                for read in step.reads:
                    found = slots.get(read.slot, frozenset())
                    slots[read.slot] = found | {self._writer(read.variable)}
        return slots

    def _on_model(
        self,
        edges: Sequence[Edge],
        n_layers: int,
        n_heads: int,
        alignment: Alignment | None,
    ) -> Circuit:
        """Edges of the program as edges of the model."""
        placed: dict[Edge, None] = {}
        for edge in edges:
            placed |= dict.fromkeys(self.low_level_edges(edge, n_layers, alignment))
        return Circuit(n_layers, n_heads, tuple(placed))

    def _writer(self, variable: Variable) -> Node:
        """The component that computes a variable, or its embedding."""
        if not variable.children:
            return Node(Kind.EMBED if isinstance(variable, Tokens) else Kind.POS_EMBED)
        return as_writer(self._node_of[variable])

    @cached_property
    def _node_of(self) -> dict[Variable, Node]:
        return {step.variable: step.node for step in self.steps}


def _without_moved(
    writers: frozenset[Node], moved: Mapping[Node, frozenset[Node]]
) -> frozenset[Node]:
    """The writers that no other one among them has read as a value."""
    gone = frozenset().union(*(moved.get(writer, frozenset()) for writer in writers))
    return writers - gone


def _low_level_writers(writer: Node, aligned: Alignment) -> tuple[Node, ...]:
    if writer.kind is Kind.MLP_OUT:
        component = Node(Kind.MLP_POST, writer.layer)
        return tuple(Node(Kind.MLP_OUT, node.layer) for node in aligned[component])
    return aligned.get(writer, (writer,))


def _low_level_readers(reader: Node, aligned: Alignment) -> tuple[Node, ...]:
    if reader.kind is Kind.RESID_POST:
        return (reader,)
    if reader.kind is Kind.MLP_IN:
        component = Node(Kind.MLP_POST, reader.layer)
    else:
        component = Node(Kind.HEAD, reader.layer, reader.head)
    return tuple(Node(reader.kind, node.layer, node.head) for node in aligned[component])
