"""One case from upstream's files to ours."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from conversion.configs import convert_config
from conversion.errors import UpstreamFormatError
from conversion.torch_files import read_state_dict
from conversion.upstream_files import UpstreamFiles, read_config, read_edges, read_meta
from interpbench_jax.case import Case
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.sites import Edge, Node
from interpbench_jax.weights import check_weights


def convert_case(
    files: UpstreamFiles,
    case_id: str,
    *,
    vocab: tuple[str, ...] | None = None,
    task_description: str = "",
    provenance: Mapping[str, object] | None = None,
    moved: Mapping[Node, Node] | None = None,
) -> Case:
    """A case from upstream's files, in either of their layouts.

    Args:
        files: what `upstream_files.find_upstream_files` found.
        case_id: the case that they hold; upstream's files do not say.
        vocab: the token of every id, where it is known.
        task_description: what the model computes.
        provenance: where the files came from; their names and digests are added.
        moved: where a head of the compiled program is aligned with another head of the model.
            The current layout's edges name the program's heads and are renamed by it; release
            1.0.0's name the model's.

    Raises:
        UpstreamFormatError: if a file is not understood, or the files do not fit one another.
    """
    config = convert_config(read_config(files.config), str(files.config))
    weights = convert_weights(config, read_state_dict(files.weights), str(files.weights))
    circuit = None
    if files.edges is not None:
        pairs = read_edges(files.edges)
        try:
            circuit = Circuit.from_names(pairs, config.n_layers, config.n_heads)
            if files.layout == "current" and moved:
                circuit = _rename_heads(circuit, moved)
        except ValueError as error:
            raise UpstreamFormatError(f"{files.edges}: {error}") from error
    training = {} if files.meta is None else read_meta(files.meta)
    paths = (files.weights, files.config, files.edges, files.meta)
    origin = {
        **(provenance or {}),
        "layout": files.layout,
        "sha256": {path.name: _sha256(path) for path in paths if path is not None},
        "training_args": training,
    }
    try:
        return Case(case_id, config, weights, circuit, vocab, task_description, origin)
    except ValueError as error:
        raise UpstreamFormatError(f"{files.weights.parent}: {error}") from error


def convert_weights(
    config: TransformerConfig, state: Mapping[str, np.ndarray], name: str
) -> dict[str, np.ndarray]:
    """A model's weights from a TransformerLens state dict.

    The buffers `mask` (which earlier positions a head sees) and `IGNORE` (the score of those it
    does not) are checked against the config and left out.

    Args:
        config: the model's shape.
        state: every tensor of the state dict by name.
        name: the file, for messages.

    Raises:
        UpstreamFormatError: if a tensor is left over, missing, of another shape or dtype, or a
            buffer says something else than the config.
    """
    buffers = {
        f"blocks.{layer}.attn.{buffer}": check
        for layer in range(config.n_layers)
        for buffer, check in (("mask", _check_mask), ("IGNORE", _check_ignore))
    }
    for key, check in buffers.items():
        if key in state:
            check(state[key], config, f"{name}: expected {key}")
    weights = {key: array for key, array in state.items() if key not in buffers}
    try:
        check_weights(config, weights)
    except ValueError as error:
        raise UpstreamFormatError(f"{name}: {error}") from error
    return weights


def _rename_heads(circuit: Circuit, moved: Mapping[Node, Node]) -> Circuit:
    heads = {(node.layer, node.head): (to.layer, to.head) for node, to in moved.items()}

    def rename(node: Node) -> Node:
        layer, head = heads.get((node.layer, node.head), (node.layer, node.head))
        return Node(node.kind, layer, head)

    edges = tuple(Edge(rename(edge.src), rename(edge.dst)) for edge in circuit.edges)
    return Circuit(circuit.n_layers, circuit.n_heads, edges)


def _check_mask(mask: np.ndarray, config: TransformerConfig, expected: str) -> None:
    fits = mask.dtype == np.bool_ and mask.shape == (config.n_ctx, config.n_ctx)
    if not fits or not np.array_equal(mask, np.tri(config.n_ctx, dtype=np.bool_)):
        raise UpstreamFormatError(
            f"{expected} to be a lower triangle of true of size {config.n_ctx}, got another "
            f"{mask.dtype} array of shape {mask.shape}; other masks are not implemented."
        )


def _check_ignore(ignore: np.ndarray, config: TransformerConfig, expected: str) -> None:
    if ignore.shape != () or not np.isneginf(ignore.astype(np.float64)):
        raise UpstreamFormatError(
            f"{expected} to be minus infinity, got {ignore!r}; scores masked with "
            "another value are not implemented."
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
