"""A compiled program as a model: outputs, targets, and outputs under interchange."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from interpbench_jax.axes import Array, Bool, Float, Int
from interpbench_jax.rasp.compiled import CompiledProgram, Interchange, evaluate
from interpbench_jax.rasp.functions import Value
from interpbench_jax.sites import Node, parse_node

MARGIN = 1e-3
# On a CPU what fits its cache is fastest; elsewhere few large steps are.
_CPU_CHUNK_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 28

Inputs = Int[Array, "batch pos"] | Int[np.ndarray, "batch pos"]
# Checked against `Inputs` by the model, whose message says more than a type checker's.
Sources = Int[Array, "sources source_pos"] | Int[np.ndarray, "sources source_pos"]
Mask = Bool[Array, "sources nodes"] | Bool[np.ndarray, "sources nodes"]
NodeIndices = Int[Array, " chosen"] | Int[np.ndarray, " chosen"]
Chosen = Node | str | Iterable[Node | str] | NodeIndices | Mask
Outputs = Float[Array, "batch pos classes"]
Targets = Int[Array, "batch pos"] | Float[Array, "batch pos"]


@dataclass(frozen=True)
class HighLevelModel:
    """What the trained model is to do, and to do under interchange.

    Attributes:
        program: the compiled program.
    """

    program: CompiledProgram

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The components that can be interchanged, in forward order.

        Heads at `hook_result[head]`, MLPs at `hook_post`.
        """
        return self.program.lowering.nodes

    @property
    def classes(self) -> tuple[Value, ...] | None:
        """The label of every output class, in order; None for a regression."""
        return self.program.classes

    @property
    def is_categorical(self) -> bool:
        """Whether the output is a class rather than a number."""
        return self.program.classes is not None

    def __call__(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
    ) -> Outputs:
        """Output rows, with the values of some components taken from the run on the sources.

        Args:
            tokens: ids; BOS first, PAD at the end only.
            source_tokens: as many inputs of the same length; None for a plain run.
            node: what to interchange: a component or its name, several of them, or per example
                the index of one in `nodes` (int, `[batch]`; -1 for none) or any set of them
                (bool, `[batch, nodes]`).

        Returns:
            float32 of shape `[batch, pos, classes]`, or `[batch, pos, 1]` for a regression. The
            row at BOS means nothing.

        Raises:
            ValueError: if shapes do not fit, or the program has no such component; and, for NumPy
                inputs, if there is an unknown id or no BOS.
        """
        for given in (tokens, source_tokens):
            if isinstance(given, np.ndarray):
                self._check_ids(given)
        if (source_tokens is None) != (node is None):
            raise ValueError("Expected both source_tokens and node for an interchange, got one.")
        if source_tokens is None or node is None:
            return _outputs(self.program, jnp.asarray(tokens), None, None)
        if source_tokens.shape != tokens.shape:
            raise ValueError(
                f"Expected as many sources of the same length, got {source_tokens.shape} for "
                f"inputs of shape {tokens.shape}."
            )
        mask = self.interchange_mask(node, tokens.shape[0])
        return _outputs(self.program, jnp.asarray(tokens), jnp.asarray(source_tokens), mask)

    def targets(
        self,
        tokens: Inputs,
        source_tokens: Sources | None = None,
        node: Chosen | None = None,
    ) -> Targets:
        """What the trained model is to answer; arguments as for a call.

        Returns:
            int32 class ids of shape `[batch, pos]` (see `classify`), or float32 numbers.
        """
        outputs = self(tokens, source_tokens, node)
        return classify(outputs) if self.is_categorical else outputs[..., 0]

    def interchange_mask(self, node: Chosen, batch: int) -> Bool[Array, "batch nodes"]:
        """Which components `node` means, per example, in the order of `nodes`.

        Raises:
            ValueError: if the program has no such component, or a shape does not fit.
        """
        if isinstance(node, (Node, str)):
            node = (node,)
        if isinstance(node, (Array, np.ndarray)):
            return self._mask_of_array(jnp.asarray(node), batch)
        chosen = {self._find(each) for each in node}
        row = jnp.asarray([each in chosen for each in self.nodes])
        return jnp.broadcast_to(row[None], (batch, len(self.nodes)))

    def _check_ids(self, tokens: np.ndarray) -> None:
        """What can be checked where looking at the values costs nothing."""
        token_ids = self.program.token_ids
        n_ids = len(token_ids.ids) + 2
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < n_ids:
            raise ValueError(
                f"Expected token ids from 0 to {n_ids - 1}, got {tokens.min()} to "
                f"{tokens.max()}; the inputs were probably encoded for another case."
            )
        if tokens.shape[1] and (tokens[:, 0] != token_ids.bos).any():
            raise ValueError(
                f"Expected every input to begin with BOS (id {token_ids.bos}), got ids "
                f"{np.unique(tokens[:, 0]).tolist()} at position 0; `Task.encode` puts it there."
            )

    def _mask_of_array(self, node: Array, batch: int) -> Bool[Array, "batch nodes"]:
        if node.dtype == jnp.bool_ and node.shape == (batch, len(self.nodes)):
            return node
        if jnp.issubdtype(node.dtype, jnp.integer) and node.shape == (batch,):
            return node[:, None] == jnp.arange(len(self.nodes), dtype=node.dtype)[None]
        raise ValueError(
            f"Expected node as int of shape ({batch},) or bool of shape "
            f"({batch}, {len(self.nodes)}), got {node.dtype} of shape {node.shape}."
        )

    def _find(self, node: Node | str) -> Node:
        found = parse_node(node) if isinstance(node, str) else node
        if found not in self.nodes:
            known = ", ".join(str(each) for each in self.nodes)
            raise ValueError(f"Expected a component of the program ({known}), got {found}.")
        return found


