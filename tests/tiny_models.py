"""Models in their published form, with random weights and made-up certificates."""

import hashlib
import json
from pathlib import Path

from interpbench_jax.case import WEIGHTS_FILE, Case
from interpbench_jax.cases import find_task
from tests.fixtures import random_weights

CERTIFICATE = "certificate.json"


def make_model(case_id: str, seed: int = 0) -> Case:
    """Return a case with a declared task and a model with random weights."""
    task = find_task(case_id)
    return Case(
        case_id=case_id,
        config=task.config,
        weights=random_weights(task.config, seed=seed),
        circuit=task.complete_circuit,
        vocab=tuple(sorted(task.token_ids, key=task.token_ids.__getitem__)),
        task_description=task.description,
        provenance={"source": "random"},
    )


def write_model(models: Path, case_id: str, seed: int = 0, **changes: object) -> Path:
    """Write a model and a certificate of its weights, with some values changed, into a folder."""
    folder = make_model(case_id, seed).save(models / case_id)
    certify(folder, **changes)
    return folder


def certify(folder: Path, **changes: object) -> None:
    """Write a certificate of the weights in a folder; a key whose value is None is left out."""
    certificate = {
        "format": "interpbench-certificate",
        "version": 1,
        "weights_sha256": hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest(),
        "accuracy": 0.99996,
        "iia": {"first": 1.0, "second": 0.9987},
        "strict_accuracy": {"blocks.0.attn.hook_result[0]": 0.9951},
        "measured_on": "something that nothing here reads",
    } | changes
    kept = {key: value for key, value in certificate.items() if value is not None}
    (folder / CERTIFICATE).write_text(json.dumps(kept), encoding="utf-8")
