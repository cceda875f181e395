"""A compiled program as a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import RASP_CASES
from interpbench_jax.high_level import classify
from interpbench_jax.rasp import high_level
from interpbench_jax.sites import Kind, Node

TASK = RASP_CASES["13"]
MODEL = TASK.high_level
PAIRS = TASK.sample(20, seed=3)
INPUTS, SOURCES = PAIRS.input_ids, PAIRS.corrupted_input_ids


def test_what_it_tells() -> None:
    assert MODEL.classes == ("constant", "decreasing", "increasing")
    assert MODEL.is_categorical
    assert [str(node) for node in MODEL.nodes] == [
        "blocks.0.attn.hook_result[0]",
        "blocks.0.attn.hook_result[1]",
        "blocks.0.mlp.hook_post",
        "blocks.1.mlp.hook_post",
    ]
    assert RASP_CASES["3"].high_level.classes is None
    assert not RASP_CASES["3"].high_level.is_categorical
    assert MODEL == TASK.high_level


def test_shapes_and_types() -> None:
    outputs = MODEL(INPUTS)
    assert (outputs.shape, outputs.dtype) == ((20, 10, 3), jnp.float32)
    targets = MODEL.targets(INPUTS)
    assert (targets.shape, targets.dtype) == ((20, 10), jnp.int32)
    numbers = RASP_CASES["3"].high_level.targets(RASP_CASES["3"].all_inputs())
    assert (numbers.shape, numbers.dtype) == ((256, 5), jnp.float32)


def test_every_way_to_name_components_means_the_same() -> None:
    node = Node(Kind.HEAD, 0, 1)
    expected = MODEL(INPUTS, SOURCES, node)
    assert not np.allclose(expected, MODEL(INPUTS))
    mask = np.zeros((20, 4), bool)
    mask[:, 1] = True
    for same in (str(node), [node], [str(node)], np.full(20, 1), jnp.full(20, 1), mask):
        np.testing.assert_array_equal(MODEL(INPUTS, SOURCES, same), expected)
    np.testing.assert_array_equal(MODEL(INPUTS, SOURCES, np.full(20, -1)), MODEL(INPUTS))


def test_a_choice_of_component_per_example() -> None:
    chosen = np.arange(20) % 4
    found = np.asarray(MODEL(INPUTS, SOURCES, chosen))
    for index, node in enumerate(MODEL.nodes):
        here = chosen == index
        expected = np.asarray(MODEL(INPUTS, SOURCES, node))[here]
        np.testing.assert_allclose(found[here], expected, atol=1e-6)


def test_several_components_at_once() -> None:
    heads = MODEL.nodes[:2]
    found = MODEL.targets(INPUTS, SOURCES, heads)
    assert (np.asarray(found) != np.asarray(MODEL.targets(INPUTS, SOURCES, heads[0]))).any()
    with_mlp = MODEL(INPUTS, SOURCES, MODEL.nodes)
    np.testing.assert_array_equal(with_mlp, MODEL(SOURCES))


def test_large_batches_are_cut_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.asarray(MODEL(INPUTS, SOURCES, "blocks.0.mlp.hook_post"))
    monkeypatch.setattr(high_level, "_rows_per_chunk", lambda program, n_pos: 7)
    jax.clear_caches()
    try:
        cut = np.asarray(MODEL(INPUTS, SOURCES, "blocks.0.mlp.hook_post"))
    finally:
        monkeypatch.undo()
        jax.clear_caches()
    np.testing.assert_allclose(cut, whole, atol=1e-6)


def test_a_second_call_does_not_recompile() -> None:
    inputs, sources = jnp.asarray(INPUTS), jnp.asarray(SOURCES)
    MODEL(inputs, sources, np.zeros(20, int))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(high_level, "evaluate", _must_not_be_called)
        MODEL(sources, inputs, np.ones(20, int))


def _must_not_be_called(*_: object) -> None:
    raise AssertionError("traced again")


def test_classes_do_not_depend_on_noise() -> None:
    rows = np.asarray(
        [
            [0.0, 0.0, 0.0],
            [-1e-7, 1e-7, 2e-7],
            [0.0, 9e-4, 0.0],
            [0.0, 2e-3, 0.0],
            [0.3, 0.5 - 1e-6, 0.5],
            [0.1, 0.2, 0.7],
        ],
        np.float32,
    )
    assert classify(rows[None]).tolist() == [[0, 0, 0, 1, 1, 2]]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            "blocks.1.attn.hook_result[0]",
            r"Expected a component of the program \(.*\), got blocks\.1",
        ),
        ("hook_nothing", "Expected a TransformerLens hook name"),
        (np.zeros(3, int), r"int of shape \(20,\) or bool of shape \(20, 4\), got int.* \(3,\)"),
        (np.zeros((20, 3), bool), r"got bool of shape \(20, 3\)"),
    ],
)
def test_a_wrong_component(node: str | np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MODEL(INPUTS, SOURCES, node)


def test_wrong_sources() -> None:
    with pytest.raises(ValueError, match="Expected source_tokens and a node or an edge"):
        MODEL(INPUTS, SOURCES)
    with pytest.raises(ValueError, match=r"of the same shape as the inputs, got \(19, 10\)"):
        MODEL(INPUTS, SOURCES[:19], MODEL.nodes[0])
    with pytest.raises(ValueError, match="Expected inputs of 1 to 10 positions"):
        MODEL(np.full((2, 11), TASK.token_ids["BOS"]))


def test_wrong_ids() -> None:
    with pytest.raises(ValueError, match=r"Expected token ids from 0 to 4, got 0 to 5; .*another"):
        MODEL(np.asarray([[3, 5, 0]]))
    with pytest.raises(
        ValueError, match=r"begin with BOS \(id 3\), got ids \[0, 1, 2\] at position 0"
    ):
        MODEL(INPUTS[:, 1:])


def test_an_edge_at_one_position_is_read_there_alone() -> None:
    """An edge into the output: the other run's answer at the position, and nowhere else."""
    edge = MODEL.edges[-1]
    plain, other = MODEL.targets(INPUTS), MODEL.targets(SOURCES)
    for position in (0, 3, 9):
        found = MODEL.targets(INPUTS, SOURCES, edge=edge, position=position)
        here = np.arange(INPUTS.shape[1]) == position
        np.testing.assert_array_equal(found, np.where(here, other, plain))
    each = np.arange(20, dtype=np.int32) % 10
    found = MODEL.targets(INPUTS, SOURCES, edge=edge, position=each)
    here = np.arange(10)[None] == each[:, None]
    np.testing.assert_array_equal(found, np.where(here, other, plain))


