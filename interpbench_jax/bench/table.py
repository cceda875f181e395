"""The Parquet files of a benchmark: its results, the score of every item, faithfulness curves.

A folder holds `results.parquet`, one row per case, method, ablation, seed, order, universe and
level, and `scores.parquet`, one row per run and item of the finest universe. It may also hold
`curves.parquet`, one row per run, selection and share of edges; folders of earlier releases have
none. The dataclasses of the rows define the schema: one column per field, in order, nullable only
if the field may be None.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, TypeVar, get_args

from interpbench_jax.bench.rules import check_keys, check_rows, check_values
from interpbench_jax.extras import needs_extra
from interpbench_jax.report.rows import CurveRow, ResultRow, ScoreRow
from interpbench_jax.storage import (
    decode_parquet,
    encode_parquet,
    make_folder,
    read_bytes,
    write_files,
)
from interpbench_jax.texts import shown

if TYPE_CHECKING:
    import pyarrow

RESULTS_FILE = "results.parquet"
SCORES_FILE = "scores.parquet"
CURVES_FILE = "curves.parquet"
SCHEMA_VERSION = 1

_FORMAT = b"interpbench-bench"
_VERSION_COLUMN = "schema_version"
_MOST_BYTES = 2**30
_MOST_ROWS = 2_000_000
_ARROW = {str: "string", int: "int32", float: "double", bool: "bool"}
Row = TypeVar("Row", ResultRow, ScoreRow, CurveRow)


def write_tables(
    folder: Path | str,
    results: Sequence[ResultRow],
    scores: Sequence[ScoreRow],
    curves: Sequence[CurveRow] = (),
) -> tuple[Path, Path]:
    """Write the files, each atomically, with rows sorted by their unique keys.

    The same rows, in any order, give the same bytes under one release of pyarrow. Without curves
    there is no `curves.parquet` afterwards.

    Returns:
        The paths of the results and of the scores.

    Raises:
        ImportError: if pyarrow is not installed.
        OSError: if the folder cannot be made or written.
        ValueError: if a value is out of range, or two rows share a key; nothing is written.
    """
    folder = Path(folder)
    encoded = {
        **({CURVES_FILE: _encode(CurveRow, curves)} if curves else {}),
        SCORES_FILE: _encode(ScoreRow, scores),
        # Written last, so that a folder with results also has their scores.
        RESULTS_FILE: _encode(ResultRow, results),
    }
    make_folder(folder)
    stale = () if curves else (folder / CURVES_FILE,)
    write_files({folder / name: data for name, data in encoded.items()}, remove=stale)
    return folder / RESULTS_FILE, folder / SCORES_FILE


def read_results(path: Path | str) -> list[ResultRow]:
    """Read the rows of a `results.parquet`, or of the one in a folder.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if pyarrow is not installed.
        ValueError: if the file is something else, has another version, is damaged, or holds
            values that no benchmark writes; the message names the file.
    """
    return _read(ResultRow, Path(path), RESULTS_FILE)


def read_scores(path: Path | str) -> list[ScoreRow]:
    """Read a `scores.parquet`, or the one in a folder; see `read_results` for the errors."""
    return _read(ScoreRow, Path(path), SCORES_FILE)


def read_curves(path: Path | str) -> list[CurveRow]:
    """Read a `curves.parquet`, or the one in a folder, which has none if no curve was stored.

    Returns:
        The rows; none if a folder has no such file. See `read_results` for the errors.
    """
    path = Path(path)
    if path.is_dir() and not (path / CURVES_FILE).exists():
        return []
    return _read(CurveRow, path, CURVES_FILE)


def column_types(
    row: type[ResultRow] | type[ScoreRow] | type[CurveRow],
) -> Mapping[str, tuple[str, bool]]:
    """Return each column's Arrow type, and whether it is nullable; the version comes last."""
    columns = {}
    for field in fields(row):
        kinds = set(get_args(field.type)) if get_args(field.type) else {field.type}
        base = next((kind for kind in _ARROW if kind in kinds), str)
        columns[field.name] = (_ARROW[base], type(None) in kinds)
    if row is ResultRow:
        columns[_VERSION_COLUMN] = (_ARROW[int], False)
    return MappingProxyType(columns)


