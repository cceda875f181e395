"""The certificate of a trained model, and its file."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from interpbench_jax.certificates.parts import (
    CircuitAlone,
    EdgeCheck,
    NodeEffect,
    read_circuit_alone,
    read_edge_check,
    read_node_effect,
    to_plain,
)
from interpbench_jax.certificates.verdict import BARS, Bars, find_failures
from interpbench_jax.display import html_table
from interpbench_jax.jsonfields import (
    mapping_of,
    optional,
    read_choice,
    read_count,
    read_digest,
    read_fields,
    read_number,
    read_share,
    read_text,
    tuple_of,
)
from interpbench_jax.jsontext import check_format, parse_json_object
from interpbench_jax.metrics import METRIC_NAMES
from interpbench_jax.storage import make_folder, write_file
from interpbench_jax.storage import read_text as read_file
from interpbench_jax.texts import shown
from interpbench_jax.travel import Travels

CERTIFICATE_FILE = "certificate.json"
_FORMAT = "interpbench-certificate"


@dataclass(frozen=True, repr=False)
class Certificate(Travels):
    """What was measured of a model on held-out inputs.

    Shares are of outputs at scored positions (neither BOS nor padding), from 0 to 1.

    Attributes:
        case_id: the case.
        weights_sha256: digest of the weights, that of `model.safetensors`.
        n: pairs of a base and a source input, drawn from the test split.
        seed: of the draw.
        distinct_inputs: how many different bases there are among them.
        split_inputs: how many inputs the test split holds; None where the task has too many to
            list.
        atol: a regression output this close to its target counts as right; None for classes.
        accuracy: share of right outputs.
        sequence_accuracy: share of inputs all of whose outputs are right.
        iia: interchange intervention accuracy, by variable (see `alignment`).
        joint_iia: the same with several variables interchanged at once, by set of variables
            (`training.evaluation.joint_sets`).
        edge_accuracy: share of outputs that are the program's where one edge of the circuit alone
            carries what its writer wrote on the source, in the model and in the program, by edge.
            What the program leaves open, a mixture of several classes, does not count.
        strict_accuracy: share of outputs that are right although a node outside the circuit
            carries the source's value, by node.
        alignment: by variable, or variables that one component of the program computes together,
            the model's nodes that stand for it.
        metric: of all effects, the case's own: `"kl"`, in nats; `"l2"`, in the unit of a
            regression's output; `"logit_diff"`, in logits.
        nodes: the effect of resampling each head and each MLP.
        circuit_alone: accuracy without all else.
        edges: the effect of every edge, and what the truth says of it.
        versions: of Python and of the libraries that measured.
    """

    case_id: str
    weights_sha256: str
    n: int
    seed: int
    distinct_inputs: int
    split_inputs: int | None
    atol: float | None
    accuracy: float
    sequence_accuracy: float
    iia: Mapping[str, float] = field(hash=False)
    joint_iia: Mapping[str, float] = field(hash=False)
    edge_accuracy: Mapping[str, float] = field(hash=False)
    strict_accuracy: Mapping[str, float] = field(hash=False)
    alignment: Mapping[str, tuple[str, ...]] = field(hash=False)
    metric: str
    nodes: Mapping[str, NodeEffect] = field(hash=False)
    circuit_alone: CircuitAlone
    edges: EdgeCheck
    versions: Mapping[str, str] = field(hash=False)

    @property
    def lowest_iia(self) -> float:
        """The lowest over the variables; 1 where the program has none."""
        return min(self.iia.values(), default=1.0)

    @property
    def lowest_joint(self) -> float:
        """The lowest over the sets of variables; 1 where the program has no two."""
        return min(self.joint_iia.values(), default=1.0)

    @property
    def lowest_edge(self) -> float:
        """The lowest over the edges of the circuit; 1 where it has none."""
        return min(self.edge_accuracy.values(), default=1.0)

    @property
    def lowest_strict(self) -> float:
        """The lowest over the nodes outside the circuit; 1 where there are none."""
        return min(self.strict_accuracy.values(), default=1.0)

    @property
    def lowest(self) -> float:
        """The lowest of all accuracies except that of whole sequences."""
        return min(
            self.accuracy,
            self.lowest_iia,
            self.lowest_joint,
            self.lowest_edge,
            self.lowest_strict,
            self.circuit_alone.edges_mean,
            self.circuit_alone.edges_resample,
        )

    def __repr__(self) -> str:
        failures = self.failures()
        verdict = f"{len(failures)} failures" if failures else "passes"
        return (
            f"Certificate(case {self.case_id!r}, {self.n:,} pairs: accuracy {self.accuracy:.4f}, "
            f"lowest under interchange {self.lowest_iia:.4f}, {verdict})"
        )

    def _repr_html_(self) -> str:
        alone, failures = self.circuit_alone, self.failures()
        rows = [
            ("accuracy", self.accuracy),
            ("lowest, a variable interchanged", self.lowest_iia),
            ("lowest, several interchanged", self.lowest_joint),
            ("lowest, an edge of the circuit interchanged", self.lowest_edge),
            ("lowest, a node outside replaced", self.lowest_strict),
            ("all edges outside cut, resampled", alone.edges_resample),
            ("all edges outside cut, by means", alone.edges_mean),
            *(("fails", failure) for failure in failures),
        ]
        title = f"Certificate of case {self.case_id}: {'fails' if failures else 'passes'}"
        return html_table(title, ("on held-out inputs", ""), rows)

    def failures(self, bars: Bars = BARS) -> tuple[str, ...]:
        """Why the model does not have the circuit that it is said to have; empty if it has."""
        return find_failures(self, bars)

    @property
    def largest_outside(self) -> NodeEffect | None:
        """The largest of each effect of a node outside; None where there is none."""
        inside = self._nodes_inside
        return _extreme(max, [node for name, node in self.nodes.items() if name not in inside])

    @property
    def smallest_inside(self) -> NodeEffect | None:
        """The smallest of each effect of an aligned node; None for no such node."""
        inside = self._nodes_inside
        return _extreme(min, [node for name, node in self.nodes.items() if name in inside])

    @property
    def _nodes_inside(self) -> frozenset[str]:
        return frozenset(name for names in self.alignment.values() for name in names)

    def to_json(self) -> str:
        """The certificate as JSON text; `from_json` reads it back unchanged."""
        measured = {each.name: to_plain(getattr(self, each.name)) for each in fields(self)}
        described = {"format": _FORMAT, "version": 1, **measured}
        return json.dumps(described, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Certificate":
        """Read what `to_json` wrote.

        Raises:
            ValueError: if the text is not a certificate; the message names the field.
        """
        data = parse_json_object(text, "a certificate")
        check_format(data, _FORMAT)
        names = [each.name for each in fields(cls)]
        read_fields(data, "a certificate", ("format", "version", *names))
        certificate = cls(**{name: _READERS[name](data[name], name) for name in names})
        _check_names(certificate)
        return certificate

    def save(self, directory: Path | str) -> Path:
        """Write `certificate.json` into a folder, whole or not at all.

        Returns:
            The file.

        Raises:
            OSError: if the folder cannot be made or written.
        """
        path = Path(directory) / CERTIFICATE_FILE
        make_folder(path.parent)
        write_file(path, self.to_json())
        return path


def read_certificate(directory: Path | str) -> Certificate:
    """Read the certificate that lies beside a model's weights.

    Raises:
        FileNotFoundError: if the folder has none.
        ValueError: if the file is no certificate; the message names it.
    """
    path = Path(directory) / CERTIFICATE_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a certificate at {path}, found none; `certify` makes one, and "
            "`interpbench certify FOLDER` on the command line."
        )
    try:
        return Certificate.from_json(read_file(path, 2**26))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _extreme(choose: Callable[..., float], effects: list[NodeEffect]) -> NodeEffect | None:
    """Of each measure the effect that is largest, or smallest, whatever its sign."""
    if not effects:
        return None
    return NodeEffect(
        *(
            choose([getattr(node, each.name) for node in effects], key=abs)
            for each in fields(NodeEffect)
        )
    )


def _check_names(certificate: Certificate) -> None:
    """Refuse fields that do not speak of the same variables and nodes."""
    pairs = (
        ("alignment", set(certificate.alignment), "iia", set(certificate.iia)),
        (
            "nodes",
            set(certificate.nodes),
            "alignment and strict_accuracy",
            certificate._nodes_inside | set(certificate.strict_accuracy),
        ),
    )
    for name, found, other, expected in pairs:
        if found != expected:
            raise ValueError(
                f"Expected {name} to have the names of {other}, {shown(sorted(expected))}, "
                f"got {shown(sorted(found))}."
            )


_READERS: Mapping[str, Callable[[object, str], Any]] = {
    "case_id": read_text,
    "weights_sha256": read_digest,
    "n": read_count,
    "seed": read_count,
    "distinct_inputs": read_count,
    "split_inputs": optional(read_count),
    "atol": optional(read_number),
    "accuracy": read_share,
    "sequence_accuracy": read_share,
    "iia": mapping_of(read_share),
    "joint_iia": mapping_of(read_share),
    "edge_accuracy": mapping_of(read_share),
    "strict_accuracy": mapping_of(read_share),
    "alignment": mapping_of(tuple_of(read_text)),
    "metric": lambda value, name: read_choice(value, name, METRIC_NAMES),
    "nodes": mapping_of(read_node_effect),
    "circuit_alone": read_circuit_alone,
    "edges": read_edge_check,
    "versions": mapping_of(read_text),
}
