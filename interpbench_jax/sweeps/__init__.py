"""Compiled patching of all nodes and all edges."""

from interpbench_jax.sweeps.many import sweep_many as sweep_many
from interpbench_jax.sweeps.mesh import sweep_mesh as sweep_mesh
from interpbench_jax.sweeps.options import SweepOptions as SweepOptions
from interpbench_jax.sweeps.plan import SweepPlan as SweepPlan
from interpbench_jax.sweeps.result import SweepResult as SweepResult
from interpbench_jax.sweeps.sets import sweep_cuts as sweep_cuts
from interpbench_jax.sweeps.sets import sweep_masks as sweep_masks
from interpbench_jax.sweeps.sets import sweep_neurons as sweep_neurons
from interpbench_jax.sweeps.sweep import sweep_edges as sweep_edges
from interpbench_jax.sweeps.sweep import sweep_nodes as sweep_nodes
