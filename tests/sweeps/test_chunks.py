"""The memory budget against XLA's own account."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_jax import METRICS, TransformerConfig, build_model, universe
from interpbench_jax.sweeps import program
from interpbench_jax.sweeps.chunks import Chunks, choose_chunks, numbers_held
from interpbench_jax.sweeps.edits import make_edits
from tests.fixtures import random_weights

BASE = TransformerConfig(
    n_layers=2,
    n_heads=4,
    d_model=12,
    d_head=3,
    d_mlp=48,
    d_vocab=10,
    d_vocab_out=5,
    n_ctx=10,
    act_fn="gelu",
)


def config(**changes: object) -> TransformerConfig:
    import dataclasses

    return dataclasses.replace(BASE, **changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "chunks", "by_position"),
    [
        (BASE, Chunks(4, 250), False),
        (BASE, Chunks(4, 64), True),
        (config(d_model=4, d_head=1, d_mlp=16), Chunks(8, 256), False),
        (config(d_model=64, d_head=16, d_mlp=256, n_ctx=16), Chunks(4, 16), False),
        (config(n_layers=8), Chunks(2, 16), False),
        (config(n_layers=4, n_heads=12), Chunks(2, 16), False),
        (config(n_layers=1, d_vocab_out=2000), Chunks(4, 16), False),
        (config(n_ctx=48, normalization_type="LNPre"), Chunks(2, 16), False),
    ],
)
def test_the_estimate_bounds_what_xla_allocates(
    shape: TransformerConfig, chunks: Chunks, by_position: bool
) -> None:
    model = build_model(shape, random_weights(shape, seed=0))
    tokens = np.zeros((chunks.batch, shape.n_ctx), np.int32)
    positions = range(shape.n_ctx) if by_position else None
    space = universe("qkv", shape.n_layers, shape.n_heads)
    edits = make_edits(tuple(space.members.values()), shape, positions).rows(0, chunks.edits)
    scoring = program.Scoring(METRICS["kl"], 1, by_position, False)
    reference = program._prepare(model, tokens, tokens, None, scoring)
    weights = np.ones(chunks.batch, np.float32)
    lowered = program._patch.lower(model, tokens, reference, None, weights, edits, scoring)
    analysis = lowered.compile().memory_analysis()
    assert analysis is not None
    allocated = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    per_edit, per_input, per_run = numbers_held(shape, shape.n_ctx, by_position)
    held = per_edit * chunks.edits + (per_input + per_run * chunks.edits) * chunks.batch
    assert allocated <= 4 * held <= 3 * allocated


@given(
    n_edits=st.integers(1, 500),
    batch=st.integers(1, 5000),
    budget=st.integers(1 << 18, 1 << 34),
)
def test_chunks_fit_the_budget_and_cover_everything(n_edits: int, batch: int, budget: int) -> None:
    chunks = choose_chunks(BASE, np.dtype(np.float32), n_edits, batch, 10, budget)
    per_edit, per_input, per_run = numbers_held(BASE, 10, False)
    held = per_edit * chunks.edits + (per_input + per_run * chunks.edits) * chunks.batch
    assert 4 * held <= budget
    assert 1 <= chunks.edits <= n_edits and 1 <= chunks.batch <= batch
    assert chunks.edits * len(chunks.edits_from(n_edits)) < n_edits + chunks.edits
    assert chunks.batch * len(chunks.rows(batch)) < batch + chunks.batch


def test_a_budget_below_one_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected max_bytes of at least \d+, .* got 10\."):
        choose_chunks(BASE, np.dtype(np.float32), 5, 5, 10, 10)
