"""A small folder with the published layout, and Python processes that use it instead of ours."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("cases", "circuits", "3", "11")
ROWS = {"cases": 2, "circuits": 2, "3": 7, "11": 200}
WIDTH = 4

# A process that runs this first builds and checks a dataset of two cases. The whole dataset is
# built in `test_builder.py`.
TWO_CASES = """
from interpbench_dataset import tables
tables.TASKS = {name: tables.TASKS[name] for name in ("3", "20")}
"""

# Every process runs this first, so that no socket leaves this machine.
_GUARD = """
import socket

_connect, _resolve = socket.socket.connect, socket.getaddrinfo
_OWN = ("127.0.0.1", "localhost", "::1")

def connect(self, address):
    if isinstance(address, tuple) and address[0] not in _OWN:
        raise RuntimeError(f"the network was asked for: {address}")
    return _connect(self, address)

def resolve(host, *rest, **options):
    if host not in _OWN:
        raise RuntimeError(f"the network was asked for: {host}")
    return _resolve(host, *rest, **options)

socket.socket.connect = socket.socket.connect_ex = connect
socket.getaddrinfo = resolve
"""


def write_release(folder: Path, *, seed: int = 0) -> None:
    """Write small tables with `ROWS` rows each, and a card with their digests."""
    rng = np.random.default_rng(seed)
    paths = {
        name: f"data/{name}/test-00000-of-00001.parquet" if name.isdigit() else f"{name}.parquet"
        for name in NAMES
    }
    for name, path in paths.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(_pairs(name, rng) if name.isdigit() else _texts(name), folder / path)
    write_card(folder, paths)


def _pairs(name: str, rng: np.random.Generator) -> pa.Table:
    target_type = pa.float32() if name == "3" else pa.int32()
    types = {
        "input_ids": pa.int32(),
        "corrupted_input_ids": pa.int32(),
        "target": target_type,
        "corrupted_target": target_type,
    }
    return pa.table(
        {
            column: pa.FixedSizeListArray.from_arrays(
                pa.array(rng.integers(0, 9, ROWS[name] * WIDTH)).cast(value_type), WIDTH
            )
            for column, value_type in types.items()
        }
    )


def _texts(name: str) -> pa.Table:
    return pa.table({"case_id": ["3", "11"], "text": [f"{name} of 3", f"{name} of 11"]})


def write_card(folder: Path, paths: dict[str, str]) -> None:
    """Write the card: configurations with their digests, features, and sizes."""
    lines = ["---", "license: mit", "configs:"]
    for name, path in paths.items():
        digest = hashlib.sha256((folder / path).read_bytes()).hexdigest()
        lines += [f'- config_name: "{name}"', f"  description: Rows. sha256:{digest}"]
        lines += ["  default: true"] if name == "cases" else []
        lines += ["  data_files:", "  - split: test", f"    path: {path}"]
    lines.append("dataset_info:")
    for name, path in paths.items():
        lines += [f'- config_name: "{name}"', f"  description: The rows of {name}."]
        lines += ["  features:", *_features(name), "  splits:"]
        size = (folder / path).stat().st_size
        lines += ["  - name: test", f"    num_bytes: {size}", f"    num_examples: {ROWS[name]}"]
        lines += [f"  download_size: {size}", f"  dataset_size: {size}"]
    (folder / "README.md").write_text("\n".join([*lines, "---", "# Tiny", ""]))


def _features(name: str) -> list[str]:
    if not name.isdigit():
        return [f"  - name: {column}\n    dtype: string" for column in ("case_id", "text")]
    target = "float32" if name == "3" else "int32"
    dtypes = {"input_ids": "int32", "corrupted_input_ids": "int32"}
    dtypes |= {"target": target, "corrupted_target": target}
    return [
        f"  - name: {column}\n    sequence: {dtype}\n    length: {WIDTH}"
        for column, dtype in dtypes.items()
    ]


class Installation:
    """Our packages, installed with a tiny release, and processes that import them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.packages = home / "packages"
        self.release = self.packages / "interpbench_dataset" / "interpbench"
        self.empty = home / "empty"
        for folder in (self.packages / "interpbench_dataset", self.empty, home / "guard"):
            folder.mkdir(parents=True)
        for path in (ROOT / "hf_dataset" / "interpbench_dataset").glob("*.py"):
            shutil.copy(path, self.packages / "interpbench_dataset")
        (self.packages / "interpbench_jax").symlink_to(ROOT / "interpbench_jax")
        (home / "guard" / "sitecustomize.py").write_text(_GUARD)
        write_release(self.release)

    def run(
        self, code: str, *, cwd: Path | None = None, with_ours: bool = True, **variables: str
    ) -> str:
        """Run code in a new process, by default with our packages, and return its output."""
        found = [self.home / "guard", *([self.packages] if with_ours else [])]
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
            "HF_HOME": str(self.home / "huggingface"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join(map(str, found)),
            **variables,
        }
        # With -P, imports do not depend on the working directory.
        ran = subprocess.run(
            [sys.executable, "-P", "-c", code],
            cwd=cwd or self.empty,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, f"{code}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout
