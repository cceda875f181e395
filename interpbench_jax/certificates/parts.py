"""The parts of a certificate, and how they are read from JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass

from interpbench_jax.certificates.fields import (
    mapping_of,
    optional,
    read_count,
    read_fields,
    read_number,
    read_share,
    read_text,
    tuple_of,
)


@dataclass(frozen=True)
class NodeEffect:
    """What resampling one node, alone, does to the model's output.

    Attributes:
        effect: mean distance from the clean output over pairs and scored positions, in the unit
            of `Certificate.metric`; 0 where nothing changes.
        accuracy_drop: the share of right outputs less that of the patched runs; positive where
            resampling hurts.
    """

    effect: float
    accuracy_drop: float


@dataclass(frozen=True)
class EdgeEffect:
    """What resampling one edge of the `head` universe, alone, does to the model's output.

    Attributes:
        src: name of the writer.
        dst: name of the reader.
        effect: as of a node.
        accuracy_drop: as of a node.
    """

    src: str
    dst: str
    effect: float
    accuracy_drop: float


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
class EdgeCheck:
    """The exhaustive edge sweep beside the truth.

    Attributes:
        n: pairs of inputs.
        auc: ROC-AUC of the effects, by truth (`"circuit"`, InterpBench's list, and
            `"complete_circuit"`, every edge that the program uses), then by universe; None where
            one side of a truth is empty.
        threshold: an edge matters if its effect is above this, 1 % of the median effect of the
            complete circuit's edges, or its accuracy drop above 1 % (see `edges.check_edges`).
        silent: the edges of the complete circuit in the `head` universe that do not matter, the
            smallest effect first: the model does not use what the truth says that it does.
        unexpected: the edges outside the complete circuit that matter, the largest effect first:
            the model uses what the truth does not know of.
    """

    n: int
    auc: Mapping[str, Mapping[str, float | None]] = field(hash=False)
    threshold: float
    silent: tuple[EdgeEffect, ...]
    unexpected: tuple[EdgeEffect, ...]


Part = NodeEffect | EdgeEffect | CircuitAlone | EdgeCheck


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
    return NodeEffect(**{key: read_number(found[key], f"{name}.{key}") for key in found})


def read_edge_effect(value: object, name: str) -> EdgeEffect:
    """Read an edge's effect.

    Raises:
        ValueError: if it is something else.
    """
    found = read_fields(value, name, _names(EdgeEffect))
    return EdgeEffect(
        src=read_text(found["src"], f"{name}.src"),
        dst=read_text(found["dst"], f"{name}.dst"),
        effect=read_number(found["effect"], f"{name}.effect"),
        accuracy_drop=read_number(found["accuracy_drop"], f"{name}.accuracy_drop"),
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
    read_edges = tuple_of(read_edge_effect)
    return EdgeCheck(
        n=read_count(found["n"], f"{name}.n"),
        auc=mapping_of(mapping_of(optional(read_share)))(found["auc"], f"{name}.auc"),
        threshold=read_number(found["threshold"], f"{name}.threshold"),
        silent=read_edges(found["silent"], f"{name}.silent"),
        unexpected=read_edges(found["unexpected"], f"{name}.unexpected"),
    )


def _names(part: type[Part]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(part))
