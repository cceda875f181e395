"""Builds the published folder; `check` tells whether a folder is what would be built."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from interpbench_dataset.card import TITLE
from interpbench_dataset.checking import check as check
from interpbench_dataset.facts import FileFacts
from interpbench_dataset.models import MOST_BYTES, read_models
from interpbench_dataset.problems import Problem as Problem
from interpbench_dataset.release import render_data, render_texts
from interpbench_dataset.schema import CARD_FILE, CASES_CONFIG, DEFAULT_ROWS, SPLIT
from interpbench_dataset.tables import Announce, make_content
from interpbench_jax.storage import FULL, make_folder, read_bytes, write_files

__all__ = ["BuildReport", "Problem", "build", "check"]


@dataclass(frozen=True)
class BuildReport:
    """The result of `build`.

    Attributes:
        directory: the folder.
        files: every file that is built, in the order in which they were put in place.
        written: paths of the files that are new or changed.
        removed: paths of case files that an earlier build had left and this one does not have.
        n_rows: number of rows in all tables.
    """

    directory: Path
    files: tuple[FileFacts, ...]
    written: tuple[str, ...]
    removed: tuple[str, ...]
    n_rows: int

    @property
    def n_bytes(self) -> int:
        """The total size of these files."""
        return sum(file.n_bytes for file in self.files)


def build(
    directory: Path | str,
    *,
    case_ids: Iterable[str] | None = None,
    n: int = DEFAULT_ROWS,
    progress: Announce | None = None,
) -> BuildReport:
    """Write the dataset into a folder, which may hold an earlier one.

    Every file is first written under a temporary name, and then they are moved into place one after
    the other. If a table changes, the old card is removed first and the new one is moved last: a
    folder with a card is complete. Files that have not changed are left alone, and so are the
    models and all files that are not the builder's. The card and Croissant describe the folder's
    models of these cases as they are; `check` decides whether they are right.

    Args:
        directory: the folder to write into; created if it does not exist.
        case_ids: the cases; None for all.
        n: number of rows per case.
        progress: called with a line of text about each case before it is drawn.

    Raises:
        TypeError: if `n` or `case_ids` has another type.
        ValueError: if a case is unknown, `n` is below 1, or the folder has a README.md that is
            not a card of ours.
        OSError: if the folder cannot be made or written, or a model cannot be read.
    """
    directory = Path(os.path.realpath(Path(directory).expanduser()))
    _check_target(directory)
    make_folder(directory)
    content = make_content(case_ids, n, progress)
    data = render_data(content)
    built_ids = content.tables[CASES_CONFIG].column("case_id").to_pylist()
    files = data | render_texts(content, data, read_models(directory, built_ids))
    written = tuple(path for path, new in files.items() if _read(directory / path) != new)
    removed = tuple(path for path in _case_files(directory) if path not in files)
    if written or removed:
        try:
            _install({path: files[path] for path in written}, removed, directory)
        except OSError as error:
            if error.errno in FULL:
                raise  # Its message says what to do.
            message = (
                f"Expected to write the dataset into {directory}, got an error: "
                f"{error.strerror}. Name a writable folder, then build again"
            )
            raise OSError(error.errno, message, error.filename) from error
    return BuildReport(
        directory,
        tuple(FileFacts.of(path, new) for path, new in files.items()),
        written,
        removed,
        sum(table.num_rows for table in content.tables.values()),
    )


def _check_target(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"Expected a folder to build in, got the file {directory}.")
    card = _read(directory / CARD_FILE)
    if card is not None and TITLE.encode() not in card:
        raise ValueError(
            f"Expected a new folder or one that holds this dataset, got {directory}, whose "
            f"{CARD_FILE} is another text and would be lost; name another folder."
        )


def _install(files: Mapping[str, bytes], removed: Iterable[str], directory: Path) -> None:
    """Write new files into the folder, so that a card is never beside tables of another build."""
    outdated = [directory / path for path in removed]
    if CARD_FILE in files and (len(files) > 1 or outdated):
        outdated.insert(0, directory / CARD_FILE)
    folders = {(directory / path).parent for path in (*files, *removed)}
    try:
        for path in files:
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
        # The card is the last.
        write_files({directory / path: new for path, new in files.items()}, outdated=outdated)
    finally:
        for folder in folders - {directory}:
            _remove_if_empty(folder)


def _case_files(directory: Path) -> list[str]:
    """Case files of an earlier build."""
    found = directory.glob(f"data/*/{SPLIT}-00000-of-00001.parquet")
    return sorted(path.relative_to(directory).as_posix() for path in found)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _read(path: Path) -> bytes | None:
    return read_bytes(path, MOST_BYTES) if path.is_file() else None
