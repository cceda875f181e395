"""A training run that is killed resumes where it stopped and ends with the same weights."""

import pytest

from benchmarks.kill_and_resume import measure


@pytest.mark.slow
def test_kills_leave_no_trace() -> None:
    report = measure(kills=3, seed=0, epochs=80)
    assert report.digest == report.undisturbed_digest
    assert report.half_written == []
    assert sum(report.phases.values()) == 3
