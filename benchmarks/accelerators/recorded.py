"""The programs that a piece of code compiles, found by running it on this machine's CPU.

`jax.jit` is replaced before the package is imported, so that every function which the package
compiles is seen, with the shapes of what it is called with.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import SingleDeviceSharding

_real_jit = jax.jit
_recording: list["Recorded"] | None = None


@dataclass(frozen=True)
class Recorded:
    """A compiled function and what it was called with.

    Attributes:
        name: the function's module and name.
        jitted: the function, as `jax.jit` returns it.
        args: the arguments; arrays are given by shape and dtype.
        kwargs: the keyword arguments, likewise.
    """

    name: str
    jitted: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def trace(self) -> Any:
        """Trace the function, which says itself what it is compiled for."""
        return self.jitted.trace(*self.args, **self.kwargs)

    def trace_on(self, device: Any) -> Any:
        """Trace the function for one device."""
        where = SingleDeviceSharding(device)

        def place(leaf: Any) -> Any:
            if isinstance(leaf, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
            return leaf

        args, kwargs = jax.tree.map(place, (self.args, self.kwargs))
        return self.jitted.trace(*args, **kwargs)


class _Jitted:
    """What `jax.jit` returns, noting its calls while there is a recording."""

    def __init__(self, jitted: Any, name: str) -> None:
        self._jitted, self._name = jitted, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._note(args, kwargs)
        return self._jitted(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        self._note(args, kwargs)
        return self._jitted.lower(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jitted, name)

    def _note(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _recording is None:
            return
        leaves = jax.tree.leaves((args, kwargs))
        if not any(isinstance(leaf, Tracer) for leaf in leaves):
            args, kwargs = jax.tree.map(_shape, (args, kwargs))
            _recording.append(Recorded(self._name, self._jitted, args, kwargs))


def watch_jit() -> None:
    """Replace `jax.jit`; call this before the package is imported."""

    def jit(fun: Any = None, /, **options: Any) -> Any:
        if fun is None:
            return partial(jit, **options)
        return _Jitted(_real_jit(fun, **options), _name_of(fun))

    jax.jit = jit


@contextmanager
def recording() -> Iterator[list[Recorded]]:
    """Yield the list to which programs are added when they are called or lowered."""
    global _recording
    _recording = []
    try:
        yield _recording
    finally:
        _recording = None


def distinct(programs: list[Recorded]) -> list[Recorded]:
    """The programs without those of the same function and shapes as an earlier one."""
    found: dict[object, Recorded] = {}
    for program in programs:
        leaves, structure = jax.tree.flatten((program.args, program.kwargs))
        key = (program.name, str(structure), tuple(map(str, leaves)))
        found.setdefault(key, program)
    return list(found.values())


def _shape(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray | np.generic | jax.Array):
        # A random key has a dtype of its own.
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
        dtype = leaf.dtype if is_key else jax.dtypes.canonicalize_dtype(leaf.dtype)
        return jax.ShapeDtypeStruct(leaf.shape, dtype)
    return leaf


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        # The engine compiles `OverModels`, a callable object, around the function of one model.
        function = getattr(function.func, "function", function.func)
    module = function.__module__.removeprefix("interpbench_jax.")
    return f"{module}.{getattr(function, '__qualname__', type(function).__name__)}"
