"""The compiled reading: what it makes of BOS, PAD, masks and interchanged values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import RASP_CASES
from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
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
from interpbench_jax.rasp.compiled import Interchange, TokenIds, compile_program, evaluate
from interpbench_jax.rasp.high_level import CompiledModel
from interpbench_jax.sites import Kind, Node

VOCAB = ("a", "b")
TOKEN_IDS = TokenIds(vocab=VOCAB, ids=(2, 3), bos=0, pad=1)
A, B, BOS, PAD = 2, 3, 0, 1


def run(program: Variable, *ids: int, is_causal: bool = False, n_positions: int = 3) -> np.ndarray:
    compiled = compile_program(program, TOKEN_IDS, n_positions, is_causal)
    return np.asarray(evaluate(compiled, jnp.asarray([[BOS, *ids]])).output)[0, 1:]


@pytest.mark.slow
def test_missing_values_are_rows_of_zeros() -> None:
    np.testing.assert_allclose(run(shift(tokens, 1), A, B), [[0, 0], [1, 0]], atol=1e-20)


def test_a_mean_of_several_values_is_fractional() -> None:
    everything = Select(tokens, tokens, Comparison.TRUE)
    rows = run(Aggregate(everything, tokens), A, A, B)
    np.testing.assert_allclose(rows, np.full((3, 2), [2 / 3, 1 / 3]), rtol=1e-6)


def test_causal_masking_overrides_the_program() -> None:
    rows = run(shift(tokens, -1), A, B, B, is_causal=True)
    np.testing.assert_allclose(rows, np.zeros((3, 2)), atol=1e-20)
    count = numerical(width(tokens, tokens, Comparison.TRUE))
    np.testing.assert_array_equal(run(count, A, B, A, is_causal=True)[:, 0], [1, 2, 3])


def test_bos_is_not_counted_and_has_no_width() -> None:
    everything = width(tokens, tokens, Comparison.TRUE)
    compiled = compile_program(everything, TOKEN_IDS, 3, False)
    rows = np.asarray(evaluate(compiled, jnp.asarray([[BOS, A, B, A]])).output)[0]
    np.testing.assert_array_equal(rows, [[0, 0, 0, 0], *[[0, 0, 0, 1]] * 3])
    # Nor is the width at BOS a key: it would be 0.
    nothing = width(tokens, tokens, Comparison.FALSE)
    zeros = numerical(width(nothing, nothing, Comparison.EQ))
    np.testing.assert_array_equal(run(zeros, A, B, A)[:, 0], [3, 3, 3])


def test_pad_is_as_if_it_were_not_there() -> None:
    programs: tuple[Variable, ...] = (
        shift(tokens, -1),
        SelectorWidth(Select(indices, indices, Comparison.TRUE)),
        SelectorWidth(Select(tokens, tokens, Comparison.EQ)),
        SequenceMap(lambda token, index: (token, index) == ("a", 1), tokens, indices),
    )
    for program in programs:
        short = run(program, A, A)
        np.testing.assert_allclose(run(program, A, A, PAD)[:2], short, atol=1e-6)


def test_shorter_inputs_than_the_longest() -> None:
    np.testing.assert_array_equal(run(indices, A, n_positions=5), [[1, 0, 0, 0, 0]])
    with pytest.raises(
        ValueError, match=r"Expected inputs of 1 to 3 positions \(BOS counts\), got 4"
    ):
        run(tokens, A, A, A, n_positions=2)


def test_named_inputs_are_inputs() -> None:
    renamed = SequenceMap(max, tokens.named("letters"), indices.named("places") + 0)
    assert run(tokens.named("letters"), A, B).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ValueError, match="TypeError"):
        run(renamed, A)


def test_token_ids_must_cover_every_token_once() -> None:
    for ids in ((2,), (2, 2), (2, 4), (1, 2)):
        with pytest.raises(ValueError, match="distinct ids, numbered from 0, for 2 tokens"):
            TokenIds(vocab=VOCAB, ids=ids, bos=0, pad=1)


@pytest.mark.slow
@pytest.mark.parametrize("case_id", RASP_CASES)
def test_interchange_laws(case_id: str) -> None:
    """No component: the plain run. All components, or all that the output needs: the source's."""
    task = RASP_CASES[case_id]
    program = task.high_level.program
    pairs = task.sample(16, seed=0)
    inputs, sources = jnp.asarray(pairs.input_ids), jnp.asarray(pairs.corrupted_input_ids)
    plain, source = evaluate(program, inputs), evaluate(program, sources)
    n_nodes = len(program.lowering.nodes)
    none, every = jnp.zeros((16, n_nodes), bool), jnp.ones((16, n_nodes), bool)
    for mask, expected in ((none, plain), (every, source)):
        found = evaluate(program, inputs, Interchange(source.values, mask, None))
        # What is embedded is not replaced, only computed variables are.
        first = len(found.values) - len(program.lowering.steps)
        for value, wanted in zip(found.values[first:], expected.values[first:], strict=True):
            np.testing.assert_array_equal(value, wanted)
        np.testing.assert_array_equal(found.output, expected.output)
    last = none.at[:, -1].set(True)
    found = evaluate(program, inputs, Interchange(source.values, last, None))
    np.testing.assert_array_equal(found.output, source.output)


