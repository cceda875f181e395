"""Exhaustive edge patching as a plain `jax.vmap` of the masked forward over edge masks.

This is what one writes with the library's public functions but without the sweep engine: one mask
per edge, a compiled function for a chunk of masks, and a loop over chunks.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

import interpbench_jax as ib
from interpbench_jax.axes import Replacement
from interpbench_jax.masks import edge_indices

# The size of the writers' outputs in one chunk; on a CPU, sizes near the caches' are fastest.
_CPU_BYTES = 16 << 20
_ACCELERATOR_BYTES = 1 << 30
_MOST_INPUTS = 256


def sweep_plainly(
    model: ib.Transformer,
    clean: Int[np.ndarray, "batch pos"],
    corrupted: Int[np.ndarray, "batch pos"],
) -> Float[np.ndarray, " edges"]:
    """Return the mean KL divergence, in nats, of cutting each fine edge alone, positions from 1."""
    config = model.config
    edges = ib.universe("qkv", config.n_layers, config.n_heads).edges
    cuts = edge_indices(edges, config.n_layers, config.n_heads)
    n_chunks = -(-len(clean) // _MOST_INPUTS)
    total = np.zeros(len(cuts))
    for rows in np.array_split(np.arange(len(clean)), n_chunks):
        clean_logits, replacement = _prepare(model, clean[rows], corrupted[rows])
        size = _edges_per_chunk(replacement.nbytes, len(cuts))
        for first in range(0, len(cuts), size):
            # The last chunk is padded with the last edge, so that one program serves all chunks.
            some = cuts[np.minimum(np.arange(first, first + size), len(cuts) - 1)]
            sums = np.asarray(_patch(model, clean[rows], clean_logits, replacement, some))
            total[first : first + size] += sums[: len(cuts) - first]
    return total / len(clean)


def masked_forward_cost(
    model: ib.Transformer,
    clean: Int[np.ndarray, "batch pos"],
    corrupted: Int[np.ndarray, "batch pos"],
) -> dict[str, float]:
    """Return XLA's own count for one chunk: operations (`"flops"`) and bytes moved (`"bytes"`)."""
    rows = slice(0, min(len(clean), _MOST_INPUTS))
    clean_logits, replacement = _prepare(model, clean[rows], corrupted[rows])
    cuts = np.zeros((_edges_per_chunk(replacement.nbytes, _MOST_INPUTS), 2), np.int32)
    program = _patch.lower(model, clean[rows], clean_logits, replacement, cuts).compile()
    cost = program.cost_analysis() or {}
    return {"flops": float(cost.get("flops", 0)), "bytes": float(cost.get("bytes accessed", 0))}


def _edges_per_chunk(bytes_per_edge: int, n_edges: int) -> int:
    budget = _CPU_BYTES if jax.default_backend() == "cpu" else _ACCELERATOR_BYTES
    most = max(1, min(n_edges, budget // bytes_per_edge))
    return -(-n_edges // -(-n_edges // most))


@jax.jit
def _prepare(
    model: ib.Transformer, clean: Int[Array, "batch pos"], corrupted: Int[Array, "batch pos"]
) -> tuple[Array, Replacement]:
    return model(clean), ib.replacement_outputs(model, corrupted, "resample")


@jax.jit
def _patch(
    model: ib.Transformer,
    clean: Int[Array, "batch pos"],
    clean_logits: Float[Array, "batch pos vocab_out"],
    replacement: Float[Array, "batch pos src d_model"],
    cuts: Int[Array, "edges 2"],
) -> Float[Array, " edges"]:
    dst = 3 * model.config.n_layers * model.config.n_heads + model.config.n_layers + 1

    def effect(cut: Int[Array, "2"]) -> Float[Array, ""]:
        mask = jnp.ones((dst, replacement.shape[2]), model.dtype).at[cut[0], cut[1]].set(0)
        logits = ib.masked_forward(model, clean, mask, replacement)
        targets = clean_logits[:, 1:, 0]  # KL ignores targets
        return ib.METRICS["kl"](logits[:, 1:], clean_logits[:, 1:], targets).sum()

    return jax.vmap(effect)(cuts)
