"""The certificate finds a fault that accuracy does not show, and for the right reason.

`python -m benchmarks.planted_faults` makes the other faults, which takes longer.
"""

import pytest

import interpbench_jax as ib
from benchmarks.planted_faults import leak
from interpbench_jax.cases import RASP_CASES
from interpbench_jax.sites import parse_edge


@pytest.mark.slow
def test_a_variable_that_takes_another_edge_too() -> None:
    name = "hook_embed -> blocks.1.hook_mlp_in"
    faulty = leak(ib.load_case("36"), [parse_edge(name)], 0.25, steps=800)
    found = ib.certify(faulty, n=200, task=RASP_CASES["36"])
    assert min(found.accuracy, found.lowest_iia, found.lowest_strict) == 1
    own = [each for each in found.failures() if each.startswith(f"Edge {name} is outside")]
    # KL hardly sees it.
    assert own and all("in centred logits" in each for each in own)
