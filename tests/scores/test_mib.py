"""MIB's area: its greedy circuits and its trapezoids."""

from itertools import pairwise

import numpy as np
import pytest

from interpbench_jax.cases import CASES
from interpbench_jax.circuit import Circuit
from interpbench_jax.scores import mib_edge_auc
from interpbench_jax.scores.mib import grow_from_output
from interpbench_jax.sites import Edge, parse_edge
from interpbench_jax.universes import universe

IOI = CASES["ioi"].upstream_circuit
SPACE = universe("qkv-merged", 6, 4)
TRUTH = np.asarray([edge in IOI.in_universe("qkv-merged") for edge in SPACE.edges])
SMALL = universe("qkv-merged", 1, 1)


def test_the_truth_itself_scores_almost_one_and_its_reverse_not_zero() -> None:
    # The first 1.1 % of the edges are 12, of which 7 are true and 5 false.
    assert 0.9998 < mib_edge_auc(TRUTH.astype(np.float64), IOI) < 1
    # The last trapezoid, from half of the edges to all, is counted whatever the scores.
    assert 0.24 < mib_edge_auc(1.0 - TRUTH, IOI) < 0.26


def test_the_sign_is_left_out_unless_asked_for() -> None:
    scores = np.random.default_rng(0).standard_normal(len(SPACE.edges))
    assert mib_edge_auc(scores, IOI) == mib_edge_auc(-scores, IOI)
    assert mib_edge_auc(scores, IOI, absolute=False) != mib_edge_auc(-scores, IOI, absolute=False)


def test_circuits_grow_from_the_output_by_the_most_important_edge() -> None:
    named = {
        "blocks.0.hook_resid_pre -> blocks.0.hook_q_input[0]": 9.0,
        "blocks.0.hook_resid_pre -> blocks.0.hook_k_input[0]": 8.0,
        "blocks.0.hook_resid_pre -> blocks.0.hook_v_input[0]": 1.0,
        "blocks.0.hook_resid_pre -> blocks.0.hook_mlp_in": 7.0,
        "blocks.0.attn.hook_result[0] -> blocks.0.hook_mlp_in": 6.0,
        "blocks.0.hook_resid_pre -> blocks.0.hook_resid_post": 3.0,
        "blocks.0.attn.hook_result[0] -> blocks.0.hook_resid_post": 2.0,
        "blocks.0.hook_mlp_out -> blocks.0.hook_resid_post": 4.0,
    }
    by_edge = {parse_edge(name): value for name, value in named.items()}
    values = np.asarray([by_edge[edge] for edge in SMALL.edges])
    kept = grow_from_output(values, list(range(9)), SMALL)
    added = [SMALL.edges[int(np.flatnonzero(b & ~a)[0])] for a, b in pairwise(kept)]
    # 4 is the largest into the output; then 7 and 6 into the MLP; then those into the head, etc.
    assert [by_edge[edge] for edge in added] == [4.0, 7.0, 6.0, 9.0, 8.0, 3.0, 2.0, 1.0]


def test_an_edge_counts_only_on_a_path() -> None:
    into_head = next(edge for edge in SMALL.edges if "v_input" in str(edge.dst))
    circuit = Circuit(
        1,
        1,
        (
            into_head,
            Edge(
                parse_edge("blocks.0.attn.hook_result[0] -> blocks.0.hook_resid_post").src,
                SMALL.edges[-1].dst,
            ),
        ),
    )
    truth = np.asarray([edge in circuit.in_universe("qkv-merged") for edge in SMALL.edges])
    assert truth.sum() == 2
    high = np.where(truth, 2.0, 1.0)
    reaching_last = high.copy()
    reaching_last[[i for i, edge in enumerate(SMALL.edges) if edge.src.head == 0]] = 0.0
    assert mib_edge_auc(high, circuit) > mib_edge_auc(reaching_last, circuit)


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.zeros(3), "1108"), (np.full(1108, np.nan), "NaN")],
)
def test_wrong_scores_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mib_edge_auc(values, IOI)


def test_a_circuit_of_everything_is_refused() -> None:
    everything = Circuit(1, 1, universe("qkv", 1, 1).edges)
    with pytest.raises(ValueError, match="true and false edges"):
        mib_edge_auc(np.zeros(len(SMALL.edges)), everything)
