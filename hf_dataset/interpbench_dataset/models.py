"""The published models: their files, and the facts about them from their certificates."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from interpbench_dataset.facts import FileFacts
from interpbench_dataset.packaged import MODELS_FOLDER
from interpbench_jax.case import CIRCUIT_FILE, CONFIG_FILE, WEIGHTS_FILE
from interpbench_jax.jsontext import check_format, parse_json_object
from interpbench_jax.storage import read_bytes, read_text

CERTIFICATE_FILE = "certificate.json"
MODEL_FILES = (WEIGHTS_FILE, CONFIG_FILE, CIRCUIT_FILE, CERTIFICATE_FILE)

# No published file is larger.
MOST_BYTES = 2**30

_FORMAT = "interpbench-certificate"


@dataclass(frozen=True)
class CertificateFacts:
    """Measurements of a model; a certificate has more, which nothing here needs.

    Attributes:
        weights_sha256: the digest of the weights that were measured.
        accuracy: share of right outputs, from 0 to 1.
        iia: the same share when a variable of the program is interchanged, by variable.
        strict_accuracy: the same share when a node outside the circuit is replaced, by node.
    """

    weights_sha256: str
    accuracy: float
    iia: Mapping[str, float]
    strict_accuracy: Mapping[str, float]


@dataclass(frozen=True)
class ModelFacts:
    """The facts about one model that the card and Croissant state.

    Attributes:
        case_id: id of its case.
        weights: size and digest of its safetensors file.
        certificate: its measurements; None if it has no certificate that can be read.
    """

    case_id: str
    weights: FileFacts
    certificate: CertificateFacts | None


def model_path(case_id: str, name: str = "") -> str:
    """Return the path of a model's folder or of a file in it, relative to the published folder."""
    return "/".join(part for part in (MODELS_FOLDER, case_id, name) if part)


def read_models(directory: Path, case_ids: Iterable[str]) -> tuple[ModelFacts, ...]:
    """Read the facts about a published folder's models; `check` decides whether they are right.

    Args:
        directory: the published folder, which need not exist.
        case_ids: the cases, in this order; one whose folder has no weights is left out.

    Raises:
        OSError: if a file cannot be read.
    """
    found = []
    for case_id in case_ids:
        path = model_path(case_id, WEIGHTS_FILE)
        if (directory / path).is_file():
            weights = FileFacts.of(path, read_bytes(directory / path, MOST_BYTES))
            try:
                certificate = read_certificate(directory / model_path(case_id, CERTIFICATE_FILE))
            except (FileNotFoundError, ValueError):
                certificate = None
            found.append(ModelFacts(case_id, weights, certificate))
    return tuple(found)


def read_certificate(path: Path) -> CertificateFacts:
    """Read a model's certificate.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a certificate, or lacks one of these facts.
    """
    data = parse_json_object(read_text(path, MOST_BYTES), "a certificate")
    check_format(data, _FORMAT)
    digest = data.get("weights_sha256")
    if not isinstance(digest, str):
        raise ValueError(f"Expected weights_sha256 as a string of 64 digits, got {digest!r}.")
    return CertificateFacts(
        digest,
        _share(data.get("accuracy"), "accuracy"),
        _shares(data.get("iia"), "iia"),
        _shares(data.get("strict_accuracy"), "strict_accuracy"),
    )


def _shares(value: object, name: str) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError(f"Expected {name} as an object of numbers from 0 to 1, got {value!r}.")
    return {key: _share(number, f"{name} of {key}") for key, number in value.items()}


def _share(value: object, name: str) -> float:
    # A bool is an int; NaN is not within the bounds.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"Expected {name} as a number from 0 to 1, got {value!r}.")
    return float(value)


def show_share(values: Iterable[float]) -> str:
    """Format the smallest of some shares with four decimals, rounded down; a dash for none."""
    smallest = min(values, default=None)
    if smallest is None:
        return "-"
    # Near misses of the decimal: 0.9997 * 10_000 is 9996.999...
    return f"{math.floor(smallest * 10_000 + 1e-9) / 10_000:.4f}"
