"""Conversion of upstream's files to our cases, and files that are refused."""

import hashlib
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from interpbench_conversion.convert import convert_case, convert_weights
from interpbench_conversion.errors import UpstreamFormatError
from interpbench_conversion.torch_files import read_state_dict
from interpbench_conversion.upstream_files import (
    UpstreamFiles,
    find_upstream_files,
    read_edges,
    read_meta,
)
from interpbench_jax.case import Case, is_case_directory, read_case
from interpbench_jax.config import TransformerConfig
from interpbench_jax.weights import weight_shapes
from tests.fixtures import (
    MODEL_FOLDERS,
    UPSTREAM,
    random_weights,
    read_upstream_case,
    requires_upstream,
    tiny_config,
)

each_model = pytest.mark.parametrize("folder", MODEL_FOLDERS)

# The configs given to upstream's trainer, or to the script that made the random models.
CONFIGS = {
    "3": TransformerConfig(
        n_layers=2,
        n_heads=4,
        d_model=12,
        d_head=3,
        d_mlp=48,
        d_vocab=6,
        d_vocab_out=1,
        n_ctx=5,
        act_fn="gelu",
    ),
    "11": TransformerConfig(
        n_layers=2,
        n_heads=4,
        d_model=12,
        d_head=3,
        d_mlp=48,
        d_vocab=10,
        d_vocab_out=5,
        n_ctx=10,
        act_fn="gelu",
    ),
    "13": TransformerConfig(
        n_layers=2,
        n_heads=4,
        d_model=20,
        d_head=5,
        d_mlp=80,
        d_vocab=5,
        d_vocab_out=3,
        n_ctx=10,
        act_fn="gelu",
        attention_dir="bidirectional",
    ),
}


def files_in(folder: str | Path) -> UpstreamFiles:
    files = find_upstream_files(UPSTREAM / folder)
    assert files is not None
    return files


def convert(folder: str | Path) -> Case:
    return convert_case(files_in(folder), Path(folder).name)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a writable copy of one case's folder, for tests that damage it."""
    target = tmp_path / "11"
    target.mkdir()
    for path in (UPSTREAM / "release_v1" / "11").iterdir():
        shutil.copyfile(path, target / path.name)  # without its read-only mode
    return target


# Upstream's fixtures


@requires_upstream
def test_no_fixture_is_left_out() -> None:
    found = {str(path.parent.relative_to(UPSTREAM)) for path in UPSTREAM.glob("release*/*/*.pth")}
    assert found == set(MODEL_FOLDERS)


@requires_upstream
@each_model
def test_the_weights_are_the_files(folder: str) -> None:
    case = convert(folder)
    state = read_state_dict(files_in(folder).weights)
    buffers = set(state) - set(case.weights)
    assert buffers == {
        f"blocks.{layer}.attn.{name}"
        for layer in range(case.config.n_layers)
        for name in ("mask", "IGNORE")
    }
    for name, array in case.weights.items():
        assert array.dtype == (np.float64 if "random" in folder else np.float32), name
        assert array.tobytes() == state[name].tobytes(), name


@requires_upstream
@pytest.mark.parametrize("layout", ["release", "release_v1"])
@pytest.mark.parametrize("case_id", CONFIGS)
def test_configs_of_trained_models(layout: str, case_id: str) -> None:
    assert convert(f"{layout}/{case_id}").config == CONFIGS[case_id]


@requires_upstream
def test_configs_of_random_models() -> None:
    lnpre = convert("release/random_lnpre").config
    assert (lnpre.n_layers, lnpre.n_heads, lnpre.act_fn) == (3, 4, "gelu_new")
    assert lnpre.normalization_type == "LNPre" and lnpre.is_causal
    relu = convert("release/random_bidirectional_relu").config
    assert (relu.n_layers, relu.n_heads, relu.act_fn) == (2, 2, "relu")
    assert relu.normalization_type is None and not relu.is_causal


@requires_upstream
@each_model
def test_the_circuit_lists_the_files_edges(folder: str) -> None:
    circuit = convert(folder).circuit
    edges = files_in(folder).edges
    assert circuit is not None and edges is not None
    assert tuple((str(edge.src), str(edge.dst)) for edge in circuit.edges) == read_edges(edges)


@requires_upstream
@pytest.mark.parametrize("case_id", ["3", "11"])
def test_circuits_of_release_1_are_the_scored_ones(case_id: str) -> None:
    circuit = convert(f"release_v1/{case_id}").circuit
    assert circuit is not None
    scored = {tuple(pair) for pair in read_upstream_case(case_id)["edges_scored"]}
    assert {(str(edge.src), str(edge.dst)) for edge in circuit.in_universe("head")} == scored


