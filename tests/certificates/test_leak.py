"""The verdict on a model whose edges outside are to change the output a little."""

from dataclasses import replace

import pytest

from interpbench_jax.bars import BARS
from interpbench_jax.certificates import Certificate, CircuitAlone, EdgeCheck, EdgeEffect
from interpbench_jax.certificates.verdict import find_failures
from tests.certificates.made_up import CERTIFICATE

READER = "blocks.1.hook_resid_post"


def edge(src: str, truth: str, centred: float) -> EdgeEffect:
    return EdgeEffect(src, READER, truth, centred, centred, 0.0)  # pyright: ignore


INSIDE = (edge("blocks.0.hook_mlp_out", "in", 10.0), edge("blocks.1.hook_mlp_out", "in", 2.0))
QUIET = edge("hook_pos_embed", "out", 0.0)


def failures(*outside: EdgeEffect, leak: tuple[float, float] = (0.05, 0.3)) -> tuple[str, ...]:
    edges = EdgeCheck(n=8, noise_floor=1e-6, auc={}, edges={"head": (*INSIDE, QUIET, *outside)})
    alone = CircuitAlone(1.0, 1.0, edges_mean=0.4, edges_resample=0.4)
    certificate = replace(CERTIFICATE, edges=edges, circuit_alone=alone)
    assert sum("at once is 0.4" in failure for failure in certificate.failures()) == 2
    return replace(certificate, leak=leak).failures()


def test_within_the_band_it_passes() -> None:
    """The smallest inside is 2, so the band is from 0.1 to 0.6; half may lie below it."""
    assert (
        failures(edge("hook_embed", "out", 0.1), edge("blocks.0.hook_mlp_out", "out", 0.01)) == ()
    )
    assert failures(edge("hook_embed", "out", 0.6)) == ()


def test_above_the_band() -> None:
    (found,) = failures(edge("hook_embed", "out", 0.7))
    assert found == (
        "Edge hook_embed -> blocks.1.hook_resid_post is outside the circuit, but cutting it has "
        "35.0% of the effect of the weakest edge of the circuit in centred logits, above 30.0%."
    )


def test_below_the_band() -> None:
    quiet = [edge("hook_embed", "out", 0.01)] * 3
    (found,) = failures(*quiet, edge("hook_embed", "out", 0.2))
    assert found == (
        "5.0% of the effect of the circuit's weakest edge in centred logits is reached by 1 of 4 "
        "edges outside the circuit, in universe head; half are required."
    )


def test_only_whole_heads_must_reach_it() -> None:
    quiet = edge("hook_embed", "out", 0.01)
    edges = EdgeCheck(
        n=8, noise_floor=1e-6, auc={}, edges={"qkv": (*INSIDE, quiet), "head": INSIDE}
    )
    assert find_failures({}, edges, BARS, leak=(0.05, 0.3)) == ()
    loud = replace(edges, edges={"qkv": (*INSIDE, replace(quiet, centred=0.7)), "head": INSIDE})
    (found,) = find_failures({}, loud, BARS, leak=(0.05, 0.3))
    assert found.startswith("Edge hook_embed")


def test_silent_inside_and_low_shares() -> None:
    edges = EdgeCheck(
        n=8, noise_floor=1e-6, auc={}, edges={"head": (replace(INSIDE[0], centred=0.0),)}
    )
    found = find_failures({"Accuracy": 0.9}, edges, BARS, leak=(0.05, 0.3))
    assert found == (
        "Accuracy is 0.900000, below 0.999.",
        "Expected every edge of the circuit to have an effect above the noise floor in "
        "universe head.",
    )


def test_the_band_is_part_of_the_certificate() -> None:
    certificate = replace(CERTIFICATE, leak=(0.05, 0.3))
    text = certificate.to_json()
    assert Certificate.from_json(text) == certificate
    falling = text.replace("0.05", "0.5", 1)
    assert falling != text
    with pytest.raises(ValueError, match="leak to be two rising shares"):
        Certificate.from_json(falling)
