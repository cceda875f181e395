"""The certificate of a trained model, and its file."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from interpbench_jax.bands import Band, check_band
from interpbench_jax.bars import BARS, Bars
from interpbench_jax.certificates.parts import (
    CircuitAlone,
    EdgeCheck,
    NodeEffect,
    read_circuit_alone,
    read_edge_check,
    read_node_effect,
    to_plain,
)
from interpbench_jax.certificates.verdict import find_failures
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
from interpbench_jax.names import METRIC_NAMES
from interpbench_jax.storage import make_folder, write_file
from interpbench_jax.storage import read_text as read_file
from interpbench_jax.texts import count, shown
from interpbench_jax.travel import Travels

CERTIFICATE_FILE = "certificate.json"
_FORMAT = "interpbench-certificate"


@dataclass(frozen=True, repr=False)
class Certificate(Travels):
    """Measurements of a model on held-out inputs.

    Shares are of outputs at scored positions (neither BOS nor padding), from 0 to 1.

    Attributes:
        case_id: the case's id.
        weights_sha256: digest of the weights, which is that of `model.safetensors`.
        n: number of pairs of a base and a source input, drawn from the test split.
        seed: random seed for drawing the pairs.
        distinct_inputs: number of distinct bases among the pairs.
        split_inputs: number of inputs in the test split; None if the task has too many to list.
        atol: tolerance: a regression output this close to its target counts as right; None for
            classes.
        leak: the band of the task (`Task.leak`) within which every edge outside the circuit is to
            change the output; None if it is to change nothing.
        accuracy: share of right outputs.
        sequence_accuracy: share of inputs whose outputs are all right.
        iia: interchange intervention accuracy, by variable (see `alignment`).
        joint_iia: the same with several variables interchanged at once, by set of variables
            (`training.evaluation.joint_sets`).
        edge_accuracy: share of outputs that equal the program's when one edge of the circuit alone
            carries what its writer wrote on the source, in the model and in the program, by edge.
            Outputs that the program leaves open, as a mixture of several classes, do not count.
        strict_accuracy: share of outputs that are right although a node outside the circuit
            carries the source's value, by node.
        alignment: the model's nodes that implement each variable, or each group of variables that
            one component of the program computes together.
        metric: the metric of each `effect`, which is the case's own: `"kl"`, in nats; `"l2"`, in
            the unit of a regression's output; `"logit_diff"`, in logits.
        nodes: the effect of resampling each head and each MLP.
        circuit_alone: accuracy when everything outside the circuit is replaced.
        edges: the effect of every edge and its truth.
        versions: versions of Python and of the libraries used for the measurements.
    """

    case_id: str
    weights_sha256: str
    n: int
    seed: int
    distinct_inputs: int
    split_inputs: int | None
    atol: float | None
    leak: Band | None
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
        """The lowest IIA of any variable; 1 if the program has none."""
        return min(self.iia.values(), default=1.0)

    @property
    def lowest_joint(self) -> float:
        """The lowest joint IIA of any set of variables; 1 if the program has fewer than two."""
        return min(self.joint_iia.values(), default=1.0)

    @property
    def lowest_edge(self) -> float:
        """The lowest `edge_accuracy` of any edge of the circuit; 1 if it has none."""
        return min(self.edge_accuracy.values(), default=1.0)

    @property
    def lowest_strict(self) -> float:
        """The lowest strict accuracy of any node outside the circuit; 1 if there are none."""
        return min(self.strict_accuracy.values(), default=1.0)

    @property
    def lowest(self) -> float:
        """The lowest of all accuracies except those of sequences and of `circuit_alone.nodes_*`."""
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
        verdict = count(len(failures), "failure") if failures else "passes"
        return (
            f"Certificate(case {self.case_id!r}, {self.n:,} pairs: accuracy {self.accuracy:.4f}, "
            f"lowest under interchange {self.lowest_iia:.4f}, {verdict})"
        )

    def _repr_html_(self) -> str:
        alone, failures = self.circuit_alone, self.failures()
        rows = [
            ("accuracy", self.accuracy),
            ("lowest with one variable interchanged", self.lowest_iia),
            ("lowest with several variables interchanged", self.lowest_joint),
            ("lowest with one edge of the circuit interchanged", self.lowest_edge),
            ("lowest with one node outside the circuit resampled", self.lowest_strict),
            ("all edges outside the circuit resampled", alone.edges_resample),
            ("all edges outside the circuit at their means", alone.edges_mean),
            *(("fails", failure) for failure in failures),
        ]
        title = f"Certificate of case {self.case_id}: {'fails' if failures else 'passes'}"
        return html_table(title, ("on held-out inputs", ""), rows)

    def failures(self, bars: Bars = BARS) -> tuple[str, ...]:
        """The reasons why the model does not have its claimed circuit; empty if it has it."""
        # A leak lets everything outside change the output together.
        whole = {} if self.leak is not None else self._shares_with_all_cut
        return find_failures(self._shares | whole, self.edges, bars, self.leak)

    @property
    def _shares(self) -> dict[str, float]:
        """Every accuracy that has to be high, by its description."""
        of_edges = {
            f"Accuracy with the edge {name} interchanged": share
            for name, share in self.edge_accuracy.items()
        }
        of_nodes = {
            f"Strict accuracy with {name} resampled": share
            for name, share in self.strict_accuracy.items()
        }
        return {
            "Accuracy": self.accuracy,
            **{f"IIA of {name}": share for name, share in self.iia.items()},
            **{f"Joint IIA of {name}": share for name, share in self.joint_iia.items()},
            **of_edges,
            **of_nodes,
        }

    @property
    def _shares_with_all_cut(self) -> dict[str, float]:
        """Every accuracy without all edges outside that has to be high, by its description."""
        alone = self.circuit_alone
        return {
            "Accuracy with all edges outside the circuit resampled at once": alone.edges_resample,
            "Accuracy with all edges outside the circuit at their mean at once": alone.edges_mean,
        }

    @property
    def largest_outside(self) -> NodeEffect | None:
        """The largest value of each effect over nodes outside; None if there is none."""
        inside = self._nodes_inside
        return _extreme(max, [node for name, node in self.nodes.items() if name not in inside])

    @property
    def smallest_inside(self) -> NodeEffect | None:
        """The smallest value of each effect over aligned nodes; None if there is none."""
        inside = self._nodes_inside
        return _extreme(min, [node for name, node in self.nodes.items() if name in inside])

    @property
    def _nodes_inside(self) -> frozenset[str]:
        return frozenset(name for names in self.alignment.values() for name in names)

    def to_json(self) -> str:
        """The certificate as JSON text; `from_json` reads it back unchanged.

        Raises:
            ValueError: if a number is NaN or infinite.
        """
        measured = {each.name: to_plain(getattr(self, each.name)) for each in fields(self)}
        described = {"format": _FORMAT, "version": 1, **measured}
        return json.dumps(described, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Certificate":
        """Read a certificate that `to_json` wrote.

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
        """Write `certificate.json` into a folder, completely or not at all.

        Returns:
            The file's path.

        Raises:
            OSError: if the folder cannot be created or written.
            ValueError: if a number is NaN or infinite.
        """
        path = Path(directory) / CERTIFICATE_FILE
        make_folder(path.parent)
        write_file(path, self.to_json())
        return path


