"""The command line."""

from interpbench_jax.cli.main import app as app
from interpbench_jax.cli.main import main as main
