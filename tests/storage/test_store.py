"""A sweep's record on disk: what was acknowledged is there, whatever happened to the process."""

import errno
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_jax.storage import sums as saved_sums
from interpbench_jax.storage.store import SweepStore

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = {"metric": "kl", "shape": [3, 4], "config": {"heads": 2, "dtype": "float32"}}
NAMES = pa.table({"name": ["a", "b"], "effect": [0.5, 0.25]})


def sums_of(task: int) -> np.ndarray:
    """What this file's sweeps give for a task; tasks differ in length too."""
    return np.arange(1 + task % 3) / 3 + task


def open_store(folder: Path, n_tasks: int = 100, flush_seconds: float = 0.0) -> SweepStore:
    return SweepStore.open(folder, DESCRIPTION, n_tasks, flush_seconds=flush_seconds)


def fill(folder: Path, tasks: Sequence[int], n_tasks: int = 100) -> None:
    with open_store(folder, n_tasks) as store:
        for task in tasks:
            store.add(task, sums_of(task))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def check_finished(found: Mapping[int, np.ndarray], tasks: Sequence[int]) -> None:
    assert sorted(found) == sorted(set(tasks))
    for task, sums in found.items():
        np.testing.assert_array_equal(sums, sums_of(task), strict=True)


# What was added is there


def test_a_sweep_in_two_sittings(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "sweep"
    with open_store(folder, n_tasks=3) as store:
        assert store.finished() == {} and store.result() is None
        store.add(2, sums_of(2))
        check_finished(store.finished(), [2])
    with open_store(folder, n_tasks=3) as store:
        check_finished(store.finished(), [2])
        store.add(0, sums_of(0))
        store.add(1, sums_of(1))
        assert store.finish(NAMES) == folder / "effects.parquet"
    assert files(folder) == {".lock", "sweep.json", "effects.parquet"}
    with open_store(folder, n_tasks=3) as store:
        result = store.result()
        assert result is not None and result.equals(NAMES, check_metadata=True)
        assert store.finished() == {}


Sums = st.lists(st.floats(width=64), min_size=1, max_size=5)


@pytest.mark.slow
@given(
    added=st.dictionaries(st.integers(0, 9), Sums, min_size=1),
    order=st.randoms(use_true_random=False),
    sittings=st.lists(st.sampled_from(["flush", "reopen", "nothing"]), min_size=10, max_size=10),
)
def test_any_sums_in_any_order_come_back_bit_by_bit(
    added: dict[int, list[float]], order, sittings: list[str]
) -> None:
    tasks = list(added)
    order.shuffle(tasks)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder), 10, flush_seconds=1e9)
        for task, then in zip(tasks, sittings, strict=False):
            store.add(task, np.asarray(added[task]))
            if then == "flush":
                store.flush()
            if then == "reopen":
                store.close()
                store = open_store(Path(folder), 10, flush_seconds=1e9)
        store.close()
        with open_store(Path(folder), 10) as store:
            found = {task: sums.tobytes() for task, sums in store.finished().items()}
    assert found == {task: np.asarray(sums).tobytes() for task, sums in added.items()}


def test_sums_wait_until_it_is_time(tmp_path: Path) -> None:
    with open_store(tmp_path, flush_seconds=0.2) as store:
        mine = sums_of(1)
        store.add(1, mine)
        mine[:] = -1  # The caller's array is the caller's.
        assert store.finished() == {}
        time.sleep(0.25)
        store.add(2, sums_of(2))
        check_finished(store.finished(), [1, 2])
        store.add(3, sums_of(3))
        check_finished(store.finished(), [1, 2])
        store.flush()
        store.flush()
        check_finished(store.finished(), [1, 2, 3])
    assert len(list((tmp_path / "parts").iterdir())) == 2


def test_an_exception_loses_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_store(tmp_path, flush_seconds=1e9) as store:
        store.add(1, sums_of(1))
        raise KeyboardInterrupt
    with open_store(tmp_path) as store:
        check_finished(store.finished(), [1])


