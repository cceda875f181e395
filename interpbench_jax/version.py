"""The version of interpbench-jax, defined here and nowhere else."""

__version__ = "0.1.0"
