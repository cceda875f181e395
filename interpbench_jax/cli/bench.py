"""The `bench` command, which benchmarks discovery methods on cases."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from interpbench_jax.cli.bench_output import finish_bench, read_earlier
from interpbench_jax.cli.bench_shards import (
    join_bench,
    options_of_runs,
    refuse_options_of_runs,
    show_shard,
)
from interpbench_jax.cli.compile_cache import NoCacheOption, use_cache
from interpbench_jax.cli.console import (
    EVERY_CASE,
    PACKAGED,
    CasesOption,
    Exit,
    JsonOption,
    ReleaseOption,
    RepoOption,
    RevisionOption,
    choose_cases,
    load,
    split_names,
    stoppable,
)
from interpbench_jax.cli.terminal import has_escapes, say, terminal
from interpbench_jax.storage import make_folder

if TYPE_CHECKING:
    from interpbench_jax.bench.plan import BenchSettings
    from interpbench_jax.bench.run import Status
    from interpbench_jax.cases import TruthName
    from interpbench_jax.names import AblationName

_LINE_EVERY_SECONDS = 15.0

MethodsOption = Annotated[
    str | None,
    typer.Option(
        "--methods",
        "--method",
        metavar="eap,acdc,...",
        help="Methods by name (`interpbench methods` lists them), or package.module:function for "
        "a custom one.",
        show_default="all",
    ),
]
OrdersOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Number of edge orders to run, for methods whose result depends on the order: the "
        "method's own first, then random ones.",
    ),
]
AblationsOption = Annotated[
    str,
    typer.Option(
        metavar="resample,...",
        help="What replaces a node's output: resample, mean, zero, optimal.",
    ),
]


TruthOption = Annotated[
    Literal["complete", "upstream"],
    typer.Option(help="Score against all edges that the program uses, or upstream's list."),
]
InputsOption = Annotated[
    int | None,
    typer.Option(
        "--n",
        help="Number of input pairs.",
        min=1,
        max=1_000_000,
        show_default="1000, or 100 for a language task",
    ),
]
SeedsOption = Annotated[
    str,
    typer.Option(metavar="0,1,...", help="Random seeds for sampling inputs and for the methods."),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="i/n",
        help="Run only share i of n, from 0, on this machine, in a folder within DIR.",
        show_default=False,
    ),
]
JoinOption = Annotated[
    bool, typer.Option("--join", help="Run nothing; join all shards in DIR into one benchmark.")
]


def bench(
    context: typer.Context,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Results folder.", show_default=False),
    ],
    cases: CasesOption = EVERY_CASE,
    release: ReleaseOption = "1.0.0",
    methods: MethodsOption = None,
    seeds: SeedsOption = "0",
    orders: OrdersOption = 8,
    ablations: AblationsOption = "resample",
    n: InputsOption = None,
    truth: TruthOption = "complete",
    shard: ShardOption = None,
    join: JoinOption = False,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots.")] = True,
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Run discovery methods on cases and score them against the known circuits.

    Writes results.parquet, scores.parquet, curves.parquet, results.md and plots;
    `interpbench report DIR` makes a page of them. Finished runs are stored in
    DIR/parts, so that the same command resumes an interrupted benchmark. A failed
    run does not stop the others; the exit code is then 1.

    On several machines, run the command with --shard 0/3, 1/3 and 2/3, and then
    `interpbench bench -o DIR --join`.
    """
    if join:
        refuse_options_of_runs(context)
        raise typer.Exit(join_bench(output, plots=plots, as_json=as_json))
    from interpbench_jax.bench.shards import Shard

    part = None if shard is None else Shard.parse(shard)
    names = choose_cases(split_names(cases, "--cases"), release)
    wanted_seeds = _numbers(seeds, "--seeds")
    use_cache(no_cache)
    from interpbench_jax.bench.run import run_bench, run_shard

    settings = _settings(methods, ablations, wanted_seeds, n, orders, truth)
    loaded = [load(name, repo, revision) for name in names]
    _warn_of_failures(names)
    make_folder(output)
    started = time.perf_counter()
    if part is None:
        earlier = read_earlier(output)
        with _resumable(output) as report:
            outcome = run_bench(loaded, settings, output, report)
        finish_bench(
            output,
            outcome,
            earlier,
            settings.ablations,
            plots=plots,
            as_json=as_json,
            seconds=time.perf_counter() - started,
        )
    else:
        options = options_of_runs(context)
        with _resumable(output / part.folder_name) as report:
            outcome = run_shard(loaded, settings, output, part, report, options=options)
        show_shard(output, part, outcome, time.perf_counter() - started, as_json)
    raise typer.Exit(Exit.CHECK_FAILED if outcome.failures else Exit.DONE)


