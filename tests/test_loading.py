"""Where cases come from."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from conversion.errors import UpstreamFormatError
from interpbench_jax import load_case
from tests.fixtures import UPSTREAM, requires_upstream

pytestmark = requires_upstream


def test_every_layout_gives_the_same_case(tmp_path: Path) -> None:
    v1 = load_case("11", UPSTREAM / "release_v1" / "11")
    current = load_case("11", str(UPSTREAM / "release"))
    ours = load_case("11", v1.save(tmp_path / "11"))
    inside = load_case("11", tmp_path)
    for case in (current, ours, inside):
        assert case.config == v1.config
        assert case.vocab == v1.vocab and case.task_description == v1.task_description
        assert case.circuit is not None and v1.circuit is not None
        assert case.circuit.in_universe("head") == v1.circuit.in_universe("head")
        for name, array in v1.weights.items():
            np.testing.assert_array_equal(case.weights[name], array)
    assert ours == v1  # provenance too


def test_heads_of_the_current_layout_are_renamed_to_the_models() -> None:
    """Upstream's current files name the program's head 0, where the model uses its head 2."""
    v1, current = (load_case("3", UPSTREAM / layout) for layout in ("release_v1", "release"))
    assert v1.circuit is not None and current.circuit is not None
    assert current.circuit.in_universe("head") == v1.circuit.in_universe("head")


def test_vocabulary_comes_from_the_metadata_for_cases_that_we_do_not_declare(
    tmp_path: Path,
) -> None:
    source = UPSTREAM / "release" / "random_lnpre"
    assert load_case("random_lnpre", source).vocab is None
    shutil.copytree(source, tmp_path / "case")
    tokens = [f"t{i:02}" for i in range(38)]
    (tmp_path / "benchmark_metadata.json").write_text(
        '{"cases": [{"case_id": "case", "task_description": "A task.", "vocab": '
        + str(tokens).replace("'", '"')
        + "}]}"
    )
    case = load_case("case", tmp_path)
    assert case.vocab == ("BOS", "PAD", *tokens)
    assert case.task_description == "A task."


@pytest.mark.parametrize(
    ("case_id", "source", "error", "message"),
    [
        ("11", "nowhere", FileNotFoundError, "Expected a folder, 'hub', or a Hub repository"),
        ("11", Path("no/where"), FileNotFoundError, "which is no folder here"),
        ("11", UPSTREAM / "release_v1" / "3", FileNotFoundError, "the folder of case '3'"),
        ("12", UPSTREAM / "release_v1", FileNotFoundError, "found neither our config.json nor"),
    ],
)
def test_sources_without_the_case_are_refused(
    case_id: str, source: str | Path, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_case(case_id, source)


def test_another_case_in_our_layout_is_refused(tmp_path: Path) -> None:
    load_case("11", UPSTREAM / "release_v1").save(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"Expected case '13' in .*, got case '11'"):
        load_case("13", tmp_path / "mine")


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    shutil.copytree(UPSTREAM / "release" / "13", tmp_path / "case")
    (tmp_path / "case" / "ll_model_cfg.pkl").chmod(0o644)
    shutil.copyfile(
        UPSTREAM / "release" / "3" / "ll_model_cfg.pkl", tmp_path / "case" / "ll_model_cfg.pkl"
    )
    with pytest.raises(UpstreamFormatError, match=r"expected blocks\.0\.attn\.mask to be a lower"):
        load_case("case", tmp_path / "case")


def test_a_case_has_its_task(tmp_path: Path) -> None:
    case = load_case("11", UPSTREAM / "release_v1")
    pairs = case.sample(4, seed=1, split="test")
    np.testing.assert_array_equal(pairs.input_ids, case.task.sample(4, 1, split="test").input_ids)
    np.testing.assert_array_equal(
        case.high_level.targets(pairs.input_ids)[:, 1:], pairs.target[:, 1:]
    )
    tokens = case.decode(pairs.input_ids[0])
    np.testing.assert_array_equal(case.encode(tokens), pairs.input_ids[0])
    with pytest.raises(ValueError, match="134,217,728"):
        case.all_inputs()
    other = load_case("random_lnpre", UPSTREAM / "release" / "random_lnpre")
    with pytest.raises(ValueError, match="Expected a case whose task is declared"):
        _ = other.task
