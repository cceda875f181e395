"""Parquet tables with wrong or damaged content."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interpbench_jax.storage import decode_parquet


def encode(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def test_a_table_is_read_back() -> None:
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    assert decode_parquet(encode(table)) == table


def test_a_small_file_of_very_many_rows_is_not_read() -> None:
    data = encode(pa.table({"a": np.zeros(2_000_001, np.int8)}))
    assert len(data) < 100_000
    with pytest.raises(ValueError, match="Expected at most 2,000,000 rows, got 2,000,001"):
        decode_parquet(data)
    assert decode_parquet(data, max_rows=2_000_001).num_rows == 2_000_001


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" * 3, bytes(100)])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"got one that cannot be opened: .*[^.]\.$"):
        decode_parquet(data)


def test_a_changed_page_is_found_out() -> None:
    data = bytearray(encode(pa.table({"a": np.arange(1000)})))
    data[2000] ^= 1
    with pytest.raises(ValueError, match="got one that cannot be opened"):
        decode_parquet(bytes(data))


def test_a_name_that_is_no_text_is_refused() -> None:
    data = encode(pa.table({"abcdef": [1, 2]})).replace(b"abcdef", b"abc\xff\xfef")
    with pytest.raises(ValueError, match="got one that cannot be opened"):
        decode_parquet(data)
