"""Patching of every node and every edge, compiled."""

from interpbench_jax.sweeps.result import SweepResult as SweepResult
from interpbench_jax.sweeps.sweep import sweep_edges as sweep_edges
from interpbench_jax.sweeps.sweep import sweep_nodes as sweep_nodes
