"""A conversion certificate: how far our activations are from TransformerLens's."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpbench_conversion.errors import UpstreamFormatError
from interpbench_jax.case import Case
from interpbench_jax.config import TransformerConfig
from interpbench_jax.masks import edge_mask
from interpbench_jax.sites import Edge, Node, parse_node

if TYPE_CHECKING:
    from jax import Array

    from interpbench_jax.model import Transformer

FLOAT64_LIMIT = 1e-12


@dataclass(frozen=True)
class OracleErrors:
    """Worst relative errors against an oracle, `max|a - b| / max(1, max|b|)`.

    Attributes:
        float64: errors in double precision, by activation; `edge patches` and `node patches` are
            those of the patched logits.
        float32: the same errors in single precision.
        largest_score: the largest attention score; a softmax turns the rounding of its scores
            into an absolute error, so that float32 patterns cannot be closer than about
            `6e-8 * largest_score`.
        n_inputs: number of inputs in the oracle.
        n_edges: number of edges that it patches.
        n_nodes: number of nodes that it patches.
    """

    float64: Mapping[str, float]
    float32: Mapping[str, float]
    largest_score: float
    n_inputs: int
    n_edges: int
    n_nodes: int

    @property
    def worst64(self) -> float:
        """The largest of the float64 errors."""
        return max(self.float64.values())

    @property
    def worst32(self) -> float:
        """The largest of the float32 errors."""
        return max(self.float32.values())


def read_oracle(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an oracle file: TransformerLens's activations in float64.

    They are `inputs`, `source_inputs`, `logits`, `act/<hook>`, `edges` with `edge_patched_logits`,
    and `node/<hook>`: the logits when that node has its value on the source inputs.

    Raises:
        FileNotFoundError: if there is no such file.
        UpstreamFormatError: if it is not an oracle.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected an oracle file at {path}, found none.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UpstreamFormatError(
            f"{path}: expected an .npz file of plain arrays, got one that is damaged or holds "
            f"something else ({type(error).__name__}). Objects in it are never unpickled."
        ) from error
    missing = sorted({"inputs", "source_inputs", "logits"} - set(arrays))
    if missing:
        raise UpstreamFormatError(f"{path}: expected the arrays of an oracle; missing: {missing}.")
    return arrays


def certify_conversion(case: Case, oracle: Mapping[str, np.ndarray]) -> OracleErrors:
    """Compare every activation and every patched output with an oracle, in both precisions.

    Raises:
        ValueError: if the oracle is for another model, or has activations that ours lacks.
    """
    import jax

    with jax.enable_x64(True):
        errors64 = _errors(case, oracle, np.dtype(np.float64))
    errors32 = _errors(case, oracle, np.dtype(np.float32))
    scores = [array for name, array in oracle.items() if name.endswith(".hook_attn_scores")]
    return OracleErrors(
        float64=errors64,
        float32=errors32,
        largest_score=max((float(np.abs(s[np.isfinite(s)]).max()) for s in scores), default=0.0),
        n_inputs=len(oracle["inputs"]),
        n_edges=len(oracle.get("edges", ())),
        n_nodes=sum(name.startswith("node/") for name in oracle),
    )


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return `max|a - b| / max(1, max|b|)`; infinite if the entries that are not finite differ."""
    if ours.shape != theirs.shape:
        raise ValueError(f"Expected an activation of shape {theirs.shape}, got {ours.shape}.")
    finite = np.isfinite(theirs)
    same_elsewhere = np.array_equal(ours[~finite], theirs[~finite], equal_nan=True)
    if not same_elsewhere or not np.isfinite(ours[finite]).all():
        return float("inf")
    difference = np.abs(ours[finite].astype(np.float64) - theirs[finite])
    scale = max(1.0, float(np.abs(theirs[finite]).max(initial=0)))
    return float(difference.max(initial=0)) / scale


def _errors(case: Case, oracle: Mapping[str, np.ndarray], dtype: np.dtype) -> dict[str, float]:
    import jax

    from interpbench_jax.interventions import run_with_cache
    from interpbench_jax.model import build_model

    weights = {name: array.astype(dtype) for name, array in case.weights.items()}
    model = build_model(case.config, weights)
    inputs, sources = oracle["inputs"], oracle["source_inputs"]
    logits, cache = run_with_cache(model, inputs)
    activations = {
        name.removeprefix("act/"): array for name, array in oracle.items() if name[:4] == "act/"
    }
    unknown = sorted(set(activations) - set(cache))
    if unknown:
        raise ValueError(f"Expected an oracle for this model, got activations at {unknown} too.")
    errors = {
        name: relative_error(np.asarray(cache[name]), array) for name, array in activations.items()
    }
    errors["logits"] = relative_error(np.asarray(logits), oracle["logits"])
    if "edges" in oracle:
        masks = _edge_masks(case.config, oracle["edges"])
        ours = jax.jit(_edge_patched_logits)(model, inputs, sources, masks)
        errors["edge patches"] = relative_error(np.asarray(ours), oracle["edge_patched_logits"])
    nodes = [name.removeprefix("node/") for name in oracle if name[:5] == "node/"]
    if nodes:
        patch = jax.jit(partial(_node_patched_logits, nodes=tuple(map(parse_node, nodes))))
        theirs = np.stack([oracle[f"node/{name}"] for name in nodes])
        errors["node patches"] = relative_error(np.asarray(patch(model, inputs, sources)), theirs)
    return errors


def _edge_masks(config: TransformerConfig, edges: np.ndarray) -> np.ndarray:
    """Return masks `[edges, dst, src]`, each of which cuts one edge."""
    shape = (config.n_layers, config.n_heads)
    try:
        parsed = [Edge(parse_node(str(src)), parse_node(str(dst))) for src, dst in edges]
        return np.stack([1 - edge_mask([edge], *shape) for edge in parsed])
    except ValueError as error:
        raise ValueError(f"Expected an oracle for this model: {error}") from None


def _edge_patched_logits(
    model: "Transformer", inputs: "Array", sources: "Array", masks: "Array"
) -> "Array":
    import jax

    from interpbench_jax.interventions import masked_forward, replacement_outputs

    replacement = replacement_outputs(model, sources)
    return jax.lax.map(lambda mask: masked_forward(model, inputs, mask, replacement), masks)


def _node_patched_logits(
    model: "Transformer", inputs: "Array", sources: "Array", nodes: tuple[Node, ...]
) -> "Array":
    """Return the logits of one run per node, in which a hook replaces its value by the source's."""
    import jax
    import jax.numpy as jnp

    from interpbench_jax.interventions import run_with_cache, run_with_hooks

    _, cache = run_with_cache(model, sources, nodes)

    def run(chosen: "Array") -> "Array":
        def patch(index: int) -> Callable[["Array"], "Array"]:
            source = cache[str(nodes[index])]
            return lambda activation: jnp.where(chosen == index, source, activation)

        return run_with_hooks(model, inputs, {n: patch(i) for i, n in enumerate(nodes)})

    return jax.lax.map(run, jnp.arange(len(nodes)))
