"""Safe access to files: untrusted contents, full disks, and folders that processes share."""

from interpbench_jax.storage.locks import LOCK_FILE as LOCK_FILE
from interpbench_jax.storage.locks import FileLock as FileLock
from interpbench_jax.storage.locks import InUse as InUse
from interpbench_jax.storage.locks import lock_folder as lock_folder
from interpbench_jax.storage.parquet import decode_parquet as decode_parquet
from interpbench_jax.storage.parquet import encode_parquet as encode_parquet
from interpbench_jax.storage.reading import digest_file as digest_file
from interpbench_jax.storage.reading import open_regular as open_regular
from interpbench_jax.storage.reading import read_bytes as read_bytes
from interpbench_jax.storage.reading import read_text as read_text
from interpbench_jax.storage.writing import FULL as FULL
from interpbench_jax.storage.writing import make_folder as make_folder
from interpbench_jax.storage.writing import remove_leftovers as remove_leftovers
from interpbench_jax.storage.writing import sync_folder as sync_folder
from interpbench_jax.storage.writing import write_file as write_file
from interpbench_jax.storage.writing import write_files as write_files