@pytest.mark.slow
@pytest.mark.parametrize("case_id", RASP_CASES)
def test_edge_interchange_laws(case_id: str) -> None:
    """All edges out of a component: the component. All edges: the source's run. None: the plain."""
    task = RASP_CASES[case_id]
    model, lowering = task.high_level, task.lowering
    pairs = task.sample(64, seed=0)
    both = pairs.input_ids, pairs.corrupted_input_ids
    np.testing.assert_array_equal(model(*both, edge=()), model(both[0]))
    np.testing.assert_array_equal(model(*both, edge=model.edges), model(both[1]))
    np.testing.assert_array_equal(model(*both, edge=model.edges[-1]), model(both[1]))
    for node in lowering.nodes:
        writer = Node(Kind.MLP_OUT, node.layer) if node.kind is Kind.MLP_POST else node
        out = [str(edge) for edge in model.edges if edge.src == writer]
        np.testing.assert_array_equal(model(*both, edge=out), model(*both, node=node))
        # An edge of a component that is replaced as a whole changes nothing more.
        np.testing.assert_array_equal(model(*both, node=node, edge=out), model(*both, node=node))


def test_an_edge_is_read_by_one_input_alone() -> None:
    """The count of equal tokens, with the keys replaced, the queries, or both."""
    program = numerical(width(tokens, tokens, Comparison.EQ))
    model = CompiledModel(compile_program(program, TOKEN_IDS, 2, False))
    inputs, sources = np.asarray([[BOS, A, A]]), np.asarray([[BOS, B, B]])
    keys, queries = (
        "hook_embed -> blocks.0.hook_k_input[0]",
        "hook_embed -> blocks.0.hook_q_input[0]",
    )
    assert [str(edge) for edge in model.edges[:2]] == [queries, keys]
    for edges, expected in ((keys, 0), (queries, 0), ((keys, queries), 2)):
        assert model(inputs, sources, edge=edges)[0, 1:, 0].tolist() == [expected] * 2


def test_wrong_edges_are_refused() -> None:
    model = RASP_CASES["11"].high_level
    pairs = RASP_CASES["11"].sample(4, seed=0)
    both = pairs.input_ids, pairs.corrupted_input_ids
    with pytest.raises(ValueError, match=r"Expected an edge of the program \(hook_embed"):
        model(*both, edge="hook_embed -> blocks.1.hook_mlp_in")
    with pytest.raises(ValueError, match=r"Expected edge to be int of shape \(4,\) or bool"):
        model(*both, edge=np.zeros((4, 99), bool))
    with pytest.raises(ValueError, match="Expected source_tokens and a node or an edge"):
        model(pairs.input_ids, edge=model.edges[0])


def test_under_jit_vmap_and_scan() -> None:
    task = RASP_CASES["13"]
    program = task.high_level.program
    pairs = task.sample(12, seed=1)
    inputs, sources = jnp.asarray(pairs.input_ids), jnp.asarray(pairs.corrupted_input_ids)
    nodes = jnp.arange(12) % len(program.lowering.nodes)

    def interchange(inputs: jax.Array, sources: jax.Array, node: jax.Array) -> jax.Array:
        mask = (node[..., None] == jnp.arange(len(program.lowering.nodes)))[None]
        values = evaluate(program, sources[None]).values
        return evaluate(program, inputs[None], Interchange(values, mask, None)).output[0]

    mapped = jax.jit(jax.vmap(interchange))(inputs, sources, nodes)
    _, scanned = jax.lax.scan(
        lambda _, xs: (None, interchange(*xs)), None, (inputs, sources, nodes)
    )
    together = task.high_level(inputs, sources, nodes)
    np.testing.assert_allclose(mapped, together, atol=1e-6)
    np.testing.assert_allclose(scanned, together, atol=1e-6)