def read_certificate(directory: Path | str) -> Certificate:
    """Read the certificate that is stored beside a model's weights.

    Raises:
        FileNotFoundError: if the folder has none.
        ValueError: if the file is not a certificate; the message names the file.
    """
    path = Path(directory) / CERTIFICATE_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a certificate at {path}, found none; create one with `certify`, or with "
            "`interpbench certify FOLDER` on the command line."
        )
    try:
        return Certificate.from_json(read_file(path, 2**26))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _extreme(choose: Callable[..., float], effects: list[NodeEffect]) -> NodeEffect | None:
    """For each measure, the effect whose absolute value is the largest or the smallest."""
    if not effects:
        return None
    return NodeEffect(
        *(
            choose([getattr(node, each.name) for node in effects], key=abs)
            for each in fields(NodeEffect)
        )
    )


def _check_names(certificate: Certificate) -> None:
    """Reject a certificate whose fields do not name the same variables and nodes."""
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
                f"Expected {name} to have the same names as {other}, {shown(sorted(expected))}, "
                f"got {shown(sorted(found))}."
            )


def _read_band(value: object, name: str) -> Band:
    band = tuple_of(read_number)(value, name)
    check_band(name, band)
    return band[0], band[1]


_READERS: Mapping[str, Callable[[object, str], Any]] = {
    "case_id": read_text,
    "weights_sha256": read_digest,
    "n": read_count,
    "seed": read_count,
    "distinct_inputs": read_count,
    "split_inputs": optional(read_count),
    "atol": optional(read_number),
    "leak": optional(_read_band),
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
