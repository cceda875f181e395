"""The cache of compiled programs: whether programs are stored, where, and which are deleted."""

import json
import os
import stat
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import jax
import pytest

from interpbench_jax.cli.compile_cache import cache_folder, clear_cache, measure_cache, use_cache
from tests.certificates.commands import run_command

NAME = "jit_f-" + "0a" * 32
SWEEP = ("sweep", "36", "--n", "8", "--json")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate process that inherits no setting of JAX's cache."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if "CACHE" not in name or not name.startswith(("JAX_", "INTERPBENCH_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "interpbench_jax.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**inherited, "COLUMNS": "100", "NO_COLOR": "1", **environment},
    )


def files(folder: Path) -> dict[str, int]:
    """Return the programs in a folder, with their modification times."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*-cache")}


@pytest.fixture
def own_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Imitate a process that has not imported JAX yet; return the user's home, which is empty."""
    monkeypatch.delitem(sys.modules, "jax")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    for name in ("INTERPBENCH_CACHE", "XDG_CACHE_HOME"):
        kept.pop(name, None)
    monkeypatch.setattr(os, "environ", kept | {"HOME": str(tmp_path / "home")})
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "home"


def setting(name: str) -> str | None:
    return os.environ.get(f"JAX_{name}")


# Complete commands


@pytest.mark.slow
def test_the_second_process_compiles_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    first = run(*SWEEP, INTERPBENCH_CACHE=str(folder))
    assert first.returncode == 0 and first.stderr == "", first.stderr
    kept = files(folder)
    # The cache also contains the programs that evaluate the task's RASP program.
    assert {name.partition("-")[0] for name in kept} >= {"jit_patch_edits", "jit_run_clean"}
    second = run(*SWEEP, INTERPBENCH_CACHE=str(folder))
    assert second.returncode == 0, second.stderr
    assert files(folder) == kept
    assert json.loads(second.stdout)["effects"] == json.loads(first.stdout)["effects"]
    # The stored programs do not depend on the folder.
    folder.rename(tmp_path / "moved")
    assert run(*SWEEP, INTERPBENCH_CACHE=str(tmp_path / "moved")).returncode == 0
    assert files(tmp_path / "moved") == kept


@pytest.mark.slow
def test_what_the_cache_needs_is_installed_with_the_package() -> None:
    """The tests' own packages need it too, so that no test would miss it."""
    needed = requires("interpbench-jax") or []
    assert [each for each in needed if each.startswith("filelock") and "extra" not in each]


@pytest.mark.slow
def test_warmup(tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    done = run("warmup", "36", "35", "--n", "8", INTERPBENCH_CACHE=str(folder))
    assert done.returncode == 0, done.stderr
    kept = files(folder)
    assert f"{len(kept)} programs compiled, {len(kept)} stored in {folder}" in done.stdout
    assert done.stdout.startswith("2 cases in ")
    for command in ((*SWEEP, "--nodes"), ("sweep", "36", "35", "--n", "8")):
        assert run(*command, INTERPBENCH_CACHE=str(folder)).returncode == 0
    assert files(folder) == kept
    (folder / "notes.txt").write_text("mine")
    done = run("warmup", "--clear", INTERPBENCH_CACHE=str(folder))
    assert done.stdout.startswith(f"{len(kept)} programs (")
    assert f"deleted from {folder}." in done.stdout
    assert {path.name for path in folder.iterdir()} <= {"notes.txt", ".lockfile"}


@pytest.mark.slow
def test_no_folder_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(*SWEEP, INTERPBENCH_CACHE=str(tmp_path / "file" / "programs"))
    assert done.returncode == 0
    assert "Warning: compiled programs are not cached" in done.stderr
    assert len(json.loads(done.stdout)["effects"]) == 137


@pytest.mark.slow
def test_no_cache(tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    done = run(*SWEEP, "--no-cache", INTERPBENCH_CACHE=str(folder))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert not folder.exists()


@pytest.mark.parametrize("value", ["1", "true"])
def test_no_cache_by_the_environment(tmp_path: Path, value: str) -> None:
    folder = tmp_path / "programs"
    environment = {"INTERPBENCH_CACHE": str(folder), "INTERPBENCH_NO_CACHE": value}
    done = run("warmup", "36", **environment)
    assert done.returncode == 2 and "Expected a folder to store" in done.stderr
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("warmup", "99"), "Expected a case whose weights interpbench-jax includes"),
        (("warmup", "36", "--n", "0"), "Invalid value for '--n'"),
        (("warmup", "all", "36"), "Expected cases or 'all', got both."),
    ],
)
def test_wrong_input(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments, INTERPBENCH_CACHE=str(tmp_path))
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split()) and "Traceback" not in done.stderr


def jax_folder() -> object:
    return jax.config.values["jax_compilation_cache_dir"]


