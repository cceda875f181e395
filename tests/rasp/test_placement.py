"""The components that compute a program's variables."""

import pytest

from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    LinearSequenceMap,
    Map,
    Select,
    SelectorWidth,
    SequenceMap,
    Variable,
    indices,
    numerical,
    shift,
    tokens,
    width,
)
from interpbench_jax.rasp.functions import Both, Either, Not
from interpbench_jax.rasp.placement import lower, merge

SAME = Select(tokens, tokens, Comparison.EQ)
LENGTH = Map(len, tokens, name="length")


def places(program: Variable) -> list[tuple[str, str]]:
    return [(str(step.variable.name), str(step.node)) for step in lower(program).steps]


def test_attention_comes_before_the_mlp_of_its_layer() -> None:
    program = SequenceMap(max, tokens, shift(tokens, 1), name="output")
    assert places(program) == [
        ("shift_by(1)", "blocks.0.attn.hook_result[0]"),
        ("output", "blocks.0.mlp.hook_post"),
    ]


def test_a_head_that_reads_an_mlp_is_in_the_next_layer() -> None:
    same = Select(LENGTH, LENGTH, Comparison.EQ)
    assert places(Aggregate(same, tokens, name="output")) == [
        ("length", "blocks.0.mlp.hook_post"),
        ("output", "blocks.1.attn.hook_result[0]"),
    ]


def test_variables_of_one_depth_share_a_layer() -> None:
    # The map of the shifted tokens is one deeper than the map of the tokens, as in Tracr, although
    # the first layer's MLP could compute it.
    after = Map(len, shift(tokens, 1), name="after")
    assert places(SequenceMap(max, LENGTH, after, name="output")) == [
        ("shift_by(1)", "blocks.0.attn.hook_result[0]"),
        ("length", "blocks.0.mlp.hook_post"),
        ("after", "blocks.1.mlp.hook_post"),
        ("output", "blocks.2.mlp.hook_post"),
    ]


def test_a_depth_of_heads_and_the_next_of_mlps_share_a_layer() -> None:
    after = Map(len, shift(tokens, 1), name="after")
    assert places(Map(len, shift(after, 1), name="output")) == [
        ("shift_by(1)", "blocks.0.attn.hook_result[0]"),
        ("after", "blocks.0.mlp.hook_post"),
        ("shift_by(1)", "blocks.1.attn.hook_result[0]"),
        ("output", "blocks.1.mlp.hook_post"),
    ]


def test_heads_count_breadth_first_from_the_output() -> None:
    deep = Map(len, shift(tokens, 1), name="deep")
    program = SequenceMap(max, deep, shift(tokens, 2), name="output")
    assert places(program)[:2] == [
        ("shift_by(2)", "blocks.0.attn.hook_result[0]"),
        ("shift_by(1)", "blocks.0.attn.hook_result[1]"),
    ]


def test_a_selector_width_is_a_head_and_an_mlp() -> None:
    program = SelectorWidth(SAME, name="count")
    assert places(program) == [
        ("count_attention", "blocks.0.attn.hook_result[0]"),
        ("count", "blocks.0.mlp.hook_post"),
    ]


def test_equal_parts_are_computed_once() -> None:
    program = SequenceMap(max, shift(tokens, 1), Map(len, shift(tokens, 1)))
    assert len(lower(program).steps) == 3


def test_an_input_alone_needs_nothing() -> None:
    lowering = lower(tokens)
    assert (lowering.steps, lowering.nodes, lowering.n_layers, lowering.n_heads) == ((), (), 0, 0)


def test_selectors_of_the_same_variables_merge() -> None:
    below = Select(tokens, tokens, Comparison.LT)
    assert merge(~SAME).predicate == Not(Comparison.EQ)
    assert merge(SAME & below).predicate == Both(Comparison.EQ, Comparison.LT)
    assert merge(SAME | ~below).predicate == Either(Comparison.EQ, Not(Comparison.LT))


NUMBER = numerical(Map(len, tokens, name="number"))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            SelectorWidth(SAME & Select(indices, indices, Comparison.LT)),
            r"same keys and queries, got .*tokens.* and .*indices.*; .*join the variables",
        ),
        (width(NUMBER, tokens, Comparison.EQ), "keys of a selector to be categorical, got the num"),
        (width(tokens, NUMBER, Comparison.EQ), r"queries of a selector .* number; convert it with"),
        (SequenceMap(max, NUMBER, tokens), "the inputs of a SequenceMap to be categorical"),
        (
            LinearSequenceMap(NUMBER, tokens, 1, 1),
            r"LinearSequenceMap to be numerical, got the categorical Tok",
        ),
    ],
)
def test_what_has_no_place(program: Variable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lower(program)
