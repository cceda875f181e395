"""The tasks compared with upstream's own code: facts, outputs, interchange and circuits.

The fixtures were made by running InterpBench `220791e` on the tasks of release 1.0.0.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpbench_jax.cases import RASP_CASES, RaspTask
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.high_level import classify
from interpbench_jax.rasp.plain import read
from interpbench_jax.sites import Edge, Node, parse_node

UPSTREAM = Path(__file__).resolve().parents[3] / "shared" / "upstream"
FACTS = sorted((UPSTREAM / "cases").glob("*.json"))
ARRAYS = sorted((UPSTREAM / "high_level").glob("*.npz"))
Facts = dict[str, Any]
MARGIN = 1e-3
RELEASED_CAUSAL = ("8", "38")
LACK_EMBEDDING_TO_MLP = ("8", "13", "19", "38")
LACK_OUTPUT = ("8", "19", "20", "21", "24", "33", "34", "35", "36", "37")

pytestmark = pytest.mark.skipif(not UPSTREAM.is_dir(), reason=f"{UPSTREAM} is absent")
each_case = pytest.mark.parametrize("path", FACTS, ids=lambda path: path.stem)
# Case 38 was released with causal attention, so its outputs are float noise; see its own test.
COMPARABLE = [path for path in ARRAYS if path.stem not in RELEASED_CAUSAL]
each_array = pytest.mark.parametrize("path", COMPARABLE, ids=lambda path: path.stem)


def test_no_fixture_is_left_out() -> None:
    assert {path.stem for path in FACTS} == set(RASP_CASES)
    assert len(ARRAYS) == 8
    assert {path.stem for path in ARRAYS} <= set(RASP_CASES)
    assert {path.stem for path in ARRAYS} - {path.stem for path in COMPARABLE} == {"38"}


@each_case
def test_facts(path: Path) -> None:
    facts, task = _load(path)
    assert task.case_id == facts["case_id"]
    assert list(task.vocab) == facts["vocab"]
    assert dict(task.token_ids) == facts["token_ids"]
    assert (task.min_seq_len, task.max_seq_len) == (facts["min_seq_len"], facts["max_seq_len"])
    classes = None if task.classes is None else list(task.classes)
    assert classes == facts["output_classes"]
    assert list(map(type, classes or [])) == list(map(type, facts["output_classes"] or []))
    assert task.is_categorical == facts["is_categorical"]
    expected = "causal" if task.is_causal or path.stem in RELEASED_CAUSAL else "bidirectional"
    assert facts["attention"] == expected


@each_case
def test_config_and_training(path: Path) -> None:
    facts, task = _load(path)
    released = facts["transformer_cfg"]
    # The padding token is our addition.
    keys = {field.name for field in dataclasses.fields(TransformerConfig)} - {"pad_token"}
    expected = TransformerConfig.from_dict({key: released[key] for key in keys})
    if not task.is_causal:
        expected = dataclasses.replace(expected, pad_token=task.pad_id)
    if path.stem in RELEASED_CAUSAL:
        expected = dataclasses.replace(expected, attention_dir="bidirectional")
    assert task.config == expected
    training = facts["training_args"]
    given = dataclasses.asdict(task.training)
    del given["compiled_width"]
    assert task.training.initializer_range == pytest.approx(released["initializer_range"])
    assert given == {
        "learning_rate": training["lr"],
        "epochs": training["epochs"],
        "clip_grad_norm": training["clip_grad_norm"],
        "iit_weight": training["iit_weight"],
        "behavior_weight": training["behavior_weight"],
        "strict_weight": training["strict_weight"],
        "atol": training["atol"],
        "use_single_loss": training["use_single_loss"],
        "lr_scheduler": training["lr_scheduler"],
    }


@each_case
def test_components_and_alignment(path: Path) -> None:
    facts, task = _load(path)
    expected: dict[Node, set[Node]] = {}
    for entry in facts["high_level_nodes"]:
        found = expected.setdefault(parse_node(entry["computed_by"]), set())
        found.update(map(parse_node, entry["aligned_with"]))
    assert {node: set(nodes) for node, nodes in task.alignment.items()} == expected
    assert list(map(str, task.nodes_not_in_circuit)) == facts["nodes_not_in_circuit"]
    shape = (task.lowering.n_layers, max(1, task.lowering.n_heads))
    assert shape == (facts["high_level_layers"], facts["high_level_heads"])


@each_case
def test_circuit_is_the_scored_one(path: Path) -> None:
    facts, task = _load(path)
    scored = {_edge(names) for names in facts["edges_scored"]}
    assert task.upstream_circuit.in_universe("head") == scored
    released = Circuit(2, 4, tuple(_edge(names) for names in facts["edges_released"]))
    assert task.upstream_circuit.fine_edges == released.fine_edges
    # `Circuit` completes lists that lack the output; LACK_OUTPUT names them.
    has_output = any("resid_post" in names[1] for names in facts["edges_released"])
    assert has_output == (path.stem not in LACK_OUTPUT)


@each_case
def test_complete_circuit_adds_one_edge_at_most(path: Path) -> None:
    _, task = _load(path)
    complete = task.complete_circuit.in_universe("head")
    scored = task.upstream_circuit.in_universe("head")
    assert scored <= complete
    added = {str(edge) for edge in complete - scored}
    expected = {"blocks.0.hook_resid_pre -> blocks.0.hook_mlp_out"}
    assert added == (expected if path.stem in LACK_EMBEDDING_TO_MLP else set())


@each_case
def test_worked_examples(path: Path) -> None:
    facts, task = _load(path)
    for example in facts["examples"]:
        sequence = example["input"][1:]
        plain = read(task.program, sequence, is_causal=task.is_causal)
        if "program_output" in example:
            _assert_close(plain, example["program_output"][1:])
        inputs = task.encode(sequence)[None]
        if path.stem in RELEASED_CAUSAL:
            continue
        outputs = np.asarray(task.high_level(inputs))[0, 1:]
        expected = example["model_output"][1:]
        if task.classes is None:
            np.testing.assert_allclose(outputs[:, 0], expected, atol=MARGIN)
        else:
            classes = np.asarray(task.high_level.targets(inputs))[0, 1:]
            has_value = outputs.max(axis=-1) > MARGIN
            assert has_value.any()
            for index, value, here in zip(classes, expected, has_value, strict=True):
                assert not here or task.classes[index] == value


@each_array
def test_outputs_and_interchanges(path: Path) -> None:
    arrays = _load_arrays(path)
    model = RASP_CASES[path.stem].high_level
    inputs, sources = arrays["clean_inputs"], arrays["source_inputs"]
    found = {"outputs": model(inputs), "source_outputs": model(sources)}
    for node in model.nodes:
        found[f"interchange/{node}"] = model(inputs[: len(sources)], sources, str(node))
    checked = {"clean_inputs", "source_inputs", "targets", *found}
    assert set(arrays) == checked
    for name, outputs in found.items():
        _compare(f"{path.stem} {name}", np.asarray(outputs)[:, 1:], arrays[name][:, 1:])


def test_case_38_masked_causally_gives_rows_of_zeros() -> None:
    arrays = _load_arrays(UPSTREAM / "high_level" / "38.npz")
    masked = dataclasses.replace(RASP_CASES["38"], attention="causal")
    model = masked.high_level
    inputs, sources = arrays["clean_inputs"], arrays["source_inputs"]
    for name, outputs in {
        "outputs": model(inputs),
        **{
            f"interchange/{node}": model(inputs[: len(sources)], sources, node)
            for node in model.nodes
        },
    }.items():
        np.testing.assert_allclose(np.asarray(outputs)[:, 1:], arrays[name][:, 1:], atol=1e-5)


def _assert_close(found: Sequence[object], expected: Sequence[object]) -> None:
    for value, wanted in zip(found, expected, strict=True):
        close = pytest.approx(wanted) if isinstance(wanted, float) else wanted
        assert value == close


def _compare(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    """Compare raw values to within 1e-3, and classes wherever there is a margin."""
    differences = np.abs(found - expected)
    agree = float(np.mean(differences <= MARGIN))
    message = f"{name}: {agree:.2%} of {found.size} entries agree, worst {differences.max():.1e}"
    print(message)
    if found.shape[-1] == 1:
        assert agree == 1, message
        return
    assert agree >= 0.995, message
    two_largest = np.sort(expected, axis=-1)[..., -2:]
    has_margin = two_largest[..., 1] - two_largest[..., 0] > MARGIN
    assert has_margin.any()
    same = np.asarray(classify(found)) == expected.argmax(axis=-1)
    differ = np.argwhere(~same & has_margin)
    assert not len(differ), f"{message}; classes differ at {differ[:5].tolist()}"


def _load(path: Path) -> tuple[Facts, RaspTask]:
    return json.loads(path.read_text(encoding="utf-8")), RASP_CASES[path.stem]


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def _edge(names: list[str]) -> Edge:
    return Edge(parse_node(names[0]), parse_node(names[1]))
