"""Files of the wrong kind or content, full disks, and kills between two writes."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from interpbench_jax.storage import (
    digest_file,
    make_folder,
    open_regular,
    read_bytes,
    read_text,
    remove_leftovers,
    write_file,
    write_files,
)

# Reading


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # Nobody writes to it, so a plain open would hang.
    for path, kind in ((tmp_path / "pipe", "a pipe"), (tmp_path, "a folder")):
        with pytest.raises(ValueError, match=rf"Expected a regular file at {path}, got {kind}\."):
            read_bytes(path, 10)
    with pytest.raises(ValueError, match="got a device"):
        read_bytes(Path("/dev/zero"), 10)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none", 10)


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(8 * 2**30)
    with pytest.raises(ValueError, match=r"at most 10 bytes at .*, got 8,589,934,592; it is prob"):
        read_bytes(path, 10)
    path.write_bytes(b"0123456789")
    assert read_bytes(path, 10) == b"0123456789"
    with pytest.raises(ValueError, match="at most 9 bytes"):
        read_bytes(path, 9)


def test_text_is_utf8(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("é".encode())
    assert read_text(tmp_path / "a", 10) == "é"
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=f"Expected UTF-8 text at {tmp_path / 'a'}"):
        read_text(tmp_path / "a", 10)


def test_links_lead_to_files_and_loops_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link", 10) == "x"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        read_text(tmp_path / "loop", 10)


def test_a_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    # The digest is a test vector of FIPS 180-2.
    assert digest_file(tmp_path / "file").startswith("ba7816bf8f01cfea414140de5dae2223")
    with pytest.raises(ValueError, match="got a folder"):
        digest_file(tmp_path)


def test_a_file_that_is_replaced_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with open_regular(path, 10) as file:
        write_file(path, "another, longer")
        assert file.read() == b"old"
    path.write_bytes(b"0123456789")
    with open_regular(path, 10) as file:
        with path.open("ab") as other:
            other.write(b"more")
        assert len(file.read(11)) == 11  # `read_bytes` refuses this


# Writing


@pytest.mark.parametrize("link", ["loop", "gone/file"])
def test_folders_that_cannot_be_made(link: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / ("link" if link == "loop" else link))
    with pytest.raises(NotADirectoryError, match="where there is a symbolic link that leads now"):
        make_folder(tmp_path / "link")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "inner"):
        with pytest.raises(NotADirectoryError, match="where there is a file; choose another"):
            make_folder(path)
    assert make_folder(tmp_path / "a" / "b").is_dir()


def test_a_folder_that_takes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(PermissionError, match="Expected a writable folder, got"):
        make_folder(tmp_path)


def test_a_loop_of_links_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        write_file(tmp_path / "loop", "text")
    assert (tmp_path / "loop").is_symlink()


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("nth", [0, 1])
def test_a_full_disk_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, nth: int
) -> None:
    contents = {tmp_path / "a": b"new", tmp_path / "b": "newer"}
    write_files(dict.fromkeys(contents, b"old"))
    before, calls, fsync = listing(tmp_path), [0], os.fsync

    def fail(handle: int) -> None:
        calls[0] += 1
        if calls[0] > nth:
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Expected room for 8 bytes to write 2 files in ") as caught:
        write_files(contents, remove=[tmp_path / "a"])
    assert caught.value.errno == number and listing(tmp_path) == before


def test_text_without_an_encoding_changes_nothing(tmp_path: Path) -> None:
    write_file(tmp_path / "a", "old")
    with pytest.raises(
        ValueError, match=r"Expected text that UTF-8 can encode for .*b, got '\\ud800'"
    ):
        write_files({tmp_path / "a": "new", tmp_path / "b": "x\ud800"})
    assert listing(tmp_path) == {"a": b"old"}


def test_what_a_link_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_text("old")
    (tmp_path / "link").symlink_to("inner/file")
    (tmp_path / "new").symlink_to("inner/other")
    write_file(tmp_path / "link", "new")
    write_file(tmp_path / "new", "made")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "new").is_symlink()
    assert listing(tmp_path / "inner") == {"file": b"new", "other": b"made"}


def test_a_device_and_a_pipe_stay_what_they_are(tmp_path: Path) -> None:
    write_file(Path("/dev/null"), "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, "through")
    reader.join(10)
    assert found == [b"through"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError, match=r"Expected a file to write at .*, got a folder"):
        write_files({tmp_path / "b": "x", tmp_path / "a": "y"})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_two_paths_to_one_file_are_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "a", "old")
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(ValueError, match="Expected different files to write"):
        write_files({tmp_path / "a": "x", tmp_path / "link": "y"})
    assert (tmp_path / "a").read_text() == "old" and len(list(tmp_path.iterdir())) == 2


def test_old_files_go_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files({tmp_path / "a": "old", tmp_path / "gone": "old"})

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            write_files({tmp_path / "a": "new"}, remove=[tmp_path / "gone"])
    assert listing(tmp_path) == {"a": b"old", "gone": b"old"}
    write_files({tmp_path / "a": "new"}, remove=[tmp_path / "gone", tmp_path / "never was"])
    assert listing(tmp_path) == {"a": b"new"}


def test_outdated_files_go_before_the_first_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, table = tmp_path / "card", tmp_path / "table"
    write_files({table: "old", card: "old"})
    with pytest.raises(ValueError, match="UTF-8"):
        write_files({table: "new", card: "\ud800"}, outdated=[card])
    assert listing(tmp_path) == {"table": b"old", "card": b"old"}
    replace, seen = os.replace, []

    def note(source: Path, target: Path) -> None:
        seen.append(card.exists())
        replace(source, target)

    monkeypatch.setattr(os, "replace", note)
    write_files({table: "new", card: "new"}, outdated=[card, tmp_path / "never was"])
    assert seen == [False, False]
    assert listing(tmp_path) == {"table": b"new", "card": b"new"}


def test_leftovers_are_our_own_alone(tmp_path: Path) -> None:
    for name in (".a.xyz", ".b.xyz", "a", ".a"):
        (tmp_path / name).touch()
    (tmp_path / ".a.folder").mkdir()
    remove_leftovers(tmp_path, "a.")
    assert {path.name for path in tmp_path.iterdir()} == {".b.xyz", "a", ".a", ".a.folder"}


def kill_while_writing(path: Path, content: str) -> None:
    """Let another process write the file, and kill it before the file is in its place."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from interpbench_jax.storage import write_file\n"
        "os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_file(Path(sys.argv[1]), sys.argv[2])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, path, content], check=False)
    assert ended.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path) -> None:
    for name in (".a.original", ".a.12345678", ".b.12345678.tmp", "a"):
        (tmp_path / name).write_text("of others")
    (tmp_path / ".a.00000000.tmp").mkdir()
    (tmp_path / ".a.11111111.tmp").symlink_to("a")
    before = set(tmp_path.iterdir())
    for content in ("first", "second"):
        kill_while_writing(tmp_path / "a", content)
        # The second process removes what the first one left.
        (left,) = set(tmp_path.iterdir()) - before
        assert left.read_text() == content and (tmp_path / "a").read_text() == "of others"
    write_file(tmp_path / "a", "third")
    assert set(tmp_path.iterdir()) == before and (tmp_path / "a").read_text() == "third"


