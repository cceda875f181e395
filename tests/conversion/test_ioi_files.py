"""IOI's files at their real size: 50,257 tokens and 42 MB, with the names of release 1.0.0."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.speed.memory import PeakMemory
from interpbench_conversion.configs import IOI_CONFIG
from interpbench_conversion.convert import convert_case
from interpbench_conversion.errors import UpstreamFormatError
from interpbench_conversion.to_torch import transformer_lens_state, write_upstream
from interpbench_conversion.torch_writing import write_state_dict
from interpbench_conversion.upstream_files import UpstreamFiles, find_upstream_files
from interpbench_conversion.vocabulary import KeptTokens, keep_tokens
from interpbench_jax import load_case, run_with_cache
from interpbench_jax.case import Case
from interpbench_jax.cases import CASES, IoiTask
from interpbench_jax.weights import weight_shapes
from tests.fixtures import random_weights

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "ll_model_100_100_40.pth"
ARGUMENTS = {"lr": 0.001, "next_token": True}
MEGABYTE = 10**6
# The first and the last id, and some others, unordered.
IDS = (50256, 6423, 11, 290, 1816, 284, 262, 13, 0, 40000)
KEPT = KeptTokens(IDS, tuple(map(str, IDS)))
KEPT_FEWER_POSITIONS = replace(KEPT, n_ctx=16)


@pytest.fixture(scope="module")
def case() -> Case:
    return Case("synthetic", IOI_CONFIG, random_weights(IOI_CONFIG), None)


@pytest.fixture(scope="module")
def folder(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder like that of upstream's IOI trainer: no config, no edges."""
    folder = tmp_path_factory.mktemp("synthetic")
    state = transformer_lens_state(case)
    (folder / WEIGHTS).write_bytes(write_state_dict(state, WEIGHTS.removesuffix(".pth")))
    (folder / "corr_100_100_40.json").write_text("{}")
    (folder / "training_args.json").write_text(json.dumps(ARGUMENTS))
    return folder


def files_in(folder: Path) -> UpstreamFiles:
    files = find_upstream_files(folder)
    assert files is not None
    return files


def assert_same_weights(read: Case, expected: Case) -> None:
    assert set(read.weights) == set(expected.weights)
    for name, array in expected.weights.items():
        assert read.weights[name].dtype == array.dtype, name
        assert np.array_equal(read.weights[name], array), name
        assert read.weights[name].flags.owndata, name


def test_all_tokens_come_through(case: Case, folder: Path) -> None:
    read = load_case("synthetic", folder)
    assert read.config == IOI_CONFIG and read.config.d_vocab == 50257
    assert_same_weights(read, case)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    sha256 = read.provenance["sha256"]
    assert isinstance(sha256, dict) and sha256[WEIGHTS] == digest
    assert read.provenance["training_args"] == ARGUMENTS
    assert (read.provenance["layout"], read.circuit, read.vocab) == ("v1", None, None)
    assert "kept_token_ids" not in read.provenance


def test_a_declared_case_has_its_task_in_either_vocabulary(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "ioi")
    whole = load_case("ioi", tmp_path)
    short = load_case("ioi", tmp_path, tokens="prompts")
    assert (whole.config, whole.vocab, short.vocab) == (IOI_CONFIG, None, CASES["ioi"].tokens)
    assert short.config == CASES["ioi"].config and short.provenance["d_vocab_of_file"] == 50257
    # Upstream releases no list of edges for it.
    assert whole.circuit == short.circuit == CASES["ioi"].upstream_circuit
    pairs, short_pairs = whole.sample(2, seed=0), short.sample(2, seed=0)
    task = CASES["ioi"]
    assert isinstance(task, IoiTask)
    gpt2_ids = np.asarray(task.gpt2_ids)
    assert np.array_equal(gpt2_ids[short_pairs.input_ids], pairs.input_ids)
    assert np.array_equal(gpt2_ids[short_pairs.target], pairs.target)
    kept = {name: short.weights[name] for name in ("embed.W_E", "unembed.W_U", "unembed.b_U")}
    assert np.array_equal(kept["embed.W_E"], whole.weights["embed.W_E"][gpt2_ids])
    assert np.array_equal(kept["unembed.W_U"], whole.weights["unembed.W_U"][:, gpt2_ids])
    assert np.array_equal(kept["unembed.b_U"], whole.weights["unembed.b_U"][gpt2_ids])


