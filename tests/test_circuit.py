"""Edge universes, circuits and masks, and the mapping from fine to coarse edges."""

import itertools
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_jax.circuit import Circuit
from interpbench_jax.masks import edge_indices, edge_mask
from interpbench_jax.sites import Edge, Kind, Node, parse_edge, parse_node, readers, writers
from interpbench_jax.universes import UNIVERSES, Universe, UniverseName, universe
from tests.fixtures import CASE_IDS, ORACLES, UPSTREAM, read_upstream_case, requires_upstream

SHAPES = [(1, 1), (1, 3), (2, 2), (2, 4), (3, 2)]
each_universe = pytest.mark.parametrize("name", UNIVERSES)
each_shape = pytest.mark.parametrize(("n_layers", "n_heads"), SHAPES)
COARSENINGS: list[tuple[UniverseName, UniverseName]] = list(
    itertools.combinations_with_replacement(UNIVERSES, 2)
)

# Cases whose list in 1.0.0 lacks the edge into the output (the programs need one of two layers).
COMPLETED = set("8 19 20 21 24 33 34 35 36 37".split())


def names_of(edges: frozenset[Edge] | tuple[Edge, ...]) -> set[tuple[str, str]]:
    return {(str(edge.src), str(edge.dst)) for edge in edges}


def edges_of(*names: str) -> tuple[Edge, ...]:
    return tuple(map(parse_edge, names))


EDGES = {(name, *shape): universe(name, *shape).edges for name in UNIVERSES for shape in SHAPES}


@st.composite
def parts(draw: st.DrawFn) -> tuple[int, int, tuple[Edge, ...]]:
    """Draw a circuit's fields: some edges of one universe, and some wiring inside components.

    It does not build the circuit: beartype draws random numbers, which hypothesis refuses here.
    """
    n_layers, n_heads = draw(st.sampled_from(SHAPES))
    name = draw(st.sampled_from(UNIVERSES))
    edges = draw(st.lists(st.sampled_from(EDGES[name, n_layers, n_heads]), max_size=12))
    layer, head = draw(st.integers(0, n_layers - 1)), draw(st.integers(0, n_heads - 1))
    inside = [
        Edge(Node(Kind.Q_INPUT, layer, head), Node(Kind.Q, layer, head)),
        Edge(Node(Kind.V, layer, head), Node(Kind.HEAD, layer, head)),
        Edge(Node(Kind.MLP_IN, layer), Node(Kind.MLP_OUT, layer)),
    ]
    return n_layers, n_heads, tuple(edges + draw(st.lists(st.sampled_from(inside), max_size=3)))


# Sizes of universes. 137, 110 and 1,108 come from auto-circuit's and TransformerLens's edge lists,
# 53 from upstream's evaluation; 43 is 53 minus one edge from the embedding to each of the eight
# heads and two MLPs.
@pytest.mark.parametrize(
    ("name", "n_layers", "n_heads", "count"),
    [
        ("qkv", 2, 4, 137),
        ("qkv-merged", 2, 4, 110),
        ("head", 2, 4, 53),
        ("head-no-embed", 2, 4, 43),
        ("qkv-merged", 6, 4, 1108),
    ],
)
def test_known_counts(name: UniverseName, n_layers: int, n_heads: int, count: int) -> None:
    assert len(universe(name, n_layers, n_heads).edges) == count


@requires_upstream
def test_the_head_universe_is_upstreams() -> None:
    table = json.loads((UPSTREAM / "edge_universe_2x4.json").read_text())
    ours = universe("head", 2, 4)
    assert names_of(ours.edges) == {tuple(pair) for pair in table["head_edges"]}
    assert {str(node) for node in ours.nodes} == set(table["head_nodes"])
    assert len(ours.nodes) == len(table["head_nodes"]) == 12


