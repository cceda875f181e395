"""The interface of every high-level model: outputs, plain and under interchange.

Source: interchange interventions, Geiger et al. 2021 (arXiv:2106.02997); along single
edges they are path patching, Goldowsky-Dill et al. 2023 (arXiv:2304.05969).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from interpbench_jax.axes import AnyArray, Array, Bool, Float, Int
from interpbench_jax.namespaces import namespace
from interpbench_jax.sites import Edge, Node, parse_edge, parse_node

MARGIN = 1e-3

Inputs = Int[AnyArray, "batch pos"]
# The model checks these against `Inputs`, with a message that says more than a type checker's.
Sources = Int[AnyArray, "sources source_pos"]
# Of nodes or of edges.
Mask = Bool[AnyArray, "sources _"]
NodeIndices = Int[AnyArray, " chosen"]
Chosen = Node | str | Iterable[Node | str] | NodeIndices | Mask
ChosenEdges = Edge | str | Iterable[Edge | str] | NodeIndices | Mask
# One position of all examples, or one of each.
Position = int | Int[AnyArray, " sources"]
Outputs = Float[AnyArray, "batch pos classes"]
ProgramTargets = Int[AnyArray, "batch pos"] | Float[AnyArray, "batch pos"]
Arguments = TypeVar("Arguments")
Results = TypeVar("Results")


class Swap(NamedTuple):
    """The parts of a run that are replaced by those of another run.

    Attributes:
        tokens: the other run's inputs.
        nodes: True for the components that are replaced for all of their readers.
        edges: True for the edges that are replaced for the one input that reads them.
        position: the only position at which that input reads the replacement; None for all.
    """

    tokens: Int[AnyArray, "batch pos"]
    nodes: Bool[AnyArray, "batch nodes"]
    edges: Bool[AnyArray, "batch edges"]
    position: Int[AnyArray, " batch"] | None = None


class HighLevelModel(ABC):
    """The computation that the trained model should perform, plain and under interchange."""

    @property
    @abstractmethod
    def nodes(self) -> tuple[Node, ...]:
        """The components that can be interchanged, in forward order.

        Heads at `hook_result[head]`, MLPs at `hook_post`.
        """

    @property
    @abstractmethod
    def edges(self) -> tuple[Edge, ...]:
        """The edges into each component, one per writer and input; the last enters the output.

        Each runs from the embedding, the positional embedding, a head or an MLP's output to an
        input of a head, an MLP's input or the residual stream after the program's own last layer.
        """

    @property
    def names(self) -> Mapping[str, Node]:
        """Alternative names of components; none by default."""
        return {}

    @property
    @abstractmethod
    def is_categorical(self) -> bool:
        """Whether the output is a class rather than a number."""

    @property
    @abstractmethod
    def n_classes(self) -> int:
        """The number of output classes; 1 if the output is a number."""

    @abstractmethod
    def check_ids(self, tokens: np.ndarray) -> None:
        """Check that inputs can belong to the task.

        Raises:
            ValueError: if an id is unknown, or an input does not begin with BOS.
        """

    @abstractmethod
    def outputs(self, tokens: Int[AnyArray, "batch pos"], swap: Swap | None) -> Outputs:
        """The output rows that a call returns, for arguments that are already checked."""

    @abstractmethod
    def differs(self, tokens: Inputs, others: Inputs) -> Bool[AnyArray, "batch edges pos"]:
        """Whether what each of `edges` carries differs between two inputs, at each position.

        Args:
            tokens: token ids.
            others: those of the other inputs.
        """

    def patterns(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        edge: ChosenEdges | None = None,
    ) -> dict[Node, Float[AnyArray, "batch q_pos k_pos"]]:
        """The attention of each component that is a head; rows sum to 1.

        Empty, as by default, if the program does not say where its heads attend to. The arguments
        are those of a call.
        """
        return {}

    def __call__(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
        edge: ChosenEdges | None = None,
        position: Position | None = None,
    ) -> Outputs:
        """The output rows, with the values of some components taken from the run on the sources.

        Args:
            tokens: token ids; BOS first, PAD only at the end.
            source_tokens: source inputs of the same shape; None for a plain run.
            node: the components to interchange: one or its name, several of them, or per example
                the index of one in `nodes` (int, `[batch]`; -1 for none) or any set of them
                (bool, `[batch, nodes]`).
            edge: the edges to interchange, for their reader alone; given as for `node`, with
                `edges` in place of `nodes`.
            position: with edges, the only position at which their reader reads the other run's
                value, for all examples or for each (int, `[batch]`); None for every position.

        Returns:
            float32 of shape `[batch, pos, classes]`, or `[batch, pos, 1]` for a regression. The
            row at BOS has no meaning.

        Raises:
            ValueError: if shapes do not match, there is no such component, edge or position, or a
                position comes without edges; and, for NumPy inputs, if an id is unknown or an input
                does not begin with BOS.
        """
        return self.outputs(*self._checked(tokens, source_tokens, node, edge, position))

    def targets(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
        edge: ChosenEdges | None = None,
        position: Position | None = None,
    ) -> ProgramTargets:
        """The targets of the trained model; the arguments are those of a call.

        Returns:
            int32 class ids of shape `[batch, pos]` (see `classify`), or float32 numbers.
        """
        outputs = self(tokens, source_tokens, node, edge, position)
        return classify(outputs) if self.is_categorical else outputs[..., 0]

    def is_mixed(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
        edge: ChosenEdges | None = None,
        position: Position | None = None,
    ) -> Bool[AnyArray, "batch pos"]:
        """Which outputs are several classes at once, so that no single one is correct.

        The arguments are those of a call.
        """
        return self.mixed_rows(self(tokens, source_tokens, node, edge, position))

    def mixed_rows(self, rows: Outputs) -> Bool[AnyArray, "batch pos"]:
        """Which output rows are several classes at once.

        By default, those with several largest entries, of which `targets` returns the first.

        Args:
            rows: output rows, as a call returns them.
        """
        return (rows >= rows.max(axis=-1, keepdims=True) - MARGIN).sum(axis=-1) > 1

    def class_shares(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
        edge: ChosenEdges | None = None,
        position: Position | None = None,
    ) -> Outputs:
        """The logits of the trained model, up to scale; the arguments are those of a call.

        Returns:
            float32 of shape `[batch, pos, classes]`: 1 for the class of `targets` and 0 for the
            others. A program whose output is a mean of several values gives a mixture under
            interchange; its shares are returned as they are. So are the scores of a program that
            sums scores, because a head can sum scores but cannot choose the highest one.
        """
        return self.shares_of_rows(self(tokens, source_tokens, node, edge, position))

    @property
    def adds_scores(self) -> bool:
        """Whether `class_shares` are sums of scores, of which the largest is the answer."""
        return False

    def shares_of_rows(self, rows: Outputs) -> Outputs:
        """The `class_shares` of output rows: by default, 1 for the class of each row.

        Args:
            rows: output rows, as a call returns them.
        """
        return one_hot(classify(rows), self.n_classes)

    def interchange_mask(self, node: Chosen, batch: int) -> Bool[AnyArray, "batch nodes"]:
        """The mask of the components that `node` names, per example, in the order of `nodes`.

        Raises:
            ValueError: if there is no such component, or a shape does not match.
        """
        if isinstance(node, (Node, str)):
            node = (node,)
        if isinstance(node, (Array, np.ndarray)):
            return _mask_of_array(node, "node", len(self.nodes), batch)
        chosen = {self._find(each) for each in node}
        return _same_row([each in chosen for each in self.nodes], batch)

    def edge_mask(self, edge: ChosenEdges, batch: int) -> Bool[AnyArray, "batch edges"]:
        """The mask of the edges that `edge` names, per example, in the order of `edges`.

        Raises:
            ValueError: if there is no such edge, or a shape does not match.
        """
        if isinstance(edge, (Edge, str)):
            edge = (edge,)
        if isinstance(edge, (Array, np.ndarray)):
            return _mask_of_array(edge, "edge", len(self.edges), batch)
        chosen = {parse_edge(each) if isinstance(each, str) else each for each in edge}
        for each in chosen - set(self.edges):
            raise ValueError(
                f"Expected an edge of the program ({', '.join(map(str, self.edges))}), got {each}."
            )
        return _same_row([each in chosen for each in self.edges], batch)

    def _checked(
        self,
        tokens: Inputs,
        source_tokens: Sources | None,
        node: Chosen | None,
        edge: ChosenEdges | None,
        position: Position | None,
    ) -> tuple[Int[AnyArray, "batch pos"], Swap | None]:
        for given in (tokens, source_tokens):
            if isinstance(given, np.ndarray):
                self.check_ids(given)
        if position is not None and (edge is None or node is not None):
            raise ValueError(
                "Expected a position together with edges, and no nodes: a node's value is read at "
                "every position."
            )
        if (source_tokens is None) != (node is None and edge is None):
            raise ValueError(
                "Expected source_tokens and a node or an edge for an interchange, got one without "
                "the other."
            )
        if source_tokens is None:
            return tokens, None
        if source_tokens.shape != tokens.shape:
            raise ValueError(
                f"Expected source_tokens of the same shape as the inputs, got "
                f"{source_tokens.shape} for inputs of shape {tokens.shape}."
            )
        batch = tokens.shape[0]
        nodes = self.interchange_mask(() if node is None else node, batch)
        edges = self.edge_mask(() if edge is None else edge, batch)
        where = None if position is None else self._checked_position(position, tokens.shape)
        swap = Swap(source_tokens, nodes, edges, where)
        xp = namespace(tokens, *swap)
        return xp.asarray(tokens), jax.tree.map(xp.asarray, swap)

    def _checked_position(
        self, position: Position, shape: tuple[int, ...]
    ) -> Int[AnyArray, " batch"]:
        batch, n_pos = shape
        xp = np if isinstance(position, int) else namespace(position)
        found = xp.asarray(position, np.int32)
        if found.shape not in ((), (batch,)):
            raise ValueError(
                f"Expected one position, or one for each of {batch} examples, got shape "
                f"{found.shape}."
            )
        if isinstance(position, int | np.ndarray) and np.size(position):
            lowest, highest = np.min(position), np.max(position)
            if not 0 <= lowest <= highest < n_pos:
                raise ValueError(
                    f"Expected positions from 0 to {n_pos - 1}, got {lowest} to {highest}."
                )
        return xp.broadcast_to(found, (batch,))

    def _find(self, node: Node | str) -> Node:
        known = {**{str(each): each for each in self.nodes}, **self.names}
        found = known.get(node) if isinstance(node, str) else node
        if found is None and not self.names:
            found = parse_node(str(node))  # its message explains the names of hooks
        if found not in self.nodes:
            raise ValueError(
                f"Expected a component of the program ({', '.join(known)}), got {node}."
            )
        return found


def _mask_of_array(array: AnyArray, name: str, n: int, batch: int) -> Bool[AnyArray, "batch items"]:
    if array.dtype == np.bool_ and array.shape == (batch, n):
        return array
    if np.issubdtype(array.dtype, np.integer) and array.shape == (batch,):
        return array[:, None] == np.arange(n, dtype=array.dtype)[None]
    raise ValueError(
        f"Expected {name} to be int of shape ({batch},) or bool of shape ({batch}, {n}), got "
        f"{array.dtype} of shape {array.shape}."
    )


def _same_row(row: list[bool], batch: int) -> Bool[AnyArray, "batch items"]:
    return np.broadcast_to(np.asarray(row, bool)[None], (batch, len(row)))


def classify(rows: Outputs) -> Int[AnyArray, "batch pos"]:
    """The class of each output row: the first one within `MARGIN` of the largest entry.

    Hence a row of zeros is class 0, a tie goes to the smaller class, and no class depends on
    floating-point noise.
    """
    largest = rows.max(axis=-1, keepdims=True)
    return (rows >= largest - MARGIN).argmax(axis=-1).astype(np.int32)


def one_hot(classes: Int[AnyArray, "batch pos"], n: int) -> Outputs:
    """Rows of float32 with a 1 for each class."""
    is_class = classes[..., None] == np.arange(n, dtype=classes.dtype)[None, None]
    return is_class.astype(np.float32)


def in_chunks(function: Callable[[Arguments], Results], arguments: Arguments, size: int) -> Results:
    """Apply a function of arrays, batch axis first, to a chunk of rows at a time; traceable.

    Args:
        function: a function from rows of the arguments to a pytree of as many rows.
        arguments: a pytree of arrays with the same number of rows.
        size: number of rows per chunk.
    """
    arrays = jax.tree.leaves(arguments)
    batch = arrays[0].shape[0]
    if batch <= size:
        return function(arguments)
    if namespace(*arrays) is np:

        def rows_from(start: int) -> Arguments:
            return jax.tree.map(lambda array: array[start : start + size], arguments)

        found = [function(rows_from(start)) for start in range(0, batch, size)]
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    n_chunks = -(-batch // size)
    padded = jax.tree.map(
        lambda array: jnp.pad(
            array, [(0, n_chunks * size - batch)] + [(0, 0)] * (array.ndim - 1)
        ).reshape(n_chunks, size, *array.shape[1:]),
        arguments,
    )
    return jax.tree.map(
        lambda found: found.reshape(n_chunks * size, *found.shape[2:])[:batch],
        jax.lax.map(function, padded),
    )


def check_token_ids(tokens: np.ndarray, n_ids: int, bos: int) -> None:
    """Check that all ids are below `n_ids` and that all inputs begin with BOS.

    Raises:
        ValueError: if they do not.
    """
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < n_ids:
        raise ValueError(
            f"Expected token ids from 0 to {n_ids - 1}, got {tokens.min()} to "
            f"{tokens.max()}; the inputs were probably encoded for another case."
        )
    if tokens.shape[1] and (tokens[:, 0] != bos).any():
        raise ValueError(
            f"Expected every input to begin with BOS (id {bos}), got ids "
            f"{np.unique(tokens[:, 0]).tolist()} at position 0; `Task.encode` puts it there."
        )
