"""The rows of the published tables, computed from the tasks."""

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from interpbench_dataset.parquet import arrow_schema, arrow_type, pa
from interpbench_dataset.schema import (
    CASES,
    CIRCUITS,
    OTHER_COUNTERFACTUALS,
    SPLIT,
    Column,
    TableSchema,
    pairs_schema,
    table_schemas,
)
from interpbench_jax.cases import CASES as TASKS
from interpbench_jax.cases import IoiTask, Task, TaskPairs, find_task
from interpbench_jax.cases.health import read_health
from interpbench_jax.cases.roles import roles_by_name
from interpbench_jax.scores.levels import component_of
from interpbench_jax.universes import UNIVERSES, universe

Announce = Callable[[str], None]
_NO_ROLES = "[]"


@dataclass(frozen=True, eq=False)
class Content:
    """All rows of a dataset, before they become files.

    Attributes:
        schemas: the tables, in the order of the configs.
        tables: the rows of each table, by the name of its config.
    """

    schemas: tuple[TableSchema, ...]
    tables: Mapping[str, pa.Table]


def seed_of(case_id: str) -> int:
    """Return a case's seed: its number, or the lower 31 bits of the CRC-32 of an id in words."""
    return int(case_id) if case_id.isdecimal() else zlib.crc32(case_id.encode()) & 0x7FFFFFFF


def make_content(
    case_ids: Iterable[str] | None, n: int, progress: Announce | None = None
) -> Content:
    """Draw and evaluate every row of a dataset.

    Args:
        case_ids: the cases; None for all. Their order is that of `CASES`.
        n: number of rows per case.
        progress: called with a line of text about each case before it is drawn.

    Raises:
        TypeError: if `n` is not an int, or `case_ids` is one string.
        ValueError: if a case is unknown or named twice, there is none, or `n` is below 1.
    """
    tasks = choose_tasks(case_ids)
    if type(n) is not int:
        raise TypeError(f"Expected the number of rows per case to be an int, got {n!r}.")
    if n < 1:
        raise ValueError(f"Expected at least 1 row per case, got n={n}.")
    pairs: dict[str, TaskPairs] = {}
    for number, task in enumerate(tasks, start=1):
        if progress is not None:
            progress(f"case {task.case_id} ({number} of {len(tasks)})")
        pairs[task.case_id] = task.sample(n, seed_of(task.case_id), split=SPLIT)
    described = [describe_task(task, pairs[task.case_id]) for task in tasks]
    tables = {
        CASES.config_name: _table_of_rows(CASES, described),
        CIRCUITS.config_name: _table_of_rows(
            CIRCUITS, [row for task in tasks for row in list_edges(task)]
        ),
    }
    for task in tasks:
        tables[task.case_id] = pairs_table(task, pairs[task.case_id])
    return Content(table_schemas(tasks), tables)


def choose_tasks(case_ids: Iterable[str] | None) -> tuple[Task, ...]:
    """Return the tasks of some cases, in the order of `CASES`.

    Raises:
        TypeError: if `case_ids` is one string.
        ValueError: if a case is unknown or named twice, or there is none.
    """
    if isinstance(case_ids, str):
        raise TypeError(f"Expected a list of case ids, got {case_ids!r}; write [{case_ids!r}].")
    names = TASKS if case_ids is None else case_ids
    wanted = [find_task(name).case_id for name in names]
    if not wanted or len(set(wanted)) != len(wanted):
        raise ValueError(f"Expected one or more different case ids, got {wanted}.")
    return tuple(task for case_id, task in TASKS.items() if case_id in wanted)


