"""What the benchmark of compiled programs counts and reads off."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.accelerators.counted import count_bytes, count_flops
from benchmarks.accelerators.hlo import read_hlo
from benchmarks.accelerators.programs import compile_for
from benchmarks.accelerators.table import as_markdown
from benchmarks.accelerators.targets import TARGETS
from interpbench_jax.model.contractions import contract

HLO = """HloModule m
%fused_computation (p: f32[10]) -> f32[10] {
  %copy.1 = f32[10]{0} copy(%p)
}

ENTRY %main () -> f32[12,10,1024] {
  %fusion.1 = f32[12,10,1024]{1,2,0:T(8,128)S(1)} fusion(%a), kind=kLoop, "estimated_cycles":"300"
  %copy.2 = f32[12,10,1024]{2,1,0:T(8,128)} copy(%fusion.1), "estimated_cycles":"41"
  %x = f32[4]{0} all-reduce-start(%c)
  %w = (s32[]) while(%t), condition=%cond, body=%body
  %c = f32[4]{0} conditional(%i, %j)
}
"""


def test_a_compiled_text() -> None:
    facts = read_hlo(HLO)
    assert (facts.n_kernels, facts.n_loops, facts.n_branches) == (2, 1, 1)
    assert (facts.n_collectives, facts.cycles) == (1, 341)
    # Positions innermost: 10 of 128, and 1,024 inputs in rows of 8. Inputs innermost: 10 of 16.
    used, stored = 2 * 12 * 10 * 1024, 12 * 128 * 1024 + 12 * 16 * 1024
    assert facts.padding == pytest.approx(stored / used)


def test_counted_operations() -> None:
    x, y = jnp.ones((3, 4)), jnp.ones((4, 5))

    def loop(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda carry, _: (carry @ jnp.ones((4, 4)), None), x, None, 7)[0]

    product = jax.make_jaxpr(lambda x, y: x @ y)(x, y).jaxpr
    assert count_flops(product) == 2 * 3 * 4 * 5
    assert count_bytes(product) == 4 * (12 + 20 + 15)
    assert count_flops(jax.make_jaxpr(loop)(x).jaxpr) == 7 * 2 * 3 * 4 * 4
    summed = jax.make_jaxpr(lambda q: contract("id,jd->ij", q, q))
    assert count_flops(summed(jnp.ones((3, 6))).jaxpr) == 2 * 3 * 3 * 6
    branches = jax.make_jaxpr(lambda x: jax.lax.cond(x.sum() > 0, loop, lambda x: x, x))(x)
    assert count_flops(branches.jaxpr) == 7 * 2 * 3 * 4 * 4


def test_a_program_that_does_not_compile_is_a_row() -> None:
    def trace() -> None:
        raise ValueError("no such | tile")

    cpu = TARGETS["cpu"]
    good = compile_for(cpu, "sums", "double", lambda: jax.jit(lambda x: x + x).trace(jnp.ones(3)))
    bad = compile_for(cpu, "sums", "nothing", trace)
    assert bad.error == "ValueError: no such | tile" and not good.error
    assert good.argument_bytes == good.result_bytes == 12
    text = as_markdown([good, bad], {"jax": jax.__version__})
    assert "2 programs" in text and "fails: ValueError: no such \\| tile" in text