@requires_upstream
@each_model
def test_provenance_says_where_a_case_comes_from(folder: str) -> None:
    files = files_in(folder)
    case = convert_case(files, "x", provenance={"repo_id": "a/b"})
    paths = [path for path in (files.weights, files.config, files.edges, files.meta) if path]
    assert dict(case.provenance) == {
        "repo_id": "a/b",
        "layout": "v1" if folder.startswith("release_v1") else "current",
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
        "training_args": {} if files.meta is None else read_meta(files.meta),
    }


@requires_upstream
@each_model
def test_saving_and_reading_changes_nothing(folder: str, tmp_path: Path) -> None:
    case = convert(folder)
    again = read_case(case.save(tmp_path / "case"))
    assert again == case
    assert set(again.weights) == set(case.weights)
    for name, array in case.weights.items():
        assert again.weights[name].dtype == array.dtype, name
        assert again.weights[name].tobytes() == array.tobytes(), name


@requires_upstream
@pytest.mark.parametrize("case_id", ["3", "11"])
def test_the_vocabulary_of_a_case_fits(case_id: str) -> None:
    facts = read_upstream_case(case_id)
    vocab = tuple(sorted(facts["token_ids"], key=facts["token_ids"].__getitem__))
    case = convert_case(
        files_in(f"release_v1/{case_id}"),
        case_id,
        vocab=vocab,
        task_description=facts["task_description"],
    )
    assert case.vocab == vocab and case.task_description == facts["task_description"]


# Broken folders


@requires_upstream
def test_a_wrong_vocabulary_is_refused() -> None:
    message = r"release_v1/11: Case '11': expected 10 tokens, got 2"
    with pytest.raises(UpstreamFormatError, match=message):
        convert_case(files_in("release_v1/11"), "11", vocab=("BOS", "PAD"))


@requires_upstream
def test_edges_and_metadata_may_be_missing(copied: Path) -> None:
    (copied / "edges.pkl").unlink()
    (copied / "meta_510.json").unlink()
    case = convert(copied)
    assert case.circuit is None and case.provenance["training_args"] == {}


@requires_upstream
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ll_model_510.pth", r"ll_model_510\.pth"),
        ("ll_model_cfg_510.pkl", r"ll_model_cfg_510\.pkl"),
        ("edges.pkl", r"edges\.pkl"),
        ("meta_510.json", r"meta_510\.json"),
    ],
)
@pytest.mark.parametrize("length", [0, -10])
def test_a_file_cut_short_is_named(copied: Path, name: str, message: str, length: int) -> None:
    path = copied / name
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UpstreamFormatError, match=message):
        convert(copied)


