"""The command that compiles ahead of time."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench_jax.cli.compile_cache import NoCacheOption, clear_cache, measure_cache, use_cache
from interpbench_jax.cli.console import PACKAGED, choose_cases, load, progress
from interpbench_jax.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from interpbench_jax.case import Case


def warmup(
    cases: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH|ID]...", help="Cases.", show_default="the packaged RASP cases"
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", help="For sweeps of so many inputs.", min=1, max=65_536)
    ] = 1000,
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete all programs that are kept, and no more.")
    ] = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Compile and keep the programs of `sweep`, so that later runs start at once.

    They are those of each case's default sweeps, of edges and of nodes, and of a
    sweep of all these cases together. They are kept in the user's cache directory,
    or where INTERPBENCH_CACHE says.
    """
    if clear:
        folder, held = clear_cache()
        say(f"{held.programs} programs ({held.n_bytes / 1e6:.1f} MB) deleted from {folder}.")
        return
    folder = use_cache(no_cache)
    if folder is None:
        raise ValueError("Expected a folder to keep compiled programs in, got none.")
    started = time.perf_counter()
    before = measure_cache(folder)
    loaded = [load(case, PACKAGED, None) for case in choose_cases(cases or ["all"])]
    steps = list(_sweeps(loaded, n))
    with progress("compiling", hidden=False) as report:
        for number, step in enumerate(steps):
            step()
            if report is not None:
                report(number + 1, len(steps))
    kept = measure_cache(folder)
    say(
        f"{len(loaded)} cases in {time.perf_counter() - started:.1f} s: "
        f"{kept.programs - before.programs} programs compiled, {kept.programs} kept in {folder} "
        f"({kept.n_bytes / 1e6:.1f} MB)."
    )


def _sweeps(cases: "Sequence[Case]", n: int) -> "Iterator[Callable[[], object]]":
    """Sweeps that between them take every program."""
    from functools import partial

    from interpbench_jax.cli.pairs import draw_pairs
    from interpbench_jax.sweeps import sweep_edges, sweep_many, sweep_nodes

    pairs = [draw_pairs(case, n, 0, None).pairs for case in cases]
    for case, inputs in zip(cases, pairs, strict=True):
        yield partial(sweep_edges, case.model, inputs)
        yield partial(sweep_nodes, case.model, inputs)
    if len(cases) > 1:
        yield partial(sweep_many, [case.model for case in cases], pairs)
