"""Exhaustive edge patching with auto-circuit's patchable model: a mask and a run for each edge.

The setup favors auto-circuit: the corrupted run is cached once, patching is switched on once, only
the two mask entries that differ are written between two edges, and where torch may use all threads
it uses a single thread if that is faster.
"""

import importlib.metadata
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.speed.job import Job, Options, Prepared
from benchmarks.speed.peer_torch import (
    choose_threads,
    facts,
    load_model,
    load_tokens,
    mean_divergence,
)

if TYPE_CHECKING:
    from auto_circuit.types import Node  # pyright: ignore[reportMissingImports]


def prepare(job: Job, options: Options) -> Prepared:
    """Wrap the model; a run then caches the corrupted run and patches every edge.

    Raises:
        ValueError: if auto-circuit's edges differ from the job's.
    """
    import torch  # pyright: ignore[reportMissingImports]
    from auto_circuit.utils.ablation_activations import (  # pyright: ignore[reportMissingImports]
        src_ablations,
    )
    from auto_circuit.utils.graph_utils import (  # pyright: ignore[reportMissingImports]
        patch_mode,
        patchable_model,
        set_all_masks,
    )

    hooked = load_model(job, options)
    hooked.set_use_attn_result(True)
    model = patchable_model(hooked, factorized=True, separate_qkv=True)
    clean, corrupted = load_tokens(job, options)
    by_name = {(_name(edge.src), _name(edge.dest)): edge for edge in model.edges}
    if set(by_name) != set(job.edges):
        raise ValueError(f"Expected the job's {len(job.edges)} edges, got {len(by_name)} others.")
    edges = [by_name[edge] for edge in job.edges]

    def run() -> np.ndarray:
        effects = np.empty(len(edges))
        with torch.inference_mode():
            clean_log_probs = model(clean)[:, 1:].log_softmax(-1)
            replacements = src_ablations(model, corrupted)
            set_all_masks(model, 0.0)
            with patch_mode(model, replacements):
                for index, edge in enumerate(edges):
                    entry = edge.patch_mask(model).data
                    entry[edge.patch_idx] = 1.0
                    effects[index] = mean_divergence(clean_log_probs, model(clean))
                    entry[edge.patch_idx] = 0.0
        return effects

    with torch.inference_mode():
        choose_threads(lambda: model(clean), options)
    version = importlib.metadata.version("auto-circuit")
    return Prepared(run, facts() | {"auto_circuit": version})


def _name(node: "Node") -> str:
    """Return our name of one of auto-circuit's nodes."""
    return node.module_name if node.head_idx is None else f"{node.module_name}[{node.head_idx}]"
