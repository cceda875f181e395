"""Checking which parts of a folder differ from what would be built."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interpbench_dataset.builder import Problem, build, check
from interpbench_dataset.checking import compare_data
from interpbench_dataset.parquet import decode_table, encode_table
from tests.tiny_models import write_model

CHOICE = ("3", "20")
ROWS = 12
TABLE_3 = "data/3/test-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("original") / "built", case_ids=CHOICE, n=ROWS).directory


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "built")
    return tmp_path / "built"


def problems(folder: Path) -> tuple[Problem, ...]:
    """Return the problems found, except for the note that there are no models."""
    found = check(folder, case_ids=CHOICE, n=ROWS)
    return tuple(problem for problem in found if problem.kind != "absent")


def rewrite(path: Path, table: pa.Table, **options: str) -> None:
    pq.write_table(table, path, **options)  # pyright: ignore[reportArgumentType]


def kinds(found: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return [(problem.path, problem.kind) for problem in found]


def test_a_folder_as_built_has_no_problems(folder: Path) -> None:
    assert problems(folder) == ()
    (folder / ".gitattributes").write_text("")
    assert problems(folder) == ()


def test_models_are_checked_too(folder: Path) -> None:
    (remark,) = check(folder, case_ids=CHOICE, n=ROWS)
    assert not remark.is_error and "No model of the cases 3, 20" in str(remark)
    found = check(folder, case_ids=iter(CHOICE), n=ROWS, all_models=True)
    assert len(found) == 8 and {problem.kind for problem in found} == {"missing"}
    for case_id in CHOICE:
        write_model(folder / "models", case_id)
    build(folder, case_ids=CHOICE, n=ROWS)
    assert check(folder, case_ids=CHOICE, n=ROWS, all_models=True) == ()
    (folder / "models" / "3" / "certificate.json").unlink()
    (folder / "models" / "20" / "checkpoint").write_text("")
    write_model(folder / "models", "11")
    assert set(kinds(problems(folder))) == {
        ("README.md", "text"),
        ("models/3/certificate.json", "missing"),
        ("models/20/checkpoint", "unexpected"),
        *(
            (f"models/11/{name}", "unexpected")
            for name in ("model.safetensors", "config.json", "circuit.json", "certificate.json")
        ),
    }


def test_a_changed_table_under_an_unchanged_card(folder: Path) -> None:
    table = decode_table((folder / TABLE_3).read_bytes())
    rows = table.to_pylist()
    rows[5]["target"][2] += 1
    changed = pa.Table.from_pylist(rows, schema=table.schema)
    (folder / TABLE_3).write_bytes(encode_table(changed))
    found = problems(folder)
    assert kinds(found) == [
        (TABLE_3, "rows"),
        ("croissant.json", "digest"),
        ("README.md", "digest"),
    ]
    assert "Expected target of row 5 to be [0.0," in found[0].message
    assert "for config '3'" in found[2].message
    assert all(problem.is_error for problem in found)
    assert str(found[0]).startswith(f"{TABLE_3}: Expected target")


def test_other_schemas(folder: Path) -> None:
    path = folder / TABLE_3
    table = decode_table(path.read_bytes())
    variants = {
        "Expected column 'target' as fixed.*, got no such column": table.drop_columns(["target"]),
        "Expected column 'more' as no such column, got .*int64": table.append_column(
            "more", pa.array(range(ROWS))
        ),
        "in the order": table.select(table.column_names[::-1]),
        "the schema's metadata": table.replace_schema_metadata({}),
        f"Expected {ROWS} rows, got 3": table.slice(0, 3),
    }
    for message, variant in variants.items():
        path.write_bytes(encode_table(variant))
        problem = next(problem for problem in problems(folder) if problem.path == TABLE_3)
        assert problem.kind == ("rows" if "3" in message else "schema")
        with pytest.raises(ValueError, match=message):
            raise ValueError(problem.message)


def test_missing_unexpected_and_unreadable_files(folder: Path) -> None:
    (folder / "croissant.json").unlink()
    (folder / "cases.parquet").unlink()
    (folder / TABLE_3).write_bytes(b"PAR1")
    (folder / "data" / "notes.txt").write_text("")
    assert set(kinds(problems(folder))) == {
        ("cases.parquet", "missing"),
        (TABLE_3, "unreadable"),
        ("croissant.json", "missing"),
        ("README.md", "digest"),
        ("data/notes.txt", "unexpected"),
    }


def test_a_changed_card(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(card.replace("CC BY 4.0", "CC0"), encoding="utf-8")
    (problem,) = problems(folder)
    assert (problem.path, problem.kind) == ("README.md", "text")
    assert "CC BY 4.0" in problem.message and "CC0" in problem.message
    (folder / "README.md").write_text(card.replace("cc-by-4.0", "mit"), encoding="utf-8")
    assert "Expected line 3 to be 'license: cc-by-4.0', got 'license: mit'" in str(
        problems(folder)[0]
    )
    (folder / "README.md").write_bytes(card.replace("\n", "\r\n").encode())
    assert "Expected other line ends" in str(problems(folder)[0])


def test_the_right_rows_as_other_bytes(folder: Path, tmp_path: Path) -> None:
    expected = (folder / TABLE_3).read_bytes()
    rewrite(tmp_path / "other", decode_table(expected), compression="gzip")
    other = (tmp_path / "other").read_bytes()
    problem = compare_data(TABLE_3, expected, other)
    assert problem is not None and problem.kind == "encoding" and problem.is_error


def test_another_pyarrow_is_told_apart(folder: Path) -> None:
    here = f"version {pa.__version__}".encode()
    there = b"version " + b"1" * (len(here) - len(b"version "))
    expected = (folder / TABLE_3).read_bytes()
    assert expected.count(here) == 1
    problem = compare_data(TABLE_3, expected, expected.replace(here, there))
    assert problem is not None and problem.kind == "writer" and not problem.is_error
    assert problem.message.startswith("Only the release of pyarrow differs")
