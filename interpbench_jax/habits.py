"""Hooks, names and caches as TransformerLens's users write them.

Every form with one clear meaning works; for any other, the error message says what to write.
"""

import difflib
import html
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import jax
from jaxtyping import Array

from interpbench_jax.config import TransformerConfig
from interpbench_jax.display import html_table
from interpbench_jax.model.transformer import hook_nodes
from interpbench_jax.sites import Node, parse_node
from interpbench_jax.texts import count, cut_off

Hook = Callable[[Array], Array]
Named = str | Node
# One hook, several, or a function that takes a hook's name and returns whether to select it.
Names = Named | Iterable[Named] | Callable[[str], bool]
Hooks = Mapping[str, Hook] | Mapping[Node, Hook] | Iterable[tuple[Names, Hook]]


@jax.tree_util.register_pytree_with_keys_class
class ActivationCache(dict[str, Array]):
    """Activations by the names of their hooks, in the order in which they were requested.

    This is a dictionary in which `cache["pattern", 1]` also gives
    `cache["blocks.1.attn.hook_pattern"]`, as in TransformerLens.
    """

    def __getitem__(self, key: str | Node | tuple[str, int]) -> Array:
        return super().__getitem__(key)  # pyright: ignore[reportArgumentType]

    def __missing__(self, key: object) -> Array:
        if isinstance(key, Node):
            return self[str(key)]
        if isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str):
            start, end = f"blocks.{key[1]}.", f".hook_{key[0]}"
            found = [name for name in self if name.startswith(start) and name.endswith(end)]
            if len(found) == 1:
                return self[found[0]]
        near = difflib.get_close_matches(str(key), self, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise KeyError(
            f"Expected one of the {len(self)} recorded hooks, got {key!r}{hint} Only hooks among "
            "`names` are recorded."
        )

    def __repr__(self) -> str:
        shapes = [f"{name} {[*array.shape]}" for name, array in self.items()]
        return f"ActivationCache({count(len(self), 'activation')}: {cut_off(shapes)})"

    def _repr_html_(self) -> str:
        rows = [(name, str([*array.shape]), str(array.dtype)) for name, array in self.items()]
        title = f"{count(len(self), 'activation')}; cache[name] gives one"
        table = html_table(title, ("name", "shape", "type"), rows)
        return f"<details><summary>{html.escape(repr(self))}</summary>{table}</details>"

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Array]], tuple[str, ...]]:
        return [(jax.tree_util.DictKey(name), array) for name, array in self.items()], (*self,)

    def tree_flatten(self) -> tuple[list[Array], tuple[str, ...]]:
        return [*self.values()], (*self,)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], arrays: Iterable[Array]) -> "ActivationCache":
        return cls(zip(names, arrays, strict=True))


def read_names(config: TransformerConfig, names: Names | None) -> tuple[Node, ...]:
    """The selected hooks, each once; None selects all.

    Raises:
        TypeError: if something is neither a name nor a node.
        ValueError: if the model has no such hook, or a filter selects none.
    """
    if names is None:
        return hook_nodes(config)
    if isinstance(names, str | Node):
        names = (names,)
    if callable(names):
        chosen = tuple(node for node in hook_nodes(config) if names(str(node)))
        if not chosen:
            raise ValueError(
                "Expected a filter that selects at least one hook, got one that selects none."
            )
        return chosen
    return tuple(dict.fromkeys(_read_name(config, name) for name in names))


def read_hooks(config: TransformerConfig, hooks: Hooks) -> dict[Node, Hook]:
    """The function for each hook, from a mapping or a list of pairs.

    Raises:
        TypeError: if a function cannot take exactly one argument, or an item is not a pair.
        ValueError: if the model has no such hook, or a hook has two functions.
    """
    pairs = list(hooks.items() if isinstance(hooks, Mapping) else hooks)
    found: dict[Node, Hook] = {}
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                "Expected hooks as {name: function}, or as pairs (name, function), got "
                f"{pair!r:.100}."
            )
        names, function = cast("tuple[Names, Hook]", pair)
        _check_function(names, function)
        for node in read_names(config, names):
            if node in found:
                raise ValueError(
                    f"Expected one function for each hook, got two for {node}; write one that does "
                    "both."
                )
            found[node] = function
    return found


def _read_name(config: TransformerConfig, name: object) -> Node:
    if not isinstance(name, str | Node):
        raise TypeError(f"Expected the name of a hook or a node, got {name!r:.100}.")
    node = parse_node(name) if isinstance(name, str) else name
    if node.hook not in hook_nodes(config) or (node.head or 0) >= config.n_heads:
        raise ValueError(
            f"Expected a hook of a model with {config.n_layers} layers of {config.n_heads} heads "
            f"and normalization {config.normalization_type}, got {node}; "
            "`interpbench_jax.hook_names(model.config)` lists them."
        )
    return node


def _check_function(names: Any, function: Any) -> None:
    if not callable(function):
        raise TypeError(
            f"Expected a function of the activation for {names!s:.80}, got {function!r:.80}."
        )
    try:
        signature = inspect.signature(function)
    except ValueError:  # Some built-in functions have no signature.
        return
    try:
        signature.bind(None)
    except TypeError:
        raise TypeError(
            f"Expected the function for {names!s:.80} to take one argument, the activation, got "
            f"one that takes {len(signature.parameters)}: TransformerLens also passes the hook "
            "point, which here is the name given with the function. Write: lambda activation: ..."
        ) from None
