"""The `sweep` command, for one case or several."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict, cast

import typer

from interpbench_jax.cli.compile_cache import NoCacheOption, use_cache
from interpbench_jax.cli.console import (
    PACKAGED,
    CounterfactualOption,
    JsonOption,
    ReleaseOption,
    RepoOption,
    RevisionOption,
    choose_cases,
    load,
    print_json,
    progress,
    stoppable,
)
from interpbench_jax.cli.pairs import draw_pairs
from interpbench_jax.cli.terminal import say, show
from interpbench_jax.names import AblationName, MetricName, UniverseName
from interpbench_jax.texts import count

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from interpbench_jax.case import Case
    from interpbench_jax.inputs import Drawn
    from interpbench_jax.sites import Edge, Node
    from interpbench_jax.sweeps import SweepOptions, SweepResult
    from interpbench_jax.sweeps.check import Ablations, Positions

    Result = SweepResult[Edge] | SweepResult[Node]


class AblationChoice(StrEnum):
    """The ablations by name, as an enum, because typer accepts no list of literals."""

    RESAMPLE = "resample"
    MEAN = "mean"
    ZERO = "zero"
    OPTIMAL = "optimal"


CasesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH|ID|all...",
        help="Cases: folders with their files (in our layout or upstream's), or case ids; 'all' "
        "for the packaged RASP cases.",
        show_default=False,
    ),
]
AblationOption = Annotated[
    list[AblationChoice] | None,
    typer.Option(help="What replaces a node's output; repeatable.", show_default="resample"),
]
MetricOption = Annotated[
    MetricName | None,
    typer.Option(
        help="Metric for scoring each patched run.",
        show_default="kl, l2 for a regression, logit_diff for a language task",
    ),
]
PositionsOption = Annotated[
    str,
    typer.Option(
        metavar="all|each|0,3,4",
        help="Positions to patch: all at once, each one alone, or each of the listed ones alone.",
    ),
]
MaxBytesOption = Annotated[
    int | None,
    typer.Option(
        help="Memory limit for the compiled programs, in bytes.",
        min=1,
        show_default="512 MiB on a CPU, 4 GiB elsewhere",
    ),
]
SaveToOption = Annotated[
    Path | None,
    typer.Option(
        "--save-to",
        help="Folder for finished parts (one case only), from which an interrupted sweep resumes; "
        "effects.parquet is written there at the end.",
        show_default=False,
    ),
]


class Settings(TypedDict):
    """The settings of a case's sweep, besides its inputs."""

    universe: UniverseName
    ablation: "Ablations"
    metric: MetricName | None
    positions: "Positions"
    freeze_layer_norm: bool


@dataclass(frozen=True)
class SweptCase:
    """A case and the inputs that it is swept on."""

    case: "Case"
    drawn: "Drawn"


@dataclass(frozen=True)
class Swept:
    """The results of a sweep, by case.

    Attributes:
        subjects: the cases with their inputs.
        results: the result of each case.
        seconds: the time for all of them.
        resumed: the number of calls done before and the total; None if none were done before.
    """

    subjects: "Sequence[SweptCase]"
    results: "Sequence[Result]"
    seconds: float
    resumed: tuple[int, int] | None

    def parts(self) -> "Iterator[tuple[SweptCase, Result]]":
        """Yield each case with its result for each ablation."""
        for subject, result in zip(self.subjects, self.results, strict=True):
            for ablation in result.ablations:
                yield subject, result.of(ablation)

    @property
    def patched_runs(self) -> int:
        """The number of patched runs: one for each edit and input."""
        return sum(result.effects.size * result.n_inputs for result in self.results)


