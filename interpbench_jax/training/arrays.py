"""The arrays that training needs: inputs, nodes and edges to interchange, initial weights."""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from interpbench_jax.cases import Recipe, Task
from interpbench_jax.config import TransformerConfig
from interpbench_jax.masks import edge_indices
from interpbench_jax.training.interchange import CutEdges, NodeMask, edge_table, node_mask
from interpbench_jax.universes import universe
from interpbench_jax.weights import weight_shapes

_TRAIN_SHARE = 0.8
# The inputs of a task with fewer than this are repeated, so that an epoch is worth its overhead.
_FEWEST = 16_000
# A weight with more entries than this is drawn by a program of its own.
_LARGE = 1 << 18

HighLevelMask = Bool[Array, "batch variables"]
HighLevelEdges = Bool[Array, "batch edges"]


class Interchanges(NamedTuple):
    """The nodes and edges whose values training may take from another run, as masks.

    Stacked tasks are padded to one another with rows of False.

    Attributes:
        aligned: for each component of the program, the low-level nodes that stand for it.
        outside: for each node outside the circuit, a mask of that node alone.
        program_edges: for each edge of the program, the fine edges that stand for it.
        outside_edges: the fine edges that are outside the circuit.
        merged_edges: for each fine edge, a number that it shares with the others of its edge in
            universe `"head"`, if all of these are outside the circuit; else a number of its own.
        n_aligned: number of components.
        n_outside: number of nodes outside the circuit.
        n_program_edges: number of edges of the program.
    """

    aligned: Bool[Array, "*tasks variables layers nodes"]
    outside: Bool[Array, "*tasks others layers nodes"]
    program_edges: Bool[Array, "*tasks edges dst src"]
    outside_edges: Bool[Array, "*tasks dst src"]
    merged_edges: Int[Array, "*tasks dst src"]
    n_aligned: Int[Array, "*tasks"]
    n_outside: Int[Array, "*tasks"]
    n_program_edges: Int[Array, "*tasks"]


class Draw(NamedTuple):
    """The values that each example of a batch takes from another run.

    Attributes:
        variables: the components whose values are interchanged.
        aligned: the low-level nodes that stand for them.
        outside: the nodes outside the circuit that are replaced.
        program_edges: the edges of the program that are interchanged, in a run of their own.
        cut: the fine edges that are cut in that run: those that stand for the program's edges,
            and some outside the circuit.
    """

    variables: HighLevelMask
    aligned: NodeMask
    outside: NodeMask
    program_edges: HighLevelEdges
    cut: CutEdges


def task_interchanges(task: Task, like: Sequence[Task] = ()) -> Interchanges:
    """The nodes and edges of a task's model that training may interchange.

    Args:
        task: the task.
        like: the tasks that it is stacked with; its masks are padded to the sizes of these.

    Raises:
        ValueError: if the task's model is too small for its program.
    """
    config = task.config
    aligned = [node_mask(config, nodes) for nodes in task.alignment.values()]
    outside = [node_mask(config, (node,)) for node in task.nodes_not_in_circuit]
    edges = [edge_table(config, fine) for fine in task.edge_alignment.values()]
    every = edge_table(config, universe("qkv", config.n_layers, config.n_heads).edges)
    used = np.logical_or.reduce(edges)
    tasks = (task, *like)

    def stack(rows: list[np.ndarray], blank: np.ndarray, size: int) -> Array:
        return jnp.asarray(np.stack(rows + [blank] * (max(1, size) - len(rows))))

    no_nodes, no_edges = node_mask(config, ()), np.zeros_like(every)
    return Interchanges(
        stack(aligned, no_nodes, max(len(each.alignment) for each in tasks)),
        stack(outside, no_nodes, max(len(each.nodes_not_in_circuit) for each in tasks)),
        stack(edges, no_edges, max(len(each.edge_alignment) for each in tasks)),
        jnp.asarray(every & ~used),
        jnp.asarray(_merged_edges(config, every & ~used)),
        jnp.int32(len(aligned)),
        jnp.int32(len(outside)),
        jnp.int32(len(edges)),
    )


def _merged_edges(config: TransformerConfig, outside: np.ndarray) -> np.ndarray:
    """`Interchanges.merged_edges`, given the mask of the fine edges outside the circuit."""
    numbers = np.arange(outside.size, dtype=np.int32).reshape(outside.shape)
    for members in universe("head", config.n_layers, config.n_heads).members.values():
        dst, src = edge_indices(members, config.n_layers, config.n_heads).T
        if outside[dst, src].all():
            numbers[dst, src] = numbers[dst, src].min()
    return numbers


