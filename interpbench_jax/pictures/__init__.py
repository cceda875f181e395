"""Pictures of circuits, attention patterns, effects and scores, one call each."""

from interpbench_jax.pictures.attention import plot_attention as plot_attention
from interpbench_jax.pictures.circuits import draw_circuit as draw_circuit
from interpbench_jax.pictures.curves import plot_faithfulness as plot_faithfulness
from interpbench_jax.pictures.curves import plot_roc as plot_roc
from interpbench_jax.pictures.heat_maps import plot_effects as plot_effects
