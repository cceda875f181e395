"""Selection of the largest items and of edges on paths."""

import itertools

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpbench_jax.scores import keep_largest, on_paths
from interpbench_jax.scores.levels import component_of
from interpbench_jax.scores.selection import outside_edges
from interpbench_jax.sites import Kind, Node
from interpbench_jax.universes import UNIVERSES, UniverseName, universe

EMBEDDINGS = (Kind.EMBED, Kind.POS_EMBED, Kind.RESID_PRE)


# keep_largest


def test_the_largest_by_hand() -> None:
    values = np.asarray([1.0, -5.0, 3.0, 3.0])
    kept = keep_largest(values, [0, 1, 2, 3, 4])
    assert [np.flatnonzero(row).tolist() for row in kept] == [
        [],
        [1],
        [1, 2],
        [1, 2, 3],
        [0, 1, 2, 3],
    ]
    signed = keep_largest(values, [1, 3], absolute=False)
    assert [np.flatnonzero(row).tolist() for row in signed] == [[2], [0, 2, 3]]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_larger_sets_hold_the_smaller_ones_and_what_matters_more(numbers: list[int]) -> None:
    values = np.asarray(numbers, np.float64)
    kept = keep_largest(values, range(len(values) + 1))
    assert kept.sum(axis=1).tolist() == list(range(len(values) + 1))
    for smaller, larger in itertools.pairwise(kept):
        assert not (smaller & ~larger).any()
        (added,) = np.flatnonzero(larger & ~smaller)
        rest = np.flatnonzero(~larger)
        assert (np.abs(values[rest]) <= abs(values[added])).all()
        # Among ties, the first is added.
        assert (added < rest[np.abs(values[rest]) == abs(values[added])]).all()


@pytest.mark.parametrize("size", [-1, 4])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"Expected sizes from 0 to 3, got \[1, {size}\]"):
        keep_largest(np.zeros(3), [1, size])


# on_paths


def edges_on_paths(name: UniverseName, kept: np.ndarray) -> list[bool]:
    """Find the kept edges on a path from an embedding to the output, by graph search."""
    space = universe(name, 2, 3)
    graph = networkx.DiGraph()
    output = Node(Kind.RESID_POST, 1)
    graph.add_nodes_from(["embeddings", output])
    ends = [(edge.src, component_of(edge.dst)) for edge in space.edges]
    graph.add_edges_from(pair for pair, has in zip(ends, kept, strict=True) if has)
    graph.add_edges_from((edge.src, component_of(edge.dst)) for edge in outside_edges(space))
    graph.add_edges_from(
        ("embeddings", node) for node in list(graph) if getattr(node, "kind", None) in EMBEDDINGS
    )
    fed = networkx.descendants(graph, "embeddings")
    leads = {output, *networkx.ancestors(graph, output)}
    return [
        bool(has) and src in fed and dst in leads
        for (src, dst), has in zip(ends, kept, strict=True)
    ]


@pytest.mark.parametrize("name", UNIVERSES)
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.05, 0.1, 0.2, 0.5, 1.0]))
def test_edges_on_paths_are_those_of_a_graph(name: UniverseName, seed: int, share: float) -> None:
    space = universe(name, 2, 3)
    kept = np.random.default_rng(seed).uniform(size=(4, len(space.edges))) < share
    found = on_paths(kept, space)
    assert found.tolist() == [edges_on_paths(name, row) for row in kept]
    # A second pass changes nothing, and with all edges kept every edge lies on a path.
    np.testing.assert_array_equal(on_paths(found, space), found)
    assert on_paths(np.ones((1, len(space.edges)), bool), space).all()


@pytest.mark.parametrize("name", ["qkv", "qkv-merged", "head"])
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.1, 0.2, 0.5]))
def test_taking_out_what_nothing_enters_or_leaves_gives_the_same(
    name: UniverseName, seed: int, share: float
) -> None:
    space = universe(name, 2, 3)
    drawn = np.random.default_rng(seed).uniform(size=len(space.edges)) < share
    ends = [(edge.src, component_of(edge.dst)) for edge in space.edges]
    kept, before = set(np.flatnonzero(drawn).tolist()), None
    while kept != before:
        before = kept
        entered = {ends[i][1] for i in kept}
        left = {ends[i][0] for i in kept}
        kept = {
            i
            for i in kept
            if (ends[i][0].kind in EMBEDDINGS or ends[i][0] in entered)
            and (ends[i][1].kind is Kind.RESID_POST or ends[i][1] in left)
        }
    assert np.flatnonzero(on_paths(drawn[None], space)[0]).tolist() == sorted(kept)


def test_a_path_goes_through_any_input_of_a_head() -> None:
    space = universe("qkv", 1, 1)
    wanted = (
        "hook_pos_embed -> blocks.0.hook_k_input[0]",
        "blocks.0.attn.hook_result[0] -> blocks.0.hook_resid_post",
        "hook_embed -> blocks.0.hook_mlp_in",
    )
    kept = np.asarray([[str(edge) in wanted for edge in space.edges]])
    found = [
        str(edge) for edge, has in zip(space.edges, on_paths(kept, space)[0], strict=True) if has
    ]
    assert sorted(found) == sorted(wanted[:2])


@pytest.mark.parametrize(("name", "count"), [("qkv", 0), ("qkv-merged", 0), ("head", 2)])
def test_what_a_universe_leaves_out(name: UniverseName, count: int) -> None:
    outside = outside_edges(universe(name, 2, 3))
    assert len(outside) == count
    assert {edge.dst for edge in outside} <= {Node(Kind.RESID_POST, 1)}


def test_without_embeddings_all_their_edges_are_outside() -> None:
    outside = outside_edges(universe("head-no-embed", 2, 3))
    fine = universe("qkv", 2, 3).edges
    assert set(outside) == {edge for edge in fine if edge.src.kind in EMBEDDINGS}


def test_another_number_of_edges_is_refused() -> None:
    with pytest.raises(ValueError, match=r"each of the 38 edges of 'head', got shape \(1, 3\)"):
        on_paths(np.ones((1, 3), bool), universe("head", 2, 3))
