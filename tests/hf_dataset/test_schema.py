"""One declaration of columns, with the same content in Parquet, the card's YAML and Croissant."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from interpbench_dataset import tables
from interpbench_dataset.parquet import arrow_schema, decode_table, encode_table, written_by
from interpbench_dataset.release import render_data, render_texts
from interpbench_dataset.schema import (
    Column,
    TableSchema,
    hub_features,
    pairs_schema,
    yaml_features,
)
from interpbench_jax.cases import CASES, IoiTask, Task

CROISSANT_TYPES = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "int32": "sc:Integer",
    "float": "sc:Float",
}
TINY = TableSchema(
    "tiny",
    "tiny.parquet",
    "Rows.",
    (
        Column("flag", "bool", "a flag"),
        Column("words", "string", "some words", is_list=True),
        Column("numbers", "float32", "two numbers", is_list=True, length=2),
    ),
)


@pytest.fixture(scope="module")
def content() -> tables.Content:
    return tables.make_content(("3", "20", "ioi"), 12)


def test_features_of_datasets_known_answer() -> None:
    assert hub_features(TINY.columns) == {
        "flag": {"dtype": "bool", "_type": "Value"},
        "words": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"},
        "numbers": {
            "feature": {"dtype": "float32", "_type": "Value"},
            "_type": "Sequence",
            "length": 2,
        },
    }
    assert yaml_features(TINY.columns) == [
        {"name": "flag", "dtype": "bool"},
        {"name": "words", "sequence": "string"},
        {"name": "numbers", "sequence": "float32", "length": 2},
    ]


def test_arrow_schema_known_answer() -> None:
    schema = arrow_schema(TINY)
    assert schema.names == ["flag", "words", "numbers"]
    assert schema.field("numbers").type == pa.list_(pa.field("element", pa.float32()), 2)
    assert schema.metadata is not None
    assert json.loads(schema.metadata[b"huggingface"]) == {
        "info": {"features": hub_features(TINY.columns)}
    }


@pytest.mark.parametrize("task", CASES.values(), ids=lambda task: task.case_id)
def test_pairs_have_fixed_lengths_and_the_targets_type(task: Task) -> None:
    columns = pairs_schema(task).columns[:4]
    assert {column.length for column in columns} == {task.max_seq_len}
    assert all(column.is_list for column in columns)
    target = "int32" if task.is_categorical else "float32"
    assert [column.dtype for column in columns] == ["int32", "int32", target, target]
    has_more = len(pairs_schema(task).columns) > 4
    assert has_more == isinstance(task, IoiTask)


@pytest.mark.parametrize("case_id", ["ioi", "ioi_next_token"])
def test_columns_of_a_language_case(case_id: str) -> None:
    columns = {column.name: column for column in pairs_schema(CASES[case_id]).columns}
    assert list(columns) == [
        *("input_ids", "corrupted_input_ids", "target", "corrupted_target"),
        *("answer", "distractor", "swapped_input_ids", "random_input_ids"),
    ]
    assert {column.dtype for column in columns.values()} == {"int32"}
    for name in ("answer", "distractor"):
        assert (columns[name].is_list, columns[name].length) == (False, None)
    for name in ("swapped_input_ids", "random_input_ids"):
        assert (columns[name].is_list, columns[name].length) == (True, 16)
    # Each real counterfactual has its own description.
    assert "three other names" in columns["corrupted_input_ids"].description
    assert "the answer flips" in columns["swapped_input_ids"].description
    assert "at random" in columns["random_input_ids"].description
    others = tuple(f"{kind}_input_ids" for kind in CASES[case_id].counterfactuals[1:-1])
    assert tuple(columns)[-2:] == others


@pytest.mark.slow
def test_parquet_yaml_and_croissant_agree(content: tables.Content, tmp_path: Path) -> None:
    data = render_data(content)
    texts = render_texts(content, data, models=())
    for path, encoded in (data | texts).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(encoded)
    records = {each["name"]: each for each in json.loads(texts["croissant.json"])["recordSet"]}
    assert list(records) == ["cases", "circuits", "3", "20", "ioi"]
    for schema in content.schemas:
        in_file = pq.read_schema(tmp_path / schema.path)
        from_file = datasets.Features.from_arrow_schema(in_file)
        builder = datasets.load_dataset_builder(
            str(tmp_path), schema.config_name, cache_dir=str(tmp_path / "cache")
        )
        assert builder.info.features == from_file
        assert from_file.arrow_schema.types == [_with_item_name(field.type) for field in in_file], (
            "the features in the metadata are not those of the columns"
        )
        fields = {each["name"]: each for each in records[schema.config_name]["field"]}
        assert list(fields) == in_file.names
        for field in in_file:
            _check_field(fields[field.name], field.type)


def _with_item_name(dtype: pa.DataType) -> pa.DataType:
    """Return a list type whose items have the name that `datasets` gives them."""
    if pa.types.is_fixed_size_list(dtype):
        return pa.list_(dtype.value_type, dtype.list_size)
    return pa.list_(dtype.value_type) if pa.types.is_list(dtype) else dtype


def _check_field(field: Mapping[str, object], dtype: pa.DataType) -> None:
    is_list = pa.types.is_list(dtype) or pa.types.is_fixed_size_list(dtype)
    value = dtype.value_type if is_list else dtype
    assert field["dataType"] == CROISSANT_TYPES[str(value)]
    assert field.get("repeated", False) == is_list


def test_yaml_survives_a_round_trip() -> None:
    features = yaml_features(TINY.columns)
    assert yaml.safe_load(yaml.safe_dump(features, sort_keys=False)) == features


def test_encoding_round_trip_and_repeats(content: tables.Content) -> None:
    for table in content.tables.values():
        encoded = encode_table(table)
        assert encoded == encode_table(table)
        again = decode_table(encoded)
        assert again.equals(table)
        assert again.schema.equals(table.schema, check_metadata=True)
        assert written_by(encoded) == f"parquet-cpp-arrow version {pa.__version__}"
        metadata = pq.read_metadata(io.BytesIO(encoded)).metadata
        assert metadata is not None
        assert set(metadata) == {b"huggingface", b"ARROW:schema"}  # nothing about the machine


@pytest.mark.parametrize("kept", [0, 3, 200, -20])
def test_a_file_cut_short_is_an_error(content: tables.Content, kept: int) -> None:
    with pytest.raises(ValueError, match="Expected a Parquet file, got one that cannot be opened"):
        decode_table(encode_table(content.tables["3"])[:kept])
