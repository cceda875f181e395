"""Programs that have been compiled, kept by the shapes of their arguments; no mesh in it."""

import os
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax

_compiled: dict[Hashable, "Program"] = {}
_n_compiled = 0
_compiling = threading.Lock()
_MOST_COMPILED = 256
_CPU_OPTIONS = {"xla_cpu_use_fusion_emitters": False}


class Program(NamedTuple):
    """A compiled program.

    Attributes:
        run: takes arrays of the shapes that it was compiled for.
        result: the shapes of what it gives.
        argument_bytes: memory of its arguments on one device, as XLA accounts for it.
        result_bytes: memory of what it gives.
        working_bytes: memory that it takes beside them while it runs.
    """

    run: jax.stages.Compiled
    result: Any
    argument_bytes: int
    result_bytes: int
    working_bytes: int


class Lowered(NamedTuple):
    """A program that is compiled, or can be.

    Attributes:
        key: what it is kept under.
        result: the shapes of what it gives.
        program: the program, if it has been compiled before.
        lowered: what to compile, if not.
    """

    key: Hashable
    result: Any
    program: Program | None
    lowered: jax.stages.Lowered | None


def lower(
    function: Callable[..., Any],
    static: tuple[Hashable, ...],
    *arguments: Any,
    where: Hashable = None,
    jit: Callable[[Callable[..., Any]], jax.stages.Wrapped] = jax.jit,
) -> Lowered:
    """A function for arguments of these shapes, ready for `compile_all`.

    Args:
        function: takes the static arguments, then arrays.
        static: hashable arguments.
        arguments: pytrees of arrays.
        where: beside the default device, what `jit` compiles for.
        jit: what makes a program of a function of the arrays.
    """
    leaves, structure = jax.tree.flatten(arguments)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    backend = jax.default_backend()
    exact = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    key = (function, static, structure, shapes, where, backend, exact)
    with _compiling:
        program = _compiled.get(key)
    if program is not None:
        return Lowered(key, program.result, program, None)
    lowered = jit(partial(function, *static)).lower(*arguments)
    return Lowered(key, lowered.out_info, None, lowered)


def compile_all(*wanted: Lowered) -> list[Program]:
    """The programs, those that are new compiled side by side; kept for next time."""
    missing = [one for one in wanted if one.program is None]
    if not missing:
        return [one.program for one in wanted if one.program is not None]
    with ThreadPoolExecutor(len(missing)) as pool:
        new = dict(zip((one.key for one in missing), pool.map(_compile, missing), strict=True))
    with _compiling:
        while len(_compiled) + len(new) > _MOST_COMPILED:
            _compiled.pop(next(iter(_compiled)))
        _compiled.update(new)
        global _n_compiled
        _n_compiled += len(new)
    return [new[one.key] if one.program is None else one.program for one in wanted]


def _compile(wanted: Lowered) -> Program:
    lowered = wanted.lowered
    assert lowered is not None
    compiled = _compile_quickly(lowered) if jax.default_backend() == "cpu" else lowered.compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    return Program(
        compiled,
        wanted.result,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.temp_size_in_bytes,
    )


def _compile_quickly(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """With XLA's options for CPUs under which these programs compile in half the time.

    They run a little faster, too. Options come and go with XLA's releases, and it is none of
    ours to fail over one. Where JAX is told to leave optimizations out, that holds here too.
    """
    few = jax.config.read("jax_disable_most_optimizations")
    level: dict[str, Any] = {} if few else {"xla_backend_optimization_level": 1}
    for options in (_CPU_OPTIONS | level, level):
        with suppress(jax.errors.JaxRuntimeError, ValueError):
            return lowered.compile(compiler_options=options)
    return lowered.compile()


def n_compiled() -> int:
    """How many programs have been compiled so far, whether or not they are still kept."""
    return _n_compiled


def forget_programs() -> None:
    """Free the memory of all compiled programs; what is needed again is compiled again."""
    with _compiling:
        _compiled.clear()


def compiled(
    function: Callable[..., Any], static: tuple[Hashable, ...], *arrays: Any
) -> Callable[..., Any]:
    """A function of static arguments, then arrays, compiled once for each shape."""
    (program,) = compile_all(lower(function, static, *arrays))
    return program.run


def run_calls(
    function: Callable[..., Any],
    static: tuple[Hashable, ...],
    calls: Sequence[tuple[Any, ...]],
    workers: int,
) -> list[Any]:
    """`function(*static, *call)` for calls of the same shapes, shared among threads."""
    program = compiled(function, static, *calls[0])
    if workers == 1 or len(calls) == 1:
        return [program(*call) for call in calls]

    def finish(call: tuple[Any, ...]) -> Any:
        # Programs run while their thread waits for them.
        return jax.block_until_ready(program(*call))

    return list(worker_pool(workers).map(finish, calls))


def default_workers() -> int:
    """How many calls run at a time: on a CPU as many as there are cores, else one.

    A call's small operations do not fill two cores; two calls do.
    """
    if jax.default_backend() != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache
def worker_pool(workers: int) -> ThreadPoolExecutor:
    """So many threads, for calls of programs that do not wait for one another."""
    # Kept: starting threads takes as long as a small sweep.
    return ThreadPoolExecutor(workers, thread_name_prefix="interpbench")
