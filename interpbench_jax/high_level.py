"""What every high-level model offers, whatever it is made of: outputs, and interchange.

Source: interchange interventions, Geiger et al. 2021 (arXiv:2106.02997); along single
edges they are path patching, Goldowsky-Dill et al. 2023 (arXiv:2304.05969).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from interpbench_jax.axes import Array, Bool, Float, Int
from interpbench_jax.sites import Edge, Node, parse_edge, parse_node

MARGIN = 1e-3

Inputs = Int[Array, "batch pos"] | Int[np.ndarray, "batch pos"]
# Checked against `Inputs` by the model, whose message says more than a type checker's.
Sources = Int[Array, "sources source_pos"] | Int[np.ndarray, "sources source_pos"]
Mask = Bool[Array, "sources nodes"] | Bool[np.ndarray, "sources nodes"]
NodeIndices = Int[Array, " chosen"] | Int[np.ndarray, " chosen"]
Chosen = Node | str | Iterable[Node | str] | NodeIndices | Mask
ChosenEdges = Edge | str | Iterable[Edge | str] | NodeIndices | Mask
Outputs = Float[Array, "batch pos classes"]
ProgramTargets = Int[Array, "batch pos"] | Float[Array, "batch pos"]
Arguments = TypeVar("Arguments")


class Swap(NamedTuple):
    """What of a run is another run's.

    Attributes:
        tokens: the other run's inputs.
        nodes: the components that are replaced, for everything that reads them.
        edges: the edges that are replaced, for the one input that reads them.
    """

    tokens: Int[Array, "batch pos"]
    nodes: Bool[Array, "batch nodes"]
    edges: Bool[Array, "batch edges"]


class HighLevelModel(ABC):
    """What the trained model is to do, and to do under interchange."""

    @property
    @abstractmethod
    def nodes(self) -> tuple[Node, ...]:
        """The components that can be interchanged, in forward order.

        Heads at `hook_result[head]`, MLPs at `hook_post`.
        """

    @property
    @abstractmethod
    def edges(self) -> tuple[Edge, ...]:
        """What each component reads, by which input; the last is what the output is read from.

        Each from the embedding, the positions, a head or an MLP's output, to an input of a head,
        an MLP's input or the final residual stream of the program's own last layer.
        """

    @property
    def names(self) -> Mapping[str, Node]:
        """Other names that components go by; none by default."""
        return {}

    @property
    @abstractmethod
    def is_categorical(self) -> bool:
        """Whether the output is a class rather than a number."""

    @property
    @abstractmethod
    def n_classes(self) -> int:
        """Output classes; 1 for a number."""

    @abstractmethod
    def check_ids(self, tokens: np.ndarray) -> None:
        """Refuse inputs that cannot be of the task.

        Raises:
            ValueError: if there is an unknown id or no BOS.
        """

    @abstractmethod
    def outputs(self, tokens: Int[Array, "batch pos"], swap: Swap | None) -> Outputs:
        """Output rows of inputs of the right shape, as a call gives them."""

    def __call__(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
        edge: ChosenEdges | None = None,
    ) -> Outputs:
        """Output rows, with what some components wrote taken from the run on the sources.

        Args:
            tokens: ids; BOS first, PAD at the end only.
            source_tokens: as many inputs of as many positions; None for a plain run.
            node: what to interchange: a component or its name, several of them, or per example
                the index of one in `nodes` (int, `[batch]`; -1 for none) or any set of them
                (bool, `[batch, nodes]`).
            edge: along which edges to interchange, for the reader alone; as for `node`, out of
                `edges`.

        Returns:
            float32 of shape `[batch, pos, classes]`, or `[batch, pos, 1]` for a regression. The
            row at BOS means nothing.

        Raises:
            ValueError: if shapes do not fit, or there is no such component; and, for NumPy
                inputs, if there is an unknown id or no BOS.
        """
        return self.outputs(*self._checked(tokens, source_tokens, node, edge))

    def targets(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
        edge: ChosenEdges | None = None,
    ) -> ProgramTargets:
        """What the trained model is to answer; arguments as for a call.

        Returns:
            int32 class ids of shape `[batch, pos]` (see `classify`), or float32 numbers.
        """
        outputs = self(tokens, source_tokens, node, edge)
        return classify(outputs) if self.is_categorical else outputs[..., 0]

    def is_mixed(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
        edge: ChosenEdges | None = None,
    ) -> Bool[Array, "batch pos"]:
        """Where the output is several classes at once, so that none of them is right.

        Arguments as for a call.
        """
        return self.mixed_rows(self(tokens, source_tokens, node, edge))

    def mixed_rows(self, rows: Outputs) -> Bool[Array, "batch pos"]:
        """Which output rows are several classes at once.

        By default those with several largest entries, of which `targets` gives the first.

        Args:
            rows: output rows, as a call gives them.
        """
        return (rows >= rows.max(axis=-1, keepdims=True) - MARGIN).sum(axis=-1) > 1

    def class_shares(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
        edge: ChosenEdges | None = None,
    ) -> Outputs:
        """What the trained model's logits are to be, but for their scale; arguments as for a call.

        Returns:
            float32 of shape `[batch, pos, classes]`: 1 for the class of `targets` and 0 for the
            others. A program that reads its output off a mean of several values gives a mixture
            under interchange; its shares are returned as they are. So are the scores of a program
            that adds scores up: a head can do that, but not choose the highest of them.
        """
        return self.shares_of_rows(self(tokens, source_tokens, node, edge))

    @property
    def adds_scores(self) -> bool:
        """Whether `class_shares` are sums of scores, of which the largest is the answer."""
        return False

    def shares_of_rows(self, rows: Outputs) -> Outputs:
        """What `class_shares` gives for output rows: by default 1 for the class of each.

        Args:
            rows: output rows, as a call gives them.
        """
        return jax.nn.one_hot(classify(rows), self.n_classes, dtype=jnp.float32)

    def interchange_mask(self, node: Chosen, batch: int) -> Bool[Array, "batch nodes"]:
        """Which components `node` means, per example, in the order of `nodes`.

        Raises:
            ValueError: if there is no such component, or a shape does not fit.
        """
        if isinstance(node, (Node, str)):
            node = (node,)
        if isinstance(node, (Array, np.ndarray)):
            return _mask_of_array(jnp.asarray(node), "node", len(self.nodes), batch)
        chosen = {self._find(each) for each in node}
        return _same_row([each in chosen for each in self.nodes], batch)

    def edge_mask(self, edge: ChosenEdges, batch: int) -> Bool[Array, "batch edges"]:
        """Which edges `edge` means, per example, in the order of `edges`.

        Raises:
            ValueError: if there is no such edge, or a shape does not fit.
        """
        if isinstance(edge, (Edge, str)):
            edge = (edge,)
        if isinstance(edge, (Array, np.ndarray)):
            return _mask_of_array(jnp.asarray(edge), "edge", len(self.edges), batch)
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
    ) -> tuple[Int[Array, "batch pos"], Swap | None]:
        for given in (tokens, source_tokens):
            if isinstance(given, np.ndarray):
                self.check_ids(given)
        if (source_tokens is None) != (node is None and edge is None):
            raise ValueError(
                "Expected source_tokens and a node or an edge for an interchange, got only one of "
                "them."
            )
        if source_tokens is None:
            return jnp.asarray(tokens), None
        if source_tokens.shape != tokens.shape:
            raise ValueError(
                f"Expected as many sources of the same length, got {source_tokens.shape} for "
                f"inputs of shape {tokens.shape}."
            )
        batch = tokens.shape[0]
        nodes = self.interchange_mask(() if node is None else node, batch)
        edges = self.edge_mask(() if edge is None else edge, batch)
        return jnp.asarray(tokens), Swap(jnp.asarray(source_tokens), nodes, edges)

    def _find(self, node: Node | str) -> Node:
        known = {**{str(each): each for each in self.nodes}, **self.names}
        found = known.get(node) if isinstance(node, str) else node
        if found is None and not self.names:
            found = parse_node(str(node))  # whose message says what a hook is called
        if found not in self.nodes:
            raise ValueError(
                f"Expected a component of the program ({', '.join(known)}), got {node}."
            )
        return found


def _mask_of_array(array: Array, name: str, n: int, batch: int) -> Bool[Array, "batch items"]:
    if array.dtype == jnp.bool_ and array.shape == (batch, n):
        return array
    if jnp.issubdtype(array.dtype, jnp.integer) and array.shape == (batch,):
        return array[:, None] == jnp.arange(n, dtype=array.dtype)[None]
    raise ValueError(
        f"Expected {name} as int of shape ({batch},) or bool of shape ({batch}, {n}), got "
        f"{array.dtype} of shape {array.shape}."
    )


def _same_row(row: list[bool], batch: int) -> Bool[Array, "batch items"]:
    return jnp.broadcast_to(jnp.asarray(row, bool)[None], (batch, len(row)))


def classify(outputs: Outputs | Float[np.ndarray, "batch pos classes"]) -> Int[Array, "batch pos"]:
    """The class of each output row: the first one within `MARGIN` of the largest entry.

    So a row of zeros is class 0 and a tie goes to the smaller class, and no class depends on
    float noise.
    """
    rows = jnp.asarray(outputs)
    largest = jnp.max(rows, axis=-1, keepdims=True)
    return jnp.argmax(rows >= largest - MARGIN, axis=-1).astype(jnp.int32)


def in_chunks(function: Callable[[Arguments], Array], arguments: Arguments, size: int) -> Array:
    """A function of arrays with a batch axis first, so many rows at a time; may be traced.

    Args:
        function: from rows of the arguments to as many rows.
        arguments: a pytree of arrays of as many rows.
        size: rows at a time.
    """
    batch = jax.tree.leaves(arguments)[0].shape[0]
    if batch <= size:
        return function(arguments)
    n_chunks = -(-batch // size)
    padded = jax.tree.map(
        lambda array: jnp.pad(
            array, [(0, n_chunks * size - batch)] + [(0, 0)] * (array.ndim - 1)
        ).reshape(n_chunks, size, *array.shape[1:]),
        arguments,
    )
    found = jax.lax.map(function, padded)
    return found.reshape(n_chunks * size, *found.shape[2:])[:batch]


def check_token_ids(tokens: np.ndarray, n_ids: int, bos: int) -> None:
    """Refuse ids from `n_ids` up, and inputs that do not begin with BOS.

    Raises:
        ValueError: if there are such.
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
