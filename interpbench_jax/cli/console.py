"""Shared parts of the commands: options, exit codes, loading, progress, JSON."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand

from interpbench_jax.cli.terminal import has_escapes, say, terminal
from interpbench_jax.names import ReleaseName, case_order
from interpbench_jax.storage import make_folder

if TYPE_CHECKING:
    from rich.progress import Progress

    from interpbench_jax.case import Case
    from interpbench_jax.loading import KeptTokensName

# The default of --repo; `interpbench_jax.loading` defines it too, but takes a while to import.
PACKAGED = "packaged"
EVERY_CASE = "all"
_BAR_AFTER_SECONDS = 2.0


class Exit(IntEnum):
    """The exit codes of the commands."""

    DONE = 0
    CHECK_FAILED = 1
    BAD_INPUT = 2
    HUB = 3
    STOPPED = 130


class ContextCommand(TyperCommand):
    """A command whose function takes its context: typer's, as declared, and not the base class."""

    context_class = typer.Context


CaseArgument = Annotated[
    str,
    typer.Argument(
        metavar="PATH|ID",
        help="A folder with a case's files (in our layout or upstream's), or a case id.",
        show_default=False,
    ),
]
RepoOption = Annotated[
    str,
    typer.Option(
        "--repo",
        help="Where to look up a case id: 'packaged' (our weights, offline), 'hub' (upstream's "
        "weights) or the id of a repository on the Hub.",
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Revision on the Hub: a branch, a tag or a full commit id.",
        show_default="main",
    ),
]
CounterfactualOption = Annotated[
    str | None,
    typer.Option(
        help="Kind of corrupted inputs: abc, swapped, random or upstream for ioi and "
        "ioi_next_token; random for all other cases.",
        show_default="abc, or random",
    ),
]
ReleaseOption = Annotated[
    ReleaseName,
    typer.Option(help="Release of InterpBench, or our pilot, whose cases 'all' stands for."),
]
CasesOption = Annotated[
    str,
    typer.Option(
        "--cases",
        metavar="3,11,...",
        help="Case ids, folders of a case, or folders of such folders; 'all': packaged RASP cases.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print only JSON, for programs.")]


def load(case: str, repo: str, revision: str | None, tokens: "KeptTokensName" = "all") -> "Case":
    """Load the case that the command line names: from a folder, or by its id from `--repo`.

    Raises:
        FileNotFoundError: if there is no such folder, or the case is not packaged.
        ValueError: if the files are invalid, or a revision is given with packaged models.
        interpbench_conversion.hub.HubError: if the Hub does not provide the files; an OSError.
    """
    from interpbench_jax.loading import load_case

    if is_folder(case):
        return load_case(Path(case).expanduser(), tokens=tokens)
    return load_case(case, repo, revision=revision, tokens=tokens)


def is_folder(case: str) -> bool:
    """Whether a case is named by a folder, which need not exist, rather than by its id."""
    return "/" in case or case.startswith((".", "~")) or Path(case).is_dir()


def split_names(text: str, option: str) -> list[str]:
    """The comma-separated names of an option, without duplicates.

    Raises:
        ValueError: if there are none.
    """
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise ValueError(f"Expected {option} to be comma-separated names, got {text!r}.")
    return names


def choose_cases(given: Sequence[str], release: ReleaseName) -> list[str]:
    """Return the given cases without duplicates: ids, and folders of one case each.

    A folder that has no case's files itself stands for the cases in its folders, and `all` for
    those of `main_cases`.

    Raises:
        ValueError: if `all` is given together with other cases, or no case is packaged.
    """
    if EVERY_CASE not in given:
        return list(dict.fromkeys(case for name in given for case in _cases_of(name)))
    if len(given) > 1:
        raise ValueError(f"Expected cases or {EVERY_CASE!r}, got both.")
    return [*main_cases(release)]


def _cases_of(name: str) -> list[str]:
    """The case that a name means, or the cases in the folder of that name."""
    from interpbench_jax.case import is_case_directory

    folder = Path(name).expanduser()
    if not folder.is_dir() or is_case_directory(folder):
        return [name]
    inner = {path.name: path for path in folder.iterdir() if is_case_directory(path)}
    return [str(inner[each]) for each in sorted(inner, key=case_order)] or [name]


def main_cases(release: ReleaseName = "1.0.0") -> tuple[str, ...]:
    """Return the packaged RASP cases of a release.

    Language tasks run only when named, because one costs as much as a thousand of these.

    Raises:
        ValueError: if none is packaged.
    """
    from interpbench_jax.cases import CASES, RELEASES, RaspTask
    from interpbench_jax.loading import packaged_cases

    cases = tuple(
        case
        for case in packaged_cases()
        if case in RELEASES[release] and isinstance(CASES[case], RaspTask)
    )
    if not cases:
        raise ValueError(
            "Expected packaged cases, but this installation has none; reinstall interpbench-jax "
            "or, if the command takes them, name a folder or --repo."
        )
    return cases


def check_file(path: Path) -> None:
    """Create the parent folder of a file to be written.

    Raises:
        OSError: if the path is a folder, or its parent cannot be created.
    """
    if path.is_dir():
        raise IsADirectoryError(f"Expected a file to write, got the folder {path}; name a file.")
    make_folder(path.parent)


@contextmanager
def stoppable(how_to_go_on: Callable[[], str]) -> Iterator[None]:
    """On an interrupt by the user, say what was saved and how to resume.

    Raises:
        typer.Exit: on an interrupt, with the exit code 130 that shells use.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(f"Stopped. {how_to_go_on()}", stderr=True)
        raise typer.Exit(Exit.STOPPED) from None


@contextmanager
def progress(what: str, hidden: bool) -> "Iterator[_Reporter | None]":
    """A progress bar on standard error that appears once the work has taken a while."""
    if hidden or not has_escapes(stderr=True):
        yield None
        return
    reporter = _Reporter(what)
    try:
        yield reporter
    finally:
        reporter.close()


class _Reporter:
    """Callback for (done, total); draws a bar once two seconds have passed."""

    def __init__(self, what: str):
        self.what = what
        self.started = time.perf_counter()
        self.bar: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None:
            if time.perf_counter() - self.started < _BAR_AFTER_SECONDS:
                return
            from rich.progress import Progress

            self.bar = Progress(console=terminal(stderr=True), transient=True)
            self.bar.add_task(self.what, total=total)
            self.bar.start()
        self.bar.update(self.bar.task_ids[0], completed=done, total=total)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def print_json(value: dict[str, object]) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))
