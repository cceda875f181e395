"""What a sweep on disk says of itself, and its result as a table."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Array, Shaped

from interpbench_jax.engine.weights import Form
from interpbench_jax.sweeps.calls import Call
from interpbench_jax.sweeps.inputs import HostArray, StreamedArray, blocks_of
from interpbench_jax.sweeps.plan import SweepPlan
from interpbench_jax.sweeps.run import SweepJob
from interpbench_jax.texts import shown

if TYPE_CHECKING:
    import pyarrow

    from interpbench_jax.sweeps.result import EditName, SweepResult

_UNITS = ("batch", "edits", "blocks")


def describe_job(
    job: SweepJob, plan: SweepPlan, calls: Sequence[Call], names: Iterable[object]
) -> dict[str, object]:
    """All that the sums on disk depend on, as values for JSON.

    A custom metric enters by its name: that its code is the same is left to the caller.
    """
    inputs = job.inputs
    metric = job.scoring.metric
    metric_name = getattr(metric, "__qualname__", type(metric).__qualname__)
    arrays: list[HostArray] = [inputs.clean, inputs.corrupted]
    if inputs.targets is not None:
        arrays.append(inputs.targets)
    if inputs.constants is not None:
        arrays.append(inputs.constants)
    return {
        "model": _digest(job.weights),
        "form": _describe_form(job.form),
        "inputs": _digest(arrays),
        "n_inputs": job.n_inputs,
        "edits": hashlib.sha256("\n".join(map(str, names)).encode()).hexdigest(),
        "n_edits": job.n_edits,
        "blocks": _digest(job.make_blocks(1).blocks),
        "ablations": list(job.ablations),
        "metric": f"{metric.__module__}.{metric_name}",
        "first_scored": job.scoring.first_scored,
        "shape_of_a_call": {unit: getattr(plan.chunks, unit) for unit in _UNITS},
        "calls_per_chunk": len(calls),
        "edits_of_calls": _digest(call.order for call in calls),
        "inputs_of_a_chunk": plan.chunk_inputs,
    }


def table_of(result: "SweepResult[EditName]") -> "pyarrow.Table":
    """A result as a table, one row an edit: the columns of `SweepResult.to_pandas`."""
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
        # Folders from before there was a choice hold the same sums.
        del described["freeze_layer_norm"]
    return described


def _digest(arrays: Iterable[Shaped[Array | np.ndarray, "..."] | StreamedArray]) -> str:
    """The SHA-256 of some arrays, with their shapes and types."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        for block in blocks_of(array):
            found.update(np.ascontiguousarray(block).tobytes())
    return found.hexdigest()
