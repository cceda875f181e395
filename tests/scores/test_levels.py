"""Conversion of scores between universes, and between edges and nodes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpbench_jax.scores import (
    edges_from_nodes,
    nodes_from_edges,
    promote_node_scores,
    promote_scores,
)
from interpbench_jax.scores.levels import component_of
from interpbench_jax.sites import Node, parse_node
from interpbench_jax.universes import UNIVERSES, UniverseName, universe
from tests.scores.random_edges import edge_values, node_values

# promote_scores


@pytest.mark.parametrize("finer", UNIVERSES)
@given(seed=st.integers(0, 2**32 - 1), place=st.integers(0, 3))
def test_promotion_takes_the_largest(finer: UniverseName, seed: int, place: int) -> None:
    coarser = UNIVERSES[max(place, UNIVERSES.index(finer))]
    fine, coarse = universe(finer, 2, 3), universe(coarser, 2, 3)
    scores = np.random.default_rng(seed).standard_normal(len(fine.edges))
    of_member = {
        member: score
        for edge, score in zip(fine.edges, scores, strict=True)
        for member in fine.members[edge]
    }
    promoted = promote_scores(scores, finer, coarser, 2, 3)
    assert promoted.tolist() == [
        max(of_member[member] for member in members) for members in coarse.members.values()
    ]
    assert set(promoted) <= set(scores)


@given(st.integers(0, 2**32 - 1))
def test_promoting_in_steps_is_promoting_at_once(seed: int) -> None:
    scores = np.random.default_rng(seed).standard_normal(len(universe("qkv", 2, 3).edges))
    steps = scores
    for finer, coarser in itertools.pairwise(UNIVERSES):
        steps = promote_scores(steps, finer, coarser, 2, 3)
        np.testing.assert_array_equal(steps, promote_scores(scores, "qkv", coarser, 2, 3))


def test_promotion_to_the_same_universe_changes_nothing() -> None:
    scores = np.arange(53.0)
    np.testing.assert_array_equal(promote_scores(scores, "head", "head", 2, 4), scores)


def test_another_number_of_scores_is_refused() -> None:
    with pytest.raises(
        ValueError, match="137 edges of 'qkv', got 53, the number of edges of 'head'"
    ):
        promote_scores(np.zeros(53), "qkv", "head", 2, 4)


def test_promotion_to_a_finer_universe_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a universe finer than 'qkv', got 'head'"):
        promote_scores(np.zeros(53), "head", "qkv", 2, 4)


# promote_node_scores


def test_node_promotion_by_hand() -> None:
    # embed, pos_embed, head 0, head 1, MLP
    scores = np.asarray([1.0, 4.0, 2.0, 3.0, 5.0])
    assert promote_node_scores(scores, "qkv", "qkv", 1, 2).tolist() == [1, 4, 2, 3, 5]
    for name in ("qkv-merged", "head"):
        assert promote_node_scores(scores, "qkv", name, 1, 2).tolist() == [4, 2, 3, 5]
    assert promote_node_scores(scores, "qkv", "head-no-embed", 1, 2).tolist() == [2, 3, 5]
    merged = np.asarray([4.0, 2.0, 3.0, 5.0])
    assert promote_node_scores(merged, "head", "head-no-embed", 1, 2).tolist() == [2, 3, 5]


def test_node_promotion_to_a_finer_universe_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a universe coarser than 'head', got 'qkv'"):
        promote_node_scores(np.zeros(4), "head", "qkv", 1, 2)
    with pytest.raises(ValueError, match="each of the 5 sources of 'qkv'"):
        promote_node_scores(np.zeros(4), "qkv", "head", 1, 2)


# nodes_from_edges and edges_from_nodes


def component(name: str) -> Node:
    return component_of(parse_node(name))


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        ("blocks.1.hook_q_input[2]", "blocks.1.attn.hook_result[2]"),
        ("blocks.0.hook_k_input[0]", "blocks.0.attn.hook_result[0]"),
        ("blocks.1.hook_v_input[1]", "blocks.1.attn.hook_result[1]"),
        ("blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out"),
        ("blocks.1.hook_mlp_out", "blocks.1.hook_mlp_out"),
        ("blocks.1.hook_resid_post", "blocks.1.hook_resid_post"),
        ("hook_embed", "hook_embed"),
    ],
)
def test_components(reader: str, expected: str) -> None:
    assert component(reader) == parse_node(expected)


def test_node_scores_by_hand() -> None:
    # One layer, one head: embedding -> head, embedding -> MLP, head -> MLP, head -> output, ...
    edges = [str(edge) for edge in universe("head", 1, 1).edges]
    assert edges == [
        "blocks.0.hook_resid_pre -> blocks.0.attn.hook_result[0]",
        "blocks.0.hook_resid_pre -> blocks.0.hook_mlp_out",
        "blocks.0.attn.hook_result[0] -> blocks.0.hook_mlp_out",
        "blocks.0.attn.hook_result[0] -> blocks.0.hook_resid_post",
        "blocks.0.hook_mlp_out -> blocks.0.hook_resid_post",
    ]
    scores = np.asarray([1.0, -3.0, 2.0, 0.5, -7.0])
    # The embedding writes 1 and 3; the head reads 1 and writes 2 and 0.5.
    assert nodes_from_edges(scores, "head", 1, 1).tolist() == [3, 2, 7]
    assert nodes_from_edges(scores, "head", 1, 1, absolute=False).tolist() == [1, 2, 2]


def test_edge_scores_by_hand() -> None:
    # embedding, head, MLP
    scores = np.asarray([5.0, -1.0, 3.0])
    assert edges_from_nodes(scores, "head", 1, 1).tolist() == [1, 3, 1, 1, 3]
    assert edges_from_nodes(scores, "head", 1, 1, absolute=False).tolist() == [-1, 3, -1, -1, 3]
    # With fine edges, q, k and v count as the head; edges to the output get the writer's score.
    fine = edges_from_nodes(np.asarray([5.0, 4.0, -1.0, 3.0]), "qkv", 1, 1)
    for edge, score in zip(universe("qkv", 1, 1).edges, fine, strict=True):
        ends = {str(edge.src), str(component_of(edge.dst))}
        if "blocks.0.attn.hook_result[0]" in ends:
            assert score == 1
        elif "blocks.0.hook_mlp_out" in ends:
            assert score == 3
        else:
            assert score == (5 if "hook_embed" in ends else 4)


@pytest.mark.parametrize("name", UNIVERSES)
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), limit=st.floats(0, 2))
def test_edges_above_a_limit_are_those_among_the_nodes_above_it(
    name: UniverseName, seed: int, limit: float
) -> None:
    space, scores = universe(name, 2, 3), node_values(name, seed)
    above = {node for node, score in zip(space.sources, scores, strict=True) if abs(score) > limit}
    unscored = set(space.nodes) - set(space.sources)
    kept = edges_from_nodes(scores, name, 2, 3) > limit
    for edge, has in zip(space.edges, kept, strict=True):
        end = component_of(edge.dst)
        among = edge.src in above and (end in above or end not in space.sources)
        assert has == among
    assert parse_node("blocks.1.hook_resid_post") in unscored


@pytest.mark.parametrize("name", UNIVERSES)
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_nodes_above_a_limit_are_the_ends_of_edges_above_it(name: UniverseName, seed: int) -> None:
    space, scores = universe(name, 2, 3), edge_values(name, seed)
    found = nodes_from_edges(scores, name, 2, 3)
    for node, score in zip(space.sources, found, strict=True):
        at_node = [
            abs(value)
            for edge, value in zip(space.edges, scores, strict=True)
            if node in (edge.src, component_of(edge.dst))
        ]
        assert score == max(at_node)


def test_other_numbers_of_scores_are_refused() -> None:
    with pytest.raises(ValueError, match=r"each of the 38 edges of 'head', got shape \(9,\)"):
        nodes_from_edges(np.zeros(9), "head", 2, 3)
    with pytest.raises(ValueError, match=r"each of the 9 sources of 'head', got shape \(38,\)"):
        edges_from_nodes(np.zeros(38), "head", 2, 3)
    with pytest.raises(ValueError, match="got NaN at 9 items"):
        edges_from_nodes(np.full(9, np.nan), "head", 2, 3)
