"""The help of every command, and the version."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import pytest
import typer

from interpbench_jax import __version__
from interpbench_jax.cli.main import app
from tests.certificates.commands import run_command


def names_below(commands: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every command and group, preceded by the groups that contain it."""
    for name, command in commands.items():
        yield " ".join((*path, name))
        yield from names_below(getattr(command, "commands", {}), (*path, name))


COMMANDS = ["", *names_below(vars(typer.main.get_command(app))["commands"])]


def test_all_commands_are_found() -> None:
    assert {"sweep", "train", "dataset", "dataset upload", "list"} <= set(COMMANDS)
    assert len(COMMANDS) >= 19


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(*command.split(), "--help", code=0)
    shown = capsys.readouterr()
    assert f"Usage: interpbench {command}".strip() in shown.out
    assert "--help" in shown.out and shown.err == ""


def test_the_version_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    run_command("--version", code=0)
    assert capsys.readouterr().out == f"interpbench-jax {__version__}\n"
    assert version("interpbench-jax") == __version__
