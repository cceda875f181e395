"""The current release's tasks compared with upstream's own code: facts, outputs and interchange.

The fixtures were made by running InterpBench's current code.
"""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpbench_jax.cases import CASES, RELEASES, RaspTask, find_task, task_in
from interpbench_jax.names import number_of
from interpbench_jax.sites import Edge, parse_node

UPSTREAM = Path(__file__).resolve().parents[3] / "shared" / "upstream" / "current_release"
RASP = {
    number_of(case_id): task
    for case_id in RELEASES["current"]
    if isinstance(task := CASES[case_id], RaspTask)
}
ARRAYS = sorted(UPSTREAM.glob("*.npz"))
# A selector's width is a soft ramp in upstream's compiled models, and a step in ours.
WITH_WIDTHS = {"2", "14", "25", "58", "63", "71", "97"}
MARGIN = 1e-3
SHAPE = ("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "n_ctx", "d_vocab", "d_vocab_out")
needs_facts = pytest.mark.skipif(not UPSTREAM.is_dir(), reason=f"{UPSTREAM} is absent")
each_task = pytest.mark.parametrize("number", RASP)
each_array = pytest.mark.parametrize("path", ARRAYS, ids=lambda path: path.stem)


@cache
def all_facts() -> dict[str, dict[str, Any]]:
    with gzip.open(UPSTREAM / "cases.json.gz") as file:
        return json.load(file)


@needs_facts
def test_every_fixture_is_used() -> None:
    # Case 38 is of release 1.0.0 alone.
    assert set(all_facts()) == {*RASP, "38"}
    assert len(RASP) == 84 and len(ARRAYS) == 46
    assert {path.stem for path in ARRAYS} <= set(RASP)


@needs_facts
@each_task
def test_inputs_and_outputs(number: str) -> None:
    facts, task = all_facts()[number], RASP[number]
    assert dict(task.token_ids) == {str(token): i for token, _, i in facts["token_ids"]}
    assert set(task.vocab) == set(facts["vocab"])
    assert (task.min_seq_len, task.max_seq_len) == (facts["min_seq_len"], facts["max_seq_len"])
    assert task.is_causal == facts["causal"]
    classes = [] if task.classes is None else task.classes
    found = [[value, type(value).__name__, i] for i, value in enumerate(classes)]
    assert found == (facts["output_classes"] or [])


@needs_facts
@each_task
def test_config(number: str) -> None:
    facts, config = all_facts()[number]["transformer_cfg"], RASP[number].config
    assert {name: getattr(config, name) for name in SHAPE} == {name: facts[name] for name in SHAPE}
    names = ("act_fn", "attention_dir", "normalization_type")
    assert [getattr(config, name) for name in names] == [facts[name] for name in names]


@needs_facts
@each_task
def test_components_and_circuit(number: str) -> None:
    facts, task = all_facts()[number], RASP[number]
    expected: dict[object, set[object]] = {}
    for entry in facts["high_level_nodes"]:
        found = expected.setdefault(parse_node(entry["computed_by"]), set())
        found.update(map(parse_node, entry["aligned_with"]))
    assert {node: set(nodes) for node, nodes in task.alignment.items()} == expected
    assert list(map(str, task.nodes_not_in_circuit)) == facts["nodes_not_in_circuit"]
    scored = {Edge(*map(parse_node, names)) for names in facts["edges_scored"]}
    assert task.upstream_circuit.in_universe("head") == scored


@needs_facts
@pytest.mark.slow
@each_array
def test_outputs_and_interchanges(path: Path) -> None:
    arrays, task = np.load(path), RASP[path.stem]
    clean, source = arrays["clean_inputs"], arrays["source_inputs"]
    runs = {"outputs": np.asarray(task.high_level(clean))}
    for name in arrays.files:
        if name.startswith("interchange/"):
            node = parse_node(name.removeprefix("interchange/"))
            runs[name] = np.asarray(task.high_level(clean[: len(source)], source, node))
    assert len(runs) == len(arrays.files) - 2 == 1 + len(task.alignment)
    for name, found in runs.items():
        # BOS's output is never scored.
        ours, theirs = found[:, 1:], arrays[name][:, 1:]
        close = np.abs(ours - theirs) < MARGIN
        if path.stem in WITH_WIDTHS:
            assert close.mean() > 0.9
        else:
            # In a mean over 60 positions, upstream's attention to the others adds up to 2e-3.
            assert close.mean() > (0.999 if path.stem == "39" else 0.99999)
        if task.is_categorical:
            second, first = np.sort(theirs, axis=-1)[..., -2:].T
            has_margin = (first - second).T > MARGIN
            same = ours.argmax(axis=-1) == theirs.argmax(axis=-1)
            assert same[has_margin].all() and has_margin.any()


def test_numbers_that_both_releases_have() -> None:
    own = {number_of(case_id) for case_id in CASES if case_id.endswith("-current")}
    assert own == {"8", "13", "18", "21", "24", "34", "35", "36", "37"}
    shared = set(RELEASES["1.0.0"]) & set(RELEASES["current"])
    assert shared == {"3", "4", "11", "19", "20", "33", "ioi", "ioi_next_token"}


@pytest.mark.parametrize(
    ("name", "case_id"),
    [
        ("8", "8"),
        ("8-1.0.0", "8"),
        ("8-current", "8-current"),
        ("11-current", "11"),
        ("11-1.0.0", "11"),
        ("2", "2"),
        ("2-current", "2"),
        ("ioi-current", "ioi"),
    ],
)
def test_names_of_tasks(name: str, case_id: str) -> None:
    assert find_task(name) is CASES[case_id]


@pytest.mark.parametrize("name", ["38-current", "2-1.0.0", "8-2.0", "-current", "current", ""])
def test_names_of_no_task(name: str) -> None:
    with pytest.raises(ValueError, match="Expected the id of a case, a number and a release"):
        find_task(name)


def test_a_number_in_a_release() -> None:
    assert task_in("1.0.0", "13") is CASES["13"]
    assert task_in("current", "13") is CASES["13-current"]
    assert task_in("current", "38") is task_in("1.0.0", "2") is None