def sweep(
    cases: CasesArgument,
    release: ReleaseOption = "1.0.0",
    nodes: Annotated[bool, typer.Option("--nodes/--edges", help="Patch nodes or edges.")] = False,
    ablation: AblationOption = None,
    metric: MetricOption = None,
    universe: Annotated[
        UniverseName,
        typer.Option(help="Edges to patch (with --nodes: their source nodes)."),
    ] = "qkv",
    positions: PositionsOption = "all",
    n: Annotated[int, typer.Option("--n", help="Number of input pairs.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Random seed for sampling inputs.", min=0)] = 0,
    counterfactual: CounterfactualOption = None,
    top: Annotated[int, typer.Option(help="Number of effects to show; 0 for all.", min=0)] = 20,
    max_bytes: MaxBytesOption = None,
    devices: Annotated[
        int | None,
        typer.Option(help="Number of devices to use.", min=1, show_default="one"),
    ] = None,
    save_to: SaveToOption = None,
    freeze_layer_norm: Annotated[
        bool,
        typer.Option(
            "--freeze-layer-norm", help="Freeze layer-norm divisors at their clean-run values."
        ),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain on standard error how the sweep runs.")
    ] = False,
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Patch every edge (or node) of a case and compare the effects with its circuit.

    Several cases give a table, one row per case and ablation. Compiled programs
    are cached for later runs in the user's cache directory, or in INTERPBENCH_CACHE
    if it is set.
    """
    where = _read_positions(positions)
    names = choose_cases(cases, release)
    if save_to is not None and len(names) > 1:
        raise ValueError(f"Expected one case with --save-to, got {len(names)}.")
    use_cache(no_cache)
    loaded = [load(name, repo, revision) for name in names]
    subjects = [SweptCase(case, draw_pairs(case, n, seed, counterfactual)) for case in loaded]
    settings = Settings(
        universe=universe,
        ablation=_read_ablations(ablation or [AblationChoice.RESAMPLE]),
        metric=metric,
        positions=where,
        freeze_layer_norm=freeze_layer_norm,
    )
    from interpbench_jax.sweeps import SweepOptions

    options = SweepOptions(
        max_bytes=max_bytes,
        mesh=None if devices is None else _mesh(devices),
        save_to=save_to,
    )
    with stoppable(lambda: _how_to_go_on(save_to)):
        found = _run(subjects, settings, options, nodes, hidden=as_json)
    if explain:
        _explain(found)
    if as_json:
        print_json(_as_json(found))
    elif len(subjects) == 1:
        _print_one(found, top)
    else:
        _print_many(found, seed)


def _how_to_go_on(save_to: Path | None) -> str:
    """Say what was saved of an interrupted sweep, and how to resume it."""
    from interpbench_jax.storage.store import count_done

    if save_to is None:
        return "Nothing was saved; a sweep with --save-to FOLDER can be resumed."
    done = count_done(save_to)
    if done is None:
        return f"Nothing was finished yet; the same command starts again in {save_to}."
    return f"{done[0]} of {done[1]} calls are saved in {save_to}; run the same command to resume."


def _read_ablations(choices: Sequence[AblationChoice]) -> "Ablations":
    """Return one ablation by itself, or several as a tuple."""
    ablations = cast("tuple[AblationName, ...]", tuple(choice.value for choice in choices))
    return ablations[0] if len(ablations) == 1 else ablations


def _read_positions(text: str) -> "Positions":
    if text == "all" or text == "each":
        return text
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"Expected --positions to be 'all', 'each' or numbers such as 0,3,4; got {text!r}."
        ) from None


def _mesh(devices: int) -> "Mesh":
    import jax

    from interpbench_jax.sweeps import sweep_mesh

    available = jax.device_count()
    if devices > available:
        raise ValueError(
            f"Expected --devices to be at most {available}, the number that JAX finds, got "
            f"{devices}. To split a CPU into that many, set JAX_NUM_CPU_DEVICES={devices}."
        )
    return sweep_mesh(devices)


def _run(
    subjects: Sequence[SweptCase],
    settings: Settings,
    options: "SweepOptions",
    nodes: bool,
    hidden: bool,
) -> Swept:
    """Sweep the cases together if possible, otherwise one after another."""
    from interpbench_jax.pairs import Pairs
    from interpbench_jax.storage.store import count_done
    from interpbench_jax.sweeps import sweep_edges, sweep_many, sweep_nodes

    resumed = None if options.save_to is None else count_done(Path(options.save_to))
    in_memory = [each.drawn.source for each in subjects if isinstance(each.drawn.source, Pairs)]
    alone = nodes or settings["positions"] != "all" or options.mesh is not None
    alone = alone or len(in_memory) < len(subjects)
    with progress("patching", hidden=hidden) as report:
        started = time.perf_counter()
        if len(subjects) > 1 and not alone:
            results: Sequence[Result] = sweep_many(
                [subject.case.model for subject in subjects],
                in_memory,
                universe=settings["universe"],
                ablation=settings["ablation"],
                metric=settings["metric"],
                freeze_layer_norm=settings["freeze_layer_norm"],
                options=replace(options, progress=report),
            )
        else:
            function = sweep_nodes if nodes else sweep_edges
            results = []
            for subject in subjects:
                # The bar counts the calls of a single case, or else the cases.
                inner = report if len(subjects) == 1 else None
                model, pairs = subject.case.model, subject.drawn.source
                how = replace(options, progress=inner)
                results.append(function(model, pairs, options=how, **settings))
                if report is not None and inner is None:
                    report(len(results), len(subjects))
        seconds = time.perf_counter() - started
    return Swept(subjects, results, seconds, resumed)


def _explain(found: Swept) -> None:
    for subject, result in zip(found.subjects, found.results, strict=True):
        title = f"Case {subject.case.case_id}. " if len(found.subjects) > 1 else ""
        say(f"{title}{result.plan}", stderr=True)


def _as_json(found: Swept) -> dict[str, object]:
    """Return the values of one sweep, or those of several as a list."""
    from interpbench_jax.report import sweep_as_json

    parts = [
        (
            {"case_id": subject.case.case_id, "inputs": subject.drawn.description},
            sweep_as_json(result, subject.case.circuit),
        )
        for subject, result in found.parts()
    ]
    if len(parts) == 1:
        ((head, values),) = parts
        return {**head, "seconds": found.seconds, **values}
    return {
        "seconds": found.seconds,
        "patched_runs": found.patched_runs,
        "sweeps": [head | values for head, values in parts],
    }


def _print_one(found: Swept, top: int) -> None:
    """Print the effects and areas of one case, for every ablation."""
    from interpbench_jax.report import areas_by_universe, auc_table, effect_rows, effects_table

    (subject,) = found.subjects
    case = subject.case
    for _, result in found.parts():
        rows = effect_rows(result, case.circuit)
        at = "" if result.positions is None else f" at {len(result.positions)} positions"
        title = (
            f"Case {case.case_id}: {len(result.names)} {_kind(result)}{at}, {result.ablation} "
            f"ablation, effect as {result.metric}"
        )
        show(effects_table(title, rows, top or len(rows)))
        areas = areas_by_universe(result, case.circuit)
        if areas:
            what = "Effects" if result.positions is None else "Largest effects over positions"
            title = f"{what} against the known circuit"
            show(auc_table(title, areas, result.level or "edge"))
    if case.circuit is None:
        say("This case has no known circuit, so there is nothing to compare with.")
    (result,) = found.results
    say(
        f"Inputs: {subject.drawn.description}. {count(result.effects.size, 'edit')} x "
        f"{count(result.n_inputs, 'input')} {_took(found)}"
    )


def _print_many(found: Swept, seed: int) -> None:
    """Print one row for each case and ablation."""
    from interpbench_jax.report import sweep_row, sweeps_table

    rows = [
        sweep_row(subject.case.case_id, result, subject.case.circuit)
        for subject, result in found.parts()
    ]
    first = found.results[0]
    title = f"{len(found.subjects)} cases, {_kind(first)}"
    show(sweeps_table(title, rows, first.positions is not None))
    say(
        f"Inputs of each case: {count(first.n_inputs, 'pair')}, sampled by its task or uniformly "
        f"over its tokens (seed {seed}). "
        f"{found.patched_runs:,} patched runs {_took(found)}"
    )


def _kind(result: "Result") -> str:
    from interpbench_jax.sites import Edge

    return f"{'edges' if isinstance(result.names[0], Edge) else 'nodes'} ({result.universe})"


def _took(found: Swept) -> str:
    if found.resumed is not None:
        done, total = found.resumed
        return f"in {found.seconds:.1f} s (resumed: {done} of {total} calls were already done)."
    rate = found.patched_runs / found.seconds
    return f"in {found.seconds:.1f} s ({rate:,.0f} patched runs per second, compilation included)."
