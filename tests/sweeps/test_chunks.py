"""How a sweep is split into chunks, and the memory budget against XLA's own figures."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_jax import Transformer, build_model, sweep_edges, sweep_masks, universe
from interpbench_jax.engine import programs
from interpbench_jax.engine.chips import Chip, chip_of
from interpbench_jax.masks import edge_mask
from interpbench_jax.sweeps import SweepOptions
from interpbench_jax.sweeps.chunks import (
    Chunks,
    choose_chunks,
    limit_logits,
    wanted_rows,
)
from tests.fixtures import random_weights, tiny_config

# As small as possible: the compile time grows with the last two.
SIZES = {"n_heads": 2, "d_model": 4, "d_vocab": 6, "d_vocab_out": 3, "n_ctx": 3, "d_head": 2}
CONFIG = tiny_config(**SIZES)
CHIPS = tuple(map(chip_of, ("cpu", "gpu", "tpu")))
CPU = CHIPS[0]
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return build_model(CONFIG, random_weights(CONFIG, seed=3))


@pytest.fixture(scope="module")
def inputs() -> Pair:
    drawn = np.random.default_rng(5).integers(0, CONFIG.d_vocab, (2, 64, CONFIG.n_ctx))
    return drawn[0].astype(np.int32), drawn[1].astype(np.int32)


def is_power(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def rows_computed(chunks: Chunks, places: Sequence[int], n_inputs: int) -> int:
    """The number of patched runs that a sweep computes, including padding."""
    blocks = sum(-(-count // chunks.edits) for count in places)
    return blocks * -(-n_inputs // chunks.batch) * chunks.rows


# Sizes


@given(
    places=st.lists(st.integers(1, 300), min_size=1, max_size=12),
    n_inputs=st.integers(1, 5000),
    most_rows=st.integers(1, 5000),
)
def test_chunks_are_powers_of_two_within_the_rows(
    places: list[int], n_inputs: int, most_rows: int
) -> None:
    chunks = choose_chunks(places, n_inputs, most_rows, CPU.overhead_rows)
    assert is_power(chunks.batch) and is_power(chunks.edits) and is_power(chunks.blocks)
    assert chunks.rows == chunks.batch * chunks.edits <= most_rows
    # A chunk of half the size would not hold all inputs or all edits.
    assert chunks.batch < 2 * n_inputs and chunks.edits < 2 * max(places)


@given(
    places=st.lists(st.integers(1, 300), min_size=1, max_size=40),
    n_inputs=st.integers(4096, 200_000),
    most_rows=st.sampled_from([1024, 4096, 1 << 17]),
)
def test_big_sweeps_compute_at_most_twice_what_was_asked(
    places: list[int], n_inputs: int, most_rows: int
) -> None:
    chunks = choose_chunks(places, n_inputs, most_rows, CPU.overhead_rows)
    assert rows_computed(chunks, places, n_inputs) <= 2 * sum(places) * n_inputs


@given(
    places=st.lists(st.integers(4096, 100_000), min_size=1, max_size=5),
    n_inputs=st.integers(1, 50),
    most_rows=st.sampled_from([1024, 4096, 1 << 17]),
)
def test_many_edits_of_few_inputs_compute_at_most_twice_what_was_asked(
    places: list[int], n_inputs: int, most_rows: int
) -> None:
    chunks = choose_chunks(places, n_inputs, most_rows, CPU.overhead_rows)
    assert rows_computed(chunks, places, n_inputs) <= 2 * sum(places) * n_inputs


@given(exponent=st.integers(0, 9), parts=st.integers(1, 8))
def test_sizes_that_divide_evenly_compute_nothing_extra(exponent: int, parts: int) -> None:
    places, n_inputs = [parts << exponent] * 3, 1024
    chunks = choose_chunks(places, n_inputs, 1024, CPU.overhead_rows)
    assert rows_computed(chunks, places, n_inputs) == sum(places) * n_inputs


@given(
    chip=st.sampled_from(CHIPS),
    d_mlp=st.integers(1, 10_000),
    n_pos=st.integers(1, 2000),
    itemsize=st.sampled_from([2, 4, 8]),
)
def test_larger_models_want_fewer_rows(chip: Chip, d_mlp: int, n_pos: int, itemsize: int) -> None:
    rows = wanted_rows(chip, d_mlp, n_pos, itemsize)
    assert is_power(rows)
    assert wanted_rows(chip, 2 * d_mlp, n_pos, itemsize) <= rows
    assert wanted_rows(chip, d_mlp, 2 * n_pos, itemsize) <= rows
    assert wanted_rows(chip, d_mlp, n_pos, 2 * itemsize) <= rows


def test_accelerators_take_more() -> None:
    cpu, gpu, tpu = CHIPS
    for chip in (gpu, tpu):
        assert wanted_rows(chip, 48, 10, 4) > wanted_rows(cpu, 48, 10, 4)
        assert chip.max_bytes > cpu.max_bytes == 512 << 20
    assert chip_of("a platform that nobody knows") is gpu


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_blocks_outweigh_what_starting_them_costs(chip: Chip) -> None:
    places = [12, 28, 28, 28, 11, 8, 8, 8, 6]
    for n_inputs in (1_000, 16_000):
        chunks = choose_chunks(places, n_inputs, wanted_rows(chip, 48, 10, 4), chip.overhead_rows)
        assert chunks.rows >= chip.overhead_rows


@given(
    batch=st.sampled_from([1, 4, 64]),
    edits=st.sampled_from([1, 2, 16]),
    bytes_per_row=st.integers(4, 1 << 28),
)
def test_kept_logits_are_limited(batch: int, edits: int, bytes_per_row: int) -> None:
    before = Chunks(batch, edits, 64)
    chunks = limit_logits(before, bytes_per_row)
    assert (chunks.batch, chunks.edits) == (batch, edits)
    assert is_power(chunks.blocks) and chunks.blocks <= 64
    held = bytes_per_row * chunks.rows
    assert chunks.blocks == 1 or chunks.blocks * held <= 64 << 20
    assert chunks.blocks == 64 or 2 * chunks.blocks * held > 64 << 20


def test_a_plan_says_how_evenly_its_shares_are_filled(model: Transformer, inputs: Pair) -> None:
    plan = sweep_edges(model, *inputs).plan
    assert plan is not None and "share" not in str(plan)
    line = "Each share of the edits has 3 to 4 blocks; on average, 88% are at work."
    assert line in str(dataclasses.replace(plan, share_blocks=(4, 3))).splitlines()
    assert "has 4 blocks; on average, 100%" in str(dataclasses.replace(plan, share_blocks=(4, 4)))


# The budget


def new_programs(before: int) -> list[programs.Program]:
    return list(programs._compiled.values())[before:]


@pytest.mark.slow
def test_the_budget_is_kept_according_to_xla(model: Transformer, inputs: Pair) -> None:
    whole = sweep_edges(model, *inputs)
    assert whole.plan.bytes_held <= whole.plan.max_bytes == 512 << 20
    # The plan has every place, and no edit twice.
    assert sum(place.n_edits for place in whole.plan.places) == len(whole.names)
    held = [whole.plan.bytes_held]
    for allowed in (held[0] - 1, held[0] // 4):
        before = programs.n_compiled()
        parts = sweep_edges(model, *inputs, options=SweepOptions(max_bytes=allowed))
        assert parts.plan.max_bytes == allowed
        assert parts.plan.bytes_held <= allowed
        held.append(parts.plan.bytes_held)
        assert parts.plan.chunks.rows < whole.plan.chunks.rows
        np.testing.assert_allclose(parts.effects, whole.effects, atol=1e-6)
        # The last two programs compiled are those that fitted.
        for program in new_programs(before)[-2:]:
            memory = program.run.memory_analysis()
            assert memory is not None
            own = memory.argument_size_in_bytes + memory.output_size_in_bytes
            assert own + memory.temp_size_in_bytes <= parts.plan.bytes_held
    assert held == sorted(held, reverse=True)
    again = programs.n_compiled()
    assert sweep_edges(model, *inputs).plan == whole.plan
    assert sweep_edges(
        model, *inputs, options=SweepOptions(max_bytes=whole.plan.bytes_held)
    ).plan.chunks == (whole.plan.chunks)
    assert programs.n_compiled() == again


def test_the_budget_of_masks(model: Transformer, inputs: Pair) -> None:
    edges = universe("qkv", 2, 2).edges[::9]
    masks = 1 - np.stack([edge_mask([edge], 2, 2) for edge in edges])
    whole = sweep_masks(model, *inputs, masks=masks)
    allowed = whole.plan.bytes_held - 1
    parts = sweep_masks(model, *inputs, masks=masks, options=SweepOptions(max_bytes=allowed))
    assert parts.plan.bytes_held <= allowed
    np.testing.assert_allclose(parts.effects, whole.effects, atol=1e-6)


@pytest.mark.slow
def test_a_budget_below_one_run_is_refused_and_says_what_would_do(
    model: Transformer, inputs: Pair
) -> None:
    refused = r"Expected max_bytes of at least (\d+), which one edit of one input takes in this"
    with pytest.raises(ValueError, match=f"{refused} model, got 10\\.") as error:
        sweep_edges(model, *inputs, options=SweepOptions(max_bytes=10))
    least = int(str(error.value).split()[5].rstrip(","))
    before = programs.n_compiled()
    with pytest.raises(ValueError, match=refused):
        sweep_edges(model, *inputs, options=SweepOptions(max_bytes=least - 1))
    result = sweep_edges(model, *inputs, options=SweepOptions(max_bytes=least))
    assert (result.plan.bytes_held, result.plan.chunks.rows) == (least, 1)
    assert programs.n_compiled() < before + 7
    np.testing.assert_allclose(result.effects, sweep_edges(model, *inputs).effects, atol=1e-6)


# Programs that sweeps share


def test_sizes_in_one_bucket_share_programs(model: Transformer, inputs: Pair) -> None:
    clean, corrupted = inputs
    sweep_edges(model, clean, corrupted)
    before = programs.n_compiled()
    sixty = sweep_edges(model, clean[:60], corrupted[:60])
    other = tiny_config(**SIZES, attention_dir="bidirectional", use_attn_scale=False)
    both_ways = sweep_edges(build_model(other, random_weights(other, seed=3)), clean, corrupted)
    assert programs.n_compiled() == before
    assert np.abs(both_ways.effects - sixty.effects).max() > 1e-3
