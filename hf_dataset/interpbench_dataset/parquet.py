"""Our tables as Parquet files, whose bytes depend only on the release of pyarrow."""

import io
import json

from interpbench_dataset.schema import Column, TableSchema, hub_features
from interpbench_jax.extras import needs_extra
from interpbench_jax.storage import decode_parquet, encode_parquet

with needs_extra("dataset", "Building or checking the dataset"):
    import pyarrow as pa
    import pyarrow.parquet as pq

_TYPES = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "float32": pa.float32(),
}


def arrow_schema(schema: TableSchema) -> pa.Schema:
    """Return the Arrow schema of a table, with the features that `datasets` looks for."""
    features = {"info": {"features": hub_features(schema.columns)}}
    return pa.schema(
        [pa.field(column.name, arrow_type(column)) for column in schema.columns],
        metadata={"huggingface": json.dumps(features)},
    )


def arrow_type(column: Column) -> pa.DataType:
    """Return the Arrow type of a column's values."""
    value = _TYPES[column.dtype]
    if not column.is_list:
        return value
    # Items have the name that Parquet gives them, so that a table is read back unchanged.
    item = pa.field("element", value)
    return pa.list_(item) if column.length is None else pa.list_(item, column.length)


def encode_table(table: pa.Table) -> bytes:
    """Encode a table as a Parquet file, without checksums: the card has a digest of the file."""
    return encode_parquet(table, checksums=False)


def decode_table(data: bytes) -> pa.Table:
    """Decode the table in a Parquet file.

    Raises:
        ValueError: if it is not a Parquet file, was cut short, or has very many rows.
    """
    return decode_parquet(data)


def written_by(data: bytes) -> str:
    """Return the library and release that wrote a Parquet file, according to the file."""
    return str(pq.read_metadata(io.BytesIO(data)).created_by)
