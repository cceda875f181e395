"""Malicious files: nothing is executed, nothing crashes, memory stays bounded, one error type."""

import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from interpbench_conversion.errors import UpstreamFormatError
from interpbench_conversion.torch_files import read_state_dict
from interpbench_conversion.upstream_files import read_config, read_edges
from tests.conversion.hostile import (
    dict_of,
    mutations,
    named,
    number,
    payloads,
    pickled,
    state_dict,
    stored,
    tensor,
    text,
    write_archive,
)

ROOT = Path(__file__).resolve().parents[2]
UPSTREAM = ROOT.parent / "shared" / "upstream"
MUTATIONS = 10_000
MEMORY_LIMIT = 1 << 30

READERS: dict[str, Callable[[Path], object]] = {
    "weights": read_state_dict,
    "config": read_config,
    "edges": read_edges,
}
STORAGES = {
    "0": np.arange(6, dtype="<f4").tobytes(),
    "1": b"\1\0\1",
    "2": np.array([7, -7], "<i8").tobytes(),
}
STATE = state_dict(
    {
        "embed.W_E": tensor(stored("FloatStorage", "0", 6), (2, 3), (3, 1)),
        "embed.half": tensor(stored("FloatStorage", "0", 6), (3,), (1,), 3),
        "mask": tensor(stored("BoolStorage", "1", 3), (3,), (1,)),
        "seed": tensor(stored("LongStorage", "2", 2), (), (), 1),
    }
)
FIELDS = {
    "n_layers": 2,
    "act_fn": "gelu",
    "attn_types": None,
    "use_attn_result": True,
    "eps": 1e-5,
    "initializer_range": np.float64(0.25),
    "seed": np.int64(3),
}
EDGES = [("hook_embed", "blocks.0.hook_mlp_in"), ("blocks.0.hook_mlp_out", "hook_embed")]
NEW_CONFIG = (
    named("transformer_lens.HookedTransformerConfig", "HookedTransformerConfig")
    + (pickle.EMPTY_TUPLE + pickle.NEWOBJ)
    + dict_of({"dtype": named("torch", "float32"), "device": text("cpu"), "n_heads": number(4)})
    + pickle.BUILD
)


def _write(kind: str, path: Path, data: bytes) -> Path:
    """Write `data` as a file of this kind; for weights, `data` is the pickle inside the archive."""
    if kind == "weights":
        return write_archive(path, data, STORAGES)
    path.write_bytes(data)
    return path


def _valid(kind: str, path: Path) -> list[bytes]:
    """Return valid files of a kind, our own and upstream's."""
    if kind == "weights":
        return [write_archive(path, STATE, STORAGES).read_bytes()]
    if kind == "config":
        built = [pickle.dumps(FIELDS, protocol) for protocol in (2, 4)] + [pickled(NEW_CONFIG)]
        fixtures = sorted(UPSTREAM.glob("release*/*/ll_model_cfg*.pkl"))
    else:
        built = [pickle.dumps(EDGES, protocol) for protocol in (2, 4)]
        fixtures = sorted(UPSTREAM.glob("release*/*/edges.pkl"))
    return built + [fixture.read_bytes() for fixture in fixtures[:3]]


@pytest.mark.parametrize("kind", READERS)
def test_the_undamaged_files_are_read(tmp_path: Path, kind: str) -> None:
    for data in _valid(kind, tmp_path / "file"):
        (tmp_path / "file").write_bytes(data)
        _check_type(kind, READERS[kind](tmp_path / "file"))


@pytest.mark.parametrize("name", payloads(""))
def test_pickles_that_would_run_something_do_not(tmp_path: Path, name: str) -> None:
    sentinel = tmp_path / "sentinel"
    payload = payloads(f": > {sentinel}")[name]
    pickle.loads(payload.data)
    assert sentinel.exists(), "the pickle is harmless, so refusing it proves nothing"
    sentinel.unlink()
    hidden = pickled(dict_of({"W_E": payload.bare}), 4)
    for kind, read in READERS.items():
        for data in (payload.data, hidden) if payload.bare else (payload.data,):
            with pytest.raises(UpstreamFormatError, match="file"):
                read(_write(kind, tmp_path / "file", data))
            assert not sentinel.exists()