def _settings(
    methods: str | None,
    ablations: str,
    seeds: tuple[int, ...],
    n: int | None,
    orders: int,
    truth: "TruthName",
) -> "BenchSettings":
    from interpbench_jax.bench.plan import BenchSettings, choose_methods
    from interpbench_jax.discovery import METHODS

    return BenchSettings(
        methods=choose_methods(split_names(methods, "--methods") if methods else list(METHODS)),
        ablations=cast("tuple[AblationName, ...]", tuple(split_names(ablations, "--ablations"))),
        seeds=seeds,
        n_inputs=n,
        orders=orders,
        truth=truth,
    )


@contextmanager
def _resumable(folder: Path) -> "Iterator[Callable[[Status], None]]":
    """Show the progress of runs whose parts are in a folder, and say how to resume them."""
    from interpbench_jax.bench.parts import PARTS_FOLDER

    kept = f"Finished runs are in {folder / PARTS_FOLDER}; run the same command to resume."
    with stoppable(lambda: kept), _progress() as report:
        yield report


def _warn_of_failures(names: Sequence[str]) -> None:
    """Warn of models in folders that may not have the circuit that they are scored by."""
    from interpbench_jax.texts import count, cut_off

    folders = [folder for name in names if (folder := Path(name).expanduser()).is_dir()]
    failing = [folder.name for folder in folders if _has_bad_certificate(folder)]
    if failing:
        say(
            f"Warning: the certificate of {count(len(failing), 'model')} does not pass or cannot "
            f"be read, so the known circuit may not be the model's: {cut_off(failing, 8)}.",
            stderr=True,
        )


def _has_bad_certificate(folder: Path) -> bool:
    from interpbench_jax.certificates import CERTIFICATE_FILE, read_certificate

    try:
        return (folder / CERTIFICATE_FILE).is_file() and bool(read_certificate(folder).failures())
    except (OSError, ValueError):
        return True


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in split_names(text, option))
    except ValueError:
        raise ValueError(
            f"Expected {option} to be comma-separated numbers, such as 0,1; got {text!r}."
        ) from None


@contextmanager
def _progress() -> "Iterator[Callable[[Status], None]]":
    """Show progress on standard error: a bar on a terminal, occasional lines elsewhere."""
    if not has_escapes(stderr=True):
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=terminal(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None, left="")

        def report(status: "Status") -> None:
            bar.update(
                task,
                description=str(status.run or "done"),
                completed=status.done,
                total=status.total,
                left=_left(status),
            )

        yield report


class _Lines:
    """Callback that prints the progress, at most once in `_LINE_EVERY_SECONDS`."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def __call__(self, status: "Status") -> None:
        if time.perf_counter() - self._last >= _LINE_EVERY_SECONDS:
            self._last = time.perf_counter()
            line = f"{status.done} of {status.total} runs done; {status.run or 'done'}"
            say(f"{line}; {_left(status)}", stderr=True)


def _left(status: "Status") -> str:
    seconds = status.seconds_left
    if seconds is None:
        return "time left unknown"
    minutes, rest = divmod(round(seconds), 60)
    return f"about {minutes}:{rest:02d} left"
