"""The target logits of classes: one-hot where the model has the rank, otherwise spread points."""

import dataclasses
import itertools

import numpy as np
import pytest

from interpbench_jax.cases import CASES, IoiTask
from interpbench_jax.training import codes
from interpbench_jax.training.codes import class_code, output_rank, spread_points, tell_apart


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "dimensions", "degrees"),
    # The largest possible minimal angles (Tammes's problem; the last one on a circle).
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


@pytest.mark.slow
@pytest.mark.parametrize("case_id", ["8", "11", "13", "21", "35"])
def test_codes(case_id: str) -> None:
    task = CASES[case_id]
    code = class_code(task)
    n_classes, rank = task.config.d_vocab_out, output_rank(task)
    np.testing.assert_allclose(code.mean(axis=1), 0, atol=1e-6)
    margins = np.diag(code)[:, None] - code
    assert margins[~np.eye(n_classes, dtype=bool)].min() == pytest.approx(1, abs=1e-5)
    if case_id in ("11", "35"):
        # Apart from the bias, the code has no more dimensions than the model can write.
        assert np.linalg.matrix_rank(code - code.mean(axis=0), tol=1e-4) == rank
    else:
        np.testing.assert_allclose(code, np.eye(n_classes) - 1 / n_classes, atol=1e-6)


@pytest.mark.slow
def test_the_code_of_summed_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "_N_INPUTS", 64)
    monkeypatch.setattr(codes, "_DESCENT_STEPS", 50)
    task = dataclasses.replace(CASES["ioi"], description="Another.")  # not a cached code
    assert isinstance(task, IoiTask)
    code = class_code(task)
    is_name = np.asarray(task.vocabulary.is_name)
    np.testing.assert_allclose(code.mean(axis=1), 0, atol=1e-6)
    assert np.linalg.matrix_rank(code - code.mean(axis=0), tol=1e-4) <= output_rank(task) == 16
    # Only names have scores: other tokens have the point 0, the reference of the logits.
    assert not code[~is_name].any()
    own = np.diag(code) - code[:, ~is_name].mean(axis=1)
    seen = is_name & code.any(axis=1)
    assert seen.sum() > 50 and own[seen].mean() == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_sums_of_both_signs_are_told_apart_better_than_by_far_apart_points() -> None:
    """As in `ioi`, one name scores for two mentions, one for a single one, a third is inhibited."""
    n, dimensions = 24, 8
    names = np.asarray([*itertools.permutations(range(n), 3)])
    rows = np.zeros((len(names), n))
    for column, score in enumerate((2.0, 1.0, -1.5)):
        rows[np.arange(len(rows)), names[:, column]] = score

    def share_right(points: np.ndarray) -> float:
        return float(((rows @ points @ points.T).argmax(axis=1) == names[:, 0]).mean())

    # Points learned from few rows are better on all rows.
    few = rows[np.random.default_rng(0).permutation(len(rows))[:200]]
    assert (
        share_right(tell_apart(few, dimensions)) > share_right(spread_points(n, dimensions)) + 0.02
    )


@pytest.mark.slow
def test_rows_that_have_no_answer_are_left_out() -> None:
    rows = np.asarray([[1.0, 1.0, 0.0, 0.0], [2.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 2.0, 0.0]])
    points = tell_apart(rows, 2)
    np.testing.assert_array_equal(points, tell_apart(rows[1:], 2))
    assert not points[3].any()
    chosen = (rows @ points @ points.T).argmax(axis=1)
    np.testing.assert_array_equal(chosen[1:], [0, 2])
