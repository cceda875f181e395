"""Sweeps of pairs that are drawn block by block."""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from interpbench_jax import (
    Objective,
    Pairs,
    PairStream,
    discover,
    load_case,
    sweep_edges,
    sweep_masks,
    sweep_nodes,
)
from interpbench_jax import pairs as pairs_module
from interpbench_jax.cases import CASES
from interpbench_jax.sweeps import SweepOptions, sweep_neurons
from interpbench_jax.sweeps.check import Ablations

CASE = load_case("11")
N = 70


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks so small that a few pairs fill several."""
    monkeypatch.setattr(pairs_module, "BLOCK", 16)


def in_blocks(pairs: Pairs, *sizes: int) -> PairStream:
    """The same pairs in blocks of these sizes, and a last block with the rest."""
    ends = np.cumsum([0, *sizes, len(pairs)]).clip(max=len(pairs)).tolist()
    slices = [slice(*both) for both in itertools.pairwise(ends)]
    return PairStream(len(pairs), lambda: (pairs[rows] for rows in slices))


@pytest.mark.parametrize("case_id", ["8", "11", "3", "ioi"])
def test_a_stream_is_what_is_sampled(case_id: str) -> None:
    task = CASES[case_id]
    stream, pairs = task.stream(50, 4), task.sample(50, 4)
    assert len(stream) == len(pairs) == 50
    for _ in range(2):  # every pass draws the same
        blocks = list(stream)
        assert [len(block) for block in blocks] == [16, 16, 16, 2]
        for name in ("input_ids", "corrupted_input_ids", "target", "is_scored"):
            joined = np.concatenate([getattr(block, name) for block in blocks])
            np.testing.assert_array_equal(joined, getattr(pairs, name))
    assert next(iter(stream)).objective.metric == pairs.objective.metric


@pytest.mark.usefixtures("unchecked")
def test_a_generator_moves_on_from_block_to_block() -> None:
    rng = np.random.default_rng(3)
    first, second = CASE.sample(40, rng), CASE.sample(40, rng)
    assert not np.array_equal(first.input_ids, second.input_ids)
    with pytest.raises(TypeError, match="Expected the seed to be an int, from which a stream"):
        CASE.stream(40, rng)  # pyright: ignore[reportArgumentType]
    assert len(list(CASE.stream(0, 0))) == 0 == len(CASE.sample(0, 0))


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ["resample", "mean", "zero", ("mean", "resample")])
@pytest.mark.parametrize("max_bytes", [None, 400_000])
def test_a_sweep_of_a_stream_is_that_of_its_pairs(
    ablation: Ablations, max_bytes: int | None
) -> None:
    pairs, options = CASE.sample(N, 1), SweepOptions(max_bytes=max_bytes)
    for stream in (CASE.stream(N, 1), in_blocks(pairs, 33, 1, 7)):
        found = sweep_edges(CASE.model, stream, ablation=ablation, options=options)
        whole = sweep_edges(CASE.model, pairs, ablation=ablation, options=options)
        np.testing.assert_array_equal(found.effects, whole.effects)
        assert (found.n_inputs, found.metric) == (N, whole.metric)
        assert found.noise_floor == whole.noise_floor


@pytest.mark.slow
def test_every_kind_of_sweep_takes_a_stream() -> None:
    stream, pairs = CASE.stream(N, 1), CASE.sample(N, 1)
    circuit = CASE.truth()
    for sweep in (
        sweep_nodes,
        sweep_neurons,
        lambda model, given: sweep_masks(model, given, masks=circuit.mask()[None]),
        lambda model, given: sweep_edges(model, given, metric="logit_diff", positions="each"),
    ):
        streamed, whole = sweep(CASE.model, stream), sweep(CASE.model, pairs)
        np.testing.assert_array_equal(streamed.effects, whole.effects)


def test_a_stopped_sweep_of_a_stream_is_resumed(tmp_path: Path) -> None:
    folder, whole = tmp_path / "sweep", sweep_edges(CASE.model, CASE.sample(N, 1))

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        sweep_edges(
            CASE.model,
            CASE.stream(N, 1),
            options=SweepOptions(max_bytes=400_000, save_to=folder, progress=stop),
        )
    found = sweep_edges(
        CASE.model, CASE.stream(N, 1), options=SweepOptions(max_bytes=400_000, save_to=folder)
    )
    np.testing.assert_allclose(found.effects, whole.effects, rtol=1e-5, atol=1e-9)
    with pytest.raises(ValueError, match="holds another"):
        sweep_edges(
            CASE.model, CASE.stream(N, 2), options=SweepOptions(max_bytes=400_000, save_to=folder)
        )


def test_an_inputs_own_outputs_change_nothing() -> None:
    pairs = CASE.sample(N, 1)
    same = Pairs(pairs.input_ids, pairs.input_ids, pairs.objective)
    assert not sweep_edges(CASE.model, in_blocks(same, 20)).effects.any()


PAIRS = CASE.sample(40, 1)
REFUSED: list[tuple[Callable[[], Iterable[Pairs]], str]] = [
    (lambda: (), "got a stream without any"),
    (lambda: (PAIRS[:30],), "Expected a stream of 40 pairs, as it says, got 30"),
    (lambda: (PAIRS, PAIRS), "Expected a stream of 40 pairs, as it says, got more"),
    (
        lambda: (PAIRS[:20], Pairs(PAIRS.input_ids[20:, :-1], PAIRS.corrupted_input_ids[20:, :-1])),
        "Expected the blocks of a stream to be of one kind, 10 positions",
    ),
    (
        lambda: (
            PAIRS[:20],
            Pairs(PAIRS.input_ids[20:] + 90, PAIRS.corrupted_input_ids[20:], Objective()),
        ),
        "Expected token ids from 0 to",
    ),
]


@pytest.mark.parametrize(("blocks", "message"), REFUSED)
def test_streams_that_are_not_what_they_say(
    blocks: Callable[[], Iterable[Pairs]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sweep_edges(CASE.model, PairStream(40, blocks))


@pytest.mark.usefixtures("unchecked")
def test_where_a_stream_is_not_accepted() -> None:
    stream = CASE.stream(N, 1)
    with pytest.raises(TypeError, match="Expected pairs in memory, got PairStream"):
        discover(CASE.model, stream, "eap")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="Expected constants in place of 'optimal'"):
        sweep_edges(CASE.model, stream, ablation="optimal")
    with pytest.raises(TypeError, match="Expected a stream of pairs alone"):
        sweep_edges(CASE.model, stream, objective=Objective())