@pytest.mark.parametrize("flush_seconds", [0.0, 0.005])
def test_threads_add_at_once(tmp_path: Path, flush_seconds: float) -> None:
    def add(first: int) -> None:
        try:
            for task in range(first, 200, 8):
                store.add(task, sums_of(task))
            store.finished()
        except BaseException as error:
            failures.append(error)

    failures: list[BaseException] = []
    with open_store(tmp_path, 200, flush_seconds) as store:
        threads = [threading.Thread(target=add, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    with open_store(tmp_path, 200) as store:
        check_finished(store.finished(), range(200))


@pytest.mark.slow
def test_many_parts_are_merged(tmp_path: Path) -> None:
    most, written = 0, 0
    with open_store(tmp_path, 500) as store:
        for task in range(500):
            store.add(task, sums_of(task))
            names = sorted((tmp_path / "parts").iterdir())
            most, written = max(most, len(names)), max(written, int(names[-1].stem[5:]))
        check_finished(store.finished(), range(500))
    assert most == saved_sums.MAX_PARTS
    assert written < 500 + 500 / 25  # Merges are few.


def test_ten_thousand_tasks_are_in_few_files(tmp_path: Path) -> None:
    with open_store(tmp_path, 10_000, flush_seconds=1e9) as store:
        for task in range(10_000):
            store.add(task, np.full(100, task / 7))
            if task % 200 == 0:
                store.flush()
        store.flush()
        found = store.finished()
    assert len([*(tmp_path / "parts").iterdir()]) <= saved_sums.MAX_PARTS
    assert len(found) == 10_000 and all(found[task][99] == task / 7 for task in found)


# The finished table


def test_the_result_decides_its_bytes(tmp_path: Path) -> None:
    table = NAMES.replace_schema_metadata({"universe": "qkv", "metric": "kl"})
    same = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    same = same.replace_schema_metadata({"metric": "kl", "universe": "qkv", "pandas": "{}"})
    written = []
    for index, each in enumerate((table, same)):
        fill(tmp_path / str(index), range(3), 3)
        with open_store(tmp_path / str(index), 3) as store:
            store.finished()
            written.append(store.finish(each).read_bytes())
            result = store.result()
        assert result is not None and result.equals(table)
        assert result.schema.metadata == {b"universe": b"qkv", b"metric": b"kl"}
    assert written[0] == written[1]
    assert b"pandas" not in written[1]


@given(values=st.lists(st.floats(allow_nan=False), max_size=30), cuts=st.lists(st.integers(0, 30)))
def test_how_a_table_is_held_does_not_matter(values: list[float], cuts: list[int]) -> None:
    table = pa.table({"effect": pa.array(values, pa.float64())})
    stops = [0, *sorted(cuts), 30]
    slices = [table.slice(start, stop - start) for start, stop in itertools.pairwise(stops)]
    assert saved_sums.encode_table(pa.concat_tables(slices)) == saved_sums.encode_table(table)


def test_a_result_needs_every_task(tmp_path: Path) -> None:
    fill(tmp_path, [0, 1], 3)
    with open_store(tmp_path, 3) as store:
        store.finished()
        with pytest.raises(ValueError, match="Expected all 3 tasks before the result, 1 are miss"):
            store.finish(NAMES)
        check_finished(store.finished(), [0, 1])


def test_what_is_finished_or_closed_takes_no_more(tmp_path: Path) -> None:
    store = open_store(tmp_path, 1)
    store.add(0, sums_of(0))
    store.finish(NAMES)
    with pytest.raises(ValueError, match="but it is finished"):
        store.add(0, sums_of(0))
    with pytest.raises(ValueError, match="but it is finished"):
        store.finish(NAMES)
    store.close()
    store.close()
    with pytest.raises(ValueError, match="open for a running sweep, but it is closed"):
        store.add(0, sums_of(0))


def test_a_kill_after_the_result_leaves_parts_to_remove(tmp_path: Path) -> None:
    fill(tmp_path, range(100))
    kept = {path: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    with open_store(tmp_path) as store:
        store.finished()
        store.finish(NAMES)
    (tmp_path / "parts").mkdir()
    for path, data in kept.items():
        path.write_bytes(data)
    (tmp_path / "parts" / ".part-000009.parquet.x1y2").write_bytes(b"PAR1")
    with open_store(tmp_path) as store:
        assert store.result() is not None
    assert files(tmp_path) == {".lock", "sweep.json", "effects.parquet"}


# What kills and bad disks leave


def test_half_written_files_are_removed(tmp_path: Path) -> None:
    fill(tmp_path, [1])
    before = files(tmp_path)
    for name in (".sweep.json.ab", ".effects.parquet.cd", "parts/.part-000002.parquet.ef"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    with open_store(tmp_path) as store:
        check_finished(store.finished(), [1])
    assert files(tmp_path) == {*before, "notes.txt"}


def test_a_kill_while_beginning_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".sweep.json.ab").write_bytes(b"{")
    fill(tmp_path, [1])
    assert files(tmp_path) == {".lock", "sweep.json", "parts/part-000001.parquet"}


def test_a_kill_between_merging_and_removing_is_harmless(tmp_path: Path) -> None:
    fill(tmp_path, range(64))
    old = {path: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    fill(tmp_path, [64])
    assert len(list((tmp_path / "parts").iterdir())) == 1
    for path, data in list(old.items())[:40]:
        path.write_bytes(data)
    with open_store(tmp_path) as store:
        check_finished(store.finished(), range(65))


def test_two_results_of_one_task_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, [1, 1])
    with open_store(tmp_path) as store:
        check_finished(store.finished(), [1])
        store.add(1, np.nextafter(sums_of(1), 9))
        with pytest.raises(ValueError, match=r"result of task 1, got two .*000003\.parquet; .*del"):
            store.finished()


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "foreign", "task", "index"])
def test_a_corrupt_part_is_named(tmp_path: Path, damage: str) -> None:
    fill(tmp_path, [4, 5])
    path = tmp_path / "parts" / "part-000002.parquet"
    data = bytearray(path.read_bytes())
    table = pq.read_table(path)
    match damage:
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "empty":
            path.write_bytes(b"")
        case "flipped":
            data[data.index(np.float64(5).tobytes())] ^= 1
            path.write_bytes(data)
        case "foreign":
            pq.write_table(NAMES, path)
        case "task":
            pq.write_table(table.set_column(0, "task", pa.array([100] * 3, pa.int32())), path)
        case "index":
            pq.write_table(table.slice(1), path)
    with (
        open_store(tmp_path) as store,
        pytest.raises(ValueError, match=r"part-000002\.parquet as this .* corrupt .*: delete it"),
    ):
        store.finished()
    path.unlink()
    with open_store(tmp_path) as store:
        check_finished(store.finished(), [4])


def test_a_corrupt_part_is_not_merged_away(tmp_path: Path) -> None:
    fill(tmp_path, range(64))
    (tmp_path / "parts" / "part-000007.parquet").write_bytes(b"PAR1")
    with open_store(tmp_path) as store, pytest.raises(ValueError, match="part-000007"):
        store.add(64, sums_of(64))
    assert len(list((tmp_path / "parts").iterdir())) == 65


def test_a_corrupt_result_is_named(tmp_path: Path) -> None:
    with open_store(tmp_path, 1) as store:
        store.add(0, sums_of(0))
        path = store.finish(NAMES)
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(ValueError, match=r"effects\.parquet as this sweep wrote it, got"):
            store.result()


def test_a_full_disk_keeps_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_store(tmp_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(OSError, match="the disk is full"):
                store.add(1, sums_of(1))
            assert not list((tmp_path / "parts").iterdir())
        store.add(2, sums_of(2))
        check_finished(store.finished(), [1, 2])


# A process that only imports, and forks one that adds, again and again. Tells what each said it
# had on disk before it was killed; a child that misses anything says so.
KILLING = """
import json, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.storage.test_store import check_finished, open_store, sums_of

def add(pipe, acknowledged):
    try:
        store = open_store(Path(sys.argv[1]), 100_000)
        found = store.finished()
        assert acknowledged <= set(found), acknowledged - set(found)
        check_finished(found, list(found))
        for task in range(100_000):
            if task not in found:
                store.add(task, sums_of(task))
                os.write(pipe, b"%d\\n" % task)
    except BaseException as error:
        os.write(pipe, b"!" + repr(error).encode())
        time.sleep(60)

rng, acknowledged, rounds = random.Random(0), set(), []
for _ in range(25):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        add(writing, acknowledged)
    os.close(writing)
    time.sleep(rng.uniform(0.02, 0.3))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading) as said:
        text = said.read()
    assert "!" not in text, text
    acknowledged |= {int(line) for line in text.splitlines()}
    rounds.append(len(acknowledged))
print(json.dumps([rounds, sorted(acknowledged)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_what_was_acknowledged_outlives_any_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLING, str(tmp_path), str(ROOT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    rounds, acknowledged = json.loads(done.stdout)
    assert len(set(rounds)) > 3  # Several processes got to add something.
    with open_store(tmp_path, 100_000) as store:
        found = store.finished()
    assert set(acknowledged) <= set(found)
    check_finished(found, list(found))
    assert {name for name in files(tmp_path) if "/" not in name} == {".lock", "sweep.json"}


# Folders that are not this sweep's


@pytest.mark.parametrize(
    ("changes", "n_tasks", "message"),
    [
        ({"metric": "l2"}, 100, 'it holds another. description.metric: expected "l2", found "kl".'),
        ({}, 99, "it holds another. n_tasks: expected 99, found 100."),
        ({"seed": 1}, 100, "description.seed: expected 1, found nothing."),
        ({"n_tasks": 100}, 100, "description.n_tasks: expected 100, found nothing."),
        ({"shape": [3, 5]}, 100, "description.shape: expected [3, 5], found [3, 4]."),
        ({"shape": [3, 4.0]}, 100, "description.shape: expected [3, 4.0], found [3, 4]."),
        (
            {"metric": True, "config": {"heads": 4}},
            100,
            'description.config.dtype: expected nothing, found "float32"; description.config.heads:'
            ' expected 4, found 2; description.metric: expected true, found "kl".',
        ),
    ],
)
def test_another_sweep_is_refused(
    tmp_path: Path, changes: dict[str, object], n_tasks: int, message: str
) -> None:
    fill(tmp_path, [1])
    (tmp_path / ".effects.parquet.ab").touch()
    before = files(tmp_path)
    with pytest.raises(ValueError) as raised:
        SweepStore.open(tmp_path, {**DESCRIPTION, **changes}, n_tasks)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"Expected {tmp_path} to hold the sweep that was asked for")
    assert str(raised.value).endswith("Choose another folder, or delete this one.")
    assert files(tmp_path) == before
    fill(tmp_path, [2])  # Not locked.


def test_what_json_makes_of_a_description_is_the_same_description(tmp_path: Path) -> None:
    description = {"b": (1, 2.5, None), "a": {"y": True, "x": "ä"}}
    SweepStore.open(tmp_path, description, 1).close()
    SweepStore.open(tmp_path, dict(reversed(description.items())), 1).close()
    assert json.loads((tmp_path / "sweep.json").read_text()) == {
        "format": "interpbench-sweep",
        "version": 1,
        "n_tasks": 1,
        "description": {"a": {"x": "ä", "y": True}, "b": [1, 2.5, None]},
    }


@pytest.mark.parametrize("value", [object(), float("nan"), np.float32(1), {1, 2}])
def test_a_description_is_json(tmp_path: Path, value: object) -> None:
    with pytest.raises(TypeError, match="Expected a description that JSON can hold"):
        SweepStore.open(tmp_path / "new", {"metric": value}, 1)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expected the record of a sweep as JSON"),
        ("[]", "Expected the record of a sweep as a JSON object"),
        ('{"format": "interpbench-circuit", "version": 1}', '"format": "interpbench-sweep"'),
        ('{"format": "interpbench-sweep", "version": 2}', "newer release"),
        ('{"format": "interpbench-sweep", "version": 1}', "n_tasks: expected 100, found nothing"),
    ],
)
def test_another_record_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(ValueError) as raised:
        open_store(tmp_path)
    assert message in str(raised.value) and str(tmp_path) in str(raised.value)


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"an empty one .* holds thesis\.tex: choose another"):
        open_store(tmp_path)
    assert files(tmp_path) == {"thesis.tex"}
    with pytest.raises(ValueError, match=r"Expected a folder .*/thesis\.tex, a file; choose"):
        open_store(tmp_path / "thesis.tex")


@pytest.mark.slow
def test_a_folder_is_one_process_s(tmp_path: Path) -> None:
    with (
        open_store(tmp_path),
        pytest.raises(ValueError, match=r"for this sweep, but it is in use .*; wait until"),
    ):
        open_store(tmp_path)
    code = (
        "import sys; from pathlib import Path; from interpbench_jax.storage.store import SweepStore"
        f"\nSweepStore.open(Path(sys.argv[1]), {DESCRIPTION}, 100)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with open_store(tmp_path):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1 and "but it is in use" in done.stderr
    subprocess.run(command, cwd=ROOT, check=True)
    open_store(tmp_path).close()  # The process ended without closing.


def test_where_there_are_no_locks_none_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with open_store(tmp_path), open_store(tmp_path):
        pass


@pytest.mark.parametrize(("number", "refused"), [(errno.ENOLCK, False), (errno.EIO, True)])
def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, refused: bool
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    if refused:
        with pytest.raises(OSError, match=os.strerror(number)):
            open_store(tmp_path)
    else:
        open_store(tmp_path).close()


def test_without_pyarrow_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r'pip install "interpbench-jax\[bench\]"'):
        open_store(tmp_path / "new")
    assert not (tmp_path / "new").exists()


# Wrong arguments


@pytest.mark.parametrize("n_tasks", [0, -1, 2**31])
def test_a_sweep_has_tasks(tmp_path: Path, n_tasks: int) -> None:
    with pytest.raises(ValueError, match=rf"Expected from 1 to 2147483647 tasks, got {n_tasks}"):
        open_store(tmp_path, n_tasks)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("task", "sums", "message"),
    [
        (-1, np.ones(1), "Expected a task from 0 to 99, got -1"),
        (100, np.ones(1), "Expected a task from 0 to 99, got 100"),
        (5, np.ones(1, np.float32), "sums of task 5 as a non-empty .* float32 of shape"),
        (5, np.ones((1, 2)), r"float64 vector, got float64 of shape \(1, 2\)"),
        (5, np.ones(0), r"shape \(0,\)"),
    ],
)
def test_wrong_sums_are_refused(tmp_path: Path, task: int, sums: np.ndarray, message: str) -> None:
    with open_store(tmp_path) as store:
        with pytest.raises(ValueError, match=message):
            store.add(task, sums)
        store.flush()
        assert store.finished() == {}