def test_files_that_others_are_writing_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write begins while another is between its file and the move into place."""
    replace, inner = os.replace, []

    def write_another(*paths: Path) -> None:
        if not inner:
            inner.append(paths)
            write_file(tmp_path / "a", "inner")
            assert (tmp_path / "a").read_text() == "inner" and Path(paths[0]).exists()
        replace(*paths)

    monkeypatch.setattr(os, "replace", write_another)
    write_file(tmp_path / "a", "outer")
    assert inner and listing(tmp_path) == {"a": b"outer"}


def test_a_file_that_another_process_removes_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = tempfile.mkstemp, []

    def make_and_lose(suffix: str, prefix: str, folder: Path) -> tuple[int, str]:
        handle, name = make(suffix, prefix, folder)
        if not made:
            os.unlink(name)
        made.append(name)
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", make_and_lose)
    write_file(tmp_path / "a", "text")
    assert len(made) == 2 and listing(tmp_path) == {"a": b"text"}


def test_nothing_is_removed_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    kill_while_writing(tmp_path / "a", "killed")
    monkeypatch.setattr(fcntl, "flock", refuse)
    write_file(tmp_path / "a", "text")
    assert len(listing(tmp_path)) == 2
    monkeypatch.undo()
    write_file(tmp_path / "a", "text")
    assert listing(tmp_path) == {"a": b"text"}
