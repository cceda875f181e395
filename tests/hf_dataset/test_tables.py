"""The published rows, against the tasks that they come from."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hf_dataset.tables import seed_of
from interpbench_jax.cases import BOS, CASES, PAD, Task, TrainingArguments
from interpbench_jax.cases.sequences import is_in_split
from interpbench_jax.circuit import UNIVERSES, universe
from interpbench_jax.config import TransformerConfig
from interpbench_jax.sites import parse_node

PUBLISHED = Path(__file__).resolve().parents[2] / "hf_dataset" / "interpbench"


@pytest.mark.parametrize("task", CASES.values(), ids=lambda task: task.case_id)
def test_pairs_are_of_the_test_split(task: Task) -> None:
    table = pq.read_table(PUBLISHED / f"data/{task.case_id}/test-00000-of-00001.parquet")
    rows = {name: np.asarray(table[name].to_pylist()) for name in table.column_names}
    bos, pad = task.token_ids[BOS], task.token_ids[PAD]
    for name in ("input_ids", "corrupted_input_ids"):
        assert rows[name].shape == (1000, task.max_seq_len)
        assert is_in_split(rows[name], pad, "test").all()
        assert (rows[name][:, 0] == bos).all()
        assert not np.isin(rows[name][:, 1:], [bos, pad]).any()
    assert (rows["input_ids"] != rows["corrupted_input_ids"]).any(axis=1).all()
    for name in ("target", "corrupted_target"):
        assert not rows[name][:, 0].any()
        assert np.isfinite(rows[name]).all()
        if task.classes is not None:
            assert set(np.unique(rows[name])) <= set(range(len(task.classes)))


def test_targets_worked_by_hand() -> None:
    """Case 3 is the share of x so far; case 20 looks each word up; case 37 copies a token's id."""
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


def test_a_row_of_cases_says_all_of_its_task() -> None:
    rows = pq.read_table(PUBLISHED / "cases.parquet").to_pylist()
    assert [row["case_id"] for row in rows] == list(CASES)
    for row in rows:
        task = CASES[row["case_id"]]
        assert {token: i for i, token in enumerate(row["vocab"])} == dict(task.token_ids)
        assert (row["vocab"][row["bos_id"]], row["vocab"][row["pad_id"]]) == (BOS, PAD)
        assert row["output_classes"] == [str(label) for label in task.classes or ()]
        assert TransformerConfig.from_json(row["transformer_config"]) == task.config
        assert TrainingArguments(**json.loads(row["training_args"])) == task.training
        alignment = json.loads(row["alignment"])
        assert {
            parse_node(node): tuple(map(parse_node, targets)) for node, targets in alignment.items()
        } == dict(task.alignment)
        assert tuple(map(parse_node, row["nodes_not_in_circuit"])) == task.nodes_not_in_circuit
        assert (row["n_rows"], row["seed"]) == (1000, int(row["case_id"]))


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


def test_circuits_list_every_universe_in_its_order() -> None:
    rows = pq.read_table(PUBLISHED / "circuits.parquet").to_pylist()
    expected = [
        (case_id, name, str(edge.src), str(edge.dst), edge in task.circuit.in_universe(name))
        for case_id, task in CASES.items()
        for name in UNIVERSES
        for edge in universe(name, 2, 4).edges
    ]
    columns = ("case_id", "universe", "src", "dst", "in_circuit")
    assert [tuple(row[column] for column in columns) for row in rows] == expected
    differing = {
        row["case_id"]
        for row in rows
        if row["universe"] == "head" and row["in_circuit"] != row["in_complete_circuit"]
    }
    assert differing == {"8", "13", "19", "38"}  # as the card says


def test_seeds_are_fixed() -> None:
    assert [seed_of(case_id) for case_id in ("3", "38")] == [3, 38]
    assert seed_of("ioi") == seed_of("ioi") != seed_of("ioi_next_token")