def classify(outputs: Outputs | Float[np.ndarray, "batch pos classes"]) -> Int[Array, "batch pos"]:
    """The class of each output row: the first one within `MARGIN` of the largest entry.

    So a row of zeros is class 0 and a tie goes to the smaller class, and no class depends on
    float noise.
    """
    rows = jnp.asarray(outputs)
    largest = jnp.max(rows, axis=-1, keepdims=True)
    return jnp.argmax(rows >= largest - MARGIN, axis=-1).astype(jnp.int32)


@partial(jax.jit, static_argnums=0)
def _outputs(
    program: CompiledProgram,
    tokens: Int[Array, "batch pos"],
    source_tokens: Int[Array, "batch pos"] | None,
    mask: Bool[Array, "batch nodes"] | None,
) -> Outputs:
    """Outputs of any number of inputs, so many at a time that intermediate arrays stay small."""

    def run_chunk(
        chunk: tuple[Array, Array | None, Array | None],
    ) -> Float[Array, "rows pos classes"]:
        inputs, sources, replaced = chunk
        if sources is None or replaced is None:
            return evaluate(program, inputs).output
        values = evaluate(program, sources).values
        return evaluate(program, inputs, Interchange(values, replaced)).output

    batch, n_pos = tokens.shape
    size = _rows_per_chunk(program, n_pos)
    whole = (tokens, source_tokens, mask)
    if batch <= size:
        return run_chunk(whole)
    n_chunks = -(-batch // size)
    padded = jax.tree.map(
        lambda array: jnp.pad(array, ((0, n_chunks * size - batch), (0, 0))).reshape(
            n_chunks, size, array.shape[1]
        ),
        whole,
    )
    outputs = jax.lax.map(run_chunk, padded)
    return outputs.reshape(n_chunks * size, n_pos, -1)[:batch]


def _rows_per_chunk(program: CompiledProgram, n_pos: int) -> int:
    widest = max(
        (table.size for table in program.tables.values() if isinstance(table, np.ndarray)),
        default=1,
    )
    budget = _CPU_CHUNK_BYTES if jax.default_backend() == "cpu" else _CHUNK_BYTES
    return max(1, budget // (4 * n_pos * max(widest, n_pos)))