def _encode(kind: type[Row], rows: Sequence[Row]) -> bytes:
    pa = _pyarrow()
    ordered = sorted(rows, key=lambda row: row.key)
    check_rows(ordered)
    columns = column_types(kind)
    schema = pa.schema(
        [
            pa.field(name, pa.type_for_alias(type_name), nullable)
            for name, (type_name, nullable) in columns.items()
        ],
        metadata={"format": _FORMAT, _VERSION_COLUMN: str(SCHEMA_VERSION)},
    )
    arrays = {
        name: [SCHEMA_VERSION] * len(ordered)
        if name == _VERSION_COLUMN
        else [getattr(row, name) for row in ordered]
        for name in columns
    }
    table = pa.Table.from_pydict(arrays, schema=schema)
    return encode_parquet(table)


def _read(kind: type[Row], path: Path, file_name: str) -> list[Row]:
    if path.is_dir():
        path = path / file_name
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected {file_name} of a benchmark at {path}, found no such file; "
            "`interpbench bench` writes it."
        )
    try:
        rows = list(_rows(kind, _read_table(path)))
        check_values(rows)
        rows.sort(key=lambda row: row.key)
        check_keys(rows)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return rows


def _read_table(path: Path) -> "pyarrow.Table":
    _pyarrow()
    data = read_bytes(path, _MOST_BYTES)
    try:
        return decode_parquet(data, _MOST_ROWS)
    except ValueError as error:
        raise ValueError(f"{error} Run the benchmark again.") from None


def _rows(kind: type[Row], table: "pyarrow.Table") -> Iterator[Row]:
    """Yield the rows of a table, which must have exactly the columns of their dataclass."""
    metadata = table.schema.metadata or {}
    version = metadata.get(_VERSION_COLUMN.encode(), b"").decode("ascii", "replace")
    if metadata.get(b"format") != _FORMAT or version != str(SCHEMA_VERSION):
        raise ValueError(
            f"Expected a benchmark's table of schema version {SCHEMA_VERSION}, got "
            f"{f'version {shown(version)}' if version else 'a table without one'}; the file is "
            "something else or comes from another release of interpbench-jax."
        )
    expected = column_types(kind)
    found = {field.name: str(field.type) for field in table.schema}
    if list(found.items()) != [(name, of) for name, (of, _) in expected.items()]:
        missing = sorted(set(expected) - set(found))
        left_over = sorted(set(found) - set(expected))
        other = [
            f"{name} ({found[name]})"
            for name in expected
            if name in found and found[name] != expected[name][0]
        ]
        raise ValueError(
            f"Expected the {len(expected)} columns of {kind.__name__}; missing: {shown(missing)}, "
            f"unexpected: {shown(left_over)}, of another type: {other}."
        )
    for name, (_, nullable) in expected.items():
        if not nullable and table[name].null_count:
            raise ValueError(f"Expected a value for {name} in every row, got null.")
    if kind is ResultRow:
        versions = set(table[_VERSION_COLUMN].to_pylist())
        if not versions <= {SCHEMA_VERSION}:
            raise ValueError(
                f"Expected {_VERSION_COLUMN} {SCHEMA_VERSION} in every row, got {versions}."
            )
    columns = {field.name: _values(table[field.name]) for field in fields(kind)}
    for values in zip(*columns.values(), strict=True):
        yield kind(**dict(zip(columns, values, strict=True)))


def _values(column: "pyarrow.ChunkedArray") -> list[object]:
    """Return a column as Python values; equal strings are one object."""
    if str(column.type) != "string":
        return column.to_pylist()
    encoded = column.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    return [texts[index] for index in encoded.indices.to_pylist()]


def _pyarrow() -> ModuleType:
    with needs_extra("bench", "Reading and writing a benchmark's tables"):
        import pyarrow
    return pyarrow
