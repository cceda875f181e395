"""Tables as the bytes of Parquet files: reproducible to write, and checked when they are read."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow


def encode_parquet(table: "pyarrow.Table", *, checksums: bool = True) -> bytes:
    """Encode a table as a Parquet file.

    Every option that could change the bytes is set, so that equal tables give equal bytes under
    one release of pyarrow. Nothing is compressed: the small integers are packed into a few bits
    each anyway, and a compression library would be another dependency whose releases differ.

    Args:
        table: the table.
        checksums: whether pages have checksums.
    """
    import pyarrow.parquet as pq

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
        write_page_checksum=checksums,
        row_group_size=65_536,
    )
    return buffer.getvalue()


def decode_parquet(data: bytes, max_rows: int = 2_000_000) -> "pyarrow.Table":
    """Decode the table in the bytes of a Parquet file, verifying its checksums if it has any.

    Args:
        data: the file's bytes.
        max_rows: the largest number of rows allowed; a small file can claim any number.

    Raises:
        ImportError: if pyarrow is not installed.
        ValueError: if it is not a Parquet file, was truncated, does not match its checksums, or
            has more rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(
            pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True
        )
        n_rows = file.metadata.num_rows
        if n_rows <= max_rows:
            # Arrow's own threads may abort a process that ends soon after they were started.
            return file.read(use_threads=False)
    # Names of columns are not always valid text.
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise ValueError(
            f"Expected a Parquet file, got one that cannot be opened: {str(error).rstrip('.')}."
        ) from None
    raise ValueError(f"Expected at most {max_rows:,} rows, got {n_rows:,}.")