@pytest.mark.parametrize("kind", READERS)
def test_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    for data in _valid(kind, path):
        for length in range(0, len(data), 1 if len(data) < 1000 else 7):
            path.write_bytes(data[:length])
            with pytest.raises(UpstreamFormatError):
                READERS[kind](path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "body",
    [
        pickle.NONE + pickle.LONG_BINPUT + struct.pack("<I", 2**32 - 1),
        pickle.BINUNICODE8 + struct.pack("<Q", 2**62),
        pickle.BINBYTES8 + struct.pack("<Q", 2**62),
        pickle.LONG4 + struct.pack("<i", 2**31 - 1),
        pickle.INT + b"9" * 1_000_000 + b"\n",
        pickle.EMPTY_TUPLE + pickle.TUPLE1 * 150_000,
        pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + pickle.TUPLE1 * 150_000 + pickle.NONE + b"s",
        pickle.EMPTY_LIST * 10_000_000,
        pickle.EMPTY_LIST + pickle.DUP * 1_000_000,
    ],
    ids=["memo", "text", "bytes", "long", "digits", "tuples", "key", "lists", "copies"],
)
def test_pickle_bombs_take_neither_memory_nor_time(tmp_path: Path, kind: str, body: bytes) -> None:
    path = _write(kind, tmp_path / "file", pickled(body, 4))
    with pytest.raises(UpstreamFormatError, match="file"):
        _run_bounded(lambda: READERS[kind](path))


def _run_bounded(run: Callable[[], object]) -> None:
    """Run, then assert that it used little memory, even if it raised."""
    tracemalloc.start()
    try:
        run()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 << 20


def _patch(path: Path, name: str, *fields: tuple[int, str, int]) -> None:
    """Overwrite fields (offset, format, value) in the central record of one entry."""
    data = bytearray(path.read_bytes())
    record = data.rindex(name.encode()) - 46
    assert data[record : record + 4] == b"PK\1\2"
    for offset, form, value in fields:
        struct.pack_into(form, data, record + offset, value)
    path.write_bytes(data)


CRC, STORED_SIZE, SIZE, FLAGS, METHOD, OFFSET = 16, 20, 24, 8, 10, 42


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (((SIZE, "<I", 0xFFFFFFF0),), "entries of 42949"),
        (((SIZE, "<I", 25),), "25 bytes, not of 24"),
        (((STORED_SIZE, "<I", 4000),), "overlapping entries"),
        (((STORED_SIZE, "<I", 23),), "of 24 bytes in 23"),
        (((METHOD, "<H", 8), (STORED_SIZE, "<I", 0)), "of 24 bytes in 0"),
        (((OFFSET, "<I", 0),), "overlapping entries"),
        (((OFFSET, "<I", 0x7FFFFFFF),), "requires a buffer of"),
        (((CRC, "<I", 0),), "CRC"),
        (((FLAGS, "<H", 1),), "encrypted"),
        (((METHOD, "<H", 99),), "compressed by method 99"),
        (((METHOD, "<H", 14),), "compressed by method 14"),
        (((METHOD, "<H", 8),), "while decompressing"),
    ],
)
def test_archives_that_lie_about_an_entry(
    tmp_path: Path, fields: tuple[tuple[int, str, int], ...], message: str
) -> None:
    path = write_archive(tmp_path / "file.pth", STATE, STORAGES)
    _patch(path, "m/data/0", *fields)
    with pytest.raises(UpstreamFormatError, match=message):
        _run_bounded(lambda: read_state_dict(path))