@pytest.mark.parametrize(("case_id", "tokens"), [("3", "prompts"), ("no-such-case", "prompts")])
def test_only_language_models_have_tokens_to_choose(case_id: str, tokens: str) -> None:
    with pytest.raises(ValueError, match="Expected tokens='all', or 'prompts' for the language"):
        load_case(case_id, tokens=tokens)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kept", [KEPT, KEPT_FEWER_POSITIONS], ids=["tokens", "positions"])
def test_some_tokens_are_those_of_the_whole(case: Case, folder: Path, kept: KeptTokens) -> None:
    read, expected = (
        convert_case(files_in(folder), "synthetic", keep_tokens=kept),
        keep_tokens(case, kept),
    )
    assert read.config == expected.config and read.vocab == kept.tokens
    assert_same_weights(read, expected)
    for key in ("kept_token_ids", "d_vocab_of_file", "note", "n_ctx_of_file"):
        assert read.provenance.get(key) == expected.provenance.get(key)


@pytest.mark.slow
def test_some_tokens_compute_what_the_whole_computes(case: Case) -> None:
    # One layer is enough, as only the tables at both ends differ, and six compile slowly.
    config = replace(IOI_CONFIG, n_layers=1)
    weights = {name: case.weights[name].astype(np.float64) for name in weight_shapes(config)}
    full = replace(case, config=config, weights=weights)
    cut = keep_tokens(full, KEPT_FEWER_POSITIONS)
    inputs = np.random.default_rng(0).integers(0, len(IDS), (2, 16))
    with jax.enable_x64(True):
        logits, cache = run_with_cache(cut.model, inputs)
        expected, full_cache = run_with_cache(full.model, np.array(IDS)[inputs])
    for name, activation in full_cache.items():
        np.testing.assert_array_equal(cache[name], activation, err_msg=name)
    # The products over d_model are the same, but the blocking of their sum depends on the width.
    np.testing.assert_allclose(logits, expected[..., IDS], rtol=0, atol=1e-12)


def test_a_vocabulary_of_the_file_is_checked(folder: Path) -> None:
    vocab = tuple(map(str, range(50257)))
    files = files_in(folder)
    assert convert_case(files, "x", vocab=vocab, keep_tokens=KEPT).vocab == KEPT.tokens
    wrong = replace(KEPT, tokens=("BOS", *KEPT.tokens[1:]))
    with pytest.raises(UpstreamFormatError, match="Expected token 50256 to be '50256', got 'BOS'"):
        convert_case(files, "x", vocab=vocab, keep_tokens=wrong)


def test_ids_outside_the_file_are_named(folder: Path) -> None:
    with pytest.raises(UpstreamFormatError, match=rf"{WEIGHTS}: .*50257, got \[50257\]"):
        convert_case(files_in(folder), "x", keep_tokens=KeptTokens((50257,), ("a",)))


@pytest.mark.parametrize("kept", [None, KEPT], ids=["all", "some"])
def test_upstreams_layout_both_ways(case: Case, tmp_path: Path, kept: KeptTokens | None) -> None:
    given = case if kept is None else keep_tokens(case, kept)
    read = load_case("synthetic", write_upstream(given, tmp_path / "synthetic"))
    assert read.config == given.config
    assert_same_weights(read, given)


# Truncated or changing files


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def convert(folder: Path, kept: KeptTokens | None) -> Case:
    return convert_case(files_in(folder), "synthetic", keep_tokens=kept)


