"""Convert one case from upstream's files."""

import warnings
from collections.abc import Mapping

import numpy as np

from interpbench_conversion.configs import IOI_CONFIG, convert_config
from interpbench_conversion.errors import UpstreamFormatError
from interpbench_conversion.torch_files import read_state_dict
from interpbench_conversion.upstream_files import (
    CASE_KEY,
    UpstreamFiles,
    read_config,
    read_edges,
    read_meta,
)
from interpbench_conversion.vocabulary import (
    KeptTokens,
    kept_config,
    kept_provenance,
    kept_selections,
    kept_vocab,
)
from interpbench_jax.case import Case
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.sites import Edge, Node
from interpbench_jax.storage import digest_file
from interpbench_jax.texts import count, cut_off
from interpbench_jax.weights import check_weights


def convert_case(
    files: UpstreamFiles,
    case_id: str,
    *,
    vocab: tuple[str, ...] | None = None,
    task_description: str = "",
    provenance: Mapping[str, object] | None = None,
    moved: Mapping[Node, Node] | None = None,
    keep_tokens: KeptTokens | None = None,
    circuit_instead: Circuit | None = None,
) -> Case:
    """Return a case from upstream's files, in either of their layouts.

    The case's data is copied out of the files: they may be replaced or removed afterwards, and if
    the vocabulary is cut, only the kept part is ever in memory.

    Args:
        files: the files that `upstream_files.find_upstream_files` found.
        case_id: id of the case that they hold; upstream's files do not say.
        vocab: the token of every id in the files, if known; also with `keep_tokens`.
        task_description: what the model computes.
        provenance: where the files came from; their layout, names and digests are added.
        moved: the model's head for each head of the compiled program that is aligned with another
            one. The current layout's edges name the program's heads and are renamed by it;
            release 1.0.0's name the model's.
        circuit_instead: the circuit to use if the files' list has edges that no model of this
            shape has; without it, the rest of the list is used.
        keep_tokens: the tokens of the vocabulary to keep, as in `vocabulary.keep_tokens`; the
            default is all of them.

    Raises:
        UpstreamFormatError: if a file is not understood, or the files do not fit one another, or
            `keep_tokens` does not fit them.

    Warns:
        UserWarning: if edges are left out; the provenance lists them.
    """
    digests = _digests(files)
    config = _read_config(files)
    origin: dict[str, object] = {**(provenance or {}), "layout": files.layout}
    full_config = config
    if keep_tokens is not None:
        try:
            config = kept_config(full_config, keep_tokens)
            vocab = kept_vocab(vocab, keep_tokens)
        except ValueError as error:
            raise UpstreamFormatError(f"{files.weights}: {error}") from error
        origin |= kept_provenance(full_config, keep_tokens, {})
    state = read_state_dict(
        files.weights,
        selections={} if keep_tokens is None else kept_selections(full_config, keep_tokens),
    )
    weights = convert_weights(config, state, str(files.weights), n_ctx_of_file=full_config.n_ctx)
    origin["sha256"] = digests
    told = {} if files.meta is None else read_meta(files.meta)
    origin["training_args"] = {name: told[name] for name in told if name != CASE_KEY}
    circuit, impossible = _read_circuit(files, config, moved or {})
    if impossible:
        assert files.edges is not None
        has_own = circuit_instead is not None
        circuit = circuit_instead if has_own else circuit
        origin["impossible_edges"] = list(impossible)
        warnings.warn(
            f"{files.edges}: left out {count(len(impossible), 'edge')} that no model of this shape "
            f"has: {cut_off(impossible)}. "
            + ("The task's own circuit is used." if has_own else "The others form the circuit."),
            stacklevel=2,
        )
    changed = [name for name, digest in _digests(files).items() if digests[name] != digest]
    if changed:
        raise UpstreamFormatError(
            f"{files.weights.parent}: expected the files to stay unchanged while they are read, "
            f"but {', '.join(changed)} changed; convert them again."
        )
    try:
        return Case(case_id, config, weights, circuit, vocab, task_description, origin)
    except ValueError as error:
        raise UpstreamFormatError(f"{files.weights.parent}: {error}") from error


def _read_config(files: UpstreamFiles) -> TransformerConfig:
    if files.config is None:
        return IOI_CONFIG
    return convert_config(read_config(files.config), str(files.config))


def _read_circuit(
    files: UpstreamFiles, config: TransformerConfig, moved: Mapping[Node, Node]
) -> tuple[Circuit | None, tuple[str, ...]]:
    """Return the circuit in the files' list, and the listed edges that no model of this shape has.

    Upstream's current trainer lists some where a layer has two heads of the circuit: from one
    head's queries to another's. They say nothing about the weights, which are valid.
    """
    if files.edges is None:
        return None, ()
    shape = (config.n_layers, config.n_heads)
    possible, impossible = [], []
    for pair in read_edges(files.edges):
        try:
            Circuit.from_names([pair], *shape)
            possible.append(pair)
        except ValueError:
            impossible.append(" -> ".join(name[:120] for name in pair))
    if impossible and not possible:
        return None, tuple(impossible)
    circuit = Circuit.from_names(possible, *shape)
    if files.layout == "current" and moved:
        circuit = _rename_heads(circuit, moved)
    return circuit, tuple(impossible)


def convert_weights(
    config: TransformerConfig,
    state: Mapping[str, np.ndarray],
    name: str,
    *,
    n_ctx_of_file: int | None = None,
) -> dict[str, np.ndarray]:
    """Return a model's weights, given a TransformerLens state dict.

    The buffers `mask` (the earlier positions that a head sees) and `IGNORE` (the score of those
    that it does not see) are checked against the config and left out.

    Args:
        config: the model's shape.
        state: every tensor of the state dict by name.
        name: the file's name, for error messages.
        n_ctx_of_file: the size of the masks, if it differs from the config's.

    Raises:
        UpstreamFormatError: if a tensor is left over, is missing or has another shape or dtype, or
            a buffer contradicts the config.
    """
    n_ctx = config.n_ctx if n_ctx_of_file is None else n_ctx_of_file
    buffers = {
        f"blocks.{layer}.attn.{buffer}": check
        for layer in range(config.n_layers)
        for buffer, check in (("mask", _check_mask), ("IGNORE", _check_ignore))
    }
    for key, check in buffers.items():
        if key in state:
            check(state[key], n_ctx, f"{name}: expected {key}")
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


def _check_mask(mask: np.ndarray, n_ctx: int, expected: str) -> None:
    fits = mask.dtype == np.bool_ and mask.shape == (n_ctx, n_ctx)
    if not fits or not np.array_equal(mask, np.tri(n_ctx, dtype=np.bool_)):
        raise UpstreamFormatError(
            f"{expected} to be a lower triangle of true of size {n_ctx}, got another "
            f"{mask.dtype} array of shape {mask.shape}; other masks are not implemented."
        )


def _check_ignore(ignore: np.ndarray, n_ctx: int, expected: str) -> None:
    if ignore.shape != () or not np.isneginf(ignore.astype(np.float64)):
        raise UpstreamFormatError(
            f"{expected} to be minus infinity, got {ignore!r}; scores masked with "
            "another value are not implemented."
        )


def _digests(files: UpstreamFiles) -> dict[str, str]:
    """Return the SHA-256 of every file that exists, by its name."""
    paths = (files.weights, files.config, files.edges, files.meta)
    return {path.name: digest_file(path) for path in paths if path is not None and path.is_file()}
