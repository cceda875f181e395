"""The three values of the truth: in, out and constant, which resampling cannot see."""

import numpy as np
import pytest

from interpbench_jax.cases import CASES, RaspTask, TruthName
from interpbench_jax.cases.truth import constant_edges
from interpbench_jax.rasp import Aggregate, Comparison, Map, Select, indices, lookup, tokens
from interpbench_jax.sites import parse_edge

# Edges that carry positions, which are the same in every input. 8 and 18 also use the length.
CONSTANT = {
    "3": {
        "hook_pos_embed -> blocks.1.hook_q_input[2]",
        "hook_pos_embed -> blocks.1.hook_k_input[2]",
    },
    "4": {
        f"hook_pos_embed -> blocks.1.hook_{slot}_input[{head}]" for slot in "qk" for head in (0, 1)
    },
    "8": {f"hook_pos_embed -> blocks.0.hook_{slot}_input[0]" for slot in "qk"},
    "11": set(),
    "18": set(),
    "21": {f"hook_pos_embed -> blocks.0.hook_{slot}_input[0]" for slot in "qk"},
    "36": set(),
    "ioi": {
        "hook_pos_embed -> blocks.0.hook_mlp_in",
        "blocks.0.hook_mlp_out -> blocks.1.hook_v_input[1]",
        "blocks.0.hook_mlp_out -> blocks.2.hook_k_input[1]",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("case_id", CONSTANT)
def test_constant_edges(case_id: str) -> None:
    circuit = CASES[case_id].complete_circuit
    assert set(map(str, circuit.constant)) == CONSTANT[case_id]


@pytest.mark.slow
@pytest.mark.parametrize("case_id", ["8", "18"])
def test_at_full_length_the_length_is_constant(case_id: str) -> None:
    """These tasks draw inputs of every length, so that edges that carry the length have effects."""
    task = CASES[case_id]
    pairs = task.sample(500, 0, variable_length=False)
    plain = np.asarray(task.high_level.targets(pairs.input_ids))
    both = pairs.input_ids, pairs.corrupted_input_ids
    unseen = {
        str(edge)
        for edge in task.high_level.edges
        if np.array_equal(task.high_level.targets(*both, edge=edge), plain)
    }
    of_length = {
        "8": {"hook_embed -> blocks.0.hook_v_input[0]"},
        "18": {f"hook_embed -> blocks.0.hook_{slot}_input[1]" for slot in "qk"},
    }
    assert of_length[case_id] < unseen
    assert of_length[case_id].isdisjoint(
        map(str, constant_edges(task.high_level, task.sample(2048, 0)))
    )


def test_the_two_embeddings_are_judged_apart() -> None:
    """The edge from the tokens to a head that reads only positions is out, not constant."""
    circuit = CASES["3"].complete_circuit
    truths = circuit.edge_truths("qkv")
    assert truths[parse_edge("hook_pos_embed -> blocks.1.hook_q_input[2]")] == "constant"
    assert truths[parse_edge("hook_embed -> blocks.1.hook_q_input[2]")] == "out"
    # Where the two embeddings are one writer, its edge is constant.
    merged = parse_edge("blocks.0.hook_resid_pre -> blocks.1.attn.hook_result[2]")
    assert circuit.edge_truths("head")[merged] == "constant"
    assert merged not in circuit.edge_truths("head-no-embed")


def test_a_component_that_nobody_listens_to() -> None:
    """An edge is constant if its value is computed but never changes the output."""
    shout = Map(lookup({"a": "A", "b": "B"}), tokens, name="shout")
    everything = Select(shout, shout, Comparison.TRUE)
    first = Aggregate(Select(indices, indices, Comparison.EQ), tokens, name="same")
    task = RaspTask(
        case_id="ignores",
        description="Each token; attention to all positions looks at them in vain.",
        program=Aggregate(everything, Map(lookup({"a": "x", "b": "x"}), first, name="x")),
        vocab=("a", "b"),
        max_seq_len=5,
        d_model=8,
        n_layers=3,
    )
    circuit = task.complete_circuit
    assert set(circuit.constant) == set(circuit.edges)


@pytest.mark.usefixtures("unchecked")
def test_truths_by_name() -> None:
    task = CASES["13"]
    assert task.truth() is task.truth("complete") is task.complete_circuit
    assert task.truth("upstream") is task.upstream_circuit
    assert task.upstream_circuit.constant == ()
    wrong: TruthName = "mine"  # pyright: ignore[reportAssignmentType]
    with pytest.raises(ValueError, match="truth to be one of complete, upstream; got 'mine'"):
        task.truth(wrong)
