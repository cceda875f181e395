"""Edits as arrays: where they enter the model and their distribution over blocks and calls."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpbench_jax import Edge, universe
from interpbench_jax.engine.masked import MaskBlocks
from interpbench_jax.engine.suffix import EMPTY, Entry, SuffixBlocks
from interpbench_jax.layout import Layout
from interpbench_jax.masks import edge_mask
from interpbench_jax.sites import parse_edge, readers, writers
from interpbench_jax.sweeps.calls import deal_calls
from interpbench_jax.sweeps.edits import (
    BlockedEdits,
    Edits,
    block_edits,
    block_masks,
    cut_masks,
    is_written,
    mask_layers,
    neuron_entries,
    single_entries,
)
from interpbench_jax.universes import UNIVERSES, UniverseName
from tests.fixtures import tiny_config

Pairs = set[tuple[int, int]]


def pairs_cut(edits: Edits, number: int, n_layers: int, n_heads: int) -> Pairs:
    """The (reader, writer) pairs that an edit cuts, according to its `Entry`."""
    per_layer = 3 * n_heads + 1
    output = n_layers * per_layer
    start = int(edits.layer[number]) * per_layer
    head = start + int(edits.head[number])
    reads = {
        Entry.Q: [head],
        Entry.K: [head + n_heads],
        Entry.V: [head + 2 * n_heads],
        Entry.QKV: [head, head + n_heads, head + 2 * n_heads],
        Entry.MLP: [start + 3 * n_heads],
        Entry.BEFORE: range(start, output + 1),
        Entry.BETWEEN: range(start + 3 * n_heads, output + 1),
        Entry.OUTPUT: [output],
    }[Entry(edits.entry[number])]
    sources = [int(source) for source in edits.source[number] if source != EMPTY]
    return {(reader, source) for reader in reads for source in sources}


def pairs_of(group: Sequence[Edge], n_layers: int, n_heads: int) -> Pairs:
    dst = {str(node): number for number, node in enumerate(readers(n_layers, n_heads))}
    src = {str(node): number for number, node in enumerate(writers(n_layers, n_heads))}
    return {(dst[str(edge.dst)], src[str(edge.src)]) for edge in group}


@pytest.mark.parametrize("nodes", [False, True])
@pytest.mark.parametrize("name", UNIVERSES)
@pytest.mark.parametrize(("n_layers", "n_heads"), [(1, 1), (1, 3), (2, 1), (3, 2)])
def test_every_edge_and_node_enters_at_one_place(
    n_layers: int, n_heads: int, name: UniverseName, nodes: bool
) -> None:
    space = universe(name, n_layers, n_heads)
    groups = [space.fine_edges_of(node) for node in space.sources]
    groups = groups if nodes else list(space.members.values())
    edits, others = single_entries(groups, n_layers, n_heads)
    assert others == [] and edits.n_edits == len(groups)
    for number, group in enumerate(groups):
        expected = pairs_of(group, n_layers, n_heads)
        assert pairs_cut(edits, number, n_layers, n_heads) == expected, group


EMBED, POS, HEAD_00, HEAD_01, MLP_0, HEAD_10, HEAD_11, MLP_1 = range(8)
# Worked out by hand for 2 layers of 2 heads, the writers numbered as above.
BY_HAND: dict[tuple[UniverseName, str], tuple[Entry, int, int, list[int]]] = {
    ("qkv", "hook_embed -> blocks.0.hook_q_input[0]"): (Entry.Q, 0, 0, [EMBED]),
    ("qkv", "hook_pos_embed -> blocks.0.hook_k_input[1]"): (Entry.K, 0, 1, [POS]),
    ("qkv", "blocks.0.attn.hook_result[1] -> blocks.1.hook_v_input[0]"): (
        *(Entry.V, 1, 0),
        [HEAD_01],
    ),
    ("qkv", "blocks.0.attn.hook_result[0] -> blocks.0.hook_mlp_in"): (Entry.MLP, 0, 0, [HEAD_00]),
    ("qkv", "blocks.0.hook_mlp_out -> blocks.1.hook_mlp_in"): (Entry.MLP, 1, 0, [MLP_0]),
    ("qkv", "blocks.1.hook_mlp_out -> blocks.1.hook_resid_post"): (Entry.OUTPUT, 0, 0, [MLP_1]),
    ("qkv", "hook_embed -> blocks.1.hook_resid_post"): (Entry.OUTPUT, 0, 0, [EMBED]),
    ("qkv-merged", "blocks.0.hook_resid_pre -> blocks.1.hook_q_input[1]"): (
        *(Entry.Q, 1, 1),
        [EMBED, POS],
    ),
    ("head", "blocks.0.hook_resid_pre -> blocks.0.attn.hook_result[1]"): (
        *(Entry.QKV, 0, 1),
        [EMBED, POS],
    ),
    ("head", "blocks.0.hook_mlp_out -> blocks.1.attn.hook_result[0]"): (Entry.QKV, 1, 0, [MLP_0]),
    ("head", "blocks.1.attn.hook_result[1] -> blocks.1.hook_mlp_out"): (
        *(Entry.MLP, 1, 0),
        [HEAD_11],
    ),
}
NODES_BY_HAND: dict[str, tuple[Entry, int, list[int]]] = {
    "blocks.0.hook_resid_pre": (Entry.BEFORE, 0, [EMBED, POS]),
    "blocks.0.attn.hook_result[0]": (Entry.BETWEEN, 0, [HEAD_00]),
    "blocks.0.attn.hook_result[1]": (Entry.BETWEEN, 0, [HEAD_01]),
    "blocks.0.hook_mlp_out": (Entry.BEFORE, 1, [MLP_0]),
    "blocks.1.attn.hook_result[0]": (Entry.BETWEEN, 1, [HEAD_10]),
    "blocks.1.attn.hook_result[1]": (Entry.BETWEEN, 1, [HEAD_11]),
    "blocks.1.hook_mlp_out": (Entry.OUTPUT, 0, [MLP_1]),
}


def test_edges_by_hand() -> None:
    for (name, edge), expected in BY_HAND.items():
        group = universe(name, 2, 2).members[parse_edge(edge)]
        edits, _ = single_entries([group], 2, 2)
        found = (edits.entry[0], edits.layer[0], edits.head[0], edits.source[0].tolist())
        assert found == expected, edge


def test_nodes_by_hand() -> None:
    space = universe("qkv-merged", 2, 2)
    groups = [space.fine_edges_of(node) for node in space.sources]
    edits, _ = single_entries(groups, 2, 2)
    assert edits.source.shape == (7, 2)
    rows = zip(edits.entry, edits.layer, edits.source, strict=True)
    found = {
        str(node): (Entry(entry), int(layer), [int(each) for each in source if each != EMPTY])
        for node, (entry, layer, source) in zip(space.sources, rows, strict=True)
    }
    assert found == NODES_BY_HAND
    assert edits.position.tolist() == [EMPTY] * 7


Q, K, V = (f"blocks.1.hook_{kind}_input" for kind in "qkv")


@pytest.mark.parametrize(
    "edges",
    [
        [],
        # Two heads; two of a head's three inputs; a head and an MLP; two layers' MLPs.
        [f"hook_embed -> {Q}[0]", f"hook_embed -> {Q}[1]"],
        [f"hook_embed -> {Q}[0]", f"hook_embed -> {K}[0]"],
        [f"hook_embed -> {K}[1]", f"hook_embed -> {V}[1]"],
        [f"hook_embed -> {Q}[0]", f"hook_embed -> {K}[0]", f"hook_embed -> {V}[1]"],
        [f"hook_embed -> {Q}[1]", "hook_embed -> blocks.1.hook_mlp_in"],
        ["hook_embed -> blocks.0.hook_mlp_in", "hook_embed -> blocks.1.hook_mlp_in"],
        # Two sources that are not cut from the same readers.
        [f"hook_embed -> {Q}[0]", f"hook_pos_embed -> {K}[0]"],
        [f"hook_embed -> {Q}[0]", f"hook_pos_embed -> {Q}[0]", f"hook_pos_embed -> {K}[0]"],
        # Most readers of a node, but not all.
        [
            "blocks.1.attn.hook_result[0] -> blocks.1.hook_mlp_in",
            f"blocks.0.hook_mlp_out -> {Q}[0]",
        ],
        # A reader that reads before the writer has written, alone or beside another.
        ["blocks.1.hook_mlp_out -> blocks.1.hook_mlp_in"],
        ["blocks.1.attn.hook_result[0] -> blocks.0.hook_mlp_in"],
        [f"hook_embed -> {Q}[0]", f"blocks.1.attn.hook_result[0] -> {Q}[0]"],
    ],
)
def test_sets_that_do_not_enter_at_one_place_are_reported(edges: list[str]) -> None:
    single = [parse_edge("hook_embed -> blocks.1.hook_resid_post")]
    group = [parse_edge(edge) for edge in edges]
    edits, others = single_entries([single, group, single], 2, 2)
    assert others == [1]
    assert edits.entry.tolist() == [Entry.OUTPUT] * 2


def test_a_node_with_one_edge_missing_does_not_enter_at_one_place() -> None:
    space = universe("qkv", 2, 2)
    for node in space.sources:
        group = space.fine_edges_of(node)
        if len(group) > 3:
            parts = [group[:i] + group[i + 1 :] for i in range(len(group))]
            assert single_entries(parts, 2, 2)[1] == list(range(len(group))), node


def test_several_sources_of_one_place_enter_together() -> None:
    both = [
        [parse_edge(f"{source} -> blocks.1.hook_mlp_in") for source in sources]
        for sources in (
            ["hook_embed", "blocks.0.hook_mlp_out", "blocks.1.attn.hook_result[1]"],
            ["hook_pos_embed"],
        )
    ]
    edits, others = single_entries(both, 2, 2)
    assert others == []
    assert edits.source.tolist() == [[EMBED, MLP_0, HEAD_11], [POS, EMPTY, EMPTY]]


def test_neurons_enter_after_their_mlp() -> None:
    edits = neuron_entries(2, 3)
    assert edits.entry.tolist() == [Entry.BEFORE] * 3 + [Entry.OUTPUT] * 3
    assert edits.layer.tolist() == [1] * 3 + [0] * 3
    assert edits.source.tolist() == [[0], [1], [2], [3], [4], [5]]
    assert not edits.head.any() and (edits.position == EMPTY).all()


def test_positions_are_innermost_and_ablations_outermost() -> None:
    groups = [[parse_edge(f"{source} -> blocks.1.hook_resid_post")] for source in ("hook_embed",)]
    groups.append([*groups[0], parse_edge("hook_pos_embed -> blocks.1.hook_resid_post")])
    edits = single_entries(groups, 2, 2)[0].at_positions([4, 1]).for_ablations(2, 8)
    assert edits.position.tolist() == [4, 1] * 4
    one, two = [EMBED, EMPTY], [EMBED, POS]
    later = [[EMBED + 8, EMPTY], [EMBED + 8, POS + 8]]
    assert edits.source.tolist() == [one, one, two, two, *(row for row in later for _ in "12")]


def test_written_is_what_the_universe_has() -> None:
    for shape in [(1, 1), (2, 3), (3, 2)]:
        by_edges = edge_mask(universe("qkv", *shape).edges, *shape).astype(bool)
        np.testing.assert_array_equal(is_written(*shape), by_edges)


def test_masks_start_where_they_cut_first() -> None:
    groups = [
        [parse_edge(edge) for edge in edges]
        for edges in (
            ["hook_embed -> blocks.0.hook_q_input[0]"],
            ["hook_embed -> blocks.0.hook_mlp_in", "hook_embed -> blocks.1.hook_resid_post"],
            [f"blocks.0.hook_mlp_out -> {V}[1]"],
            ["hook_embed -> blocks.1.hook_mlp_in"],
            ["hook_embed -> blocks.1.hook_resid_post"],
            [],
        )
    ]
    cut = cut_masks(groups, tiny_config(n_layers=2, n_heads=2), np.dtype(np.float32))
    assert mask_layers(cut, Layout(2, 2)).tolist() == [0, 0, 1, 1, 2, 2]
    blocked = block_masks(cut, Layout(2, 2), 2)
    assert isinstance(blocked.blocks, MaskBlocks)
    assert blocked.order.tolist() == [[4, 5], [2, 3], [0, 1]]
    assert blocked.blocks.layer.tolist() == [2, 1, 0]


rows = st.lists(
    st.tuples(st.sampled_from(list(Entry)), st.integers(0, 2), st.integers(0, 3)),
    min_size=1,
    max_size=120,
)


def make_edits(drawn: list[tuple[Entry, int, int]]) -> Edits:
    """Edits with distinct sources."""
    entry, layer, head = np.asarray(drawn, np.int32).T
    source = np.arange(len(drawn), dtype=np.int32)[:, None]
    layer = np.where(entry == Entry.OUTPUT, 0, layer)
    return Edits(entry, layer, head, source, source[:, 0] % 5)


@given(drawn=rows, size=st.integers(1, 33))
def test_every_edit_is_in_one_place_of_one_block(
    drawn: list[tuple[Entry, int, int]], size: int
) -> None:
    edits = make_edits(drawn)
    blocks, order = block_edits(edits, size)
    assert isinstance(blocks, SuffixBlocks)
    assert order.shape == (len(blocks.entry), size)
    assert sorted(order[order != EMPTY]) == list(range(len(drawn)))
    depths = []
    for number, row in enumerate(order):
        kept = row[row != EMPTY]
        place = (blocks.entry[number], blocks.layer[number])
        assert {(edits.entry[i], edits.layer[i]) for i in kept} == {place}
        # Padding repeats an edit of the block, so that it enters at the same place.
        assert len(kept) and set(blocks.source[number, :, 0]) == set(kept)
        in_use = row != EMPTY
        np.testing.assert_array_equal(blocks.source[number, in_use, 0], kept)
        np.testing.assert_array_equal(blocks.head[number, in_use], edits.head[kept])
        np.testing.assert_array_equal(blocks.position[number, in_use], edits.position[kept])
        depths.append(9 if place[0] == Entry.OUTPUT else place[1])
    assert depths == sorted(depths, reverse=True)
    _, counts = np.unique(edits.places(), return_counts=True)
    assert len(order) == sum(-(-counts // size))


@given(
    n_blocks=st.integers(1, 300),
    in_block=st.integers(1, 3),
    most=st.sampled_from([1, 2, 4, 16, 64]),
    shares=st.integers(1, 8),
    workers=st.integers(1, 4),
)
@example(n_blocks=9, in_block=1, most=1, shares=8, workers=1)
def test_every_block_is_in_one_place_of_one_call(
    n_blocks: int, in_block: int, most: int, shares: int, workers: int
) -> None:
    order = np.arange(n_blocks * in_block).reshape(n_blocks, in_block)
    order[-1, 1:] = EMPTY
    layer = np.arange(n_blocks, dtype=np.int32)
    blocked = BlockedEdits(MaskBlocks(layer, np.zeros((n_blocks, in_block, 1, 1, 1))), order)
    calls = deal_calls(blocked, most, shares, workers)
    found = []
    for call in calls:
        assert call.order.shape == (shares * most, in_block)
        assert len(call.blocks.layer) == shares * most and call.in_use.shape == (shares,)
        by_share = call.order.reshape(shares, most, in_block)
        numbers = np.asarray(call.blocks.layer).reshape(shares, most)
        for count, mine, number in zip(call.in_use, by_share, numbers, strict=True):
            # The blocks in use come first.
            np.testing.assert_array_equal(mine[:count], order[number[:count]])
            assert (mine[count:] == EMPTY).all()
            found.extend(number[:count].tolist())
        np.testing.assert_array_equal(call.edits, call.order[call.order >= 0])
        assert call.in_use.sum() > 0
        # A call's devices have about equal work.
        assert call.in_use.max() - call.in_use.min() <= 1
    assert sorted(found) == list(range(n_blocks))
    totals = [call.in_use.sum() for call in calls]
    assert max(totals) - min(totals) <= shares