@pytest.mark.usefixtures("unchecked")
def test_positions_that_do_not_fit() -> None:
    edge = MODEL.edges[0]
    with pytest.raises(ValueError, match="Expected positions from 0 to 9, got 10 to 10"):
        MODEL(INPUTS, SOURCES, edge=edge, position=10)
    with pytest.raises(ValueError, match="one position, or one for each of 20 examples"):
        MODEL(INPUTS, SOURCES, edge=edge, position=np.zeros(3, np.int32))
    for node in (None, MODEL.nodes[0]):
        with pytest.raises(ValueError, match="Expected a position together with edges, and no"):
            MODEL(INPUTS, SOURCES, node, None if node is None else edge, position=1)


def test_what_edges_carry_differs_where_the_inputs_do() -> None:
    """Of case 13: tokens differ where they differ, positions nowhere, the output where it does."""
    found = np.asarray(MODEL.differs(INPUTS, SOURCES))
    assert found.shape == (20, len(MODEL.edges), 10)
    for number, edge in enumerate(MODEL.edges):
        if edge.src.kind is Kind.POS_EMBED:
            assert not found[:, number].any()
        elif edge.src.kind is Kind.EMBED:
            np.testing.assert_array_equal(found[:, number], INPUTS != SOURCES)
    differing = MODEL.targets(INPUTS) != MODEL.targets(SOURCES)
    np.testing.assert_array_equal(found[:, -1, 1:], differing[:, 1:])