@requires_upstream
@pytest.mark.parametrize("name", ORACLES)
def test_the_fine_universe_is_what_transformer_lens_can_patch(name: str) -> None:
    with np.load(UPSTREAM / "oracle" / f"{name}.npz") as oracle:
        edges = {tuple(pair) for pair in oracle["edges"].tolist()}
        layers = sum(key.endswith(".hook_mlp_out") and key[:4] == "act/" for key in oracle.files)
        heads = oracle["act/blocks.0.attn.hook_result"].shape[2]
    ours = names_of(universe("qkv", layers, heads).edges)
    # For the largest model, the fixture patches only a sample of the edges.
    assert edges <= ours if name == "random_lnpre" else edges == ours


@pytest.mark.parametrize(("n_layers", "n_heads"), [*SHAPES, (6, 4)])
def test_the_head_universe_by_its_rule(n_layers: int, n_heads: int) -> None:
    """Components in rank order (embedding; heads of layer 0; MLP of layer 0; ...; output).

    An edge leads from a component to every one of a higher rank, except from the embedding to
    the output.
    """
    rank = {"blocks.0.hook_resid_pre": -1, f"blocks.{n_layers - 1}.hook_resid_post": 2 * n_layers}
    for layer in range(n_layers):
        rank |= {f"blocks.{layer}.attn.hook_result[{head}]": 2 * layer for head in range(n_heads)}
        rank[f"blocks.{layer}.hook_mlp_out"] = 2 * layer + 1
    expected = {
        (src, dst)
        for src, dst in itertools.product(rank, repeat=2)
        if rank[src] < rank[dst] and (rank[src], rank[dst]) != (-1, 2 * n_layers)
    }
    assert names_of(universe("head", n_layers, n_heads).edges) == expected
    without = {(src, dst) for src, dst in expected if rank[src] >= 0}
    assert names_of(universe("head-no-embed", n_layers, n_heads).edges) == without


@each_shape
def test_the_merged_universe_has_one_embedding(n_layers: int, n_heads: int) -> None:
    def merge(name: str) -> str:
        return "blocks.0.hook_resid_pre" if name in ("hook_embed", "hook_pos_embed") else name

    fine = names_of(universe("qkv", n_layers, n_heads).edges)
    merged = names_of(universe("qkv-merged", n_layers, n_heads).edges)
    assert merged == {(merge(src), dst) for src, dst in fine}


@each_universe
@each_shape
def test_members_are_fine_edges_each_in_one_place(
    name: UniverseName, n_layers: int, n_heads: int
) -> None:
    ours = universe(name, n_layers, n_heads)
    members = [fine for group in ours.members.values() for fine in group]
    assert len(members) == len(set(members))
    assert set(members) <= set(universe("qkv", n_layers, n_heads).edges)
    assert ours.edges == tuple(ours.members)


@each_shape
def test_fine_edges_are_ordered_by_reader_then_writer(n_layers: int, n_heads: int) -> None:
    edges = universe("qkv", n_layers, n_heads).edges
    dst = {node: i for i, node in enumerate(readers(n_layers, n_heads))}
    src = {node: i for i, node in enumerate(writers(n_layers, n_heads))}
    places = [(dst[edge.dst], src[edge.src]) for edge in edges]
    assert places == sorted(places)
    np.testing.assert_array_equal(edge_indices(edges, n_layers, n_heads), places)


def test_sources_and_nodes_of_one_layer() -> None:
    ours = universe("head", 1, 1)
    resid_pre, head, mlp, resid_post = map(
        parse_node,
        (
            "blocks.0.hook_resid_pre",
            "blocks.0.attn.hook_result[0]",
            "blocks.0.hook_mlp_out",
            "blocks.0.hook_resid_post",
        ),
    )
    assert ours.sources == (resid_pre, head, mlp)
    assert ours.nodes == (resid_pre, head, mlp, resid_post)
    assert universe("head-no-embed", 1, 1).sources == (head, mlp)
    assert universe("qkv", 1, 1).sources == writers(1, 1)


def test_replacing_the_embedding_cuts_all_that_it_writes_to() -> None:
    # The two embeddings are read by q, k and v of 8 heads, by 2 MLPs and by the output, although
    # the universe itself has no edge from the embedding to the output.
    fine = universe("head", 2, 4).fine_edges_of(Node(Kind.RESID_PRE, 0))
    assert len(fine) == 2 * (3 * 8 + 2 + 1)
    assert {edge.src.kind for edge in fine} == {Kind.EMBED, Kind.POS_EMBED}


