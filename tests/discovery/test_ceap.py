"""Conductance-based edge attribution patching: against plain runs with hooks, and its laws."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import Edge, Transformer, run_with_cache, run_with_hooks, universe
from interpbench_jax.discovery import CEAPSettings, DiscoveryData, data_for
from interpbench_jax.discovery.ceap import ceap
from interpbench_jax.discovery.eap import EAPSettings, eap
from interpbench_jax.metrics import METRICS
from interpbench_jax.sites import EMBEDDINGS, Kind, Node
from tests.discovery.small import CONFIGS, KINDS, make_small, small_data, small_model

METRIC = METRICS["cross_entropy"]
READ = ("q_input", "k_input", "v_input", "mlp_in")
WRITTEN = ("attn.hook_result", "hook_mlp_out")
KEY = jax.random.key(0)


def scores(model: Transformer, data: DiscoveryData, steps: int) -> np.ndarray:
    return ceap(model, data, METRIC, CEAPSettings(steps), KEY).values


def steps_of_plain_runs(
    model: Transformer, data: DiscoveryData, steps: int
) -> Callable[[Edge], float]:
    """The score of each edge, from runs with hooks that set the embeddings."""
    n_layers = model.config.n_layers
    read = [f"blocks.{i}.hook_{kind}" for i in range(n_layers) for kind in READ]
    read.append(f"blocks.{n_layers - 1}.hook_resid_post")
    embeddings = ["hook_embed", "hook_pos_embed"]
    written = [*embeddings, *(f"blocks.{i}.{name}" for i in range(n_layers) for name in WRITTEN)]
    ends = [run_with_cache(model, tokens)[1] for tokens in (data.corrupted, data.clean)]
    clean, targets = model(data.clean)[:, 1:], jnp.asarray(data.targets)[:, 1:]

    def loss(added: dict[str, jax.Array], share: float) -> tuple[jax.Array, dict[str, jax.Array]]:
        outputs = {}

        def note(name: str, activation: jax.Array) -> jax.Array:
            if name in embeddings:
                activation = share * ends[1][name] + (1 - share) * ends[0][name]
            outputs[name] = activation
            return activation

        hooks: dict[str, Callable[[jax.Array], jax.Array]] = {
            **{name: partial(jnp.add, added[name]) for name in read},
            **{name: partial(note, name) for name in written},
        }
        logits = run_with_hooks(model, data.clean, hooks)[:, 1:]
        return METRIC(logits, clean, targets).mean(), outputs

    nothing = {name: jnp.zeros_like(ends[1][name]) for name in read}
    found = [jax.grad(loss, has_aux=True)(nothing, k / steps) for k in range(steps + 1)]

    def part(values: dict[str, jax.Array], node: Node) -> jax.Array:
        at = values[str(node.hook)]
        return at if node.head is None else at[:, :, node.head]

    def score(edge: Edge) -> float:
        total = 0.0
        for (_, before), (slopes, after) in pairwise(found):
            change = part(after, edge.src) - part(before, edge.src)
            total += float((part(slopes, edge.dst) * change).sum())
        return -total

    return score


@pytest.mark.parametrize("kind", ["plain", "layer norm"])
def test_it_equals_plain_runs_with_hooks(kind: str, x64: None) -> None:
    model, data = make_small(kind)
    score = steps_of_plain_runs(model, data, 3)
    edges = universe("qkv", model.config.n_layers, model.config.n_heads).edges
    expected = [score(edge) for edge in edges]
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(scores(model, data, 3), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [*KINDS, "zeros"])
def test_one_step_is_eap(kind: str, x64: None) -> None:
    model, data = make_small("plain" if kind == "zeros" else kind)
    if kind == "zeros":
        data = data_for(model, data.clean, data.corrupted, ablation="zero")
    metric = METRICS["target_mae" if model.config.is_regression else "cross_entropy"]
    one = ceap(model, data, metric, CEAPSettings(1), KEY).values
    expected = eap(model, data, metric, EAPSettings(), KEY).values
    np.testing.assert_allclose(one, expected, rtol=0, atol=1e-13)


def test_every_cut_through_the_model_is_complete(x64: None) -> None:
    """The edges from the embeddings, and those into the output, add up to the whole effect."""
    model = small_model(CONFIGS["plain"], np.float64)
    data = small_data(model)
    edges = data.edges(model.config).edges
    first = np.asarray([edge.src.kind in EMBEDDINGS for edge in edges])
    last = np.asarray([edge.dst.kind is Kind.RESID_POST for edge in edges])
    clean = model(data.clean)[:, 1:]

    def loss(tokens: np.ndarray) -> float:
        return float(METRIC(model(tokens)[:, 1:], clean, data.targets[:, 1:]).mean())

    whole = loss(np.asarray(data.corrupted)) - loss(np.asarray(data.clean))
    for cut in (first, last):
        errors = [scores(model, data, steps)[cut].sum() - whole for steps in (20, 40, 80)]
        assert abs(errors[0]) > 1.7 * abs(errors[1]) > 2.9 * abs(errors[2])
        assert abs(2 * errors[2] - errors[1]) < 0.01 * abs(whole), "the limit of many steps"


@pytest.mark.parametrize("steps", [0, -3])
def test_there_is_a_step(steps: int) -> None:
    with pytest.raises(ValueError, match=f"Expected at least 1 step, got {steps}"):
        CEAPSettings(steps)
