"""The `warmup` command, which compiles programs ahead of time."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench_jax.cli.compile_cache import NoCacheOption, clear_cache, measure_cache, use_cache
from interpbench_jax.cli.console import (
    EVERY_CASE,
    PACKAGED,
    ReleaseOption,
    choose_cases,
    load,
    progress,
)
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
    release: ReleaseOption = "1.0.0",
    n: Annotated[
        int, typer.Option("--n", help="Number of input pairs per sweep.", min=1, max=65_536)
    ] = 1000,
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete all cached programs and exit.")
    ] = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Compile and cache the programs of `sweep`, so that later runs start at once.

    These are the programs of each case's default edge and node sweeps and of one
    sweep of all these cases together. They are stored in the user's cache directory,
    or in INTERPBENCH_CACHE if it is set.
    """
    if clear:
        folder, held = clear_cache()
        say(f"{held.programs} programs ({held.n_bytes / 1e6:.1f} MB) deleted from {folder}.")
        return
    folder = use_cache(no_cache)
    if folder is None:
        raise ValueError("Expected a folder to store compiled programs in, got none.")
    started = time.perf_counter()
    before = measure_cache(folder)
    loaded = [load(case, PACKAGED, None) for case in choose_cases(cases or [EVERY_CASE], release)]
    steps = list(_sweeps(loaded, n))
    with progress("compiling", hidden=False) as report:
        for number, step in enumerate(steps):
            step()
            if report is not None:
                report(number + 1, len(steps))
    kept = measure_cache(folder)
    say(
        f"{len(loaded)} cases in {time.perf_counter() - started:.1f} s: "
        f"{kept.programs - before.programs} programs compiled, {kept.programs} stored in {folder} "
        f"({kept.n_bytes / 1e6:.1f} MB)."
    )


def _sweeps(cases: "Sequence[Case]", n: int) -> "Iterator[Callable[[], object]]":
    """Yield sweeps that together use every program."""
    from functools import partial

    from interpbench_jax.cli.pairs import draw_pairs
    from interpbench_jax.sweeps import sweep_edges, sweep_many, sweep_nodes

    pairs = [draw_pairs(case, n, 0, None).pairs for case in cases]
    for case, inputs in zip(cases, pairs, strict=True):
        yield partial(sweep_edges, case.model, inputs)
        yield partial(sweep_nodes, case.model, inputs)
    if len(cases) > 1:
        yield partial(sweep_many, [case.model for case in cases], pairs)
