"""The IOI circuit, edge by edge."""

from dataclasses import replace

import pytest

from interpbench_jax.cases import CASES, IoiTask
from interpbench_jax.cases.case_ioi import TASK
from interpbench_jax.circuit import Circuit
from interpbench_jax.sites import components, parse_edge, parse_node
from interpbench_jax.universes import UNIVERSES, UniverseName, universe

WITHOUT_TOKENS = replace(TASK, has_tokens=False)
INPUT, MLP = "blocks.0.hook_resid_pre", "blocks.0.hook_mlp_out"
OUTPUT = "blocks.5.hook_resid_post"
DUPLICATE, S_INHIBITION, NAME_MOVER = (f"blocks.{i}.attn.hook_result[1]" for i in (1, 2, 4))


def values(layer: int) -> str:
    return f"blocks.{layer}.hook_v_input[1]"


# The circuit in the facts: input -> m0; m0 -> v of a1.h1, a2.h1, a4.h1; a1.h1 -> v of a2.h1;
# a2.h1 -> v of a4.h1; a4.h1 -> logits.
BETWEEN_HEADS = {(DUPLICATE, values(2)), (S_INHIBITION, values(4)), (NAME_MOVER, OUTPUT)}
HEADS = {(DUPLICATE, S_INHIBITION), (S_INHIBITION, NAME_MOVER), (NAME_MOVER, OUTPUT)}
FROM_MLP = {(MLP, values(1)), (MLP, values(2)), (MLP, values(4))}
FROM_MLP_TO_HEADS = {(MLP, DUPLICATE), (MLP, S_INHIBITION), (MLP, NAME_MOVER)}
EXPECTED: dict[UniverseName, set[tuple[str, str]]] = {
    "qkv": {("hook_embed", "blocks.0.hook_mlp_in"), *FROM_MLP, *BETWEEN_HEADS},
    "qkv-merged": {(INPUT, "blocks.0.hook_mlp_in"), *FROM_MLP, *BETWEEN_HEADS},
    "head": {(INPUT, MLP), *FROM_MLP_TO_HEADS, *HEADS},
    "head-no-embed": {*FROM_MLP_TO_HEADS, *HEADS},
}
FROM_INPUT = {(INPUT, values(1)), (INPUT, values(2)), (INPUT, values(4))}
EXPECTED_WITHOUT_TOKENS: dict[UniverseName, set[tuple[str, str]]] = {
    "qkv": {("hook_embed", values(layer)) for layer in (1, 2, 4)} | BETWEEN_HEADS,
    "qkv-merged": FROM_INPUT | BETWEEN_HEADS,
    "head": {(INPUT, head) for head in (DUPLICATE, S_INHIBITION, NAME_MOVER)} | HEADS,
    "head-no-embed": HEADS,
}


def names(circuit: Circuit, name: UniverseName) -> set[tuple[str, str]]:
    return {(str(edge.src), str(edge.dst)) for edge in circuit.in_universe(name)}


@pytest.mark.parametrize("case_id", ["ioi", "ioi_next_token"])
@pytest.mark.parametrize("name", UNIVERSES)
def test_edges(case_id: str, name: UniverseName) -> None:
    assert names(CASES[case_id].upstream_circuit, name) == EXPECTED[name]


def test_numbers_of_edges() -> None:
    sizes = {name: len(universe(name, 6, 4).edges) for name in UNIVERSES}
    assert sizes["qkv-merged"] == 1_108  # as upstream's evaluation counts them
    found = {name: len(TASK.upstream_circuit.in_universe(name)) for name in UNIVERSES}
    assert found == {"qkv": 7, "qkv-merged": 7, "head": 7, "head-no-embed": 6}


@pytest.mark.parametrize("name", UNIVERSES)
def test_edges_without_tokens(name: UniverseName) -> None:
    assert names(WITHOUT_TOKENS.upstream_circuit, name) == EXPECTED_WITHOUT_TOKENS[name]
    assert len(EXPECTED_WITHOUT_TOKENS[name]) == (3 if name == "head-no-embed" else 6)