@each_shape
@pytest.mark.parametrize("name", ["qkv", "qkv-merged", "head"])
def test_the_sources_share_out_all_fine_edges(
    name: UniverseName, n_layers: int, n_heads: int
) -> None:
    ours = universe(name, n_layers, n_heads)
    cut = [edge for source in ours.sources for edge in ours.fine_edges_of(source)]
    assert sorted(map(str, cut)) == sorted(map(str, universe("qkv", n_layers, n_heads).edges))


@pytest.mark.parametrize("node", ["blocks.1.hook_resid_post", "hook_embed", "blocks.1.hook_mlp_in"])
def test_what_is_no_source_is_refused(node: str) -> None:
    with pytest.raises(ValueError, match="Expected one of the 11 sources of universe 'head'"):
        universe("head", 2, 4).fine_edges_of(parse_node(node))


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_universe_is_refused() -> None:
    with pytest.raises(ValueError, match="one of qkv, qkv-merged, head, head-no-embed; got 'all'"):
        universe("all", 2, 4)  # pyright: ignore[reportArgumentType]


# groups_of


@each_shape
@pytest.mark.parametrize(("finer", "coarser"), COARSENINGS)
def test_groups_share_out_the_finer_edges(
    finer: UniverseName, coarser: UniverseName, n_layers: int, n_heads: int
) -> None:
    fine, coarse = universe(finer, n_layers, n_heads), universe(coarser, n_layers, n_heads)
    groups = coarse.groups_of(fine)
    assert len(groups) == len(coarse.edges)
    gathered = list(itertools.chain(*groups))
    assert len(gathered) == len(set(gathered)) <= len(fine.edges)
    for edge, group in zip(coarse.edges, groups, strict=True):
        assert group == tuple(sorted(group)) and group
        members = [member for i in group for member in fine.members[fine.edges[i]]]
        assert sorted(map(str, members)) == sorted(map(str, coarse.members[edge]))


@each_universe
def test_every_edge_gathers_itself(name: UniverseName) -> None:
    ours = universe(name, 2, 3)
    assert ours.groups_of(ours) == tuple((i,) for i in range(len(ours.edges)))


@pytest.mark.parametrize("names", list(itertools.combinations(UNIVERSES, 3)), ids="/".join)
def test_grouping_twice_is_grouping_once(names: tuple[UniverseName, ...]) -> None:
    fine, middle, coarse = (universe(name, 2, 3) for name in names)
    inner = middle.groups_of(fine)
    twice = [sorted(i for j in group for i in inner[j]) for group in coarse.groups_of(middle)]
    assert twice == [list(group) for group in coarse.groups_of(fine)]


@pytest.mark.parametrize(
    ("coarser", "finer"),
    [(coarse, fine) for fine, coarse in itertools.combinations(reversed(UNIVERSES), 2)],
)
def test_a_coarser_universe_resolves_no_finer_one(
    coarser: UniverseName, finer: UniverseName
) -> None:
    with pytest.raises(ValueError, match=f"Expected a universe finer than '{coarser}'"):
        universe(coarser, 2, 3).groups_of(universe(finer, 2, 3))


@pytest.mark.parametrize("shape", [(1, 4), (3, 4), (2, 3)])
def test_a_universe_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="Expected a universe finer than 'head'"):
        universe("head", 2, 4).groups_of(universe("qkv", *shape))


# Circuits of release 1.0.0


@requires_upstream
def test_all_sixteen_cases_are_there() -> None:
    found = {path.stem for path in (UPSTREAM / "cases").glob("*.json")}
    assert found == set(CASE_IDS)
    assert len(CASE_IDS) == 16


