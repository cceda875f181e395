"""The logits that classes are given: one-hot where the model can write that, else spread out."""

import numpy as np
import pytest

from interpbench_jax.cases import CASES
from interpbench_jax.training.codes import class_code, output_rank, spread_points


@pytest.mark.parametrize(
    ("n", "dimensions", "degrees"),
    # The largest smallest angles there are (Tammes's problem; the last one on a circle).
    [(4, 3, 109.4712), (5, 3, 90.0), (6, 3, 90.0), (8, 3, 74.8585), (5, 2, 72.0)],
)
def test_points_are_far_apart(n: int, dimensions: int, degrees: float) -> None:
    points = spread_points(n, dimensions)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-12)
    cosines = (points @ points.T)[~np.eye(n, dtype=bool)]
    assert np.degrees(np.arccos(cosines.max())) == pytest.approx(degrees, abs=0.5)
    np.testing.assert_array_equal(points, spread_points(n, dimensions))


def test_ranks() -> None:
    case_ids = ("3", "11", "13", "21", "35", "ioi")
    ranks = {case_id: output_rank(CASES[case_id]) for case_id in case_ids}
    assert ranks == {"3": 3, "11": 3, "13": 10, "21": 5, "35": 2, "ioi": 16}


@pytest.mark.parametrize("case_id", ["8", "11", "13", "21", "35"])
def test_codes(case_id: str) -> None:
    task = CASES[case_id]
    code = class_code(task)
    n_classes, rank = task.config.d_vocab_out, output_rank(task)
    np.testing.assert_allclose(code.mean(axis=1), 0, atol=1e-6)
    margins = np.diag(code)[:, None] - code
    assert margins[~np.eye(n_classes, dtype=bool)].min() == pytest.approx(1, abs=1e-5)
    if case_id in ("11", "35"):
        # Up to the bias, no more dimensions than there are.
        assert np.linalg.matrix_rank(code - code.mean(axis=0), tol=1e-4) == rank
    else:
        np.testing.assert_allclose(code, np.eye(n_classes) - 1 / n_classes, atol=1e-6)
