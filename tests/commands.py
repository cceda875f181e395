"""The `interpbench` command in a process of its own."""

import os
import subprocess
import sys


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command, without colours, 160 columns wide if the environment says nothing else."""
    return subprocess.run(
        [sys.executable, "-m", "interpbench_jax.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "160", "NO_COLOR": "1", **environment},
    )
