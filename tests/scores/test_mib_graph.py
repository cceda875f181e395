"""MIB's JSON files: our circuits and scores in them, and theirs read."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import interpbench_jax as ib
from interpbench_jax.cli.cases import MIB_FILE
from interpbench_jax.cli.main import app
from interpbench_jax.scores import MIB_UNIVERSE, MibGraph, mib_edge_auc, mib_graph

CASE = ib.load_case("11")
CIRCUIT = CASE.truth()


def test_the_names_of_a_small_model() -> None:
    config = replace(CASE.config, n_layers=1, n_heads=1)
    data = json.loads(mib_graph(config, np.arange(8.0)).to_json())
    assert data["cfg"]["parallel_attn_mlp"] is False
    assert list(data["nodes"]) == ["input", "a0.h0", "m0", "logits"]
    assert {name: edge["score"] for name, edge in data["edges"].items()} == {
        "input->a0.h0<q>": 0,
        "input->a0.h0<k>": 1,
        "input->a0.h0<v>": 2,
        "input->m0": 3,
        "a0.h0->m0": 4,
        "input->logits": 5,
        "a0.h0->logits": 6,
        "m0->logits": 7,
    }


def test_a_circuit_makes_the_round_trip() -> None:
    ioi = ib.load_case("ioi")
    for case in (CASE, ioi):
        assert case.circuit is not None
        graph = mib_graph(case.config, circuit=case.circuit)
        again = MibGraph.from_json(graph.to_json())
        assert again.circuit.in_universe(MIB_UNIVERSE) == case.circuit.in_universe(MIB_UNIVERSE)
        np.testing.assert_array_equal(again.scores, again.in_graph)
        assert again.d_model == case.config.d_model
    assert len(json.loads(graph.to_json())["edges"]) == 1108
    nodes = json.loads(graph.to_json())["nodes"]
    used = {name for name, node in nodes.items() if node["in_graph"]}
    assert used == {"input", "m0", "a1.h1", "a2.h1", "a4.h1", "logits"}


def test_scores_make_the_round_trip() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=len(ib.universe(MIB_UNIVERSE, 2, 4).edges))
    graph = mib_graph(CASE.config, values, CIRCUIT)
    values[3] = np.nan
    again = MibGraph.from_json(replace(graph, scores=values).to_json())
    np.testing.assert_array_equal(again.scores, values)
    assert again.circuit.in_universe(MIB_UNIVERSE) == CIRCUIT.in_universe(MIB_UNIVERSE)
    assert not mib_graph(CASE.config, np.nan_to_num(values)).in_graph.any()


def test_scores_of_a_method_are_merged() -> None:
    pairs = CASE.sample(32, 0)
    scores = ib.discover(CASE.model, pairs, "eap")
    graph = mib_graph(CASE.config, scores)
    fine = dict(zip(ib.universe("qkv", 2, 4).edges, scores.values, strict=True))
    space = ib.universe(MIB_UNIVERSE, 2, 4)
    for edge, score in zip(space.edges, graph.scores, strict=True):
        assert score == max(fine[each] for each in space.members[edge])
    assert mib_edge_auc(graph.scores, CIRCUIT) > 0.9


def test_files_of_others() -> None:
    data = json.loads(mib_graph(CASE.config, circuit=CIRCUIT).to_json())
    data["nodes"] = {name: True for name in data["nodes"]}
    for edge in data["edges"].values():
        edge["in_circuit"] = edge.pop("in_graph")
        del edge["score"]
    again = MibGraph.from_json(json.dumps(data))
    assert again.circuit.in_universe(MIB_UNIVERSE) == CIRCUIT.in_universe(MIB_UNIVERSE)
    np.testing.assert_array_equal(again.scores, again.in_graph)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("cfg"), "with the objects 'cfg' and 'edges'"),
        (lambda data: data["cfg"].update(n_heads=0), "Expected cfg.n_heads as an int from 1"),
        (lambda data: data["cfg"].update(d_model=True), "Expected cfg.d_model as an int"),
        (lambda data: data["cfg"].update(parallel_attn_mlp=True), "parallel_attn_mlp"),
        (lambda data: data["edges"].pop("input->m0"), "missing: .*input->m0"),
        (lambda data: data["edges"].update({"m1->m0": {}}), "unknown: .*m1->m0"),
        (lambda data: data["edges"].update({"input->m0": {"score": 1}}), "Expected edge input->m0"),
        (
            lambda data: data["edges"]["input->m0"].update(score=float("inf")),
            "a finite number or null",
        ),
        (lambda data: data["edges"]["input->m0"].update(score="1"), "a finite number or null"),
        (lambda data: data["edges"]["input->m0"].update(in_graph=1), "true or false"),
    ],
)
def test_a_damaged_file_is_refused(change, message: str) -> None:
    data = json.loads(mib_graph(CASE.config, circuit=CIRCUIT).to_json())
    change(data)
    with pytest.raises(ValueError, match=message):
        MibGraph.from_json(json.dumps(data))


def test_what_has_no_place_in_such_a_file_is_refused() -> None:
    n_edges = len(ib.universe(MIB_UNIVERSE, 2, 4).edges)
    with pytest.raises(ValueError, match="got neither"):
        mib_graph(CASE.config)
    with pytest.raises(ValueError, match="which lacks edges"):
        mib_graph(CASE.config, np.zeros(len(ib.universe("head", 2, 4).edges)), name="head")
    with pytest.raises(ValueError, match="infinite"):
        mib_graph(CASE.config, np.full(n_edges, np.inf))
    with pytest.raises(ValueError, match="got one of 2 layers of 4 heads"):
        mib_graph(replace(CASE.config, n_layers=3), circuit=CIRCUIT)
    with pytest.raises(ValueError, match="Expected scores of shape"):
        MibGraph(2, 4, 8, np.zeros(3), np.zeros(3, bool))


def test_the_command_writes_it(tmp_path) -> None:
    done = CliRunner().invoke(app, ["convert", "11", str(tmp_path), "--to", "mib"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / MIB_FILE).read_text(encoding="utf-8")
    assert text == mib_graph(CASE.config, circuit=CIRCUIT).to_json()
