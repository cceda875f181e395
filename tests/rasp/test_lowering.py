"""The circuit that follows from the placement of a program."""

import pytest

from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    Map,
    Select,
    SelectorWidth,
    SequenceMap,
    Variable,
    indices,
    numerical,
    shift,
    tokens,
)
from interpbench_jax.rasp.placement import lower
from interpbench_jax.sites import Kind, Node, parse_node

LENGTH = Map(len, tokens)
SHIFTED = SequenceMap(max, tokens, shift(tokens, 1))


def edges(program: Variable, n_layers: int = 2, n_heads: int = 2) -> set[str]:
    return {str(edge) for edge in lower(program).circuit(n_layers, n_heads).fine_edges}


def test_each_edge_enters_the_input_that_reads_it() -> None:
    is_x = numerical(tokens.equals("x"))
    so_far = Select(indices, indices, Comparison.LEQ)
    assert edges(Aggregate(so_far, is_x)) == {
        "hook_embed -> blocks.0.hook_mlp_in",
        "hook_pos_embed -> blocks.1.hook_q_input[0]",
        "hook_pos_embed -> blocks.1.hook_k_input[0]",
        "blocks.0.hook_mlp_out -> blocks.1.hook_v_input[0]",
        "blocks.1.attn.hook_result[0] -> blocks.1.hook_resid_post",
    }


def test_a_selector_width_reads_no_values() -> None:
    assert edges(SelectorWidth(Select(tokens, LENGTH, Comparison.EQ))) == {
        "hook_embed -> blocks.0.hook_mlp_in",
        "blocks.0.hook_mlp_out -> blocks.1.hook_q_input[0]",
        "hook_embed -> blocks.1.hook_k_input[0]",
        "blocks.1.attn.hook_result[0] -> blocks.1.hook_mlp_in",
        "blocks.1.hook_mlp_out -> blocks.1.hook_resid_post",
    }


def test_the_output_is_read_from_where_it_is_computed() -> None:
    assert edges(SHIFTED) >= {"blocks.0.hook_mlp_out -> blocks.1.hook_resid_post"}
    assert edges(tokens) == {"hook_embed -> blocks.1.hook_resid_post"}


def test_the_scored_list_lacks_what_a_head_has_moved() -> None:
    lowering = lower(SHIFTED)
    complete = lowering.circuit(2, 2).in_universe("head")
    scored = lowering.scored_circuit(2, 2).in_universe("head")
    assert {str(edge) for edge in complete - scored} == {
        "blocks.0.hook_resid_pre -> blocks.0.hook_mlp_out"
    }
    assert scored < complete


def test_alignment_moves_both_ends_of_an_edge() -> None:
    lowering = lower(SHIFTED)
    head = Node(Kind.HEAD, 0, 0)
    moved = {head: (Node(Kind.HEAD, 0, 1),), Node(Kind.MLP_POST, 0): (Node(Kind.MLP_POST, 1),)}
    assert {str(edge) for edge in lowering.circuit(2, 2, moved).fine_edges} == {
        "hook_pos_embed -> blocks.0.hook_q_input[1]",
        "hook_pos_embed -> blocks.0.hook_k_input[1]",
        "hook_embed -> blocks.0.hook_v_input[1]",
        "hook_embed -> blocks.1.hook_mlp_in",
        "blocks.0.attn.hook_result[1] -> blocks.1.hook_mlp_in",
        "blocks.1.hook_mlp_out -> blocks.1.hook_resid_post",
    }


def test_a_component_may_stand_on_several_nodes() -> None:
    both = {Node(Kind.HEAD, 0, 0): (Node(Kind.HEAD, 0, 0), Node(Kind.HEAD, 0, 1))}
    found = {str(edge) for edge in lower(SHIFTED).circuit(2, 2, both).fine_edges}
    assert {f"blocks.0.attn.hook_result[{head}] -> blocks.0.hook_mlp_in" for head in (0, 1)} < found


def test_a_model_that_is_too_small() -> None:
    lowering = lower(SequenceMap(max, SHIFTED, Map(len, tokens)))
    with pytest.raises(ValueError, match="Expected nodes of a model with 1 layers"):
        lowering.circuit(1, 1)


def test_variables_of_a_component() -> None:
    lowering = lower(SHIFTED)
    assert lowering.variables_of(Node(Kind.HEAD, 0, 0)) == (shift(tokens, 1),)
    with pytest.raises(ValueError, match=r"Expected a component of the program \(blocks\.0\.attn"):
        lowering.variables_of(parse_node("blocks.1.mlp.hook_post"))
