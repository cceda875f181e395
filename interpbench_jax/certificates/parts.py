"""The parts of a certificate, and how they are read from JSON."""

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
    """What resampling one node, alone, does to the model's output.

    Attributes:
        effect: mean of `Certificate.metric` over pairs and scored positions; 0 where nothing
            changes. A distance, but for `"logit_diff"`, which is negative where the patched run
            prefers the answer more than the clean run does.
        centred: the same as Euclidean distance between centred logits; for a regression, between
            outputs.
        accuracy_drop: the share of right outputs less that of the patched runs; positive where
            resampling hurts.
    """

    effect: float
    centred: float
    accuracy_drop: float


@dataclass(frozen=True)
class EdgeEffect:
    """What resampling one edge, alone, does to the model's output.

    Attributes:
        src: name of the writer.
        dst: name of the reader.
        truth: whether the program uses the edge (`"in"`), does not (`"out"`), or uses it for what
            is the same in both inputs of every pair (`"constant"`).
        effect: as of a node.
        centred: as of a node.
        accuracy_drop: as of a node.
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
    """Accuracy where everything off the circuit is replaced at once, from 0 to 1.

    Attributes:
        nodes_mean: every node outside the circuit writes its mean over the source inputs.
        nodes_resample: every node outside the circuit writes what it does on the source input.
        edges_mean: every edge outside the circuit carries its writer's mean.
        edges_resample: every edge outside the circuit carries what its writer wrote on the source.
    """

    nodes_mean: float
    nodes_resample: float
    edges_mean: float
    edges_resample: float


@dataclass(frozen=True)
class Separation:
    """How far the edges of a circuit stand from the others, by one measure in one universe.

    The size of an effect counts, whatever its sign; at or below the noise floor it counts as 0.

    Attributes:
        median: of the effects of the edges that are in.
        smallest: the edge that is in and has the smallest effect.
        largest: the edge that is out and has the largest; None where none is out.
        measure: by what they are compared.
        floor: of the noise.
    """

    median: float
    smallest: EdgeEffect
    largest: EdgeEffect | None
    measure: Measure
    floor: float

    @property
    def outside_share(self) -> float:
        """The largest effect of an edge that is out, by the median of those that are in.

        0 where none is out; infinite where half of the circuit has no effect.
        """
        if self.largest is None:
            return 0.0
        largest = _above(self.largest, self.measure, self.floor)
        if self.median == 0:
            return float("inf") if largest else 0.0
        return largest / self.median

    @property
    def clearance(self) -> float:
        """The smallest effect of an edge that is in, by the largest of one that is out.

        Where the latter is noise, by the noise floor: it is at least so much. 0 where the former
        is noise.
        """
        smallest = _above(self.smallest, self.measure, self.floor)
        largest = self.floor
        if self.largest is not None:
            largest = max(largest, abs(getattr(self.largest, self.measure)))
        return smallest / largest if largest else float("inf")


@dataclass(frozen=True)
class EdgeCheck(Travels):
    """The exhaustive edge sweep beside the truth.

    Attributes:
        n: pairs of inputs.
        noise_floor: what rounding alone can make of an effect, in logits (or in the unit of a
            regression's output); smaller effects are not told apart.
        auc: ROC-AUC of the effects against the truth, constant edges left out, by measure, then
            by universe; None where one side of the truth is empty, or an edge of the circuit is
            no larger than noise, so that there is nothing to order.
        edges: every edge of the universes `"qkv"` and `"head"`.
    """

    n: int
    noise_floor: float
    auc: Mapping[str, Mapping[str, float | None]] = field(hash=False)
    edges: Mapping[str, tuple[EdgeEffect, ...]] = field(hash=False)

    def separation(self, universe: str, measure: Measure) -> Separation | None:
        """How far circuit and rest are apart; None where no edge is in."""
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
        """The edges that are out and have more than a share of the median effect of those in.

        The largest effect first: the model uses what the truth does not know of.
        """
        found = self.separation(universe, measure)
        limit = 0.0 if found is None else share * found.median
        edges = [edge for edge in self.edges[universe] if edge.truth == "out"]
        of = partial(_above, measure=measure, floor=self.noise_floor)
        return tuple(sorted((edge for edge in edges if of(edge) > limit), key=of, reverse=True))

    def silent(self, universe: str, measure: Measure, share: float) -> tuple[EdgeEffect, ...]:
        """The edges that are in and have at most a share of the median effect of those in.

        The smallest effect first: the model does not use what the truth says that it does.
        """
        found = self.separation(universe, measure)
        if found is None:
            return ()
        edges = [edge for edge in self.edges[universe] if edge.truth == "in"]
        of = partial(_above, measure=measure, floor=self.noise_floor)
        limit = share * found.median
        return tuple(sorted((edge for edge in edges if of(edge) <= limit), key=of))

    def constant(self, universe: str) -> tuple[EdgeEffect, ...]:
        """The edges that carry what is the same in both inputs of every pair."""
        return tuple(edge for edge in self.edges[universe] if edge.truth == "constant")


CertificatePart = NodeEffect | EdgeEffect | CircuitAlone | EdgeCheck


def to_plain(value: object) -> object:
    """A value of dataclasses, mappings, tuples and JSON values as plain JSON values."""
    if is_dataclass(value):
        return {each.name: to_plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, tuple) else value


def read_node_effect(value: object, name: str) -> NodeEffect:
    """Read a node's effect.

    Raises:
        ValueError: if it is something else.
    """
    found = read_fields(value, name, _names(NodeEffect))
    return NodeEffect(**_numbers(found, name, found))


def read_edge_effect(value: object, name: str) -> EdgeEffect:
    """Read an edge's effect.

    Raises:
        ValueError: if it is something else.
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
        ValueError: if it is something else.
    """
    found = read_fields(value, name, _names(CircuitAlone))
    return CircuitAlone(**{key: read_share(found[key], f"{name}.{key}") for key in found})


def read_edge_check(value: object, name: str) -> EdgeCheck:
    """Read what the edge sweep found.

    Raises:
        ValueError: if it is something else.
    """
    found = read_fields(value, name, _names(EdgeCheck))
    return EdgeCheck(
        n=read_count(found["n"], f"{name}.n"),
        noise_floor=read_number(found["noise_floor"], f"{name}.noise_floor"),
        auc=mapping_of(mapping_of(optional(read_share)))(found["auc"], f"{name}.auc"),
        edges=mapping_of(tuple_of(read_edge_effect))(found["edges"], f"{name}.edges"),
    )


def _above(edge: EdgeEffect, measure: Measure, floor: float) -> float:
    """The size of an edge's effect, or 0 where it is no larger than noise."""
    effect = abs(getattr(edge, measure))
    return effect if effect > floor else 0.0


def _numbers(found: Mapping[str, object], name: str, keys: Iterable[str]) -> dict[str, float]:
    return {key: read_number(found[key], f"{name}.{key}") for key in keys}


def _names(part: type[CertificatePart]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(part))