def describe_task(task: Task, pairs: TaskPairs) -> dict[str, object]:
    """Return the row of a case in `cases`."""
    config, health = task.config, read_health()[task.case_id]
    edges = universe("head", config.n_layers, config.n_heads).edges
    alignment = {
        str(node): [str(target) for target in targets] for node, targets in task.alignment.items()
    }
    shape = {
        name: getattr(config, name)
        for name in ("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "d_vocab", "d_vocab_out")
    }
    return {
        "case_id": task.case_id,
        "releases": list(task.releases),
        "task_description": task.description,
        "tier": task.tier,
        "circuit_number": health.circuit,
        "flags": list(health.flags),
        "program": task.program_text,
        "note": task.note,
        "vocab": list(task.tokens),
        "bos_id": task.bos_id,
        "pad_id": -1 if task.pad_id is None else task.pad_id,
        "gpt2_ids": list(task.gpt2_ids) if isinstance(task, IoiTask) else [],
        "is_categorical": task.is_categorical,
        "output_classes": [str(label) for label in task.classes or ()],
        "first_scored": task.first_scored,
        "metric": task.metric,
        "counterfactual": task.counterfactuals[0],
        "attention": config.attention_dir,
        "min_seq_len": task.min_seq_len,
        "max_seq_len": task.max_seq_len,
        "varies_length": task.has_padding,
        **shape,
        "n_edges": len(edges),
        "n_complete_circuit_edges": len(task.complete_circuit.in_universe("head")),
        "n_constant_edges": len(task.complete_circuit.constant_in("head")),
        "n_upstream_circuit_edges": len(task.upstream_circuit.in_universe("head")),
        "nodes_not_in_circuit": [str(node) for node in task.nodes_not_in_circuit],
        "alignment": json.dumps(alignment),
        "roles": json.dumps(roles_by_name(task), ensure_ascii=False),
        "transformer_config": json.dumps(json.loads(config.to_json())),
        "training_args": json.dumps(dataclasses.asdict(task.training)),
        "n_rows": len(pairs),
        "n_distinct_inputs": len(np.unique(pairs.input_ids, axis=0)),
        "seed": seed_of(task.case_id),
    }


def list_edges(task: Task) -> list[dict[str, object]]:
    """Return a case's rows in `circuits`: every edge of every universe, in the universe's order."""
    rows: list[dict[str, object]] = []
    roles = {name: json.dumps(own, ensure_ascii=False) for name, own in roles_by_name(task).items()}
    for name in UNIVERSES:
        listed = task.upstream_circuit.in_universe(name)
        for edge, truth in task.complete_circuit.edge_truths(name).items():
            row: dict[str, object] = {"case_id": task.case_id, "universe": name}
            row |= {"src": str(edge.src), "dst": str(edge.dst)}
            row["src_role"] = roles.get(str(edge.src), _NO_ROLES)
            row["dst_role"] = roles.get(str(component_of(edge.dst)), _NO_ROLES)
            row |= {"truth": truth, "in_complete_circuit": truth != "out"}
            rows.append(row | {"in_upstream_circuit": edge in listed})
    return rows


def pairs_table(task: Task, pairs: TaskPairs) -> pa.Table:
    """Return the table of a case's pairs.

    Raises:
        ValueError: if an array does not have the shape and dtype of the schema.
    """
    schema = pairs_schema(task)
    others = _other_counterfactuals(task, pairs)
    arrays = [
        _arrow_column(column, others.get(column.name, getattr(pairs, column.name, None)))
        for column in schema.columns
    ]
    return pa.Table.from_arrays(arrays, schema=arrow_schema(schema))


def _other_counterfactuals(task: Task, pairs: TaskPairs) -> dict[str, np.ndarray]:
    """A language task's counterfactuals other than `corrupted_input_ids`, by column."""
    if not isinstance(task, IoiTask):
        return {}
    rng = np.random.default_rng(seed_of(task.case_id))
    return {
        f"{kind}_input_ids": task.corrupt(pairs.input_ids, rng, kind, split=SPLIT)
        for kind in OTHER_COUNTERFACTUALS
    }


def _arrow_column(column: Column, array: np.ndarray | None) -> pa.Array:
    assert array is not None, column.name
    if column.is_list:
        return _fixed_lists(column, array)
    if array.ndim != 1 or array.dtype.name != column.dtype:
        raise ValueError(
            f"Expected {column.name} to be {column.dtype} of shape [rows], got {array.dtype} of "
            f"shape {array.shape}."
        )
    return pa.array(array, type=arrow_type(column))


def _fixed_lists(column: Column, array: np.ndarray) -> pa.Array:
    if array.ndim != 2 or array.shape[1] != column.length or array.dtype.name != column.dtype:
        raise ValueError(
            f"Expected {column.name} to be {column.dtype} of shape [rows, {column.length}], got "
            f"{array.dtype} of shape {array.shape}."
        )
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), type=arrow_type(column))


def _table_of_rows(schema: TableSchema, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    expected = [column.name for column in schema.columns]
    for row in rows:
        assert list(row) == expected, f"{schema.config_name}: {list(row)} is not {expected}"
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(schema))
