"""What training needs of a task, as arrays: its inputs, and which nodes may be interchanged."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from interpbench_jax.cases import Recipe, Task
from interpbench_jax.training.interchange import NodeMask, node_mask
from interpbench_jax.weights import weight_shapes

_TRAIN_SHARE = 0.8
# A task with fewer inputs than this has them repeated, so that an epoch is worth its overhead.
_FEWEST = 16_000

HighLevelMask = Bool[Array, "batch variables"]


class Nodes(NamedTuple):
    """The nodes that training interchanges.

    Attributes:
        aligned: for each component of the program, the low-level nodes that stand for it.
        outside: for each node outside the circuit, itself.
        n_aligned: how many components there are; further rows are padding.
        n_outside: how many nodes outside there are; further rows are padding.
    """

    aligned: Bool[Array, "*tasks variables layers nodes"]
    outside: Bool[Array, "*tasks others layers nodes"]
    n_aligned: Int[Array, "*tasks"]
    n_outside: Int[Array, "*tasks"]


class Draw(NamedTuple):
    """Which nodes one batch interchanges.

    Attributes:
        variables: per example, the components whose values are interchanged.
        aligned: the low-level nodes that stand for them.
        outside: per example, the nodes outside the circuit that are replaced.
    """

    variables: HighLevelMask
    aligned: NodeMask
    outside: NodeMask


def task_nodes(task: Task, n_aligned: int | None = None, n_outside: int | None = None) -> Nodes:
    """The nodes of a task, padded to a number of rows that stacked tasks share.

    Raises:
        ValueError: if the task's model is too small for its program.
    """
    aligned = [node_mask(task.config, nodes) for nodes in task.alignment.values()]
    outside = [node_mask(task.config, (node,)) for node in task.nodes_not_in_circuit]
    blank = np.zeros((task.config.n_layers, task.config.n_heads + 1), bool)

    def stack(rows: list[np.ndarray], size: int | None) -> Array:
        size = max(1, len(rows) if size is None else size)
        return jnp.asarray(np.stack(rows + [blank] * (size - len(rows))))

    return Nodes(
        stack(aligned, n_aligned),
        stack(outside, n_outside),
        jnp.int32(len(aligned)),
        jnp.int32(len(outside)),
    )


def draw_nodes(
    key: Array, nodes: Nodes, batch: int, sampling: str, odds: tuple[float, ...] = ()
) -> Draw:
    """Choose nodes for a batch, as `Recipe.sampling` and `Recipe.variable_odds` say.

    Raises:
        ValueError: if there are odds, but not one for each variable.
    """
    if odds and len(odds) != nodes.aligned.shape[0]:
        raise ValueError(
            f"Expected one of variable_odds for each of {nodes.aligned.shape[0]} variables, got "
            f"{odds}."
        )
    key_aligned, key_outside = jax.random.split(key)
    of_variables = "example" if sampling == "mixed" else sampling
    n_variables = nodes.aligned.shape[0]
    variables = _choose(key_aligned, n_variables, nodes.n_aligned, batch, of_variables, odds)
    outside = _choose(key_outside, nodes.outside.shape[0], nodes.n_outside, batch, sampling)
    return Draw(variables, _nodes_of(variables, nodes.aligned), _nodes_of(outside, nodes.outside))


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
        # A key for each row: what a task draws does not depend on the rows that stacking adds.
        keys = jax.vmap(partial(jax.random.fold_in, key_more))(jnp.arange(n_rows))
        more = jax.vmap(partial(jax.random.bernoulli, p=0.5, shape=(batch,)))(keys).T
        if sampling == "mixed":
            more &= jax.random.bernoulli(key_which, 0.5, (batch, 1))
        chosen |= more
    return chosen & (rows < n)


def _nodes_of(
    chosen: Bool[Array, "batch rows"], masks: Bool[Array, "rows layers nodes"]
) -> NodeMask:
    return (chosen[:, :, None, None] & masks[None]).any(axis=1)


def training_inputs(task: Task, recipe: Recipe, seed: int) -> np.ndarray:
    """Inputs to train on, from the training split: int32 `[inputs, pos]`.

    Every one that there is, where a task has at most `recipe.n_samples` inputs and at least
    16,000; else four fifths of `n_samples`, drawn uniformly.
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
    """How many inputs `training_inputs` gives, without drawing them."""
    if _has_all_used(task, recipe):
        return max(recipe.batch_size, len(task.all_inputs("train")))
    return max(recipe.batch_size, int(_TRAIN_SHARE * recipe.n_samples))


def _has_all_used(task: Task, recipe: Recipe) -> bool:
    size = task.n_inputs
    return min(_FEWEST, recipe.n_samples) <= size <= recipe.n_samples


def initial_weights(
    task: Task, recipe: Recipe, seed: int, d_mlp: int | None = None
) -> dict[str, Float[Array, "..."]]:
    """Normal weights and zero biases. Source: TransformerLens 1.19, `init_mode="gpt2"`.

    What the nodes outside the circuit write is scaled by `recipe.outside_scale`.

    Args:
        task: the task.
        recipe: how it is trained.
        seed: of the numbers.
        d_mlp: hidden units of an MLP; by default the task's.
    """
    config = replace(task.config, d_mlp=d_mlp or task.config.d_mlp)
    weights = _normal_weights(weight_shapes(config), recipe.initializer_range, seed)
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
    """Models with further hidden units, which write nothing yet: they compute the same.

    Args:
        narrow: their weights; each may have axes of models in front.
        wide: weights of that shape, from which the new units take what they read.
    """
    grown = {}
    for name, array in wide.items():
        small = narrow[name]
        base = jnp.zeros_like(array) if name.endswith("mlp.W_out") else array
        grown[name] = base.at[tuple(map(slice, small.shape))].set(small)
    return grown


def _normal_weights(
    shapes: dict[str, tuple[int, ...]], std: float, seed: int
) -> dict[str, Float[Array, "..."]]:
    key = jax.random.key(seed)
    weights = {}
    for index, (name, shape) in enumerate(shapes.items()):
        drawn = jax.random.normal(jax.random.fold_in(key, index), shape, jnp.float32)
        is_bias = name.rsplit(".", 1)[1].startswith("b_")
        weights[name] = jnp.zeros(shape, jnp.float32) if is_bias else std * drawn
    return weights