def test_only_a_process_of_ours_is_set_up(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERPBENCH_CACHE", str(tmp_path / "programs"))
    before = dict(os.environ), jax_folder()
    run_command(*SWEEP, code=0)
    assert (dict(os.environ), jax_folder()) == before
    assert not (tmp_path / "programs").exists()
    run_command("warmup", "36", code=2)
    assert "Expected a folder to store" in capsys.readouterr().err


# The folder and its settings


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "HOME/.cache/interpbench-jax/compiled"),
        ("darwin", {}, "HOME/Library/Caches/interpbench-jax/compiled"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/interpbench-jax/compiled"),
        ("win32", {}, "HOME/AppData/Local/interpbench-jax/compiled"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/interpbench-jax/compiled"),
        # The standard says that a relative path must be ignored.
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "HOME/.cache/interpbench-jax/compiled"),
        ("linux", {"XDG_CACHE_HOME": "/xdg", "INTERPBENCH_CACHE": "/own"}, "/own"),
        ("linux", {"INTERPBENCH_CACHE": "~/own"}, "HOME/own"),
        ("linux", {"INTERPBENCH_CACHE": ""}, "HOME/.cache/interpbench-jax/compiled"),
    ],
)
def test_folder(
    own_process: Path,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    environment: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    os.environ.update(environment)
    assert cache_folder() == Path(expected.replace("HOME", str(own_process)))


def test_settings(own_process: Path) -> None:
    folder = use_cache(False)
    assert folder is not None and folder.is_dir()
    assert folder == own_process / ".cache/interpbench-jax/compiled"
    assert setting("COMPILATION_CACHE_DIR") == str(folder)
    assert setting("COMPILATION_CACHE_MAX_SIZE") == str(2**30)
    assert setting("PERSISTENT_CACHE_ENABLE_XLA_CACHES") == "none"
    assert setting("PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS") == "0"
    assert setting("PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES") == "-1"


def test_the_users_settings_win(own_process: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(theirs)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "5"
    assert use_cache(False) == theirs
    assert setting("COMPILATION_CACHE_DIR") == str(theirs)
    assert setting("PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS") == "5"
    # None of the user's programs are deleted to make room, and we create no folder.
    assert setting("COMPILATION_CACHE_MAX_SIZE") is None
    assert not own_process.exists() and not theirs.exists()
    with pytest.raises(ValueError, match="may hold other programs"):
        clear_cache()


def test_turned_off(own_process: Path) -> None:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = "theirs"
    assert use_cache(True) is None
    assert setting("ENABLE_COMPILATION_CACHE") == "false"
    assert not own_process.exists()


def test_a_file_stands_in_the_way(own_process: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_process.write_text("")
    assert use_cache(False) is None
    assert "Warning: compiled programs are not cached" in capsys.readouterr().err
    assert setting("COMPILATION_CACHE_DIR") is None


def test_a_folder_that_cannot_be_written(
    own_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert use_cache(False) is None
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file modes")
def test_programs_are_read_from_folders_of_our_own_alone(
    own_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = use_cache(False)
    assert folder is not None and stat.S_IMODE(folder.stat().st_mode) == 0o700
    for mode in (0o770, 0o707):
        folder.chmod(mode)
        assert use_cache_anew() is None
        assert "others can write to" in capsys.readouterr().err
    folder.chmod(0o755)
    assert use_cache_anew() == folder


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such owners")
def test_programs_of_somebody_else_are_not_run(
    own_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = use_cache(False)
    assert folder is not None
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert use_cache_anew() is None
    assert "belongs to another user" in capsys.readouterr().err


def use_cache_anew() -> Path | None:
    """Use the cache as a new process would."""
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    return use_cache(False)


# Deleted programs


def write_entry(folder: Path, name: str, age: float, is_whole: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-cache"
    path.write_bytes(b"12345")
    written = path.stat().st_mtime - age
    os.utime(path, (written, written))
    if is_whole:
        (folder / f"{name}-atime").write_bytes(bytes(8))
    return path


def test_torn_entries_are_removed(own_process: Path) -> None:
    folder = cache_folder()
    whole = write_entry(folder, NAME, age=3600)
    torn = write_entry(folder, NAME.replace("0a", "0b"), age=3600, is_whole=False)
    being_written = write_entry(folder, NAME.replace("0a", "0c"), age=0, is_whole=False)
    other = write_entry(folder, "notes", age=3600, is_whole=False)
    use_cache(False)
    assert whole.exists() and being_written.exists() and other.exists()
    assert not torn.exists()


def test_clear(own_process: Path) -> None:
    folder = cache_folder()
    assert clear_cache() == (folder, (0, 0))
    write_entry(folder, NAME, age=0)
    write_entry(folder, NAME.replace("0a", "0b"), age=0)
    others = [write_entry(folder, "notes", age=0, is_whole=False), folder / "jit_f-cache"]
    others[1].write_text("")
    (folder / f"{NAME.replace('0a', '0c')}-cache").mkdir()
    assert measure_cache(folder) == (2, 10)
    assert clear_cache() == (folder, (2, 10))
    assert measure_cache(folder) == (0, 0)
    assert all(path.exists() for path in others) and len([*folder.iterdir()]) == 3
