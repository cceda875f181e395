"""A circuit and random values for its universes, shared by the tests of scores."""

import numpy as np

from interpbench_jax.circuit import Circuit
from interpbench_jax.sites import parse_edge
from interpbench_jax.universes import UniverseName, universe

CIRCUIT = Circuit(
    2,
    3,
    tuple(
        map(
            parse_edge,
            (
                "hook_embed -> blocks.0.hook_v_input[1]",
                "blocks.0.attn.hook_result[1] -> blocks.1.hook_mlp_in",
                "blocks.1.hook_mlp_out -> blocks.1.hook_resid_post",
            ),
        )
    ),
)


def edge_values(name: UniverseName, seed: int, ties: bool = False) -> np.ndarray:
    """Draw numbers of both signs, one for each edge of a universe of 2 layers of 3 heads."""
    generator = np.random.default_rng(seed)
    size = len(universe(name, 2, 3).edges)
    return generator.integers(-3, 4, size) / 2 if ties else generator.standard_normal(size)


def node_values(name: UniverseName, seed: int) -> np.ndarray:
    """Draw numbers of both signs, one for each source of the universe."""
    size = len(universe(name, 2, 3).sources)
    return np.random.default_rng(seed).standard_normal(size)