@requires_upstream
@pytest.mark.parametrize(
    "name", ["ll_model_510.pth", "ll_model_cfg_510.pkl", "edges.pkl", "meta_510.json"]
)
def test_a_file_that_goes_away_is_named(copied: Path, name: str) -> None:
    files = files_in(copied)
    (copied / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        convert_case(files, "11")


@requires_upstream
def test_another_models_config_is_refused(copied: Path) -> None:
    another = files_in("release_v1/13").config
    assert another is not None
    shutil.copyfile(another, copied / "ll_model_cfg_510.pkl")
    with pytest.raises(UpstreamFormatError, match=r"ll_model_510\.pth: .*another model"):
        convert(copied)


@requires_upstream
@pytest.mark.parametrize(
    "edge",
    [
        ("hook_embed", "blocks.2.hook_mlp_in"),
        ("blocks.0.attn.hook_result[4]", "blocks.0.hook_mlp_in"),
        ("hook_embed", "blocks.0.mlp_in"),
        ("blocks.1.hook_mlp_out", "blocks.0.hook_mlp_in"),
    ],
)
def test_edges_that_the_model_cannot_have_are_left_out(copied: Path, edge: tuple[str, str]) -> None:
    whole = convert(copied)
    own = pickle.loads((copied / "edges.pkl").read_bytes())
    (copied / "edges.pkl").write_bytes(pickle.dumps([*own, edge], protocol=4))
    with pytest.warns(
        UserWarning, match=r"edges\.pkl: left out 1 edge that no model of this shape has"
    ):
        found = convert(copied)
    assert found.circuit == whole.circuit
    assert found.provenance["impossible_edges"] == [" -> ".join(edge)]
    (copied / "edges.pkl").write_bytes(pickle.dumps([edge], protocol=4))
    with pytest.warns(
        UserWarning, match=r"edges\.pkl: left out 1 edge that no model of this shape has"
    ):
        assert convert(copied).circuit is None


@requires_upstream
def test_a_failed_conversion_leaves_a_saved_case_alone(copied: Path, tmp_path: Path) -> None:
    saved = convert(copied).save(tmp_path / "case")
    (copied / "edges.pkl").write_bytes(b"")
    with pytest.raises(UpstreamFormatError):
        convert(copied).save(saved)
    assert is_case_directory(saved) and read_case(saved).case_id == "11"


# State dicts

CONFIG = tiny_config()


def state_of(config: TransformerConfig) -> dict[str, np.ndarray]:
    """Return a state dict like TransformerLens 1.19's: weights, and two buffers per layer."""
    state = random_weights(config)
    for layer in range(config.n_layers):
        state[f"blocks.{layer}.attn.mask"] = np.tri(config.n_ctx, dtype=bool)
        state[f"blocks.{layer}.attn.IGNORE"] = np.asarray(-np.inf, np.float32)
    return state


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
def test_buffers_are_left_out(direction: str) -> None:
    # TransformerLens makes the same buffers for both directions, but uses them only for one.
    config = tiny_config(attention_dir=direction)
    weights = convert_weights(config, state_of(config), "model.pth")
    assert set(weights) == set(weight_shapes(config))


def test_buffers_may_be_missing() -> None:
    weights = random_weights(CONFIG)
    assert set(convert_weights(CONFIG, weights, "model.pth")) == set(weights)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize(
    "mask",
    [
        np.ones((6, 6), bool),
        np.tri(6, dtype=bool).T.copy(),
        np.tri(6, k=1, dtype=bool),
        np.tri(6, dtype=np.float32),
        np.tri(6, 5, dtype=bool),
        np.ones(6, bool),
        np.asarray(True),
    ],
    ids=["full", "upper", "shifted", "numbers", "oblong", "flat", "scalar"],
)
def test_another_mask_is_named(layer: int, mask: np.ndarray) -> None:
    key = f"blocks.{layer}.attn.mask"
    message = rf"model\.pth: expected {key} to be a lower triangle of true"
    with pytest.raises(UpstreamFormatError, match=message):
        convert_weights(CONFIG, state_of(CONFIG) | {key: mask}, "model.pth")


@pytest.mark.parametrize("size", [0, 5, 7])
def test_a_mask_of_another_context_is_named(size: int) -> None:
    key = "blocks.1.attn.mask"
    state = state_of(CONFIG) | {key: np.tri(size, dtype=bool)}
    with pytest.raises(UpstreamFormatError, match=rf"model\.pth: expected {key}"):
        convert_weights(CONFIG, state, "model.pth")


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("number", [-1e5, 0.0, np.inf, np.nan])
def test_another_ignore_is_named(layer: int, number: float) -> None:
    # TransformerLens before 1.14 masked with -1e5, which does not fully mask a position.
    key = f"blocks.{layer}.attn.IGNORE"
    state = state_of(CONFIG) | {key: np.asarray(number, np.float32)}
    message = rf"model\.pth: expected {key} to be minus infinity"
    with pytest.raises(UpstreamFormatError, match=message):
        convert_weights(CONFIG, state, "model.pth")


def test_an_ignore_of_another_shape_is_named() -> None:
    state = state_of(CONFIG) | {"blocks.0.attn.IGNORE": np.full(1, -np.inf, np.float32)}
    with pytest.raises(UpstreamFormatError, match="IGNORE to be minus infinity"):
        convert_weights(CONFIG, state, "model.pth")


@pytest.mark.parametrize("name", weight_shapes(CONFIG))
def test_a_missing_tensor_is_named(name: str) -> None:
    state = state_of(CONFIG)
    del state[name]
    with pytest.raises(UpstreamFormatError, match=rf"model\.pth: .*missing: \['{name}'\]"):
        convert_weights(CONFIG, state, "model.pth")


@pytest.mark.parametrize(
    "name", ["blocks.2.attn.mask", "blocks.0.ln1.w", "blocks.0.attn.rotary_sin", "mask", "W_E"]
)
def test_a_left_over_tensor_is_named(name: str) -> None:
    state = state_of(CONFIG) | {name: np.ones(1, np.float32)}
    with pytest.raises(UpstreamFormatError, match=rf"model\.pth: .*left over: \['{name}'\]"):
        convert_weights(CONFIG, state, "model.pth")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 10), np.float32), r"Expected unembed\.W_U of shape \(10, 5\)"),
        (np.zeros((10, 5), np.int64), r"Expected unembed\.W_U to be one of"),
        (np.zeros((10, 5), np.float64), "Expected weights of one dtype"),
        (np.full((10, 5), np.nan, np.float32), r"Expected finite numbers in unembed\.W_U"),
    ],
    ids=["shape", "integers", "precision", "nan"],
)
def test_a_tensor_that_does_not_fit_is_named(array: np.ndarray, message: str) -> None:
    state = state_of(CONFIG) | {"unembed.W_U": array}
    with pytest.raises(UpstreamFormatError, match=rf"model\.pth: {message}"):
        convert_weights(CONFIG, state, "model.pth")
