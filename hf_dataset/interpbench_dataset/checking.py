"""Compares a published folder with what would be built, and its models with their tasks."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from interpbench_dataset.facts import FileFacts
from interpbench_dataset.model_checking import check_models
from interpbench_dataset.models import MODEL_FILES, MOST_BYTES, model_path, read_models
from interpbench_dataset.parquet import decode_table, pa, written_by
from interpbench_dataset.problems import Problem as Problem
from interpbench_dataset.release import render_data, render_texts
from interpbench_dataset.schema import CROISSANT_FILE, DEFAULT_ROWS
from interpbench_dataset.tables import Announce, Content, choose_tasks, make_content
from interpbench_jax.storage import read_bytes

# Files and folders that the Hub's tools leave in the published folder.
_FOREIGN_FOLDERS = (".cache",)
_FOREIGN_FILES = (".gitattributes",)
_REBUILD = "build the dataset again"


def check(
    directory: Path | str,
    *,
    case_ids: Iterable[str] | None = None,
    n: int = DEFAULT_ROWS,
    all_models: bool = False,
    progress: Announce | None = None,
) -> tuple[Problem, ...]:
    """Compare a folder with what `build` would write, file by file; nothing is written.

    Tables are compared as bytes and, where these differ, by their decoded content. The card and
    Croissant are compared with the texts that describe the folder's own files. A model is not
    built but compared with its task, and its certificate with its weights; unless `all_models`,
    a folder without the models of some or all cases is right but gets a remark.

    Args:
        directory: the folder.
        case_ids: the cases that it should hold; None for all.
        n: number of rows per case that it should hold.
        all_models: whether it should hold a model of each of these cases.
        progress: called with a line of text about each case before it is drawn.

    Returns:
        The differences, including remarks (not `is_error`); empty if there are none.

    Raises:
        TypeError: if `n` or `case_ids` has another type.
        ValueError: if a case is unknown, or `n` is below 1.
        FileNotFoundError: if there is no such folder.
        OSError: if a file cannot be read.
    """
    directory = Path(directory).expanduser()
    if not directory.is_dir():
        raise FileNotFoundError(
            f"Expected a folder with the dataset at {directory}, found none; build it first."
        )
    tasks = choose_tasks(case_ids)
    ids = [task.case_id for task in tasks]
    content = make_content(ids, n, progress)
    expected = render_data(content)
    found = {path: _read(directory / path) for path in expected}
    problems = [
        problem
        for path, encoded in expected.items()
        if (problem := compare_data(path, encoded, found[path])) is not None
    ]
    # The texts should describe the folder's files, even where another pyarrow wrote these.
    present = {path: found[path] or encoded for path, encoded in expected.items()}
    models = read_models(directory, ids)
    texts = render_texts(content, present, models)
    for path, text in texts.items():
        described = _described_files(content, present)
        if path == CROISSANT_FILE:
            described |= {f"model {model.case_id!r}": model.weights for model in models}
        problems += _compare_text(path, text, _read(directory / path), described)
    problems += check_models(directory, tasks, all_models)
    of_models = {model_path(case_id, name) for case_id in ids for name in MODEL_FILES}
    problems += _unexpected(directory, {*expected, *texts, *of_models})
    return tuple(problems)


def compare_data(path: str, expected: bytes, found: bytes | None) -> Problem | None:
    """Return the problem with one Parquet file; None if there is none."""
    if found is None:
        return Problem(path, "missing", f"Expected this file, found none; {_REBUILD}.")
    if found == expected:
        return None
    try:
        table = decode_table(found)
    except ValueError as error:
        return Problem(path, "unreadable", f"{error}; {_REBUILD}.")
    right = decode_table(expected)
    if not table.schema.equals(right.schema, check_metadata=True):
        difference = _schema_difference(right.schema, table.schema)
        return Problem(path, "schema", f"{difference}; {_REBUILD}.")
    if not table.equals(right):
        return Problem(path, "rows", f"{_row_difference(right, table)}; {_REBUILD}.")
    here, there = written_by(expected), written_by(found)
    if here == there:
        message = (
            "Expected other bytes for the same rows: the file was written with other options; "
            f"{_REBUILD}."
        )
        return Problem(path, "encoding", message)
    message = (
        f"Only the release of pyarrow differs: schema and rows are as expected, but {there} "
        f"wrote the file, and here it is {here}. Nothing needs to be done."
    )
    return Problem(path, "writer", message)


def _schema_difference(expected: pa.Schema, found: pa.Schema) -> str:
    for name in dict.fromkeys((*expected.names, *found.names)):
        types = [
            str(schema.field(name).type) if name in schema.names else "no such column"
            for schema in (expected, found)
        ]
        if types[0] != types[1]:
            return f"Expected column {name!r} as {types[0]}, got {types[1]}"
    if expected.names != found.names:
        return f"Expected the columns in the order {expected.names}, got {found.names}"
    return f"Expected the schema's metadata to be {expected.metadata}, got {found.metadata}"


def _row_difference(expected: pa.Table, found: pa.Table) -> str:
    if expected.num_rows != found.num_rows:
        return f"Expected {expected.num_rows} rows, got {found.num_rows}"
    for name in expected.column_names:
        values = zip(expected[name].to_pylist(), found[name].to_pylist(), strict=True)
        for row, (right, wrong) in enumerate(values):
            if right != wrong:
                return f"Expected {name} of row {row} to be {right!r}, got {wrong!r}"
    return "Expected other rows"  # NaN, which equals nothing


def _described_files(content: Content, data: Mapping[str, bytes]) -> dict[str, FileFacts]:
    """The tables whose digests are in both texts, by a name for messages."""
    return {
        f"config {schema.config_name!r}": FileFacts.of(schema.path, data[schema.path])
        for schema in content.schemas
    }


def _compare_text(
    path: str, expected: bytes, found: bytes | None, described: Mapping[str, FileFacts]
) -> Iterator[Problem]:
    if found is None:
        yield Problem(
            path, "missing", f"Expected this file, found none: a build was interrupted; {_REBUILD}."
        )
        return
    if found == expected:
        return
    missing = {
        what: file.path for what, file in described.items() if file.sha256.encode() not in found
    }
    for what, file_path in missing.items():
        message = (
            f"Expected the SHA-256 of {file_path} for {what}, found it nowhere: the file was "
            f"changed and this one was not, so that caches go stale; {_REBUILD}."
        )
        yield Problem(path, "digest", message)
    if not missing:
        yield Problem(path, "text", f"{_line_difference(expected, found)}; {_REBUILD}.")


def _line_difference(expected: bytes, found: bytes) -> str:
    lines = [text.decode(errors="replace").splitlines() for text in (expected, found)]
    for number, (right, wrong) in enumerate(zip(*lines, strict=False), start=1):
        if right != wrong:
            return f"Expected line {number} to be {right!r}, got {wrong!r}"
    if len(lines[0]) != len(lines[1]):
        return f"Expected {len(lines[0])} lines, got {len(lines[1])}"
    return "Expected other line ends"


def _unexpected(directory: Path, expected: set[str]) -> Iterator[Problem]:
    for file in sorted(directory.rglob("*")):
        path = file.relative_to(directory)
        is_foreign = path.parts[0] in _FOREIGN_FOLDERS or path.as_posix() in _FOREIGN_FILES
        if file.is_file() and not is_foreign and path.as_posix() not in expected:
            message = "Expected no such file; it would be published with the rest: remove it."
            yield Problem(path.as_posix(), "unexpected", message)


def _read(path: Path) -> bytes | None:
    return read_bytes(path, MOST_BYTES) if path.is_file() else None
