"""Tables of ours as Parquet, the same bytes wherever the same pyarrow writes them."""

import io
import json

from interpbench_dataset.schema import Column, TableSchema, hub_features
from interpbench_jax.extras import needs_extra
from interpbench_jax.storage import decode_parquet

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
    """The Arrow schema of a table, with the features that `datasets` looks for."""
    features = {"info": {"features": hub_features(schema.columns)}}
    return pa.schema(
        [pa.field(column.name, arrow_type(column)) for column in schema.columns],
        metadata={"huggingface": json.dumps(features)},
    )


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type of a column's values."""
    value = _TYPES[column.dtype]
    if not column.is_list:
        return value
    # Items are called what Parquet calls them, so that a table is read back as it was.
    item = pa.field("element", value)
    return pa.list_(item) if column.length is None else pa.list_(item, column.length)


def encode_table(table: pa.Table) -> bytes:
    """A table as a Parquet file.

    Every option that could change the bytes is set. What still varies is the text `created_by`
    and the encodings that another release of pyarrow may choose. Nothing is compressed: the
    small integers are packed into a few bits each as it is, and a compression library is one
    more thing whose releases differ.
    """
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        version="2.6",
        data_page_version="1.0",
        compression="none",
        use_dictionary=True,
        write_statistics=True,
        store_schema=True,
        write_page_index=False,
        row_group_size=65_536,
    )
    return buffer.getvalue()


def decode_table(data: bytes) -> pa.Table:
    """The table in a Parquet file.

    Raises:
        ValueError: if it is not one, was cut short, or has very many rows.
    """
    return decode_parquet(data)


def written_by(data: bytes) -> str:
    """Which release of which library wrote a Parquet file, as the file says itself."""
    return str(pq.read_metadata(io.BytesIO(data)).created_by)
