"""Results are grouped by difficulty, and regressions form their own group."""

from interpbench_jax.bench.tiers import tier_of
from interpbench_jax.cases import CASES
from interpbench_jax.report.groups import TIERS


def test_tiers() -> None:
    tiers = {case_id: tier_of(task) for case_id, task in CASES.items()}
    assert [case_id for case_id, tier in tiers.items() if tier == "regression"] == ["3", "4", "39"]
    assert set(tiers.values()) == set(TIERS)
