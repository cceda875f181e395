"""A cache of compiled programs, by the shapes of their arguments; independent of meshes."""

import os
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax

from interpbench_jax.engine.chips import Effort, chip_of

_compiled: dict[Hashable, "Program"] = {}
_n_compiled = 0
_compiling = threading.Lock()
_MOST_COMPILED = 256
# Options that `jax_disable_most_optimizations` sets to its own values.
_LEVELS = ("xla_backend_optimization_level",)


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
        platform: the platform that it is compiled for.
        effort: how much effort the compiler makes.
    """

    key: Hashable
    result: Any
    program: Program | None
    lowered: jax.stages.Lowered | None
    platform: str
    effort: Effort


def lower(
    function: Callable[..., Any],
    static: tuple[Hashable, ...],
    *arguments: Any,
    where: Hashable = None,
    platform: str | None = None,
    effort: Effort = "quick",
    jit: Callable[[Callable[..., Any]], jax.stages.Wrapped] = jax.jit,
) -> Lowered:
    """Lower a function for arguments of these shapes, for `compile_all`.

    Args:
        function: a function that takes the static arguments, then arrays.
        static: the static arguments, which are hashable.
        arguments: pytrees of arrays.
        where: what `jit` compiles for if that is not the default device, as part of the cache key.
        platform: the platform of that; the default is that of the default device.
        effort: how much effort the compiler makes: `"full"` for programs that run for long.
        jit: the transformation that compiles a function of the arrays; the default is `jax.jit`.
    """
    leaves, structure = jax.tree.flatten(arguments)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    platform = jax.default_backend() if platform is None else platform
    # Where the effort makes no difference, programs are shared.
    chip = chip_of(platform)
    effort = "quick" if chip.quick_options == chip.full_options else effort
    exact = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    key = (function, static, structure, shapes, where, platform, effort, exact)
    with _compiling:
        program = _compiled.get(key)
    if program is not None:
        return Lowered(key, program.result, program, None, platform, effort)
    lowered = jit(partial(function, *static)).lower(*arguments)
    return Lowered(key, lowered.out_info, None, lowered, platform, effort)


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
    assert wanted.lowered is not None
    compiled = compile_lowered(wanted.lowered, wanted.platform, wanted.effort)
    memory = compiled.memory_analysis()
    assert memory is not None
    return Program(
        compiled,
        wanted.result,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.temp_size_in_bytes,
    )


def compile_lowered(
    lowered: jax.stages.Lowered, platform: str, effort: Effort
) -> jax.stages.Compiled:
    """Compile with the first set of options for a platform with which XLA succeeds.

    If JAX is configured to skip optimizations, they are skipped here too.
    """
    few = jax.config.read("jax_disable_most_optimizations")
    for options in chip_of(platform).options(effort):
        kept: dict[str, Any] = {
            name: value for name, value in options.items() if not (few and name in _LEVELS)
        }
        with suppress(jax.errors.JaxRuntimeError, ValueError):
            return lowered.compile(compiler_options=kept)
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
    then: Callable[[Any], Any] | None = None,
) -> list[Any]:
    """`function(*static, *call)` for each call, in threads; all calls have equal shapes.

    If `then` is given, the result is `then(function(*static, *call))`, computed by two programs.
    """
    (program,) = compile_all(lower(function, static, *calls[0]))
    after = None if then is None else compiled(then, (), program.result)
    return run_threads(partial(_run_call, program, after), calls, workers)


def _run_call(program: Program, after: Callable[[Any], Any] | None, call: tuple[Any, ...]) -> Any:
    found = program.run(*call)
    return found if after is None else after(found)


def run_threads(
    function: Callable[[Any], Any], arguments: Sequence[Any], workers: int
) -> list[Any]:
    """A function's results for some arguments, in their order, computed in threads."""
    if workers == 1 or len(arguments) == 1:
        return [function(argument) for argument in arguments]

    def finish(argument: Any) -> Any:
        # A program runs while its thread waits for it, so each thread runs one call at a time.
        return jax.block_until_ready(function(argument))

    return list(worker_pool(workers).map(finish, arguments))


def default_workers() -> int:
    """How many calls run at a time: on a CPU, the number of cores; else one.

    The small operations of one call do not use two cores fully; two calls do.
    """
    if not chip_of().has_threads:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache
def worker_pool(workers: int) -> ThreadPoolExecutor:
    """A pool of worker threads, for calls of programs that do not wait for one another."""
    # The pool is cached because starting threads takes as long as a small sweep.
    return ThreadPoolExecutor(workers, thread_name_prefix="interpbench")