@requires_upstream
@pytest.mark.parametrize("case_id", CASE_IDS)
def test_released_edges_become_the_scored_ones(case_id: str) -> None:
    facts = read_upstream_case(case_id)
    circuit = Circuit.from_names(facts["edges_released"], 2, 4)
    assert [[str(edge.src), str(edge.dst)] for edge in circuit.edges] == facts["edges_released"]
    scored = circuit.in_universe("head")
    assert names_of(scored) == {tuple(pair) for pair in facts["edges_scored"]}
    for name in UNIVERSES:
        assert circuit.in_universe(name) <= set(universe(name, 2, 4).edges)


@requires_upstream
def test_which_cases_lack_the_edge_into_the_output() -> None:
    output = "blocks.1.hook_resid_post"
    lacking = {
        case_id
        for case_id in CASE_IDS
        if all(dst != output for _, dst in read_upstream_case(case_id)["edges_released"])
    }
    assert lacking == COMPLETED
    for case_id in CASE_IDS:
        circuit = Circuit.from_names(read_upstream_case(case_id)["edges_released"], 2, 4)
        given = {edge for edge in circuit.edges if (edge.src, edge.dst) not in _wiring(circuit)}
        added = circuit.fine_edges - given
        assert bool(added) == (case_id in COMPLETED)
        assert {str(edge.dst) for edge in added} <= {output}


def _wiring(circuit: Circuit) -> set[tuple[Node, Node]]:
    """Return the circuit's edges between two nodes of one component."""
    return {
        (edge.src, edge.dst)
        for edge in circuit.edges
        if edge.src.layer == edge.dst.layer
        and edge.src.kind not in (Kind.HEAD, Kind.MLP_OUT, Kind.EMBED, Kind.POS_EMBED)
    }


def test_the_circuit_of_case_8_by_hand() -> None:
    # The release's list ends in the MLP of layer 0; only the final stream reads its output.
    circuit = Circuit(
        2,
        4,
        edges_of(
            "blocks.0.attn.hook_result[0] -> blocks.0.hook_mlp_in",
            "blocks.0.hook_k_input[0] -> blocks.0.attn.hook_k[0]",
            "hook_embed -> blocks.0.hook_k_input[0]",
            "hook_pos_embed -> blocks.0.hook_v_input[0]",
        ),
    )
    assert circuit.fine_edges == {
        *edges_of(
            "blocks.0.attn.hook_result[0] -> blocks.0.hook_mlp_in",
            "hook_embed -> blocks.0.hook_k_input[0]",
            "hook_pos_embed -> blocks.0.hook_v_input[0]",
            "blocks.0.hook_mlp_out -> blocks.1.hook_resid_post",
        )
    }
    assert circuit.nodes_in("head") == {
        *map(
            parse_node,
            (
                "blocks.0.hook_resid_pre",
                "blocks.0.attn.hook_result[0]",
                "blocks.0.hook_mlp_out",
                "blocks.1.hook_resid_post",
            ),
        )
    }


def test_the_current_release_lists_wiring_inside_components() -> None:
    # The current trainer's list for case 3, with the wiring of its head in layer 1.
    circuit = Circuit.from_names(
        [
            ("hook_embed", "blocks.0.hook_mlp_in"),
            ("hook_pos_embed", "blocks.1.hook_q_input[0]"),
            ("hook_pos_embed", "blocks.1.hook_k_input[0]"),
            ("blocks.0.hook_mlp_in", "blocks.0.hook_mlp_out"),
            ("blocks.0.hook_mlp_out", "blocks.1.hook_v_input[0]"),
            ("blocks.1.hook_q_input[0]", "blocks.1.attn.hook_q[0]"),
            ("blocks.1.hook_k_input[0]", "blocks.1.attn.hook_k[0]"),
            ("blocks.1.hook_v_input[0]", "blocks.1.attn.hook_v[0]"),
            ("blocks.1.attn.hook_q[0]", "blocks.1.attn.hook_result[0]"),
            ("blocks.1.attn.hook_k[0]", "blocks.1.attn.hook_result[0]"),
            ("blocks.1.attn.hook_v[0]", "blocks.1.attn.hook_result[0]"),
            ("blocks.1.attn.hook_result[0]", "blocks.1.hook_resid_post"),
        ],
        n_layers=2,
        n_heads=4,
    )
    assert len(circuit.edges) == 12
    assert names_of(circuit.fine_edges) == {
        ("hook_embed", "blocks.0.hook_mlp_in"),
        ("hook_pos_embed", "blocks.1.hook_q_input[0]"),
        ("hook_pos_embed", "blocks.1.hook_k_input[0]"),
        ("blocks.0.hook_mlp_out", "blocks.1.hook_v_input[0]"),
        ("blocks.1.attn.hook_result[0]", "blocks.1.hook_resid_post"),
    }
    assert names_of(circuit.in_universe("head")) == {
        ("blocks.0.hook_resid_pre", "blocks.0.hook_mlp_out"),
        ("blocks.0.hook_resid_pre", "blocks.1.attn.hook_result[0]"),
        ("blocks.0.hook_mlp_out", "blocks.1.attn.hook_result[0]"),
        ("blocks.1.attn.hook_result[0]", "blocks.1.hook_resid_post"),
    }


