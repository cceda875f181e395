"""Indices of readers, writers and layer norms, compared with the lists of them."""

import pytest

from interpbench_jax.layout import N_EMBEDDINGS, N_KINDS, Layout, ReaderPlace
from interpbench_jax.sites import Kind, Node, n_writers_before, readers, writers

SHAPES = [(1, 1), (2, 4), (3, 2), (6, 4)]
KINDS = (Kind.Q_INPUT, Kind.K_INPUT, Kind.V_INPUT)


@pytest.mark.parametrize("shape", SHAPES)
def test_places_of_writers(shape: tuple[int, int]) -> None:
    layout, every = Layout(*shape), writers(*shape)
    assert layout.n_writers == len(every)
    for layer in range(layout.n_layers):
        heads = tuple(Node(Kind.HEAD, layer, head) for head in range(layout.n_heads))
        assert every[layout.heads(layer)] == heads
        assert every[layout.first_head(layer)] == heads[0]
        assert every[layout.mlp_writer(layer)] == Node(Kind.MLP_OUT, layer)
    groups = [every[group] for group in layout.writer_groups()]
    assert [node for group in groups for node in group] == list(every)
    assert [len(group) for group in groups] == [N_EMBEDDINGS, *[layout.n_heads, 1] * shape[0]]


@pytest.mark.parametrize("shape", SHAPES)
def test_places_of_readers(shape: tuple[int, int]) -> None:
    layout, every = Layout(*shape), readers(*shape)
    assert layout.n_readers == len(every)
    assert every[layout.output_reader].kind is Kind.RESID_POST
    for layer in range(layout.n_layers):
        assert every[layout.mlp_reader(layer)] == Node(Kind.MLP_IN, layer)
        assert layout.reader_place(layout.mlp_reader(layer)) == ReaderPlace(layer, N_KINDS, 0)
        for kind in range(N_KINDS):
            for head in range(layout.n_heads):
                place = layout.head_reader(layer, kind, head)
                assert every[place] == Node(KINDS[kind], layer, head)
                assert layout.reader_place(place) == ReaderPlace(layer, kind, head)
                assert layout.layer_of_reader(place) == layer
                assert layout.readers_of_head(layer, head)[kind] == place
            start = layout.first_reader(layer)
            of_kind = every[start : layout.mlp_reader(layer)][layout.of_kind(kind)]
            assert {node.kind for node in of_kind} == {KINDS[kind]}
            assert [node.head for node in of_kind] == [*range(layout.n_heads)]
        assert layout.first_reader(layer) == layout.head_reader(layer, 0, 0)
    assert layout.reader_place(layout.output_reader).layer == layout.n_layers
    assert layout.layer_of_reader(layout.output_reader) == layout.n_layers


@pytest.mark.parametrize("shape", SHAPES)
def test_places_of_layer_norms(shape: tuple[int, int]) -> None:
    """The stream before a layer norm is the sum of what earlier writers wrote."""
    layout, every = Layout(*shape), readers(*shape)
    assert layout.final_norm == 2 * shape[0]
    for layer in range(layout.n_layers):
        for norm, reader in (
            (layout.attention_norm(layer), every[layout.first_reader(layer)]),
            (layout.mlp_norm(layer), every[layout.mlp_reader(layer)]),
        ):
            assert layout.written_before(norm) == n_writers_before(reader, layout.n_heads)
    assert layout.written_before(layout.final_norm) == layout.n_writers
    for writer in range(layout.n_writers):
        first = layout.read_after(writer)
        assert layout.written_before(first) > writer
        assert first == 0 or layout.written_before(first - 1) <= writer
