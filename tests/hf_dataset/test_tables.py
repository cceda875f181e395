"""The published rows, compared with the tasks that they come from."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from interpbench_dataset.tables import Content, make_content, seed_of
from interpbench_jax.cases import (
    BOS,
    CASES,
    PAD,
    RELEASES,
    IoiTask,
    RaspTask,
    Task,
    TrainingArguments,
)
from interpbench_jax.cases.health import read_health
from interpbench_jax.cases.sequences import is_in_split
from interpbench_jax.config import TransformerConfig
from interpbench_jax.sites import parse_node
from interpbench_jax.universes import UNIVERSES, universe

PUBLISHED = (
    Path(__file__).resolve().parents[2] / "hf_dataset" / "interpbench_dataset" / "interpbench"
)
RELEASED = [CASES[case_id] for case_id in RELEASES["1.0.0"]]


@pytest.mark.parametrize("task", RELEASED, ids=lambda task: task.case_id)
def test_pairs_are_of_the_test_split(task: Task) -> None:
    table = pq.read_table(PUBLISHED / f"data/{task.case_id}/test-00000-of-00001.parquet")
    rows = {name: np.asarray(table[name].to_pylist()) for name in table.column_names}
    bos = task.token_ids[BOS]
    of_split = ["input_ids", "corrupted_input_ids"]
    if isinstance(task, IoiTask):
        of_split = ["input_ids", "random_input_ids"]
    for name in of_split:
        # Prompts have no padding, and no token has the id -1.
        assert is_in_split(rows[name], -1 if task.pad_id is None else task.pad_id, "test").all()
    for name in (each for each in rows if each.endswith("input_ids")):
        assert rows[name].shape == (1000, task.max_seq_len)
        assert (rows[name][:, 0] == bos).all()
        assert not (rows[name][:, 1:] == bos).any()
        is_padding = rows[name] == (-1 if task.pad_id is None else task.pad_id)
        assert is_padding.any() == (task.case_id in ("8", "18"))  # which use the length
        # Padding comes only at the end.
        assert (np.diff(is_padding.astype(int), axis=1) >= 0).all()
        if name != "input_ids":
            assert (rows["input_ids"] != rows[name]).any(axis=1).all()
    for name in ("target", "corrupted_target"):
        if isinstance(task, RaspTask):
            assert not rows[name][:, 0].any()
        assert np.isfinite(rows[name]).all()
        if task.classes is not None:
            assert set(np.unique(rows[name])) <= set(range(len(task.classes)))


def test_targets_worked_by_hand() -> None:
    """Case 3 gives the share of x so far; case 20 looks up each word; case 37 reverses words."""
    cases = {row["case_id"]: row for row in pq.read_table(PUBLISHED / "cases.parquet").to_pylist()}
    vocab = cases["3"]["vocab"]
    for row in pq.read_table(PUBLISHED / "data/3/test-00000-of-00001.parquet").to_pylist():
        is_x = [vocab[i] == "x" for i in row["corrupted_input_ids"][1:]]
        shares = np.cumsum(is_x) / np.arange(1, 5)
        np.testing.assert_allclose(row["corrupted_target"][1:], shares, rtol=1e-6)
    for case_id, right in (
        ("20", lambda word: "spam" if word in ("click", "now", "offer") else "not spam"),
        ("37", lambda word: word[::-1]),
    ):
        vocab, classes = cases[case_id]["vocab"], cases[case_id]["output_classes"]
        path = PUBLISHED / f"data/{case_id}/test-00000-of-00001.parquet"
        for row in pq.read_table(path).to_pylist():
            words = [vocab[i] for i in row["input_ids"][1:]]
            assert [classes[i] for i in row["target"][1:]] == [right(word) for word in words]


def test_roles() -> None:
    rows = pq.read_table(PUBLISHED / "cases.parquet").to_pylist()
    (roles,) = (json.loads(row["roles"]) for row in rows if row["case_id"] == "79")
    assert roles["blocks.0.hook_mlp_out"] == [
        {
            "name": "Map",
            "program": "map(is_prime, tokens)",
            "words": "Computes the output: 1 for a prime, else 0. Read from tokens.",
        }
    ]
    edges = pq.read_table(PUBLISHED / "circuits.parquet").to_pylist()
    used = [e for e in edges if e["case_id"] == "11" and e["truth"] == "in"]
    for edge in used:
        names = {role["name"] for role in json.loads(edge["src_role"])}
        assert names and names <= {"tokens", "indices", "length", "length_of_alike"}
        assert json.loads(edge["dst_role"]) or "resid_post" in edge["dst"]
    outside = [e for e in edges if e["case_id"] == "11" and e["src"].endswith("hook_result[3]")]
    assert {edge["src_role"] for edge in outside} == {"[]"}


def test_a_row_of_cases_says_all_of_its_task() -> None:
    rows = pq.read_table(PUBLISHED / "cases.parquet").to_pylist()
    assert [row["case_id"] for row in rows] == list(CASES)
    for row in rows:
        task = CASES[row["case_id"]]
        assert {token: i for i, token in enumerate(row["vocab"])} == dict(task.token_ids)
        assert row["vocab"][row["bos_id"]] == BOS
        if isinstance(task, RaspTask):
            assert row["vocab"][row["pad_id"]] == PAD and row["gpt2_ids"] == []
        else:
            assert row["pad_id"] == -1 and len(row["gpt2_ids"]) == len(row["vocab"])
        assert (row["first_scored"], row["metric"]) == (task.first_scored, task.metric)
        assert row["counterfactual"] == task.counterfactuals[0]
        assert row["output_classes"] == [str(label) for label in task.classes or ()]
        assert TransformerConfig.from_json(row["transformer_config"]) == task.config
        assert TrainingArguments(**json.loads(row["training_args"])) == task.training
        alignment = json.loads(row["alignment"])
        assert {
            parse_node(node): tuple(map(parse_node, targets)) for node, targets in alignment.items()
        } == dict(task.alignment)
        assert tuple(map(parse_node, row["nodes_not_in_circuit"])) == task.nodes_not_in_circuit
        assert tuple(row["releases"]) == task.releases
        health = read_health()[task.case_id]
        assert (row["circuit_number"], tuple(row["flags"])) == (health.circuit, health.flags)
        assert (row["n_rows"], row["seed"]) == (1000, seed_of(row["case_id"]))


def test_the_committed_rows_are_the_tasks_own() -> None:
    for case_id in ("4", "38"):
        task = CASES[case_id]
        table = pq.read_table(PUBLISHED / f"data/{case_id}/test-00000-of-00001.parquet")
        rows = {name: np.asarray(table[name].to_pylist()) for name in table.column_names}
        assert table.num_rows == 1000
        again = task.sample(1000, int(case_id), split="test")
        np.testing.assert_array_equal(rows["input_ids"], again.input_ids)
        np.testing.assert_array_equal(rows["corrupted_target"], again.corrupted_target)
        assert (rows["input_ids"] != rows["corrupted_input_ids"]).any(axis=1).all()


@pytest.fixture(scope="module")
def language() -> Content:
    return make_content(("ioi_next_token", "13", "ioi"), 40)


@pytest.mark.parametrize("case_id", ["ioi", "ioi_next_token"])
def test_rows_of_a_language_case(language: Content, case_id: str) -> None:
    task = CASES[case_id]
    assert isinstance(task, IoiTask)
    table = language.tables[case_id]
    rows = {name: np.asarray(table[name].to_pylist()) for name in table.column_names}
    pairs = task.sample(40, seed_of(case_id), split="test")
    for name in ("input_ids", "corrupted_input_ids", "target", "corrupted_target"):
        np.testing.assert_array_equal(rows[name], getattr(pairs, name), err_msg=name)
    prompts, giver = rows["input_ids"], rows["input_ids"][:, 11]
    is_first = prompts[:, 3] == giver
    np.testing.assert_array_equal(rows["distractor"], giver)
    other = np.where(is_first, prompts[:, 5], prompts[:, 3])
    np.testing.assert_array_equal(rows["answer"], other)
    np.testing.assert_array_equal(rows["answer"], rows["target"][:, -1])
    swapped = prompts.copy()
    swapped[:, 11] = other
    np.testing.assert_array_equal(rows["swapped_input_ids"], swapped)
    pool = {row.tobytes() for row in task.all_inputs("test")}
    drawn = rows["random_input_ids"].astype(np.int32)
    assert {row.tobytes() for row in drawn} <= pool
    assert (drawn != prompts).any(axis=1).all()
    names = rows["corrupted_input_ids"][:, [3, 5, 11]]
    assert not (names[:, :, None] == prompts[:, None, [3, 5, 11]]).any()
    assert all(len(set(row)) == 3 for row in names.tolist())


def test_what_cases_says_of_a_language_case(language: Content) -> None:
    described = language.tables["cases"].to_pylist()
    assert [row["case_id"] for row in described] == ["13", "ioi", "ioi_next_token"]
    rasp, *prompts = described
    assert (rasp["gpt2_ids"], rasp["pad_id"] >= 0) == ([], True)
    assert (rasp["first_scored"], rasp["metric"], rasp["counterfactual"]) == (1, "kl", "random")
    for row in prompts:
        assert (row["pad_id"], row["bos_id"], row["d_vocab"]) == (-1, 112, 113)
        assert (row["first_scored"], row["metric"]) == (15, "logit_diff")
        assert row["counterfactual"] == "abc"
        ids = dict(zip(row["vocab"], row["gpt2_ids"], strict=True))
        assert (ids["BOS"], ids[" Mary"], ids["Then"], ids[" milk"]) == (
            50_256,
            5_335,
            6_423,
            7_545,
        )
        assert len(ids) == 113 and row["output_classes"] == row["vocab"]
        edges = ("n_edges", "n_complete_circuit_edges", "n_constant_edges")
        numbers = (*edges, "n_upstream_circuit_edges", "min_seq_len")
        assert [row[name] for name in numbers] == [459, 7, 0, 7, 16]
        assert len(row["nodes_not_in_circuit"]) == 26
    rows = language.tables["circuits"].to_pylist()
    merged = [row for row in rows if (row["case_id"], row["universe"]) == ("ioi", "qkv-merged")]
    assert (len(merged), sum(row["in_upstream_circuit"] for row in merged)) == (1_108, 7)


@pytest.mark.slow
def test_circuits_list_every_universe_in_its_order() -> None:
    rows = pq.read_table(PUBLISHED / "circuits.parquet").to_pylist()
    expected = [
        (
            *(case_id, name, str(edge.src), str(edge.dst), truth),
            *(truth != "out", edge in task.upstream_circuit.in_universe(name)),
        )
        for case_id, task in zip(RELEASES["1.0.0"], RELEASED, strict=True)
        for name in UNIVERSES
        for edge, truth in task.complete_circuit.edge_truths(name).items()
    ]
    in_circuits = ("in_complete_circuit", "in_upstream_circuit")
    columns = ("case_id", "universe", "src", "dst", "truth", *in_circuits)
    old = [row for row in rows if row["case_id"] in RELEASES["1.0.0"]]
    assert [tuple(row[column] for column in columns) for row in old] == expected
    assert list(dict.fromkeys(row["case_id"] for row in rows)) == list(CASES)
    for case_id, task in CASES.items():
        edges = [row for row in rows if row["case_id"] == case_id]
        assert [(row["universe"], row["src"], row["dst"]) for row in edges] == [
            (name, str(edge.src), str(edge.dst))
            for name in UNIVERSES
            for edge in universe(name, task.config.n_layers, task.config.n_heads).edges
        ]
    differing = {
        row["case_id"]
        for row in rows
        if row["universe"] == "head" and row["in_upstream_circuit"] != row["in_complete_circuit"]
    }
    # InterpBench has no list for the pilot's cases.
    differing -= set(RELEASES["pilot"])
    # As the card says.
    assert differing == {"8", "13", "13-current", "19", "38", "97", "113", "130"}


def test_seeds_are_fixed() -> None:
    assert [seed_of(case_id) for case_id in ("3", "38")] == [3, 38]
    # The seeds are zlib's CRC-32 of the ids, without the highest bit.
    assert [seed_of(case_id) for case_id in ("ioi", "ioi_next_token")] == [
        1_850_509_097,
        1_586_174_863,
    ]
    assert seed_of("ioi") == seed_of("ioi") != seed_of("ioi_next_token")
