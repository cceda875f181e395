"""The verdict on a certificate: whether a model has its claimed circuit, and if not, why."""

import math
from collections.abc import Iterator, Mapping

from interpbench_jax.bands import Band
from interpbench_jax.bars import Bars
from interpbench_jax.certificates.parts import EdgeCheck, Measure
from interpbench_jax.sites import Kind, Node

_UNITS: Mapping[Measure, str] = {"effect": "the case's metric", "centred": "centred logits"}
# The most edges at fault that are named.
_MOST_NAMED = 3


def find_failures(
    shares: Mapping[str, float], edges: EdgeCheck, bars: Bars, leak: Band | None = None
) -> tuple[str, ...]:
    """A sentence for every bar that a model misses; empty if it passes.

    Args:
        shares: its accuracies, by what they are the accuracy of.
        edges: the effects of its edges.
        bars: the thresholds.
        leak: the band within which edges outside are to change centred logits, as shares of the
            smallest change by an edge that is in (`Certificate.leak`). None may lie above it, and
            in universe `head` half of them must reach it; `bars.outside` and `bars.clearance` do
            not count.
    """
    found = [
        f"{what} is {share:.6f}, below {bars.share:g}."
        for what, share in shares.items()
        if share < bars.share
    ]
    if leak is not None:
        return (*found, *_outside_band(edges, leak))
    for universe in edges.edges:
        for measure in _UNITS:
            found += _edges_at_fault(edges, universe, measure, bars)
    return tuple(dict.fromkeys(found))


def _outside_band(edges: EdgeCheck, leak: Band) -> Iterator[str]:
    """The reasons why the edges outside do not change centred logits within a band."""
    for universe, measured in edges.edges.items():
        found = edges.separation(universe, "centred")
        if found is None or not found.smallest.centred > edges.noise_floor:
            yield (
                f"Expected every edge of the circuit to have an effect above the noise floor in "
                f"universe {universe}."
            )
            return
        smallest = found.smallest.centred
        # The positional embedding writes the same in both inputs of a pair.
        outside = [
            edge
            for edge in measured
            if edge.truth == "out" and edge.src != str(Node(Kind.POS_EMBED))
        ]
        above = [edge for edge in outside if edge.centred > leak[1] * smallest]
        for edge in above[:_MOST_NAMED]:
            yield (
                f"Edge {edge} is outside the circuit, but cutting it has "
                f"{edge.centred / smallest:.1%} of the effect of the weakest edge of the circuit "
                f"in centred logits, above {leak[1]:.1%}{_others(tuple(above))}."
            )
        n_reached = sum(edge.centred >= leak[0] * smallest for edge in outside)
        # A query or a key of a head that attends to one place has no small effect.
        if universe == "head" and 2 * n_reached < len(outside):
            yield (
                f"{leak[0]:.1%} of the effect of the circuit's weakest edge in centred logits is "
                f"reached by {n_reached} of {len(outside)} edges outside the circuit, in universe "
                f"{universe}; half are required."
            )


def _edges_at_fault(edges: EdgeCheck, universe: str, measure: Measure, bars: Bars) -> Iterator[str]:
    unit = _UNITS[measure]
    found = edges.separation(universe, measure)
    if found is None:
        yield f"No edge of the circuit varies in universe {universe}, so nothing can be measured."
        return
    silent = edges.silent(universe, measure, 0.0)
    for edge in silent[:_MOST_NAMED]:
        yield (
            f"Edge {edge} is in the circuit, but cutting it has no effect above the noise floor "
            f"({edges.noise_floor:.1e}) in {unit}{_others(silent)}."
        )
    loud = edges.unexpected(universe, measure, bars.outside)
    for edge in loud[:_MOST_NAMED]:
        share = getattr(edge, measure) / found.median if found.median else math.inf
        yield (
            f"Edge {edge} is outside the circuit, but cutting it has {share:.2%} of the median "
            f"effect of the circuit's edges in {unit}, above {bars.outside:.2%}{_others(loud)}."
        )
    if not silent and found.largest is not None and found.clearance < bars.clearance:
        yield (
            f"Edge {found.smallest}, the weakest of the circuit, has only {found.clearance:.1f} "
            f"times the effect of {found.largest}, the strongest outside, in {unit}; at least "
            f"{bars.clearance:g} times is required."
        )


def _others(edges: tuple[object, ...]) -> str:
    return f" (one of {len(edges)} such edges)" if len(edges) > 1 else ""
