"""`load_dataset`: the rows of the packaged folder, and the errors for anything else."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interpbench_dataset import loading, packaged
from interpbench_dataset.loading import load_dataset, packaged_folder
from tests.hf_dataset.tiny_release import NAMES, ROWS, Installation, write_release


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the packaged release with a small one in this process."""
    folder = tmp_path / "interpbench"
    write_release(folder)
    monkeypatch.setattr(loading, "packaged_folder", lambda: folder)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return folder


def test_importing_the_module_imports_no_library() -> None:
    code = "import sys, interpbench_dataset.loading\n"
    code += "print({'datasets', 'numpy', 'jax'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout == "set()\n"


# Rows that are loaded


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_every_name(release: Path, name: str) -> None:
    rows = load_dataset(name)
    assert rows.num_rows == ROWS[name]
    assert list(load_dataset(name, streaming=True)) == list(rows)
    if name.isdigit():
        target = "float32" if name == "3" else "int32"
        kinds = {
            column: (each.feature.dtype, each.length) for column, each in rows.features.items()
        }
        assert kinds == {
            "input_ids": ("int32", 4),
            "corrupted_input_ids": ("int32", 4),
            "target": (target, 4),
            "corrupted_target": (target, 4),
        }
    assert rows.info.description == f"The rows of {name}."


def test_the_table_of_cases_is_the_default(release: Path) -> None:
    assert load_dataset()["case_id"][:] == ["3", "11"]


def test_a_part_of_a_split(release: Path) -> None:
    rows = load_dataset("11")
    assert load_dataset("11", "test[10:13]")[:] == rows[10:13]
    assert load_dataset("11", "test[:1]+test[5:6]")[:] == rows.select([0, 5])[:]
    assert load_dataset("11", "test[:50%]").num_rows == ROWS["11"] // 2


def test_a_cache_of_ones_own(release: Path, tmp_path: Path) -> None:
    for cache in (tmp_path / "mine", str(tmp_path / "text")):
        assert load_dataset("11", cache_dir=cache).num_rows == ROWS["11"]
        assert any(Path(cache).rglob("*.arrow"))
    assert not (tmp_path / "cache").exists()


def test_the_packaged_folder_is_in_the_package() -> None:
    folder = Path(loading.__file__).parent / "interpbench"
    assert packaged_folder() == folder


# Changed files


def table(release: Path, name: str) -> Path:
    return release / f"data/{name}/test-00000-of-00001.parquet"


def test_a_changed_table_under_an_unchanged_card_is_an_error(release: Path) -> None:
    load_dataset("11")
    other = release.parent / "other"
    write_release(other, seed=1)
    table(release, "11").write_bytes(table(other, "11").read_bytes())
    for streaming in (False, True):
        with pytest.raises(loading.StaleDataError) as caught:
            load_dataset("11", streaming=streaming)  # pyright: ignore
    message = str(caught.value)
    assert re.search(r"'11' to have the SHA-256 in the card of .*, [0-9a-f]{64}; ", message)
    assert str(table(release, "11")) in message and "interpbench dataset build" in message
    assert load_dataset("3").num_rows == ROWS["3"], "what was not changed is still there"


def test_a_new_card_with_its_tables_is_read_anew(release: Path) -> None:
    old = load_dataset("11")[:]
    write_release(release, seed=1)
    new = load_dataset("11")[:]
    assert old != new
    write_release(release)
    assert load_dataset("11")[:] == old


def test_a_card_without_a_digest_is_an_error(release: Path) -> None:
    card = (release / "README.md").read_text()
    (release / "README.md").write_text(re.sub("sha256:[0-9a-f]+", "", card))
    with pytest.raises(loading.StaleDataError, match="which has none"):
        load_dataset("11")


CHANGED = """
import shutil, sys
import interpbench_jax, datasets
from interpbench_dataset.loading import StaleDataError
from pathlib import Path

release, other = map(Path, sys.argv[1:])

def rows():
    return datasets.load_dataset("interpbench", "11", split="test")[:]

old = rows()
table = "data/11/test-00000-of-00001.parquet"
shutil.copy(other / table, release / table)
try:
    rows()
except StaleDataError as error:
    print("stale:", error)
shutil.copytree(other, release, dirs_exist_ok=True)
print("new rows:", rows() != old)
"""


@pytest.mark.slow
def test_the_name_for_datasets_is_not_served_stale(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "installation")
    write_release(tmp_path / "other", seed=1)
    paths = [str(installation.release), str(tmp_path / "other")]
    printed = installation.run(f"import sys; sys.argv[1:] = {paths}\n{CHANGED}")
    assert "stale: Expected the data of '11'" in printed and "new rows: True" in printed


def test_the_folder_alone_is_not_served_stale(release: Path, tmp_path: Path) -> None:
    import datasets

    def rows() -> object:
        return datasets.load_dataset(str(release), "11", split="test")[:]

    old = rows()
    write_release(release, seed=1)
    assert rows() != old


