"""The shards of the `bench` command: what is printed of one, and joining all."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from interpbench_jax.cli.bench_output import (
    failed_runs,
    finish_bench,
    read_earlier,
    runs_as_json,
    summary,
)
from interpbench_jax.cli.console import Exit, print_json
from interpbench_jax.cli.terminal import say, show_all
from interpbench_jax.texts import cut_off

if TYPE_CHECKING:
    from interpbench_jax.bench.outcome import BenchOutcome
    from interpbench_jax.bench.shards import Shard

# The options that do not decide what is run: all that joining can use, and the shard.
_OF_OUTPUT = ("output", "plots", "as_json", "join")
_SHARD = "shard"


def options_of_runs(context: typer.Context) -> list[str]:
    """Return the options of the command line that decide what a benchmark runs."""
    given = _given(context)
    return [word for name, words in given if name not in (*_OF_OUTPUT, _SHARD) for word in words]


def refuse_options_of_runs(context: typer.Context) -> None:
    """Refuse options that mean nothing to `--join`.

    Raises:
        ValueError: if there are any.
    """
    others = [" ".join(words) for name, words in _given(context) if name not in _OF_OUTPUT]
    if others:
        raise ValueError(
            f"Expected --join with no options but -o, --plots and --json, got {', '.join(others)}; "
            "leave them out, because joining runs nothing."
        )


def join_bench(folder: Path, *, plots: bool, as_json: bool) -> Exit:
    """Join the shards in a folder, write and print the benchmark, and return the exit code.

    Raises:
        OSError: if there are no shards, or a file cannot be read or written.
        ValueError: if the shards cannot be joined.
    """
    from interpbench_jax.bench.join import join_shards

    started = time.perf_counter()
    joined = join_shards(folder)
    devices = sorted({row.device for row in joined.outcome.results})
    if len(devices) > 1:
        say(
            f"The shards ran on several kinds of device ({cut_off(devices)}), so that times are "
            "not comparable.",
            stderr=True,
        )
    if joined.failed:
        names = cut_off([str(shard) for shard in joined.failed], 10)
        say(f"Failed runs are in {names}; run these shards again to retry them.", stderr=True)
    finish_bench(
        folder,
        joined.outcome,
        read_earlier(folder),
        joined.plan.ablations,
        plots=plots,
        as_json=as_json,
        seconds=time.perf_counter() - started,
    )
    return Exit.CHECK_FAILED if joined.outcome.failures else Exit.DONE


def show_shard(
    folder: Path, shard: "Shard", outcome: "BenchOutcome", seconds: float, as_json: bool
) -> None:
    """Print how the runs of one shard went; its results mean little without the others."""
    from interpbench_jax.bench.times import failures_grid, times_grid
    from interpbench_jax.report.grids import as_rich

    where = folder / shard.folder_name
    if as_json:
        print_json({"shard": str(shard), **runs_as_json(where, outcome, seconds)})
        return
    grids = [times_grid(outcome.times)] if outcome.n_runs else []
    if outcome.failures:
        grids.append(failures_grid(failed_runs(outcome)))
    show_all(map(as_rich, grids))
    say(
        f"Shard {shard}: {summary(outcome, seconds)} Written to {where}. When all {shard.of} "
        f"shards are finished, run `interpbench bench -o {folder} --join`."
    )


def _given(context: typer.Context) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the words of each option on the command line."""
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        if isinstance(value, bool):
            yield name, [(option.opts if value else option.secondary_opts)[0]]
        else:
            yield name, [option.opts[0], str(value)]
