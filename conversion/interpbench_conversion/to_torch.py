"""Write one of our cases as upstream's files, for use with PyTorch and TransformerLens."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np

from interpbench_conversion.torch_writing import Global, write_pickle, write_state_dict
from interpbench_conversion.upstream_files import CASE_KEY
from interpbench_jax.case import Case, is_case_directory
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.sites import Edge, Node
from interpbench_jax.storage import make_folder, write_files
from interpbench_jax.weights import weight_shapes

FileLayout = Literal["v1", "current"]

_EDGES_FILE = "edges.pkl"

# The other fields that `HookedTransformerConfig` has both in 1.19 and in 2.x, with the values of
# upstream's trainer: optional hooks on, the rest TransformerLens's defaults. `attn_scale` is not
# among them: 1.19 lacks it, and 2.x then takes the square root of d_head, as we do.
_CONSTANTS: Mapping[str, object] = {
    "model_name": "custom",
    "use_attn_result": True,
    "use_split_qkv_input": True,
    "use_hook_mlp_in": True,
    "use_attn_in": False,
    "use_local_attn": False,
    "original_architecture": None,
    "from_checkpoint": False,
    "checkpoint_index": None,
    "checkpoint_label_type": None,
    "checkpoint_value": None,
    "tokenizer_name": None,
    "window_size": None,
    "attn_types": None,
    "init_mode": "gpt2",
    "device": "cpu",
    "n_devices": 1,
    "attn_only": False,
    "seed": None,
    "init_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "positional_embedding_type": "standard",
    "final_rms": False,
    "parallel_attn_mlp": False,
    "rotary_dim": None,
    "use_hook_tokens": False,
    "gated_mlp": False,
    "default_prepend_bos": True,
    "tokenizer_prepends_bos": None,
    "n_key_value_heads": None,
    "post_embedding_ln": False,
    "rotary_base": 10000,
    "trust_remote_code": False,
    "rotary_adjacent_pairs": False,
    "load_in_4bit": False,
    "num_experts": None,
    "experts_per_token": None,
}


def write_upstream(
    case: Case, directory: Path | str, *, layout: FileLayout = "current", run: int = 0
) -> Path:
    """Write a case in upstream's layout: weights, config, training arguments and circuit.

    `load_case` reads back the same weights, config and circuit. The vocabulary and the description
    are in none of these files: it takes them from the declared task, or from a
    `benchmark_metadata.json`. Of the provenance, only `training_args` are written, and with them
    the case's id, because the layouts of the two releases share numbers. TransformerLens
    has no padding: a model with a `pad_token` is written without it, and gives the same on inputs
    without padding. Writing does not need torch. To read the files in PyTorch, with
    TransformerLens below version 4:

        with open("ll_model_cfg.pkl", "rb") as file:
            config = HookedTransformerConfig.from_dict(pickle.load(file))
        model = HookedTransformer(config)
        model.load_state_dict(torch.load("ll_model.pth", weights_only=True))

    Source: InterpBench's release 1.0.0 ("v1") and its current one.

    Args:
        case: the case to write. Without a circuit there is no `edges.pkl`.
        directory: a folder for this case alone; files of the same names are replaced. Each file
            appears complete or not at all, the weights last: a folder that has them is complete.
        layout: "current": `ll_model.pth`, `ll_model_cfg.pkl`, `meta.json`, `edges.pkl`, where the
            edges name the heads of the compiled program; "v1": `ll_model_<run>.pth`,
            `ll_model_cfg_<run>.pkl`, `meta_<run>.json`, `edges.pkl`, where they name the model's.
        run: the number in the file names of "v1".

    Returns:
        The folder.

    Raises:
        FileExistsError: if the folder holds another model, in this layout or another.
        ValueError: if the layout or the run is not valid, or the layout cannot express the case;
            nothing is written.
        OSError: if the folder cannot be made or written.
    """
    if layout not in ("v1", "current") or run < 0 or (run and layout == "current"):
        raise ValueError(
            "Expected layout 'v1' with a run from 0, or layout 'current', whose file names have no "
            f"run; got layout={layout!r} with run={run}."
        )
    directory = Path(directory)
    suffix = f"_{run}" if layout == "v1" else ""
    contents = _contents(case, layout, suffix)
    _check_alone(directory, set(contents))
    make_folder(directory)
    old = [directory / _EDGES_FILE] if case.circuit is None else []
    write_files({directory / name: content for name, content in contents.items()}, remove=old)
    return directory


def _contents(case: Case, layout: FileLayout, suffix: str) -> dict[str, bytes | str]:
    """The content of every file by name, the weights last."""
    dtype = next(iter(case.weights.values())).dtype
    contents: dict[str, bytes | str] = {
        f"ll_model_cfg{suffix}.pkl": write_pickle(transformer_lens_config(case.config, dtype)),
        f"meta{suffix}.json": _training_args(case),
    }
    if case.circuit is not None:
        circuit = case.circuit if layout == "v1" else _program_circuit(case, case.circuit)
        pairs = [(str(edge.src), str(edge.dst)) for edge in circuit.edges]
        contents[_EDGES_FILE] = write_pickle(pairs)
    model = f"ll_model{suffix}"
    return contents | {f"{model}.pth": write_state_dict(transformer_lens_state(case), model)}


def transformer_lens_config(config: TransformerConfig, dtype: np.dtype) -> dict[str, object]:
    """The fields of a `HookedTransformerConfig`, for TransformerLens 1.19 and 2.x.

    The field `dtype` is a `Global` that names torch's dtype; `initializer_range` is what
    TransformerLens would choose, because the weights' own initialization is not recorded.
    """
    attention = 4 * config.d_model * config.d_head * config.n_heads
    return {
        **{name: value for name, value in asdict(config).items() if name != "pad_token"},
        **_CONSTANTS,
        "dtype": Global("torch", dtype.name),
        "initializer_range": 0.8 / math.sqrt(config.d_model),
        "n_params": config.n_layers * (attention + 2 * config.d_model * config.d_mlp),
    }


def transformer_lens_state(case: Case) -> dict[str, np.ndarray]:
    """The state dict of a `HookedTransformer`: the weights and the two buffers of each layer.

    `mask` is a lower triangle of true and `IGNORE` minus infinity, whether attention is causal or
    not; TransformerLens 1.19 and 2.x create both and require them for strict loading.
    """
    state: dict[str, np.ndarray] = {}
    for name in weight_shapes(case.config):
        state[name] = array = case.weights[name]
        if name.endswith(".attn.b_O"):
            attention = name.removesuffix("b_O")
            state[f"{attention}mask"] = np.tri(case.config.n_ctx, dtype=np.bool_)
            state[f"{attention}IGNORE"] = np.asarray(-np.inf, array.dtype)
    return state


def _training_args(case: Case) -> str:
    arguments = case.provenance.get("training_args", {})
    try:
        if not isinstance(arguments, Mapping):
            raise TypeError(f"{type(arguments).__name__}, not an object")
        return json.dumps({**arguments, CASE_KEY: case.case_id}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Case {case.case_id!r}: expected training_args in the provenance to be an object of "
            f"strict JSON, got {error}; correct them or leave them out."
        ) from None


def _program_circuit(case: Case, circuit: Circuit) -> Circuit:
    """Return a case's circuit with the compiled program's heads instead of the model's.

    This undoes the renaming that a reader of the current layout does for a declared task.
    """
    try:
        moved = replace(case, vocab=None).task.moved
    except ValueError:  # no task is declared under this id
        return circuit
    heads = {(to[0].layer, to[0].head): (node.layer, node.head) for node, to in moved}
    taken = set(heads.values()) - set(heads)

    def rename(node: Node) -> Node:
        place = (node.layer, node.head)
        if place in taken:
            raise ValueError(
                f"Case {case.case_id!r}: expected a circuit without {node}, because in the current "
                "layout that name stands for another head of the model, to which the task moves "
                "it; write layout 'v1', which names the model's heads."
            )
        layer, head = heads.get(place, place)
        return Node(node.kind, layer, head)

    edges = tuple(Edge(rename(edge.src), rename(edge.dst)) for edge in circuit.edges)
    return Circuit(circuit.n_layers, circuit.n_heads, edges)


def _check_alone(directory: Path, names: set[str]) -> None:
    """Raise an error if a reader of the folder would find another model, or more than one."""
    found = sorted({path.name for path in directory.glob("ll_model*")} - names)
    if is_case_directory(directory):
        found.append("config.json of our own layout, which is read first")
    if found:
        raise FileExistsError(
            f"{directory}: expected a folder without another model's files, got "
            f"{', '.join(found)}; write to another folder, or move them away first."
        )
