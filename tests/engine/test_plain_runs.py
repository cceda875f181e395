"""Plain runs and the streams in them, compared with the reference model."""

from collections.abc import Sequence

import jax
import numpy as np
import pytest

from interpbench_jax.engine import plain_runs
from interpbench_jax.engine.clean import read_streams, run_clean
from interpbench_jax.engine.layers import finish_run
from interpbench_jax.engine.plain_runs import PlainRuns
from interpbench_jax.engine.weights import Form, stack_weights
from interpbench_jax.interventions import writer_outputs
from interpbench_jax.targets import own_answers
from tests.discovery.small import KINDS, make_small


@pytest.mark.parametrize("kind", KINDS)
def test_streams_of_a_clean_run(kind: str, x64: None) -> None:
    model, data = make_small(kind, np.float64)
    form = Form.of(model.config, data.freeze_layer_norm)
    weights = jax.device_put(stack_weights(model, data.clean.shape[1]))
    run = run_clean(form, False, weights, data.clean)
    streams = read_streams(weights, run.outputs)
    layers = [x for pair in zip(run.before, run.between, strict=True) for x in pair]
    for found, expected in zip(streams, [*layers, run.after], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    for norm, stream in enumerate(streams):
        final = finish_run(form, weights, stream, norm, run.scales)
        np.testing.assert_allclose(final, run.after, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_a_rest_of_a_run_has_a_derivative(x64: None) -> None:
    model, data = make_small("layer norm", np.float64)
    weights = jax.device_put(stack_weights(model, data.clean.shape[1]))
    form = Form.of(model.config)
    run = run_clean(form, False, weights, data.clean)
    stream, direction = run.between[0], np.random.default_rng(0).normal(size=run.after.shape)

    def total(step: float) -> jax.Array:
        return (finish_run(form, weights, stream + step * direction, 1, None) ** 3).sum()

    slope = jax.grad(total)(0.0)
    assert slope == pytest.approx(float(total(1e-6) - total(-1e-6)) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("batch_size", [None, 3, 50])
@pytest.mark.parametrize("kind", ["plain", "regression"])
def test_plain_runs_of_many_inputs(kind: str, batch_size: int | None, x64: None) -> None:
    model, data = make_small(kind, np.float64)
    plain = PlainRuns(model, data.clean, batch_size=batch_size)
    outputs = np.concatenate([run.outputs for run in plain.chunks], axis=-1)
    outputs = outputs[..., plain.is_input.ravel()]
    expected = writer_outputs(model, data.clean).transpose(2, 3, 1, 0)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(plain.answers, own_answers(model, data.clean), rtol=0, atol=1e-12)
    others = np.concatenate([data.corrupted, data.clean])[:11]
    mean = np.asarray(writer_outputs(model, others)).mean(axis=0).transpose(1, 2, 0)
    np.testing.assert_allclose(plain.mean_outputs(others), mean, rtol=0, atol=1e-12)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[object]]:
    """The calls of programs so far: each entry has those that were made together."""
    made: list[Sequence[object]] = []
    run_calls = plain_runs.run_calls
    monkeypatch.setattr(
        plain_runs, "run_calls", lambda *args: made.append(args[2]) or run_calls(*args)
    )
    return made


def test_plain_runs_are_computed_once(calls: list[Sequence[object]]) -> None:
    model, data = make_small("plain")
    plain = PlainRuns(model, data.clean)
    assert plain.chunks is plain.chunks and plain.answers is plain.answers
    assert plain.of_others(data.clean.copy()) is plain.chunks
    assert len(calls) == 1
    list(plain.of_others(data.corrupted))
    assert len(calls) == 2


def test_runs_that_do_not_fit_are_computed_for_every_use(calls: list[Sequence[object]]) -> None:
    model, data = make_small("plain")
    plain = PlainRuns(model, data.clean, max_bytes=1)
    assert not plain.are_kept and plain.rows.shape == (len(data.clean), 1)
    for _ in range(2):
        logits = np.concatenate([run.logits for run in plain.chunks], axis=-1)
        np.testing.assert_allclose(logits.T, model(data.clean), rtol=0, atol=1e-5)
    assert [len(each) for each in calls] == [1] * 2 * len(data.clean)
