"""The parts of a certificate, and functions that read them from JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from statistics import median
from typing import Literal, get_args

from interpbench_jax.circuit import TruthValue
from interpbench_jax.jsonfields import (
    mapping_of,
    optional,
    read_choice,
    read_count,
    read_fields,
    read_number,
    read_share,
    read_text,
    tuple_of,
)
from interpbench_jax.travel import Travels

Measure = Literal["effect", "centred"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True)
class NodeEffect:
    """The effect of resampling one node alone on the model's output.

    Attributes:
        effect: mean of `Certificate.metric` over pairs and scored positions; 0 if nothing
            changes. It is a distance, except for `"logit_diff"`, which is negative where the
            patched run prefers the answer more than the clean run does.
        centred: the effect as a Euclidean distance between centred logits; for a regression,
            between outputs.
        accuracy_drop: the share of right outputs in the clean runs minus that in the patched
            runs; positive where resampling hurts.
    """

    effect: float
    centred: float
    accuracy_drop: float


@dataclass(frozen=True)
class EdgeEffect:
    """The effect of resampling one edge alone on the model's output.

    Attributes:
        src: name of the writer.
        dst: name of the reader.
        truth: `"in"` if the program uses the edge, `"out"` if it does not, `"constant"` if it uses
            the edge for a variable that is the same in both inputs of every pair.
        effect: see `NodeEffect`.
        centred: see `NodeEffect`.
        accuracy_drop: see `NodeEffect`.
    """

    src: str
    dst: str
    truth: TruthValue
    effect: float
    centred: float
    accuracy_drop: float

    def __str__(self) -> str:
        return f"{self.src} -> {self.dst}"


@dataclass(frozen=True)
class CircuitAlone:
    """Accuracy when everything outside the circuit is replaced at once, from 0 to 1.

    Attributes:
        nodes_mean: accuracy when each node outside the circuit writes its mean over the source
            inputs.
        nodes_resample: accuracy when each node outside writes its output on the source input.
        edges_mean: accuracy when each edge outside carries its writer's mean.
        edges_resample: accuracy when each edge outside carries its writer's output on the source.
    """

    nodes_mean: float
    nodes_resample: float
    edges_mean: float
    edges_resample: float


@dataclass(frozen=True)
class Separation:
    """How clearly a circuit's edges stand out from the others, by one measure in one universe.

    Effects count by their absolute value; an effect at or below the noise floor counts as 0.

    Attributes:
        median: the median effect of the edges that are in.
        smallest: the edge with the smallest effect among those that are in.
        largest: the edge with the largest effect among those that are out; None if none is out.
        measure: the measure by which the edges are compared.
        floor: the noise floor.
    """

    median: float
    smallest: EdgeEffect
    largest: EdgeEffect | None
    measure: Measure
    floor: float

    @property
    def outside_share(self) -> float:
        """The largest effect of an edge that is out, divided by the median of those that are in.

        0 if no edge that is out has an effect; otherwise infinite if the median is 0.
        """
        if self.largest is None:
            return 0.0
        largest = _above(self.largest, self.measure, self.floor)
        if self.median == 0:
            return float("inf") if largest else 0.0
        return largest / self.median

    @property
    def clearance(self) -> float:
        """The smallest effect of an edge that is in, divided by the largest of one that is out.

        If the largest is not above the noise floor, the floor is the divisor, and the ratio is a
        lower bound. 0 if the smallest is not above the floor.
        """
        smallest = _above(self.smallest, self.measure, self.floor)
        largest = self.floor
        if self.largest is not None:
            largest = max(largest, abs(getattr(self.largest, self.measure)))
        return smallest / largest if largest else float("inf")


@dataclass(frozen=True)
class EdgeCheck(Travels):
    """The exhaustive edge sweep, compared with the truth.

    Attributes:
        n: number of pairs of inputs.
        noise_floor: the largest effect that rounding alone can cause, in logits (or in the unit
            of a regression's output); effects up to it are not distinguished.
        auc: ROC-AUC of the effects against the truth, without constant edges, by measure, then by
            universe; None if no edge is in, if none is out, or if an edge of the circuit has an
            effect no larger than noise, which leaves nothing to rank.
        edges: the effects of every edge, for the universes `"qkv"` and `"head"`.
    """

    n: int
    noise_floor: float
    auc: Mapping[str, Mapping[str, float | None]] = field(hash=False)
    edges: Mapping[str, tuple[EdgeEffect, ...]] = field(hash=False)

    def separation(self, universe: str, measure: Measure) -> Separation | None:
        """How clearly the circuit stands out from the rest; None if no edge is in."""
        of = partial(_above, measure=measure, floor=self.noise_floor)
        inside = [edge for edge in self.edges[universe] if edge.truth == "in"]
        outside = [edge for edge in self.edges[universe] if edge.truth == "out"]
        if not inside:
            return None
        return Separation(
            median=median(map(of, inside)),
            smallest=min(inside, key=of),
            largest=max(outside, key=of, default=None),
            measure=measure,
            floor=self.noise_floor,
        )

    def unexpected(self, universe: str, measure: Measure, share: float) -> tuple[EdgeEffect, ...]:
        """The edges that are out but have more than `share` of the median effect of those in.

        They are sorted from the largest effect; the model uses them although the truth lacks them.
        """
        found = self.separation(universe, measure)
        limit = 0.0 if found is None else share * found.median
        edges = [edge for edge in self.edges[universe] if edge.truth == "out"]
        of = partial(_above, measure=measure, floor=self.noise_floor)
        return tuple(sorted((edge for edge in edges if of(edge) > limit), key=of, reverse=True))

    def silent(self, universe: str, measure: Measure, share: float) -> tuple[EdgeEffect, ...]:
        """The edges that are in but have at most `share` of the median effect of those in.

        They are sorted from the smallest effect; the model does not use them as the truth says.
        """
        found = self.separation(universe, measure)
        if found is None:
            return ()
        edges = [edge for edge in self.edges[universe] if edge.truth == "in"]
        of = partial(_above, measure=measure, floor=self.noise_floor)
        limit = share * found.median
        return tuple(sorted((edge for edge in edges if of(edge) <= limit), key=of))

    def constant(self, universe: str) -> tuple[EdgeEffect, ...]:
        """The edges for a variable that is the same in both inputs of every pair."""
        return tuple(edge for edge in self.edges[universe] if edge.truth == "constant")


CertificatePart = NodeEffect | EdgeEffect | CircuitAlone | EdgeCheck


def to_plain(value: object) -> object:
    """Convert nested dataclasses, mappings, tuples and JSON values to plain JSON values."""
    if is_dataclass(value):
        return {each.name: to_plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, tuple) else value


def read_node_effect(value: object, name: str) -> NodeEffect:
    """Read a node's effect.

    Raises:
        ValueError: if the value is not a node's effect.
    """
    found = read_fields(value, name, _names(NodeEffect))
    return NodeEffect(**_numbers(found, name, found))


def read_edge_effect(value: object, name: str) -> EdgeEffect:
    """Read an edge's effect.

    Raises:
        ValueError: if the value is not an edge's effect.
    """
    found = read_fields(value, name, _names(EdgeEffect))
    return EdgeEffect(
        src=read_text(found["src"], f"{name}.src"),
        dst=read_text(found["dst"], f"{name}.dst"),
        truth=read_choice(found["truth"], f"{name}.truth", get_args(TruthValue)),
        **_numbers(found, name, _names(NodeEffect)),
    )


def read_circuit_alone(value: object, name: str) -> CircuitAlone:
    """Read the accuracies of the circuit alone.

    Raises:
        ValueError: if the value does not contain them.
    """
    found = read_fields(value, name, _names(CircuitAlone))
    return CircuitAlone(**{key: read_share(found[key], f"{name}.{key}") for key in found})


def read_edge_check(value: object, name: str) -> EdgeCheck:
    """Read the result of an edge sweep.

    Raises:
        ValueError: if the value is not the result of an edge sweep.
    """
    found = read_fields(value, name, _names(EdgeCheck))
    return EdgeCheck(
        n=read_count(found["n"], f"{name}.n"),
        noise_floor=read_number(found["noise_floor"], f"{name}.noise_floor"),
        auc=mapping_of(mapping_of(optional(read_share)))(found["auc"], f"{name}.auc"),
        edges=mapping_of(tuple_of(read_edge_effect))(found["edges"], f"{name}.edges"),
    )


def _above(edge: EdgeEffect, measure: Measure, floor: float) -> float:
    """The absolute value of an edge's effect, or 0 if it is no larger than noise."""
    effect = abs(getattr(edge, measure))
    return effect if effect > floor else 0.0


def _numbers(found: Mapping[str, object], name: str, keys: Iterable[str]) -> dict[str, float]:
    return {key: read_number(found[key], f"{name}.{key}") for key in keys}


def _names(part: type[CertificatePart]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(part))
