"""Recovery: average precision against the minimal circuit that the scores agree with best."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from interpbench_jax.circuit import Circuit
from interpbench_jax.scores import recovery
from interpbench_jax.universes import universe

SPACE = universe("qkv", 2, 2).edges
# Edges into the output.
NEEDED, COPIES = SPACE[-3:], SPACE[-6:-3]
EVERY = (*NEEDED, *COPIES)
# Any two of the three copies will do.
MINIMAL = tuple(Circuit(2, 2, EVERY, constant=(copy,)) for copy in COPIES)


def score(first: float, *copies: float, out: float = 0.0) -> np.ndarray:
    return np.asarray([out] * (len(SPACE) - len(EVERY)) + [*copies] + [first] * len(NEEDED))


def test_two_copies_are_all_that_matters() -> None:
    for two in ((1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1)):
        assert recovery(score(1.0, *two, out=0.1), MINIMAL, "qkv")["qkv"] == 1
    found = recovery(score(1.0, 1, 0, 0, out=0.1), MINIMAL, "qkv")["qkv"]
    assert found is not None and 0.8 < found < 1


def test_it_is_the_best_average_precision() -> None:
    values = np.random.default_rng(0).random(len(SPACE))
    expected = []
    for circuit in MINIMAL:
        counts = [edge not in circuit.constant for edge in SPACE]
        truth = [edge in circuit.edges for edge in SPACE]
        expected.append(average_precision_score(np.asarray(truth)[counts], values[counts]))
    assert recovery(values, MINIMAL, "qkv")["qkv"] == pytest.approx(max(expected))
    assert recovery(-values, MINIMAL, "qkv") == recovery(values, MINIMAL, "qkv")
    signed = recovery(-values, MINIMAL, "qkv", absolute=False)["qkv"]
    assert signed != pytest.approx(max(expected))
    assert [*recovery(values, MINIMAL)] == ["qkv", "qkv-merged", "head", "head-no-embed"]


def test_wrong_arguments() -> None:
    values = np.zeros(len(SPACE))
    with pytest.raises(ValueError, match="at least one minimal circuit, got none"):
        recovery(values, ())
    with pytest.raises(ValueError, match="Expected"):
        recovery(values[:-1], MINIMAL, "qkv")
    empty = Circuit(2, 2, EVERY, constant=EVERY)
    assert recovery(values, (empty,), "qkv")["qkv"] is None
