"""The `train` command, which trains models with known circuits."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from interpbench_jax.cli.bars import TrainingBars, training_bars
from interpbench_jax.cli.compile_cache import NoCacheOption, use_cache
from interpbench_jax.cli.console import Exit, JsonOption, print_json, stoppable
from interpbench_jax.cli.terminal import has_escapes, show
from interpbench_jax.extras import needs_extra
from interpbench_jax.names import ReleaseName
from interpbench_jax.storage import make_folder

if TYPE_CHECKING:
    from interpbench_jax.case import Case
    from interpbench_jax.cases import Recipe, Task
    from interpbench_jax.training import EpochRecord, Trained
    from interpbench_jax.training.stack import Stack

LOG_FILE = "log.jsonl"
_MOST_BYTES = 2**30
# By whether the certificate fails.
_VERDICTS = {False: "certificate passed", True: "certificate FAILED"}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The final report on one model.

    Attributes:
        case_id: the id of its task.
        seed: the seed of the model that was kept.
        epochs: the number of epochs until the task was done.
        best_epoch: the epoch after which its weights were taken.
        accuracy: the share of correct outputs on held-out inputs.
        iia: the lowest interchange intervention accuracy, of one variable or several at once.
        strict: the lowest strict accuracy.
        edges: the lowest accuracy with an edge of the program interchanged, or all others cut.
        seconds: the time of those epochs, for all models that were trained together.
        has_reached_target: whether it met the recipe's target.
        was_there: whether it was already trained before this call.
        failures: what its certificate fails in, one sentence each; None if it has not been
            certified.
    """

    case_id: str
    seed: int
    epochs: int
    best_epoch: int
    accuracy: float
    iia: float
    strict: float
    edges: float
    seconds: float
    has_reached_target: bool
    was_there: bool
    failures: tuple[str, ...] | None = None

    @property
    def passed(self) -> bool:
        """Whether its certificate passes or, without one, it met the recipe's target."""
        return self.has_reached_target if self.failures is None else not self.failures


@dataclasses.dataclass(frozen=True)
class TrainingOrder:
    """Instructions for training every stack.

    Attributes:
        directory: the folder for the models, one subfolder each.
        restart: whether to retrain from scratch what is already there.
        certifies: whether each model gets a certificate.
        command: the command line, as provenance records it.
    """

    directory: Path
    restart: bool
    certifies: bool
    command: str


def train(
    cases: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CASE]...", help="Case ids.", show_default=False),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Train every task of a release.")
    ] = False,
    release: Annotated[
        ReleaseName,
        typer.Option(help="Release of InterpBench, or our pilot, whose tasks --all trains."),
    ] = "1.0.0",
    seeds: Annotated[
        int, typer.Option(help="Number of models per case; the best is kept.", min=1)
    ] = 1,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the models, one subfolder each.")
    ] = Path("trained"),
    recipe: Annotated[
        Literal["ours", "released"],
        typer.Option(help="Training recipe: ours for each task, or that of release 1.0.0."),
    ] = "ours",
    epochs: Annotated[
        int | None,
        typer.Option(help="Maximum number of epochs.", min=1, show_default="the recipe's"),
    ] = None,
    certificate: Annotated[
        bool, typer.Option("--certify/--no-certify", help="Whether to certify each model.")
    ] = True,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Retrain finished and interrupted models from scratch."),
    ] = False,
    as_json: JsonOption = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Train models with known circuits, and write each to OUT/CASE/.

    The same command resumes an interrupted training and ends with the same weights; finished
    models are left alone. Exits with 1 if a model's certificate does not pass; with
    --no-certify, if a model misses its recipe's target.
    """
    use_cache(no_cache)
    tasks = _choose_tasks(cases or [], release if everything else None, recipe, epochs)
    make_folder(out)
    _use_every_core()
    order = TrainingOrder(out, restart, certificate, _command(sys.argv[1:]))
    stacks = _stack_tasks(tasks, seeds)
    found: dict[str, Outcome] = {}
    kept = f"Progress is saved in {out}; run the same command to resume."
    with (
        stoppable(lambda: kept),
        training_bars(hidden=as_json or not has_escapes(stderr=True)) as bars,
    ):
        there = {} if restart else _find_trained(out, stacks)
        for stack in stacks:
            # The lock is held until the models are written, beyond the training itself.
            with stack.lock_in(out, "command"):
                found |= _finish(stack, there, order, bars)
    outcomes = [found[task.case_id] for task in tasks]
    passed = all(outcome.passed for outcome in outcomes)
    if as_json:
        models = [dataclasses.asdict(outcome) for outcome in outcomes]
        print_json({"passed": passed, "directory": str(out), "models": models})
    else:
        show(_table(outcomes, out))
    raise typer.Exit(Exit.DONE if passed else Exit.CHECK_FAILED)


def _command(words: Sequence[str]) -> str:
    """Return the command line for a model's provenance, without `--out`: the folder is local."""
    kept, skipped = ["interpbench"], False
    for word in words:
        if not skipped and not word.startswith("--out"):
            kept.append(word)
        skipped = word == "--out"
    return shlex.join(kept)


