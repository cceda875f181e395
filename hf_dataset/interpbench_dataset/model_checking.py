"""Compares the published models with the tasks that they should have learned."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from interpbench_dataset.models import CERTIFICATE_FILE, MODEL_FILES, model_path, read_certificate
from interpbench_dataset.packaged import MODELS_FOLDER, UNTRAINED
from interpbench_dataset.problems import Problem
from interpbench_jax.case import WEIGHTS_FILE, Case, read_case
from interpbench_jax.cases import Task
from interpbench_jax.storage import digest_file

_TRAIN = "train the model again, or restore its files"
_CERTIFY = "certify these weights again, or restore those that the certificate is for"


def check_models(directory: Path, tasks: Sequence[Task], all_models: bool) -> Iterator[Problem]:
    """Yield what is wrong with the models of some cases in a published folder.

    A model is complete if its folder has all of `MODEL_FILES`. It fits if `read_case` reads it,
    it has the task's id, config, vocabulary and circuit, and the certificate is for its weights.
    Other files are not checked.

    Args:
        directory: the published folder.
        tasks: the tasks of the cases.
        all_models: whether a case without a model is an error unless `UNTRAINED` has it;
            otherwise there is one remark for all such cases.

    Raises:
        OSError: if a file cannot be read.
    """
    absent = []
    for task in tasks:
        missing = [
            path
            for name in MODEL_FILES
            if not (directory / (path := model_path(task.case_id, name))).is_file()
        ]
        is_excused = task.case_id in UNTRAINED or not all_models
        if len(missing) == len(MODEL_FILES) and is_excused:
            absent.append(task.case_id)
            continue
        for path in missing:
            yield Problem(path, "missing", f"Expected this file of a model, found none; {_TRAIN}.")
        if not missing:
            yield from _check_model(directory / model_path(task.case_id), task)
    if absent:
        message = (
            f"No model of {'case' if len(absent) == 1 else 'the cases'} {', '.join(absent)}, which "
            "load_case finds only on the Hub or in another folder. Nothing needs to be done."
        )
        yield Problem(MODELS_FOLDER, "absent", message)


def _check_model(folder: Path, task: Task) -> Iterator[Problem]:
    path = model_path(task.case_id)
    try:
        case = read_case(folder)
    except ValueError as error:
        yield Problem(path, "unreadable", f"{error} To fix it, {_TRAIN}.")
    else:
        for difference in _differences(case, task):
            yield Problem(path, "model", f"{difference}; {_TRAIN}.")
    yield from _check_certificate(folder, task.case_id)


def _differences(case: Case, task: Task) -> Iterator[str]:
    if case.case_id != task.case_id:
        yield f"Expected a model of case {task.case_id!r}, got one of case {case.case_id!r}"
    for field in dataclasses.fields(task.config):
        declared, found = getattr(task.config, field.name), getattr(case.config, field.name)
        if declared != found:
            yield f"Expected {field.name} to be {declared!r} as the task declares, got {found!r}"
    if case.vocab != task.tokens:
        yield f"Expected the task's tokens {task.tokens}, got {case.vocab}"
    for what in ("edges", "constant"):
        right = set(getattr(task.complete_circuit, what))
        given = set(() if case.circuit is None else getattr(case.circuit, what))
        if right != given:
            lacking, more = (sorted(map(str, edges)) for edges in (right - given, given - right))
            yield (
                f"Expected the task's complete circuit; missing {what}: {lacking}, left over: "
                f"{more}"
            )


def _check_certificate(folder: Path, case_id: str) -> Iterator[Problem]:
    path = model_path(case_id, CERTIFICATE_FILE)
    try:
        certificate = read_certificate(folder / CERTIFICATE_FILE)
    except ValueError as error:
        yield Problem(path, "certificate", f"{error} To fix it, {_CERTIFY}.")
        return
    digest = digest_file(folder / WEIGHTS_FILE)
    if certificate.weights_sha256 != digest:
        message = (
            f"Expected weights_sha256 to be that of {WEIGHTS_FILE}, {digest}, got "
            f"{certificate.weights_sha256}: the weights were changed after they were certified; "
            f"{_CERTIFY}."
        )
        yield Problem(path, "certificate", message)
