"""Nodes and edges as values, and their names."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_jax.sites import (
    Edge,
    Kind,
    Node,
    n_writers_before,
    parse_edge,
    parse_node,
    readers,
    writers,
)
from tests.fixtures import ORACLES, UPSTREAM, requires_upstream

# TransformerLens's own names for layer 3, as listed in its `hook_dict`.
NAMES = {
    Kind.EMBED: "hook_embed",
    Kind.POS_EMBED: "hook_pos_embed",
    Kind.RESID_PRE: "blocks.3.hook_resid_pre",
    Kind.Q_INPUT: "blocks.3.hook_q_input",
    Kind.K_INPUT: "blocks.3.hook_k_input",
    Kind.V_INPUT: "blocks.3.hook_v_input",
    Kind.LN1_SCALE: "blocks.3.ln1.hook_scale",
    Kind.LN1_NORMALIZED: "blocks.3.ln1.hook_normalized",
    Kind.Q: "blocks.3.attn.hook_q",
    Kind.K: "blocks.3.attn.hook_k",
    Kind.V: "blocks.3.attn.hook_v",
    Kind.ATTN_SCORES: "blocks.3.attn.hook_attn_scores",
    Kind.PATTERN: "blocks.3.attn.hook_pattern",
    Kind.Z: "blocks.3.attn.hook_z",
    Kind.HEAD: "blocks.3.attn.hook_result",
    Kind.ATTN_OUT: "blocks.3.hook_attn_out",
    Kind.RESID_MID: "blocks.3.hook_resid_mid",
    Kind.MLP_IN: "blocks.3.hook_mlp_in",
    Kind.LN2_SCALE: "blocks.3.ln2.hook_scale",
    Kind.LN2_NORMALIZED: "blocks.3.ln2.hook_normalized",
    Kind.MLP_PRE: "blocks.3.mlp.hook_pre",
    Kind.MLP_POST: "blocks.3.mlp.hook_post",
    Kind.MLP_OUT: "blocks.3.hook_mlp_out",
    Kind.RESID_POST: "blocks.3.hook_resid_post",
    Kind.FINAL_SCALE: "ln_final.hook_scale",
    Kind.FINAL_NORMALIZED: "ln_final.hook_normalized",
}

NUMBERS = st.integers(0, 999_999_999)
SHAPES = list(itertools.product((1, 2, 3), (1, 2, 4)))


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    kind = draw(st.sampled_from(Kind))
    return Node(
        kind,
        layer=draw(NUMBERS) if kind.has_layer else None,
        head=draw(st.none() | NUMBERS) if kind.head_axis is not None else None,
    )


def test_the_table_of_names_is_complete() -> None:
    assert set(NAMES) == set(Kind)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_each_kind_has_transformer_lens_name(kind: Kind) -> None:
    node = Node(kind, layer=3 if kind.has_layer else None)
    assert str(node) == NAMES[kind]
    assert parse_node(NAMES[kind]) == node


def test_a_head_is_named_in_brackets() -> None:
    node = Node(Kind.HEAD, layer=1, head=2)
    assert str(node) == "blocks.1.attn.hook_result[2]"
    assert parse_node("blocks.1.attn.hook_result[2]") == node
    assert node.hook == Node(Kind.HEAD, layer=1)
    assert node.hook.hook == node.hook


@given(nodes())
def test_node_names_round_trip(node: Node) -> None:
    assert parse_node(str(node)) == node


@given(nodes(), nodes())
def test_edge_names_round_trip(src: Node, dst: Node) -> None:
    assert parse_edge(str(Edge(src, dst))) == Edge(src, dst)


@given(nodes(), nodes())
def test_what_python_prints_is_an_expression(src: Node, dst: Node) -> None:
    assert eval(repr(src)) == src
    assert eval(repr(Edge(src, dst))) == Edge(src, dst)


@given(st.lists(nodes(), max_size=20))
def test_different_nodes_have_different_names(some: list[Node]) -> None:
    assert len({str(node) for node in some}) == len(set(some))


@given(st.text())
def test_any_text_is_a_node_or_refused(text: str) -> None:
    try:
        node = parse_node(text)
    except ValueError:
        return
    assert str(node) == text


def test_spaces_around_an_arrow_do_not_matter() -> None:
    edge = Edge(Node(Kind.EMBED), Node(Kind.MLP_IN, 0))
    assert parse_edge("hook_embed->blocks.0.hook_mlp_in") == edge
    assert str(edge) == "hook_embed -> blocks.0.hook_mlp_in"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "embed",
        "hook_embedding",
        "hook_resid_pre",
        "blocks.0.hook_embed",
        "blocks..hook_resid_pre",
        "blocks.{layer}.hook_resid_pre",
        "blocks.00.hook_resid_pre",
        "blocks.01.hook_resid_pre",
        "blocks.-1.hook_resid_pre",
        "blocks.+1.hook_resid_pre",
        "blocks.1.0.hook_resid_pre",
        "blocks.\u0661.hook_resid_pre",
        "blocks.1.attn.hook_result[]",
        "blocks.1.attn.hook_result[02]",
        "blocks.1.attn.hook_result[-1]",
        "blocks.1.attn.hook_result[1][2]",
        "blocks.1.attn.hook_result[1] ",
        "blocks.1.attn.hook_result[1]\n",
        "Blocks.1.attn.hook_result",
        "blocks.1.attn.hook_rot_q",
        "blocks.9999999999.hook_resid_pre",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Expected a TransformerLens hook name"):
        parse_node(name)


@pytest.mark.parametrize("name", ["hook_embed[0]", "blocks.0.hook_mlp_out[1]"])
def test_a_head_of_what_has_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"has no heads, got head=\d"):
        parse_node(name)


@pytest.mark.parametrize(
    "name", ["", "hook_embed", "hook_embed -> ", "hook_embed -> hook_embed -> hook_embed", "a -> b"]
)
def test_what_is_no_edge_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"Expected (an edge such as|a TransformerLens hook name)"):
        parse_edge(name)


@pytest.mark.parametrize(
    ("kind", "layer", "head", "message"),
    [
        (Kind.HEAD, None, 0, "Node HEAD needs a layer, got layer=None"),
        (Kind.EMBED, 0, None, "Node EMBED belongs to no layer, got layer=0"),
        (Kind.MLP_OUT, 0, 0, "Node MLP_OUT has no heads, got head=0"),
        (Kind.HEAD, -1, 0, "count from 0, got layer=-1, head=0"),
        (Kind.HEAD, 0, -1, "count from 0, got layer=0, head=-1"),
        (Kind.RESID_POST, -1, None, "count from 0, got layer=-1, head=None"),
    ],
)
def test_nodes_that_cannot_be_are_refused(
    kind: Kind, layer: int | None, head: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Node(kind, layer, head)


def test_writers_of_one_layer_in_order() -> None:
    assert [str(node) for node in writers(1, 2)] == [
        "hook_embed",
        "hook_pos_embed",
        "blocks.0.attn.hook_result[0]",
        "blocks.0.attn.hook_result[1]",
        "blocks.0.hook_mlp_out",
    ]


def test_readers_of_one_layer_in_order() -> None:
    assert [str(node) for node in readers(1, 2)] == [
        "blocks.0.hook_q_input[0]",
        "blocks.0.hook_q_input[1]",
        "blocks.0.hook_k_input[0]",
        "blocks.0.hook_k_input[1]",
        "blocks.0.hook_v_input[0]",
        "blocks.0.hook_v_input[1]",
        "blocks.0.hook_mlp_in",
        "blocks.0.hook_resid_post",
    ]


@pytest.mark.parametrize(("n_layers", "n_heads"), SHAPES)
def test_counts_of_writers_and_readers(n_layers: int, n_heads: int) -> None:
    all_writers, all_readers = writers(n_layers, n_heads), readers(n_layers, n_heads)
    assert len(all_writers) == len(set(all_writers)) == 2 + n_layers * (n_heads + 1)
    assert len(all_readers) == len(set(all_readers)) == n_layers * (3 * n_heads + 1) + 1
    assert all_readers[-1] == Node(Kind.RESID_POST, n_layers - 1)


def _time(node: Node) -> tuple[int, int]:
    """Return when a node acts: in a layer, attention reads, heads write, the MLP reads, writes."""
    if node.kind in (Kind.EMBED, Kind.POS_EMBED):
        return (-1, 0)
    assert node.layer is not None
    stages = {Kind.HEAD: 1, Kind.MLP_IN: 2, Kind.MLP_OUT: 3, Kind.RESID_POST: 4}
    return (node.layer, stages.get(node.kind, 0))


@pytest.mark.parametrize(("n_layers", "n_heads"), SHAPES)
def test_a_reader_sees_just_the_writers_before_it(n_layers: int, n_heads: int) -> None:
    all_writers = writers(n_layers, n_heads)
    for reader in readers(n_layers, n_heads):
        before = [writer for writer in all_writers if _time(writer) < _time(reader)]
        assert list(all_writers[: n_writers_before(reader, n_heads)]) == before


@pytest.mark.parametrize("node", [Node(Kind.EMBED), Node(Kind.HEAD, 0, 0), Node(Kind.RESID_PRE, 0)])
def test_what_reads_nothing_has_no_writers_before(node: Node) -> None:
    with pytest.raises(ValueError, match="does not read the residual stream"):
        n_writers_before(node, 4)


@requires_upstream
@pytest.mark.parametrize("name", ORACLES)
def test_every_activation_of_transformer_lens_has_its_head_axis(name: str) -> None:
    with np.load(UPSTREAM / "oracle" / f"{name}.npz") as oracle:
        shapes = {key[4:]: oracle[key].shape for key in oracle.files if key.startswith("act/")}
    assert len(shapes) > 30
    n_heads = shapes["blocks.0.attn.hook_result"][2]
    for hook, shape in shapes.items():
        axis = parse_node(hook).kind.head_axis
        assert (len(shape) == 4) == (axis is not None), hook
        assert axis is None or shape[axis] == n_heads, hook


def test_a_very_long_name_has_a_short_message() -> None:
    with pytest.raises(ValueError) as caught:
        parse_node("x" * 1_000_000)
    assert len(str(caught.value)) < 1_000
