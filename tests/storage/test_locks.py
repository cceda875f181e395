"""A lock that gives one process exclusive use of a folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from interpbench_jax.storage import FileLock, InUse, lock_folder

OTHER = """
import sys
from pathlib import Path
from interpbench_jax.storage import InUse, lock_folder
try:
    with lock_folder(Path(sys.argv[1]), "a test"):
        print("mine")
        sys.stdout.flush()
        sys.stdin.readline()
except InUse as error:
    print(error)
"""


def other_process(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "new", "this work"):
        with pytest.raises(
            InUse, match=rf"Expected exclusive use of {tmp_path / 'new'} for more, but"
        ):
            lock_folder(tmp_path / "new", "more")
        other = other_process(tmp_path / "new")
        assert "for a test, but it is in use" in other.communicate("\n")[0]
    lock_folder(tmp_path / "new", "again").release()


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_lock_ends_with_its_process(tmp_path: Path, is_killed: bool) -> None:
    other = other_process(tmp_path)
    assert first_line(other) == "mine"
    with pytest.raises(InUse):
        lock_folder(tmp_path, "this")
    if is_killed:
        other.kill()
        other.communicate()
    else:
        other.communicate("\n")
    lock_folder(tmp_path, "this").release()


def test_a_file_that_goes_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    with FileLock(path, "it", removes=True) as lock:
        assert path.is_file()
        with pytest.raises(InUse):
            FileLock(path, "it", removes=True)
    lock.release()
    assert not path.exists()
    # A lock on a file that was deleted does not count: the new file is locked.
    with FileLock(path, "it", removes=True):
        os.unlink(path)
        with FileLock(path, "it", removes=True):
            assert path.is_file()