def draw_interchanges(
    key: Array, given: Interchanges, batch: int, recipe: Recipe, *, alone: bool = False
) -> Draw:
    """Choose what to interchange in a batch, following a recipe.

    Nodes are drawn as `Recipe.sampling` and `Recipe.variable_odds` say, edges by `draw_edges`.

    Raises:
        ValueError: if the recipe has odds, but not one for each variable.
    """
    odds, sampling = recipe.variable_odds, recipe.sampling
    if odds and len(odds) != given.aligned.shape[0]:
        raise ValueError(
            f"Expected one entry of variable_odds for each of {given.aligned.shape[0]} variables, "
            f"got {odds}."
        )
    key_aligned, key_outside, key_edges = jax.random.split(key, 3)
    n_variables = given.aligned.shape[0]
    variables = _choose(key_aligned, n_variables, given.n_aligned, batch, sampling, odds)
    outside = _choose(key_outside, given.outside.shape[0], given.n_outside, batch, sampling)
    return Draw(
        variables,
        _nodes_of(variables, given.aligned),
        _nodes_of(outside, given.outside),
        *draw_edges(key_edges, given, batch, alone=alone),
    )


def draw_edges(
    key: Array, given: Interchanges, batch: int, *, alone: bool = False
) -> tuple[HighLevelEdges, CutEdges]:
    """Choose edges to cut in a batch.

    Outside the circuit, every example cuts one edge; a quarter of the examples also cut each
    other edge with probability 1/10, and another quarter with probability 1/2. Of the program's
    edges, half of the examples cut none, a quarter one, and a quarter each with probability 1/2.
    If edges outside are to be cut `alone`, examples that cut edges of the program cut no others,
    and all others cut one: a fine edge or, half of the time, all that are one edge with it in
    universe `"head"`. Their effects add up, and none may be too large in either universe.
    """
    keys = jax.random.split(key, 6)
    n_edges, dst, src = given.program_edges.shape
    is_outside = given.outside_edges.reshape(1, -1)
    logits = jnp.where(is_outside[0], 0.0, -jnp.inf)
    one = jax.random.categorical(keys[0], logits, shape=(batch, 1))
    is_one = jnp.arange(dst * src)[None] == one
    if alone:
        merged = given.merged_edges.reshape(-1)
        is_merged = jax.random.bernoulli(keys[1], 0.5, (batch, 1))
        outside = (is_one | is_merged & (merged[None] == merged[one])) & is_outside
    else:
        odds = jnp.asarray([0.0, 0.0, 0.1, 0.5])[jax.random.randint(keys[1], (batch, 1), 0, 4)]
        more = jax.random.uniform(keys[2], (batch, dst * src)) < odds
        outside = (is_one | more) & is_outside

    rows = jnp.arange(n_edges)[None]
    kind = jax.random.randint(keys[3], (batch, 1), 0, 4)
    one = jax.random.randint(keys[4], (batch, 1), 0, given.n_program_edges)
    chosen = ((rows == one) & (kind == 2)) | (_halves(keys[5], n_edges, batch) & (kind == 3))
    chosen &= rows < given.n_program_edges
    if alone:
        outside &= ~chosen.any(axis=1, keepdims=True)
    # A matrix product of floats is far faster than the same reduction over booleans.
    inside = chosen.astype(jnp.float32) @ given.program_edges.reshape(n_edges, -1).astype(
        jnp.float32
    )
    return chosen, (outside | (inside > 0)).reshape(batch, dst, src)


