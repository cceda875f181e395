"""Building the published folder: complete or not at all, and the same bytes every time."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from interpbench_dataset.builder import BuildReport, Problem, build, check
from interpbench_jax.universes import UNIVERSES, universe
from tests.tiny_models import certify, make_model, write_model

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "hf_dataset" / "interpbench_dataset" / "interpbench"
CHOICE = ("3", "20")
ROWS = 12
TABLE_3 = "data/3/test-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "built"
    small(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "built")
    return tmp_path / "built"


def small(folder: Path) -> BuildReport:
    return build(folder, case_ids=CHOICE, n=ROWS)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def errors(folder: Path, **options: object) -> list[str]:
    found = check(folder, **options)  # pyright: ignore[reportArgumentType]
    return [str(problem) for problem in found if problem.is_error]


def kinds(found: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return [(problem.path, problem.kind) for problem in found]


# The committed folder


@pytest.mark.slow
def test_the_committed_folder_is_what_would_be_built() -> None:
    assert errors(PUBLISHED, all_models=True) == []


# Building


def test_the_same_bytes_again(original: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    report = build(tmp_path / "new" / "folder", case_ids=CHOICE, n=ROWS, progress=lines.append)
    assert contents(report.directory) == contents(original)
    assert lines == ["case 3 (1 of 2)", "case 20 (2 of 2)"]
    assert report.n_bytes == sum(map(len, contents(original).values()))
    assert set(report.written) == set(contents(original)) == {file.path for file in report.files}
    assert report.written[-1] == "README.md"
    n_edges = sum(len(universe(name, 2, 4).edges) for name in UNIVERSES)
    assert report.n_rows == 2 + 2 * n_edges + 2 * ROWS


@pytest.mark.slow
def test_the_same_bytes_in_another_process(original: Path, tmp_path: Path) -> None:
    code = (
        "from interpbench_dataset.builder import build\n"
        f"build('out', case_ids={CHOICE[::-1]}, n={ROWS})"
    )
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "17",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "TZ": "Asia/Tokyo",
    }
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert contents(tmp_path / "out") == contents(original)


def test_what_has_not_changed_is_left_alone(folder: Path) -> None:
    before = {path: os.stat(folder / path).st_mtime_ns for path in contents(folder)}
    assert small(folder).written == ()
    assert before == {path: os.stat(folder / path).st_mtime_ns for path in contents(folder)}


@pytest.mark.parametrize("path", ["croissant.json", "README.md", TABLE_3])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_build_repairs_one_file(folder: Path, original: Path, path: str, damage: str) -> None:
    if damage == "missing":
        (folder / path).unlink()
    else:
        (folder / path).write_bytes((folder / path).read_bytes() + b"InterpBench in JAX")
    assert small(folder).written == (path,)
    assert contents(folder) == contents(original)


def test_cases_that_are_gone_are_removed_and_other_files_kept(folder: Path) -> None:
    for name in ("models/3/config.json", ".gitattributes", ".cache/huggingface/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    report = build(folder, case_ids=["20"], n=ROWS)
    assert report.removed == (TABLE_3,)
    assert not (folder / "data" / "3").exists()
    assert (folder / "models" / "3" / "config.json").read_text() == "{}"
    found = check(folder, case_ids=["20"], n=ROWS)
    assert kinds(found) == [("models", "absent"), ("models/3/config.json", "unexpected")]


def test_models_are_left_alone_and_told_of(folder: Path, original: Path) -> None:
    write_model(folder / "models", "20")
    before = contents(folder)
    assert kinds(check(folder, case_ids=CHOICE, n=ROWS)) == [
        ("croissant.json", "digest"),
        ("README.md", "text"),
        ("models", "absent"),
    ]
    assert small(folder).written == ("croissant.json", "README.md")
    after = contents(folder)
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {"croissant.json", "README.md"} and set(after) == set(before)
    assert errors(folder, case_ids=CHOICE, n=ROWS) == []
    assert small(folder).written == ()
    # Put another model of the same size under the same texts.
    certify(make_model("20", seed=1).save(folder / "models" / "20"))
    found = check(folder, case_ids=CHOICE, n=ROWS)
    assert kinds(found) == [("croissant.json", "digest"), ("models", "absent")]
    assert "the SHA-256 of models/20/model.safetensors for model '20'" in found[0].message
    shutil.rmtree(folder / "models")
    small(folder)
    assert contents(folder) == contents(original)


def test_a_folder_with_models_opens(folder: Path, tmp_path: Path) -> None:
    for case_id in CHOICE:
        write_model(folder / "models", case_id)
    small(folder)
    names = ["cases", "circuits", *CHOICE]
    assert datasets.get_dataset_config_names(str(folder)) == names
    cache = str(tmp_path / "cache")
    rows = datasets.load_dataset(str(folder), "3", split="test", cache_dir=cache)
    assert isinstance(rows, datasets.Dataset) and rows.num_rows == ROWS


def test_files_can_be_read_by_others(original: Path) -> None:
    assert os.stat(original / "README.md").st_mode & 0o444 == 0o444
    assert os.stat(original).st_mode & 0o555 == 0o555


# Builds that fail


def test_a_failure_before_the_move_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(folder)
    flush, flushed = os.fsync, 0

    def fill_up(handle: int) -> None:
        nonlocal flushed
        flushed += 1
        if flushed == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_up)
        with pytest.raises(OSError, match=r"room for .*built, but the disk is full .*unchanged"):
            build(folder, case_ids=["3", "8"], n=ROWS + 1)
    assert contents(folder) == before
    assert not (folder / "data" / "8").exists(), "nothing was written into it"


def test_what_a_killed_build_left_is_removed(folder: Path) -> None:
    """Its process is gone, and with it the lock on the file that it wrote."""
    left = folder / "data" / "3" / f".{Path(TABLE_3).name}.abcd1234.tmp"
    left.write_bytes(b"half a table")
    build(folder, case_ids=CHOICE, n=ROWS + 1)
    assert not left.exists()


def test_a_failure_while_moving_leaves_no_card(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def fail_at_case_20(source: Path, target: Path) -> None:
        if target.parent.name == "20":
            raise PermissionError(13, "Permission denied", str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail_at_case_20)
        with pytest.raises(PermissionError, match=r"Permission denied.*Name a writable folder"):
            build(folder, case_ids=CHOICE, n=ROWS + 1)
    assert not (folder / "README.md").exists()
    assert not list(folder.rglob(".*"))
    found = check(folder, case_ids=CHOICE, n=ROWS + 1)
    assert ("README.md", "missing") in kinds(found)
    build(folder, case_ids=CHOICE, n=ROWS + 1)
    assert errors(folder, case_ids=CHOICE, n=ROWS + 1) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"case_ids": ["3", "99"]}, ValueError, r"Expected the id of a case, .* got '99'"),
        ({"case_ids": ["3", "3"]}, ValueError, "one or more different case ids"),
        ({"case_ids": []}, ValueError, r"one or more different case ids, got \[\]"),
        ({"case_ids": "3"}, TypeError, r"a list of case ids, got '3'; write \['3'\]"),
        ({"n": 0}, ValueError, "at least 1 row per case, got n=0"),
        ({"n": 10.0}, TypeError, "the number of rows per case to be an int, got 10.0"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    for function in (build, check):
        with pytest.raises(error, match=message):
            function(tmp_path, **arguments)  # pyright: ignore[reportArgumentType]
    assert contents(tmp_path) == {}


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My project\n")
    with pytest.raises(ValueError, match=r"README.md is another text and would be lost"):
        small(tmp_path)
    assert contents(tmp_path) == {"README.md": b"# My project\n"}
    with pytest.raises(NotADirectoryError, match="Expected a folder to build in, got the file"):
        small(tmp_path / "README.md")
    with pytest.raises(FileNotFoundError, match=r"found none; build it first"):
        check(tmp_path / "nowhere")
