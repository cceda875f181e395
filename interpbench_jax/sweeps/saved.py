"""The description of a sweep that is saved, and its result as a table."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Array, Shaped

from interpbench_jax.ablations import OptimalSettings
from interpbench_jax.engine.weights import Form
from interpbench_jax.sweeps.calls import Call
from interpbench_jax.sweeps.inputs import SweepInputs, input_blocks
from interpbench_jax.sweeps.job import SweepJob
from interpbench_jax.sweeps.plan import SweepPlan
from interpbench_jax.texts import shown

if TYPE_CHECKING:
    import pyarrow

    from interpbench_jax.sweeps.result import EditName, SweepResult

_UNITS = ("batch", "edits", "blocks")


def describe_job(
    job: SweepJob, plan: SweepPlan, calls: Sequence[Call], names: Iterable[object]
) -> dict[str, object]:
    """Everything that the sums on disk depend on, as values for JSON.

    A custom metric is described by its name; that its code has not changed is up to the caller.
    """
    question, metric = job.question, job.question.scoring.metric
    metric_name = getattr(metric, "__qualname__", type(metric).__qualname__)
    description: dict[str, object] = {
        "model": _digest(job.weights),
        "form": _describe_form(job.form),
        "inputs": _digest_inputs(question.inputs),
        "n_inputs": job.n_inputs,
        "edits": hashlib.sha256("\n".join(map(str, names)).encode()).hexdigest(),
        "n_edits": job.n_edits,
        "blocks": _digest(job.make_blocks(1).blocks),
        "ablations": list(question.ablations),
        "metric": f"{metric.__module__}.{metric_name}",
        "first_scored": question.scoring.first_scored,
        "shape_of_a_call": {unit: getattr(plan.chunks, unit) for unit in _UNITS},
        "calls_per_chunk": len(calls),
        "edits_of_calls": _digest(call.order for call in calls),
        "inputs_of_a_chunk": plan.chunk_inputs,
    }
    if "optimal" in question.ablations:
        # The constants themselves are learned later, and stored beside this.
        description["optimal"] = asdict(OptimalSettings())
    return description


def table_of(result: "SweepResult[EditName]") -> "pyarrow.Table":
    """A result as a table with one row per edit: the columns of `SweepResult.to_pandas`."""
    import pyarrow

    metadata = {
        "metric": result.metric,
        "universe": result.universe or "",
        "n_inputs": str(result.n_inputs),
        "noise_floor": repr(result.noise_floor),
    }
    return pyarrow.table(dict(result.columns())).replace_schema_metadata(metadata)


def read_saved(table: "pyarrow.Table") -> tuple[np.ndarray, float]:
    """The effects and the noise floor of such a table.

    Raises:
        ValueError: if it is another table.
    """
    if "effect" not in table.column_names:
        raise ValueError(
            f"Expected a table of effects, got the columns {shown(table.column_names)}; delete the "
            "sweep's folder, or choose another."
        )
    floor = (table.schema.metadata or {}).get(b"noise_floor", b"0")
    return table["effect"].to_numpy(), float(floor)


def _describe_form(form: Form) -> dict[str, object]:
    described = asdict(form)
    if not form.freeze_layer_norm:
        # Folders from before this option existed have the same sums.
        del described["freeze_layer_norm"]
    return described


def _digest_inputs(inputs: SweepInputs) -> str:
    """The SHA-256 of the inputs: the same whether they are in memory or a stream."""
    fields = ("clean", "corrupted", "targets")
    hashers = {
        field: hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
        for field in fields
        if (array := getattr(inputs, field)) is not None
    }
    for block in input_blocks(inputs):
        for field, hasher in hashers.items():
            rows = np.moveaxis(getattr(block, field), -2, 0)
            hasher.update(np.ascontiguousarray(rows).tobytes())
    found = "".join(hasher.hexdigest() for hasher in hashers.values())
    if inputs.constants is not None:
        found += _digest([inputs.constants])
    return hashlib.sha256(found.encode()).hexdigest()


def _digest(arrays: Iterable[Shaped[Array | np.ndarray, "..."]]) -> str:
    """The SHA-256 of some arrays, with their shapes and types."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