def _halves(key: Array, n_rows: int, batch: int) -> Bool[Array, "batch rows"]:
    """Choose each row with probability 1/2.

    Each row has its own key, so that a task's draws do not depend on the rows that stacking adds.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(n_rows))
    return jax.vmap(partial(jax.random.bernoulli, p=0.5, shape=(batch,)))(keys).T


def _choose(
    key: Array,
    n_rows: int,
    n: Int[Array, ""],
    batch: int,
    sampling: str,
    odds: tuple[float, ...] = (),
) -> Bool[Array, "batch rows"]:
    key_one, key_more, key_which = jax.random.split(key, 3)
    rows = jnp.arange(n_rows)[None]
    shape = () if sampling == "batch" else (batch,)
    if odds:
        drawn = jax.random.categorical(
            key_one, jnp.log(jnp.asarray(odds, jnp.float32)), shape=shape
        )
    else:
        drawn = jax.random.randint(key_one, shape, 0, jnp.maximum(n, 1))
    one = jnp.broadcast_to(drawn, (batch,))
    chosen = rows == one[:, None]
    if sampling in ("subsets", "mixed"):
        more = _halves(key_more, n_rows, batch)
        if sampling == "mixed":
            more &= jax.random.bernoulli(key_which, 0.5, (batch, 1))
        chosen |= more
    return chosen & (rows < n)


def _nodes_of(
    chosen: Bool[Array, "batch rows"], masks: Bool[Array, "rows layers nodes"]
) -> NodeMask:
    return (chosen[:, :, None, None] & masks[None]).any(axis=1)


def training_inputs(task: Task, recipe: Recipe, seed: int) -> np.ndarray:
    """Return inputs from the training split: int32 `[inputs, pos]`.

    All inputs of the split are used if the task has no padding and at least 16,000 (or
    `recipe.n_samples`, if that is less) and at most `recipe.n_samples` inputs. Otherwise four
    fifths of `n_samples` are drawn uniformly. There are at least `recipe.batch_size` inputs.
    """
    if _has_all_used(task, recipe):
        inputs = task.all_inputs("train")
    else:
        n = n_training_inputs(task, recipe)
        inputs = task.draw(n, np.random.default_rng(seed), "train")
    if len(inputs) < recipe.batch_size:
        inputs = np.resize(inputs, (recipe.batch_size, inputs.shape[1]))
    return inputs


def n_training_inputs(task: Task, recipe: Recipe) -> int:
    """The number of inputs that `training_inputs` returns, computed without drawing them."""
    if _has_all_used(task, recipe):
        return max(recipe.batch_size, len(task.all_inputs("train")))
    return max(recipe.batch_size, int(_TRAIN_SHARE * recipe.n_samples))


def _has_all_used(task: Task, recipe: Recipe) -> bool:
    if task.has_padding:
        return False
    size = task.n_inputs
    return min(_FEWEST, recipe.n_samples) <= size <= recipe.n_samples


def initial_weights(
    task: Task, recipe: Recipe, seed: int, d_mlp: int | None = None
) -> dict[str, Float[Array, "..."]]:
    """Draw normal weights, with zero biases. Source: TransformerLens 1.19, `init_mode="gpt2"`.

    The output weights of nodes outside the circuit are scaled by `recipe.outside_scale`.

    Args:
        task: the task.
        recipe: the recipe that it is trained with.
        seed: random seed for the weights.
        d_mlp: number of hidden units of an MLP; the default is the task's.
    """
    config = replace(task.config, d_mlp=d_mlp or task.config.d_mlp)
    # With the case id in the key, different tasks start, and so end, with different weights.
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(task.case_id.encode()))
    weights = _normal_weights(weight_shapes(config), recipe.initializer_range, key)
    if recipe.outside_scale == 1:
        return weights
    for node in task.nodes_not_in_circuit:
        if node.head is None:
            weights[f"blocks.{node.layer}.mlp.W_out"] *= recipe.outside_scale
        else:
            name = f"blocks.{node.layer}.attn.W_O"
            weights[name] = weights[name].at[node.head].multiply(recipe.outside_scale)
    return weights


def widen_mlps(
    narrow: Mapping[str, Float[Array, "..."]], wide: Mapping[str, Float[Array, "..."]]
) -> dict[str, Float[Array, "..."]]:
    """Return the weights of wider MLPs, whose new hidden units write nothing yet.

    The models compute the same as before.

    Args:
        narrow: the models' weights; each array may have leading axes of models.
        wide: weights of the wider shape, from which the new units take input weights and biases.
    """
    grown = {}
    for name, array in wide.items():
        small = narrow[name]
        base = jnp.zeros_like(array) if name.endswith("mlp.W_out") else array
        grown[name] = base.at[tuple(map(slice, small.shape))].set(small)
    return grown


def _normal_weights(
    shapes: dict[str, tuple[int, ...]], std: float, key: Array
) -> dict[str, Float[Array, "..."]]:
    """Draw each weight with a key of its own; biases are zeros."""
    weights = {name: jnp.zeros(shape, jnp.float32) for name, shape in shapes.items()}
    names = [name for name in shapes if not name.rsplit(".", 1)[1].startswith("b_")]
    keys = {name: jax.random.fold_in(key, index) for index, name in enumerate(shapes)}
    for group in _of_similar_size(names, shapes):
        # Compiling a draw takes most of the time, so one program draws as many entries for each
        # weight as the largest has: a short draw is the beginning of a long one.
        longest = max(math.prod(shapes[name]) for name in group)
        draw = partial(jax.random.normal, shape=(longest,), dtype=jnp.float32)
        rows = jax.vmap(draw)(jnp.stack([keys[name] for name in group]))
        for row, name in enumerate(group):
            entries = rows[row, : math.prod(shapes[name])]
            weights[name] = std * entries.reshape(shapes[name])
    return weights


def _of_similar_size(
    names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[list[str]]:
    """Large weights one by one, so that little is drawn in vain, and all the others together."""
    is_large = {name: math.prod(shapes[name]) > _LARGE for name in names}
    yield from ([name] for name in names if is_large[name])
    if not all(is_large.values()):
        yield [name for name in names if not is_large[name]]
