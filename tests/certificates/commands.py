"""The command line, run in this process so that compiled programs are reused."""

import sys

import pytest

from interpbench_jax.cli import main


def run_command(*arguments: str, code: int) -> None:
    """Run `interpbench` and check its exit code."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["interpbench", *arguments])
        main()
    assert (stopped.value.code or 0) == code
