"""The version of interpbench-jax, said here and nowhere else."""

__version__ = "0.1.0"