def test_a_shallower_programs_output_is_the_models() -> None:
    # The current trainer's list for case 13 ends in layer 0 of a model with two layers.
    circuit = Circuit(2, 4, edges_of("blocks.0.hook_mlp_out -> blocks.0.hook_resid_post"))
    assert names_of(circuit.fine_edges) == {("blocks.0.hook_mlp_out", "blocks.1.hook_resid_post")}


def test_an_output_that_comes_before_its_writer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hook_result\[0\] -> blocks\.0\.hook_resid_post"):
        Circuit(2, 4, edges_of("blocks.1.attn.hook_result[0] -> blocks.0.hook_resid_post"))


# Laws of circuits


@given(parts())
def test_a_circuit_is_made_of_fine_edges(fields: tuple[int, int, tuple[Edge, ...]]) -> None:
    circuit = Circuit(*fields)
    shape = (circuit.n_layers, circuit.n_heads)
    assert circuit.fine_edges == circuit.in_universe("qkv")
    assert Circuit(*shape, tuple(circuit.fine_edges)).fine_edges == circuit.fine_edges


@given(parts(), st.sampled_from(COARSENINGS))
def test_coarsening_a_circuit_keeps_each_edge_that_gathers_one(
    fields: tuple[int, int, tuple[Edge, ...]], pair: tuple[UniverseName, UniverseName]
) -> None:
    circuit = Circuit(*fields)
    fine, coarse = (universe(name, circuit.n_layers, circuit.n_heads) for name in pair)
    given_edges = circuit.in_universe(pair[0])
    kept = {
        edge
        for edge, group in zip(coarse.edges, coarse.groups_of(fine), strict=True)
        if any(fine.edges[i] in given_edges for i in group)
    }
    assert circuit.in_universe(pair[1]) == kept


@given(parts())
def test_something_reaches_the_output(fields: tuple[int, int, tuple[Edge, ...]]) -> None:
    circuit = Circuit(*fields)
    output = Node(Kind.RESID_POST, circuit.n_layers - 1)
    reached = any(edge.dst == output for edge in circuit.fine_edges)
    assert reached == bool(circuit.fine_edges)


@each_universe
@each_shape
def test_the_circuit_of_all_edges_is_the_universe(
    name: UniverseName, n_layers: int, n_heads: int
) -> None:
    ours = universe(name, n_layers, n_heads)
    everything = Circuit(n_layers, n_heads, ours.edges)
    assert everything.in_universe(name) == set(ours.edges)
    assert everything.nodes_in(name) == set(ours.nodes)


def test_the_empty_circuit_stays_empty() -> None:
    empty = Circuit(2, 4, ())
    assert not empty.fine_edges and not empty.mask().any()
    assert all(not empty.in_universe(name) for name in UNIVERSES)


# Masks


def test_the_mask_of_one_layer_and_one_head() -> None:
    mask = edge_mask(universe("qkv", 1, 1).edges, 1, 1)
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(
        mask,
        [
            # embed, pos_embed, head, mlp
            [1, 1, 0, 0],  # q
            [1, 1, 0, 0],  # k
            [1, 1, 0, 0],  # v
            [1, 1, 1, 0],  # mlp_in
            [1, 1, 1, 1],  # resid_post
        ],
    )


