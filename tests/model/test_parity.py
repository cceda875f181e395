"""Every activation and patched logit compared with TransformerLens in float64, on every fixture.

Errors are those of `interpbench_conversion.verify`: `max|a - b| / max(1, max|b|)`, where b is
TransformerLens's array.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_conversion.verify import certify_conversion, read_oracle, relative_error
from interpbench_jax import Case, hook_names, load_case, run_with_cache
from interpbench_jax.model import Transformer
from tests.fixtures import UPSTREAM, requires_upstream

FIXTURES = (
    "release_v1/3",
    "release_v1/11",
    "release_v1/13",
    "release/3",
    "release/11",
    "release/13",
    "release/random_lnpre",
    "release/random_bidirectional_relu",
)
# A softmax turns the absolute rounding error of its scores into an error of its pattern, and the
# released models' scores reach 2e4, so no float32 implementation can be closer. The limit is half a
# unit in the last place of the scores, plus as much for their own accumulated rounding.
ROUNDING = float(np.finfo(np.float32).eps)
# With scores of order 1, only a run's rounding error remains: tens of units in the last place.
BEFORE_ATTENTION = re.compile(
    r"hook_(pos_)?embed|blocks\.0\.(hook_resid_pre|hook_[qkv]_input|ln1\..*|attn\.hook_([qkv]|attn_scores))"
)
SMALL_SCORES = ("release/random_lnpre", "release/random_bidirectional_relu")

pytestmark = [requires_upstream, pytest.mark.optimized]


def load(fixture: str) -> tuple[Case, dict[str, np.ndarray]]:
    number = fixture.split("/")[1]
    case = load_case(UPSTREAM / fixture)
    return case, read_oracle(UPSTREAM / "oracle" / f"{number}.npz")


def test_every_fixture_is_listed() -> None:
    there = {
        f"{layout}/{folder.name}"
        for layout in ("release_v1", "release")
        for folder in (UPSTREAM / layout).iterdir()
    }
    assert there == set(FIXTURES)


def float32_limit(name: str, largest_score: float) -> float:
    """Return the allowed error of float32; the actual error depends on the CPU's vector code.

    A softmax turns the rounding error of its scores into an absolute error of all that follows.
    """
    if any(part in name for part in ("pattern", "hook_z", "hook_result", "patches")):
        return max(1e-5, ROUNDING * largest_score)
    return 1e-5 if BEFORE_ATTENTION.fullmatch(name) else 3e-5


@pytest.mark.slow
@pytest.mark.parametrize("fixture", FIXTURES)
def test_every_activation_and_patch_agrees(fixture: str) -> None:
    case, oracle = load(fixture)
    certificate = certify_conversion(case, oracle)
    activations = {name[4:] for name in oracle if name.startswith("act/")}
    assert set(certificate.float64) == activations | {"logits", "edge patches", "node patches"}
    assert set(hook_names(case.config)) <= set(certificate.float64)
    is_small = fixture in SMALL_SCORES
    worst = max(certificate.float64, key=certificate.float64.__getitem__)
    assert certificate.float64[worst] <= (1e-14 if is_small else 1e-12), worst

    for name, error in certificate.float32.items():
        limit = 5e-6 if is_small else float32_limit(name, certificate.largest_score)
        assert error <= limit, name


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["release_v1/11", "release/random_lnpre"])
def test_hooks_agree_inside_jit_and_under_vmap(fixture: str) -> None:
    case, oracle = load(fixture)
    tokens = oracle["inputs"]
    with jax.enable_x64(True):
        model: Transformer = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), case.model)
        names = [name[4:] for name in oracle if name.startswith("act/")]
        _, jitted = jax.jit(lambda m, t: run_with_cache(m, t, names))(model, tokens)
        _, mapped = jax.vmap(lambda row: run_with_cache(model, row[None], names))(tokens)
        for name in names:
            theirs = oracle[f"act/{name}"]
            assert relative_error(np.asarray(jitted[name]), theirs) <= 1e-12, name
            assert relative_error(np.asarray(mapped[name])[:, 0], theirs) <= 1e-12, name