def _choose_tasks(
    case_ids: Sequence[str], release: ReleaseName | None, recipe: str, epochs: int | None
) -> "list[Task]":
    """Return the named tasks, or all of a release, each with the recipe to train it with."""
    from interpbench_jax.cases import RELEASES, Recipe, find_task

    if bool(release) == bool(case_ids):
        raise ValueError(
            f"Expected the ids of cases, or --all; got {'both' if release else 'neither'}."
        )
    tasks = []
    for task in map(find_task, dict.fromkeys(RELEASES[release] if release else case_ids)):
        own = task.recipe if recipe == "ours" else Recipe.released(task.training)
        own = own if epochs is None else dataclasses.replace(own, epochs=epochs)
        tasks.append(dataclasses.replace(task, recipe=own))
    return tasks


def _use_every_core() -> None:
    """Use one device per CPU core, so that several models are trained at once."""
    import jax

    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)


def _stack_tasks(tasks: "Sequence[Task]", seeds: int) -> "tuple[Stack, ...]":
    with needs_extra("train", "Training"):
        from interpbench_jax.training.stack import stack_tasks
        from interpbench_jax.training.trainer import train_many  # noqa: F401
    return stack_tasks(tasks, range(seeds))


def _find_trained(directory: Path, stacks: "Sequence[Stack]") -> dict[str, Outcome]:
    """Return, by case, the models already trained with the same recipe and seeds.

    Raises:
        ValueError: if a folder holds another model.
        OSError: if its files cannot be read.
    """
    from interpbench_jax.case import is_case_directory

    found = {}
    for stack in stacks:
        for task in stack.tasks:
            folder = directory / task.case_id
            if is_case_directory(folder):
                found[task.case_id] = _read_trained(folder, task, stack.seeds)
    return found


def _read_trained(folder: Path, task: "Task", seeds: Sequence[int]) -> Outcome:
    from interpbench_jax.case import read_case
    from interpbench_jax.storage import read_text
    from interpbench_jax.training import EpochRecord
    from interpbench_jax.weights import digest_weights

    case = read_case(folder)
    made = case.provenance
    expected = {
        "source": "trained",
        "seeds": list(seeds),
        "recipe": task.recipe.without_notes,
        "weights_sha256": digest_weights(case.weights),
    }
    made = {**made, "recipe": _recorded_recipe(made.get("recipe"))}
    differing = [key for key, value in expected.items() if made.get(key) != value]
    differing += [] if case.config == task.config else ["transformer"]
    differing += [] if (folder / LOG_FILE).is_file() else [LOG_FILE]
    if differing:
        raise ValueError(
            f"Expected {folder} to hold no model, or one of this recipe and these seeds; got one "
            f"that differs in {', '.join(differing)}. Retrain it with --restart, or write to "
            "another folder with --out."
        )
    lines = read_text(folder / LOG_FILE, _MOST_BYTES).splitlines()
    log = [EpochRecord.from_json(line) for line in lines]
    return _describe(case, log, task.recipe, was_there=True)


def _recorded_recipe(record: object) -> "Recipe | None":
    """The recipe of a model's provenance without its notes; None if that records no recipe."""
    from interpbench_jax.cases import Recipe

    if not isinstance(record, Mapping):
        return None
    try:
        return Recipe.from_record(record).without_notes
    except ValueError:
        return None