@pytest.mark.slow
@given(parts())
def test_a_mask_marks_just_the_circuits_fine_edges(
    fields: tuple[int, int, tuple[Edge, ...]],
) -> None:
    circuit = Circuit(*fields)
    shape = (circuit.n_layers, circuit.n_heads)
    mask = circuit.mask()
    assert mask.shape == (len(readers(*shape)), len(writers(*shape)))
    assert mask.sum() == len(circuit.fine_edges)
    marked = {Edge(writers(*shape)[src], readers(*shape)[dst]) for dst, src in np.argwhere(mask)}
    assert marked == circuit.fine_edges


def test_no_edges_have_no_indices() -> None:
    indices = edge_indices((), 2, 4)
    assert indices.shape == (0, 2) and indices.dtype == np.int32


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("blocks.0.hook_resid_pre -> blocks.0.hook_mlp_in", "blocks.0.hook_resid_pre"),
        ("hook_embed -> blocks.0.hook_mlp_out", "blocks.0.hook_mlp_out"),
        ("hook_embed -> blocks.2.hook_mlp_in", "blocks.2.hook_mlp_in"),
        ("blocks.0.attn.hook_result[4] -> blocks.1.hook_mlp_in", r"blocks.0.attn.hook_result\[4]"),
    ],
)
def test_only_fine_edges_have_indices(name: str, end: str) -> None:
    with pytest.raises(ValueError, match=f"2 layers of 4 heads, got an edge with the end {end}"):
        edge_mask(edges_of(name), 2, 4)


# Refusals


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blocks.1.hook_mlp_out -> blocks.0.hook_mlp_in", "does not come after"),
        ("blocks.0.hook_mlp_out -> blocks.0.hook_q_input[0]", "does not come after"),
        ("blocks.0.hook_mlp_out -> blocks.0.hook_mlp_in", "does not come after"),
        ("hook_embed -> blocks.2.hook_mlp_in", "2 layers of 4 heads"),
        ("hook_embed -> blocks.0.hook_q_input[4]", "2 layers of 4 heads"),
        ("blocks.0.attn.hook_result -> blocks.1.hook_mlp_in", "2 layers of 4 heads"),
        ("hook_embed -> blocks.2.hook_resid_post", "2 layers of 4 heads"),
        ("blocks.2.hook_mlp_in -> blocks.2.hook_mlp_out", "2 layers of 4 heads"),
        ("blocks.0.hook_q_input[4] -> blocks.0.attn.hook_q[4]", "2 layers of 4 heads"),
        ("hook_embed -> blocks.0.attn.hook_q[0]", "ends at a reader of the residual stream"),
        ("hook_embed -> hook_embed", "ends at a reader of the residual stream"),
        ("blocks.0.hook_q_input[0] -> blocks.0.attn.hook_q[1]", "starts at a writer"),
        ("blocks.0.hook_q_input[0] -> blocks.0.attn.hook_k[0]", "starts at a writer"),
        ("blocks.0.hook_mlp_in -> blocks.1.hook_mlp_out", "starts at a writer"),
        ("blocks.1.hook_resid_pre -> blocks.1.hook_mlp_in", "starts at a writer"),
        ("blocks.0.mlp.hook_post -> blocks.1.hook_mlp_in", "starts at a writer"),
    ],
)
def test_edges_that_a_model_has_not_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Circuit(2, 4, edges_of(name))