def test_zip_bombs_are_not_expanded(tmp_path: Path) -> None:
    data = state_dict({"w": tensor(stored("FloatStorage", "0", 6), (6,), (1,))})
    path = write_archive(
        tmp_path / "file.pth", data, {"0": bytes(256 << 20)}, compression=zipfile.ZIP_DEFLATED
    )
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UpstreamFormatError, match=f"at most {16 << 20}"):
        _run_bounded(lambda: read_state_dict(path, max_bytes=16 << 20))
    with pytest.raises(UpstreamFormatError, match="not of 24"):
        _run_bounded(lambda: read_state_dict(path))
    _patch(path, "m/data/0", (SIZE, "<I", 24))
    with pytest.raises(UpstreamFormatError, match="CRC"):
        _run_bounded(lambda: read_state_dict(path))


def test_an_expanded_tensor_stays_within_the_limit(tmp_path: Path) -> None:
    data = state_dict({"w": tensor(stored("FloatStorage", "0", 6), (2**14, 2**14), (0, 0))})
    path = write_archive(tmp_path / "file.pth", data, STORAGES)
    with pytest.raises(UpstreamFormatError, match="tensors of more than"):
        _run_bounded(lambda: read_state_dict(path, max_bytes=1 << 20))


@pytest.mark.slow
def test_a_flood_of_entries_is_cut_short(tmp_path: Path) -> None:
    directory = (b"PK\1\2" + bytes(42)) * 300_000
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, len(directory), 4, 0)
    path = tmp_path / "file.pth"
    path.write_bytes(b"PK\3\4" + directory + end)
    with pytest.raises(UpstreamFormatError, match="Truncated central directory"):
        read_state_dict(path)


def _check_type(kind: str, value: object) -> None:
    """Assert that `value` has the type that the reader of this kind documents."""
    if kind == "edges":
        assert type(value) is tuple
        assert all(type(edge) is tuple and len(edge) == 2 for edge in value)
        assert all(type(end) is str for edge in value for end in edge)
        return
    assert isinstance(value, dict) and all(type(key) is str for key in value)
    if kind == "weights":
        for array in value.values():
            assert type(array) is np.ndarray and array.dtype.kind in "fib" and array.flags.owndata
        return
    for item in value.values():
        for plain in item if type(item) is list else [item]:
            assert plain is None or type(plain) in (bool, int, float, str)


def _damaged(kind: str, path: Path, count: int, seed: int) -> Iterator[None]:
    """Write damaged files to `path`, one after another."""
    originals = _valid(kind, path)
    inside = count // 2 if kind == "weights" else 0
    # A checksum detects most damage to an archive, so half of it is done to the pickle inside.
    for data in mutations([STATE], inside, seed):
        _write(kind, path, data)
        yield
    for data in mutations(originals, count - inside, seed + 1):
        path.write_bytes(data)
        yield


def survive_mutations(kind: str, path: Path, count: int, seed: int) -> None:
    """Read damaged files in this process under a memory limit, and print a summary.

    Prints the number of files read, the number refused, peak resident memory in KiB, and seconds.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    started, refused = time.perf_counter(), 0
    for _ in _damaged(kind, path, count, seed):
        try:
            _check_type(kind, READERS[kind](path))
        except UpstreamFormatError as error:
            refused += 1
            assert not isinstance(error.__cause__, (MemoryError, RecursionError)), path
    print(count - refused, refused, _peak_kib(), round(time.perf_counter() - started, 1))


def _peak_kib() -> int:
    """Return this program's peak resident memory; `ru_maxrss` also counts its parent's."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = status.read_text(encoding="ascii").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_random_damage_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    module = "tests.conversion.test_hostile_files"
    program = (
        f"from pathlib import Path; from {module} import survive_mutations; "
        f"survive_mutations({kind!r}, Path({str(tmp_path / 'file')!r}), {MUTATIONS}, seed=0)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    accepted, refused, peak_kib, _ = map(float, done.stdout.split())
    assert accepted > 0 and refused > MUTATIONS / 4
    assert peak_kib < MEMORY_LIMIT / 1024
