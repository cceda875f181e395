"""A cache of compiled programs, by the shapes of their arguments; independent of meshes."""

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
        run: the compiled function, for arrays of the shapes that it was compiled for.
        result: the shapes of its results.
        argument_bytes: the memory of its arguments on one device, as reported by XLA.
        result_bytes: the memory of its results, likewise.
        working_bytes: the additional memory that it needs while it runs, likewise.
    """

    run: jax.stages.Compiled
    result: Any
    argument_bytes: int
    result_bytes: int
    working_bytes: int


class Lowered(NamedTuple):
    """A program that has been compiled or is ready to be compiled.

    Attributes:
        key: its key in the cache.
        result: the shapes of its results.
        program: the program if it has been compiled before; else None.
        lowered: the lowered function to compile; None if it has been compiled before.
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
    """Lower a function for arguments of these shapes, for `compile_all`.

    Args:
        function: a function that takes the static arguments, then arrays.
        static: the static arguments, which are hashable.
        arguments: pytrees of arrays.
        where: what `jit` compiles for if that is not the default device, as part of the cache key.
        jit: the transformation that compiles a function of the arrays; the default is `jax.jit`.
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
    """Return the programs, compiling new ones in parallel; they are cached for later calls."""
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
    """Compile with XLA options for CPUs that halve the compile time of these programs.

    The programs also run slightly faster. Options come and go with XLA's releases, so one that XLA
    rejects is left out. If JAX is configured to skip optimizations, they are skipped here too.
    """
    few = jax.config.read("jax_disable_most_optimizations")
    level: dict[str, Any] = {} if few else {"xla_backend_optimization_level": 1}
    for options in (_CPU_OPTIONS | level, level):
        with suppress(jax.errors.JaxRuntimeError, ValueError):
            return lowered.compile(compiler_options=options)
    return lowered.compile()


def n_compiled() -> int:
    """How many programs have been compiled so far, whether or not they are still in the cache."""
    return _n_compiled


def forget_programs() -> None:
    """Free the memory of all compiled programs; they are recompiled when they are needed again."""
    with _compiling:
        _compiled.clear()


def compiled(
    function: Callable[..., Any], static: tuple[Hashable, ...], *arrays: Any
) -> Callable[..., Any]:
    """A function of static arguments and arrays, compiled once for each set of shapes."""
    (program,) = compile_all(lower(function, static, *arrays))
    return program.run


def run_calls(
    function: Callable[..., Any],
    static: tuple[Hashable, ...],
    calls: Sequence[tuple[Any, ...]],
    workers: int,
) -> list[Any]:
    """`function(*static, *call)` for each call, in threads; all calls have equal shapes."""
    program = compiled(function, static, *calls[0])
    if workers == 1 or len(calls) == 1:
        return [program(*call) for call in calls]

    def finish(call: tuple[Any, ...]) -> Any:
        # A program runs while its thread waits for it, so each thread runs one call at a time.
        return jax.block_until_ready(program(*call))

    return list(worker_pool(workers).map(finish, calls))


def default_workers() -> int:
    """How many calls run at a time: on a CPU, the number of cores; else one.

    The small operations of one call do not use two cores fully; two calls do.
    """
    if jax.default_backend() != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache
def worker_pool(workers: int) -> ThreadPoolExecutor:
    """A pool of worker threads, for calls of programs that do not wait for one another."""
    # The pool is cached because starting threads takes as long as a small sweep.
    return ThreadPoolExecutor(workers, thread_name_prefix="interpbench")