@pytest.mark.parametrize(
    "pair",
    [
        "ab",
        ("hook_embed",),
        ("hook_embed", "blocks.0.hook_mlp_in", "hook_embed"),
        ("hook_embed", 3),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_pair_of_names_is_refused(pair: object) -> None:
    with pytest.raises(ValueError, match="Expected an edge as a pair of hook names, got"):
        Circuit.from_names([pair], 2, 4)  # pyright: ignore[reportArgumentType]


def test_an_unknown_hook_in_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a TransformerLens hook name"):
        Circuit.from_names([("hook_embed", "blocks.0.mlp_in")], 2, 4)


# JSON


@given(parts())
def test_json_round_trip(fields: tuple[int, int, tuple[Edge, ...]]) -> None:
    circuit = Circuit(*fields)
    text = circuit.to_json()
    assert Circuit.from_json(text) == circuit
    assert Circuit.from_json(text).to_json() == text


def circuit_text(**changes: object) -> str:
    fields = json.loads(Circuit(2, 4, edges_of("hook_embed -> blocks.0.hook_mlp_in")).to_json())
    return json.dumps(fields | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected a circuit as JSON"),
        ("{", "Expected a circuit as JSON"),
        ("[" * 100_000, "Expected a circuit as JSON"),
        ("[]", "Expected a circuit as a JSON object, got a list"),
        (circuit_text(format="interpbench-case"), '"format": "interpbench-circuit"'),
        (circuit_text(version=2), "comes from a newer release"),
        (circuit_text(extra=1), r"Expected a circuit with the fields .* got .*'extra'"),
        (circuit_text(n_layers=0), r"from 1 to 1024, got \(0, 4\)"),
        (circuit_text(n_heads=1025), r"from 1 to 1024, got \(2, 1025\)"),
        (circuit_text(n_layers=2.0), r"from 1 to 1024, got \(2\.0, 4\)"),
        (circuit_text(n_layers=True), r"from 1 to 1024, got \(True, 4\)"),
        (circuit_text(edges="ab"), "Expected edges and constant to be lists, got 'ab'"),
        (circuit_text(edges=[["hook_embed"]]), "Expected an edge as a pair of hook names"),
        (circuit_text(edges=[["hook_embed", 1]]), "Expected an edge as a pair of hook names"),
        (circuit_text(edges=[["a", "b"]]), "Expected a TransformerLens hook name"),
        (circuit_text(n_layers=1, edges=[["hook_embed", "blocks.1.hook_mlp_in"]]), "1 layers"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_text_that_is_no_circuit_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Circuit.from_json(text)


@pytest.mark.parametrize("edges", [None, 3])
@pytest.mark.usefixtures("unchecked")
def test_json_whose_edges_are_no_list_is_refused(edges: object) -> None:
    with pytest.raises(ValueError, match="edge"):
        Circuit.from_json(circuit_text(edges=edges))


# networkx


def test_to_networkx_keeps_the_given_edges() -> None:
    circuit = Circuit(
        2,
        4,
        edges_of(
            "blocks.0.attn.hook_result[3] -> blocks.1.hook_mlp_in",
            "hook_embed -> blocks.0.hook_v_input[3]",
        ),
    )
    graph = circuit.to_networkx()
    assert set(graph.edges) == names_of(circuit.edges)
    assert graph.graph == {"n_layers": 2, "n_heads": 4}
    assert graph.nodes["blocks.0.attn.hook_result[3]"] == {"kind": "HEAD", "layer": 0, "head": 3}
    assert graph.nodes["hook_embed"] == {"kind": "EMBED", "layer": None, "head": None}


@pytest.mark.slow
@given(parts(), st.sampled_from(UNIVERSES))
def test_to_networkx_in_a_universe(
    fields: tuple[int, int, tuple[Edge, ...]], name: UniverseName
) -> None:
    circuit = Circuit(*fields)
    graph = circuit.to_networkx(name)
    assert set(graph.edges) == names_of(circuit.in_universe(name))
    assert {parse_node(node) for node in graph.nodes} == circuit.nodes_in(name)


def test_to_networkx_without_networkx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(ImportError, match="networkx"):
        Circuit(2, 4, ()).to_networkx()


def test_universes_are_values() -> None:
    assert universe("head", 2, 4) is universe("head", 2, 4)
    assert universe("head", 2, 4) != universe("head", 2, 3)
    assert isinstance(hash(universe("head", 2, 4)), int)
    assert repr(universe("head", 2, 4)) == "Universe(name='head', n_layers=2, n_heads=4)"
    assert isinstance(universe("head", 2, 4), Universe)
