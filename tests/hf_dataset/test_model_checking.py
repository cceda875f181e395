"""Checking which published models do not fit their task or are not certified."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from interpbench_dataset.model_checking import check_models
from interpbench_dataset.problems import Problem
from interpbench_jax.case import Case
from interpbench_jax.cases import CASES, RELEASES
from interpbench_jax.circuit import Circuit
from tests.fixtures import random_weights
from tests.tiny_models import CERTIFICATE, certify, make_model, write_model

CHOICE = ("3", "20")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for case_id in CHOICE:
        write_model(tmp_path / "models", case_id)
    return tmp_path


def problems(
    folder: Path, case_ids: Sequence[str] = CHOICE, *, all_models: bool = False
) -> list[Problem]:
    return list(check_models(folder, [CASES[case_id] for case_id in case_ids], all_models))


@pytest.mark.slow
def test_every_declared_task_can_have_a_model(tmp_path: Path) -> None:
    for case_id in RELEASES["1.0.0"]:
        write_model(tmp_path / "models", case_id)
    assert problems(tmp_path, RELEASES["1.0.0"], all_models=True) == []


def test_cases_without_a_model(folder: Path) -> None:
    (folder / "models" / "13").mkdir()
    (problem,) = problems(folder, ("3", "11", "13", "20"))
    assert (problem.path, problem.kind, problem.is_error) == ("models", "absent", False)
    assert "No model of the cases 11, 13, which load_case finds only on the Hub" in problem.message
    found = problems(folder, ("3", "11"), all_models=True)
    assert [problem.path for problem in found] == [
        f"models/11/{name}"
        for name in ("model.safetensors", "config.json", "circuit.json", CERTIFICATE)
    ]
    assert {problem.kind for problem in found} == {"missing"}
    (problem,) = problems(folder.parent, ("11",))
    assert "No model of case 11," in problem.message


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "circuit.json", "certificate.json"]
)
def test_a_model_without_one_file(folder: Path, name: str) -> None:
    (folder / "models" / "20" / name).unlink()
    (problem,) = problems(folder)
    assert (problem.path, problem.kind) == (f"models/20/{name}", "missing")
    assert problem.is_error and "Expected this file of a model" in problem.message


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "circuit.json"])
def test_files_that_cannot_be_read(folder: Path, name: str) -> None:
    path = folder / "models" / "20" / name
    path.write_bytes(path.read_bytes()[:-20])
    certify(path.parent)
    (problem,) = problems(folder)
    assert (problem.path, problem.kind) == ("models/20", "unreadable")
    assert str(path) in problem.message and "train the model again" in problem.message


def _other_shape(case: Case) -> Case:
    config = dataclasses.replace(case.config, d_mlp=3, act_fn="relu")
    return dataclasses.replace(case, config=config, weights=random_weights(config))


def _swapped_tokens(case: Case) -> Case:
    assert case.vocab is not None
    return dataclasses.replace(case, vocab=(case.vocab[1], case.vocab[0], *case.vocab[2:]))


def _one_edge_less(case: Case) -> Case:
    assert case.circuit is not None
    circuit = Circuit(2, 4, case.circuit.edges[1:])
    return dataclasses.replace(case, circuit=circuit)


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (
            _other_shape,
            [
                r"Expected d_mlp to be \d+ as the task declares, got 3; train",
                "Expected act_fn to be 'gelu' as the task declares, got 'relu'",
            ],
        ),
        (_swapped_tokens, [r"Expected the task's tokens \(.*\), got \("]),
        (lambda case: dataclasses.replace(case, vocab=None), ["Expected the task's tokens.*None"]),
        (
            _one_edge_less,
            [r"the task's complete circuit; missing edges: \['[^,]*'\], left over: \[\]"],
        ),
        (
            lambda case: dataclasses.replace(case, case_id="33"),
            ["Expected a model of case '20', got one of case '33'"],
        ),
    ],
)
def test_models_of_another_task(
    folder: Path, change: Callable[[Case], Case], messages: list[str]
) -> None:
    certify(change(make_model("20")).save(folder / "models" / "20"))
    found = problems(folder)
    assert [(problem.path, problem.kind) for problem in found] == [
        ("models/20", "model") for _ in messages
    ]
    for problem, message in zip(found, messages, strict=True):
        with pytest.raises(ValueError, match=message):
            raise ValueError(problem.message)


def test_the_order_of_edges_is_free(folder: Path) -> None:
    case = make_model("3")
    assert case.circuit is not None
    circuit = Circuit(2, 4, case.circuit.edges[::-1], case.circuit.constant[::-1])
    dataclasses.replace(case, circuit=circuit).save(folder / "models" / "3")
    assert problems(folder) == []


def test_weights_that_were_changed_after_they_were_certified(folder: Path) -> None:
    make_model("3", seed=1).save(folder / "models" / "3")
    (problem,) = problems(folder)
    assert (problem.path, problem.kind) == (f"models/3/{CERTIFICATE}", "certificate")
    digest = hashlib.sha256((folder / "models/3/model.safetensors").read_bytes()).hexdigest()
    assert f"to be that of model.safetensors, {digest}, got " in problem.message
    assert "certify these weights again" in problem.message


def test_certificates_that_cannot_be_read(folder: Path) -> None:
    (folder / "models" / "3" / CERTIFICATE).write_text(json.dumps({"format": "other"}))
    (folder / "models" / "20" / CERTIFICATE).write_bytes(np.arange(200, dtype=np.uint8).tobytes())
    found = problems(folder)
    assert [(problem.path, problem.kind) for problem in found] == [
        (f"models/3/{CERTIFICATE}", "certificate"),
        (f"models/20/{CERTIFICATE}", "certificate"),
    ]