@pytest.mark.slow
@pytest.mark.parametrize("task", [TASK, WITHOUT_TOKENS], ids=["with tokens", "without"])
def test_heads_read_the_same_in_both_circuits(task: IoiTask) -> None:
    for name in ("head", "head-no-embed"):
        assert task.upstream_circuit.in_universe(name) == task.complete_circuit.in_universe(name)


def test_the_complete_circuit() -> None:
    """Each query, key and value has the right writers; the MLP reads positions and tokens."""
    q1, k1, v1 = (f"blocks.1.hook_{slot}_input[1]" for slot in "qkv")
    q2, k2, v2 = (f"blocks.2.hook_{slot}_input[1]" for slot in "qkv")
    v4 = values(4)
    heads = {(DUPLICATE, q2), (S_INHIBITION, v4), (NAME_MOVER, OUTPUT)}
    mlp_in = "blocks.0.hook_mlp_in"
    assert names(TASK.complete_circuit, "qkv") == {
        ("hook_embed", mlp_in),
        ("hook_pos_embed", mlp_in),
        *((MLP, reader) for reader in (q1, k1, v1, k2, v2, v4)),
        *heads,
    }
    assert names(WITHOUT_TOKENS.complete_circuit, "qkv") == {
        *(("hook_embed", reader) for reader in (q1, k1, v2, v4)),
        *(("hook_pos_embed", reader) for reader in (v1, k2)),
        *heads,
    }


def test_circuits_survive_json_and_fit_the_config() -> None:
    for circuit in (TASK.upstream_circuit, TASK.complete_circuit, WITHOUT_TOKENS.upstream_circuit):
        assert (circuit.n_layers, circuit.n_heads) == (6, 4)
        assert Circuit.from_json(circuit.to_json()) == circuit
    assert TASK.in_full_vocabulary().upstream_circuit == TASK.upstream_circuit
    assert parse_edge(f"{NAME_MOVER} -> {OUTPUT}") in TASK.upstream_circuit.in_universe("qkv")


def test_alignment() -> None:
    expected = {
        "tokens": "blocks.0.mlp.hook_post",
        "duplicate": DUPLICATE,
        "s_inhibition": S_INHIBITION,
        "name_mover": NAME_MOVER,
    }
    for case_id in ("ioi", "ioi_next_token"):
        task = CASES[case_id]
        named = {name: str(node) for node, name in task.component_names.items()}
        assert named == expected
        assert dict(task.alignment) == {parse_node(n): (parse_node(n),) for n in expected.values()}
    del expected["tokens"]
    assert {name: str(node) for node, name in WITHOUT_TOKENS.component_names.items()} == expected


def test_nodes_not_in_circuit() -> None:
    every = components(6, 4)
    assert len(every) == 30
    in_circuit = {parse_node(name) for name in (DUPLICATE, S_INHIBITION, NAME_MOVER)}
    mlp = parse_node("blocks.0.mlp.hook_post")
    expected = tuple(node for node in every if node not in in_circuit | {mlp})
    assert TASK.nodes_not_in_circuit == expected and len(expected) == 26
    assert WITHOUT_TOKENS.nodes_not_in_circuit == tuple(
        node for node in every if node not in in_circuit
    )


def test_the_program_says_where_each_component_is() -> None:
    lines = TASK.program_text.splitlines()
    steps = ["tokens", "duplicate", "s_inhibition", "name_mover", "output"]
    assert [line.split()[0] for line in lines] == steps
    for line, node in zip(lines, TASK.alignment, strict=False):
        assert line.endswith(f"[{node}]")
    without = WITHOUT_TOKENS.program_text
    assert "mlp" not in without and without.splitlines()[1:] == lines[1:]