def cut_short(data: bytearray) -> None:
    del data[-len(data) // 3 :]


def lose_the_middle(data: bytearray) -> None:
    del data[20_000_000:20_000_064]


def flip_a_bit_of_a_logit(data: bytearray) -> None:
    # W_U is the last large entry; 6 MB before the end lies a token that is not kept.
    data[-6_000_001] ^= 1


def flip_a_bit_of_an_embedding(data: bytearray) -> None:
    data[8_000_001] ^= 1


def replace_by_garbage(data: bytearray) -> None:
    data[64:] = np.random.default_rng(0).bytes(len(data) - 64)


@pytest.mark.parametrize("kept", [None, KEPT], ids=["all", "some"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, "File is not a zip file"),
        (lose_the_middle, "overlapping entries"),
        (flip_a_bit_of_a_logit, "CRC"),
        (flip_a_bit_of_an_embedding, "CRC"),
        (replace_by_garbage, "File is not a zip file"),
    ],
)
def test_damage_anywhere_is_refused(
    copied: Path, damage: Callable[[bytearray], None], message: str, kept: KeptTokens | None
) -> None:
    data = bytearray((copied / WEIGHTS).read_bytes())
    damage(data)
    (copied / WEIGHTS).write_bytes(data)
    with pytest.raises(UpstreamFormatError, match=rf"{WEIGHTS}: .*(?:{message})"):
        convert(copied, kept)


@pytest.mark.parametrize("kept", [None, KEPT], ids=["all", "some"])
@pytest.mark.parametrize("name", ["embed.W_E", "unembed.W_U", "unembed.b_U"])
def test_a_nan_of_a_token_that_is_not_kept_is_refused(
    case: Case, copied: Path, name: str, kept: KeptTokens | None
) -> None:
    array = case.weights[name].copy()
    array.reshape(-1)[12345] = np.nan
    state = transformer_lens_state(case) | {name: array}
    (copied / WEIGHTS).write_bytes(write_state_dict(state, "m"))
    both = rf"infinity or NaN.*{name}|{name}, got infinity or NaN"
    with pytest.raises(UpstreamFormatError, match=both):
        convert(copied, kept)


@pytest.mark.parametrize("kept", [None, KEPT], ids=["all", "some"])
def test_another_number_of_tokens_is_refused(
    case: Case, copied: Path, kept: KeptTokens | None
) -> None:
    longer = np.concatenate([case.weights["embed.W_E"], np.zeros((1, 64), np.float32)])
    state = transformer_lens_state(case) | {"embed.W_E": longer}
    (copied / WEIGHTS).write_bytes(write_state_dict(state, "m"))
    with pytest.raises(UpstreamFormatError, match=r"shape \(50257, 64\), got|not \(50257, 64\)"):
        convert(copied, kept)


def test_what_becomes_of_the_file_afterwards_is_no_matter(case: Case, copied: Path) -> None:
    read = convert(copied, None)
    with (copied / WEIGHTS).open("r+b") as file:
        file.truncate(1000)
    (copied / WEIGHTS).unlink()
    assert_same_weights(read, case)


# Memory


PROGRAM = """
import sys
from pathlib import Path
from benchmarks.conversion_ioi import run_worker
run_worker(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.mark.parametrize(("way", "kept_megabytes"), [("load", 36.1), ("keep", 10.2)])
def test_memory_is_that_of_what_is_kept(folder: Path, way: str, kept_megabytes: float) -> None:
    # The six masks, 6.3 MB, and blocks come on top; formerly, everything was there three times.
    with PeakMemory() as memory:
        pass
    if memory.rise is None:
        pytest.skip("only Linux reports a process's own peak")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, way, str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = json.loads(done.stdout)
    assert found["kept_bytes"] / MEGABYTE == pytest.approx(kept_megabytes, abs=0.1)
    assert found["peak_bytes"] / MEGABYTE < kept_megabytes + 20