# Unavailable data


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("12", ";"),
        ("case 11", r" \(did you mean '11'\?\)"),
        ("case_3", r" \(did you mean '3'\?\)"),
        ("11 ", r" \(did you mean '11'\?\)"),
        ("Circuit", r" \(did you mean 'circuits'\?\)"),
        ("ioi", ";"),
        ("", ";"),
    ],
)
def test_an_unknown_case(release: Path, name: str, hint: str) -> None:
    expected = rf"Expected one of InterpBench's cases or tables, got {name!r}({hint})"
    with pytest.raises(ValueError, match=expected) as caught:
        load_dataset(name)
    assert "there are: cases, circuits, 3, 11." in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("name", "split", "hint"),
    [
        ("11", "tset", r"got 'tset' \(did you mean 'test'\?\)\."),
        ("11", "all", r"got 'all'\."),
        ("11", "", r"got ''\."),
        (
            "11",
            "train",
            r"got 'train'; .*interpbench_jax\.CASES\['11'\]\.sample\(n, seed, split='train",
        ),
        (
            "11",
            "test+train[:3]",
            r"got 'test\+train\[:3\]'; training pairs are not shipped but drawn",
        ),
        ("cases", "train", r"got 'train'\."),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_an_unknown_split(release: Path, name: str, split: str, hint: str, streaming: bool) -> None:
    with pytest.raises(ValueError, match=rf"a split of '{name}', one of test, {hint}"):
        load_dataset(name, split, streaming=streaming)  # pyright: ignore


def test_a_part_of_a_split_cannot_be_streamed(release: Path) -> None:
    with pytest.raises(ValueError, match=r"a whole split to stream, got 'test\[:3\]'.*use skip"):
        load_dataset("11", "test[:3]", streaming=True)


@pytest.mark.parametrize("wrong", [11, 11.0, None, ["11"], b"11"])
def test_what_is_no_name(wrong: object) -> None:
    kind = type(wrong).__name__
    with pytest.raises(TypeError, match=rf"name to be a string such as '11', got .*type {kind}\."):
        load_dataset(wrong)  # pyright: ignore
    with pytest.raises(TypeError, match=rf"split to be a string .*'test', got .*type {kind}\."):
        load_dataset("11", wrong)  # pyright: ignore


def test_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r'pip install "interpbench-jax\[dataset\]"') as caught:
        load_dataset("11")
    assert caught.value.name == "datasets"


def test_the_folder_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "_FOLDER", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"Expected the dataset and its card in .*reinstall"
    ):
        load_dataset("11")


def occupied(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


UNWRITABLE: dict[str, Callable[[Path], Path]] = {
    "a file": occupied,
    "below a file": lambda tmp_path: occupied(tmp_path) / "cache",
    "no place for files": lambda tmp_path: Path("/proc/cache"),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("where", UNWRITABLE)
def test_a_cache_that_cannot_be_written(
    release: Path, tmp_path: Path, where: str, streaming: bool
) -> None:
    cache = UNWRITABLE[where](tmp_path)
    message = rf"Cannot write datasets' cache in {cache}: .*cache_dir.*HF_DATASETS_CACHE"
    with pytest.raises(OSError, match=message):
        load_dataset("11", cache_dir=cache, streaming=streaming)  # pyright: ignore


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_default_cache_that_is_read_only(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "read only"
    cache.mkdir(mode=0o500)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
    with pytest.raises(PermissionError, match=rf"Cannot write datasets' cache in {cache}"):
        load_dataset("11")


def test_another_error_is_not_taken_for_the_caches(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (
        OSError(5, "Input/output error", "/dev/disk"),
        OSError(13, "Permission denied", str(table(release, "11"))),
    ):

        def fail(*args: object, error: OSError = error, **options: object) -> None:
            raise error

        monkeypatch.setattr("datasets.load_dataset_builder", fail)
        with pytest.raises(OSError, match=str(error.strerror)) as caught:
            load_dataset("11")
        assert caught.value is error


DAMAGED_CARDS = {
    "no text": (b"---\n\xff\xfe\n---\n", "Expected UTF-8 text at"),
    "no YAML": (b"---\nconfigs: [\n---\n", "got one that is not understood"),
    "other YAML": (b"---\nconfigs: 3\n---\n", "Expected"),
}


@pytest.mark.parametrize("damage", DAMAGED_CARDS)
def test_a_damaged_card_is_named(damage: str, release: Path) -> None:
    data, message = DAMAGED_CARDS[damage]
    (release / "README.md").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load_dataset("11")


def test_a_folder_that_is_being_built(release: Path) -> None:
    """A build removes the card first and writes the new one last."""
    (release / "README.md").unlink()
    with pytest.raises(loading.StaleDataError, match="the folder is being built at the moment"):
        load_dataset("11")