def _finish(
    stack: "Stack", there: Mapping[str, Outcome], order: TrainingOrder, bars: "TrainingBars | None"
) -> dict[str, Outcome]:
    """Train a stack's missing models, and certify the models without a certificate."""
    from interpbench_jax.training import train_many
    from interpbench_jax.training.stack import Stack

    kept = {task.case_id: there[task.case_id] for task in stack.tasks if task.case_id in there}
    # An interrupted training run is resumed as a unit, because its models train together.
    if not order.restart and not stack.is_begun_in(order.directory):
        left = tuple(task for task in stack.tasks if task.case_id not in kept)
        stack = Stack(left, stack.seeds, stack.recipe)
    found = dict(kept)
    if stack.tasks:
        if order.restart:
            stack.remove_from(order.directory)
        report = None if bars is None else bars.begin(stack)
        results = train_many(
            stack.tasks, seeds=stack.seeds, directory=order.directory, progress=report
        )
        for task, trained in zip(stack.tasks, results, strict=True):
            case = _write(trained, order)
            found[task.case_id] = _describe(case, trained.log, task.recipe, was_there=False)
        if bars is not None:
            bars.end()
        stack.remove_from(order.directory)
    if order.certifies:
        for case_id, outcome in found.items():
            failures = _certify(order.directory / case_id)
            found[case_id] = dataclasses.replace(outcome, failures=failures)
    return found


def _write(trained: "Trained", order: TrainingOrder) -> "Case":
    """Write a model after its log, so that a folder with a `config.json` has both."""
    from interpbench_jax.storage import write_file

    folder = order.directory / trained.case.case_id
    make_folder(folder)
    case = dataclasses.replace(
        trained.case, provenance={**trained.case.provenance, "command": order.command}
    )
    lines = [record.to_json() + "\n" for record in trained.log]
    write_file(folder / LOG_FILE, "".join(lines))
    case.save(folder)
    return case


def _certify(folder: Path) -> tuple[str, ...]:
    """Certify the model in a folder, unless it has a certificate of its weights; what fails."""
    from interpbench_jax.case import read_case
    from interpbench_jax.certificates import CERTIFICATE_FILE, read_certificate
    from interpbench_jax.certificates.measure import certify
    from interpbench_jax.weights import digest_weights

    case = read_case(folder)
    if (folder / CERTIFICATE_FILE).is_file():
        own = read_certificate(folder)
        if own.weights_sha256 == digest_weights(case.weights):
            return own.failures()
    made = certify(case)
    made.save(folder)
    return made.failures()


def _describe(
    case: "Case", log: "Sequence[EpochRecord]", recipe: "Recipe", was_there: bool
) -> Outcome:
    import numpy as np

    seed, epoch = case.provenance["seed"], case.provenance["epoch"]
    (best,) = (record for record in log if (record.seed, record.epoch) == (seed, epoch))
    seconds = {each.epoch: each.training_seconds + each.validation_seconds for each in log}
    return Outcome(
        case_id=case.case_id,
        seed=best.seed,
        epochs=max(seconds),
        best_epoch=best.epoch,
        accuracy=best.accuracy,
        iia=min(best.iia, best.joint),
        strict=best.strict,
        edges=best.edges,
        seconds=sum(seconds.values()),
        has_reached_target=bool(np.float32(best.lowest) >= np.float32(recipe.target)),
        was_there=was_there,
    )


def _table(outcomes: Sequence[Outcome], directory: Path) -> Table:
    table = Table(
        title=f"Models in {directory}",
        caption="Accuracies are on held-out inputs; seconds are for all models trained together. "
        "`interpbench certify FOLDER` says what a certificate fails in.",
        title_justify="left",
        caption_justify="left",
        box=None,
        header_style="bold",
    )
    lowest = ("lowest IIA", "lowest strict", "lowest edge")
    headers = ("case", "seed", "epochs", "accuracy", *lowest, "seconds", "")
    for header in headers:
        table.add_column(header, justify="left" if not header else "right")
    for each in outcomes:
        shares = [f"{share:.3%}" for share in (each.accuracy, each.iia, each.strict, each.edges)]
        notes = ["already trained"] if each.was_there else []
        notes += [] if each.has_reached_target else ["MISSED its target"]
        notes += [_VERDICTS[bool(each.failures)]] if each.failures is not None else []
        cells = (each.case_id, str(each.seed), str(each.epochs), *shares, f"{each.seconds:.1f}")
        table.add_row(*cells, ", ".join(notes))
    return table
