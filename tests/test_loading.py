"""The sources of cases: the package, folders and the Hub."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from interpbench_conversion.errors import UpstreamFormatError
from interpbench_jax import load_case, packaged_cases
from tests.fixtures import UPSTREAM, requires_upstream
from tests.tiny_models import make_model, write_model

PACKAGED = ("3", "4", "11", "19", "20")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the packaged models with random ones in this process."""
    folder = tmp_path / "packaged models"
    for case_id in reversed(PACKAGED):
        write_model(folder, case_id)
    monkeypatch.setattr("interpbench_jax.loading.packaged_models", lambda: folder)
    return folder


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise AssertionError(f"the Hub was asked for {args}, {options}")

    monkeypatch.setattr("interpbench_conversion.hub.fetch_case", fail)


# Packaged


@pytest.mark.usefixtures("models", "no_hub")
def test_packaged_weights_are_the_default() -> None:
    assert packaged_cases() == PACKAGED
    for case_id in PACKAGED:
        case, expected = load_case(case_id), make_model(case_id)
        assert case == expected == load_case(case_id, "packaged")
        for name, array in expected.weights.items():
            np.testing.assert_array_equal(case.weights[name], array)
        assert case.task.config == case.config


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("case_id", ["99", "[b]x", ".", ""])
def test_names_of_no_task(models: Path, case_id: str) -> None:
    message = (
        r"includes, such as 3 or 20 \(`interpbench list` lists the cases\); got "
        f"'{re.escape(case_id)}'. Give source='hub' .*--repo hub"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load_case(case_id)


@pytest.mark.usefixtures("models", "no_hub")
@pytest.mark.parametrize("case_id", ["ioi", "24", "24-current", "rare-1", "held-out-1"])
def test_tasks_without_a_packaged_model(case_id: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"of case '{case_id}' there is none.") as caught:
        load_case(case_id)
    message = str(caught.value)
    assert f"`interpbench train {case_id}`" in message
    assert ("--repo hub" in message) == (case_id not in ("rare-1", "held-out-1"))


@pytest.mark.usefixtures("models", "no_hub")
def test_tasks_whose_model_is_not_certified_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interpbench_jax.loading.UNTRAINED", {"24": "it is too wide"})
    with pytest.raises(FileNotFoundError, match=r"no certified one yet \(it is too wide\)\."):
        load_case("24")


@pytest.mark.usefixtures("no_hub")
def test_no_models_at_all(models: Path) -> None:
    (models / "3" / "config.json").unlink()
    assert packaged_cases() == PACKAGED[1:], "a model is there with its config, written last"
    shutil.rmtree(models)
    assert packaged_cases() == ()
    with pytest.raises(FileNotFoundError, match="of case '3' there is none"):
        load_case("3")
    with pytest.raises(FileNotFoundError, match=r"includes, but there is none here .*got '99'"):
        load_case("99")


@pytest.mark.usefixtures("models", "no_hub")
@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"revision": "main"}, "revision='main'"),
        ({"cache_dir": Path("here")}, r"cache_dir=.*Path\('here'\)"),
        ({"refresh": True}, "refresh=True"),
        ({"refresh": True, "revision": ""}, "revision='', refresh=True"),
    ],
)
def test_what_is_for_the_hub_alone(models: Path, options: dict[str, object], given: str) -> None:
    message = f"for the packaged weights, got {given}: they apply only to the Hub. .*--repo hub"
    with pytest.raises(ValueError, match=message):
        load_case("3", **options)  # pyright: ignore[reportArgumentType]
    assert load_case("3", refresh=False) == make_model("3")
    for of_folder in ({"case_id": "3", "source": models}, {"case_id": models / "3"}):
        with pytest.raises(ValueError, match=f"for weights in a folder, got {given}"):
            load_case(**of_folder, **options)  # pyright: ignore[reportArgumentType]


def test_no_other_case_is_read(models: Path) -> None:
    for path in models.glob("*/*"):
        if path.parent.name != "11":
            path.write_bytes(b"broken")
    assert load_case("11") == make_model("11")
    with pytest.raises(ValueError, match=r"20.config\.json: Expected a case's config as JSON"):
        load_case("20")


@pytest.mark.usefixtures("models")
def test_the_words_win_over_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("packaged", "hub"):
        write_model(tmp_path / name, "3", seed=1)

    class FetchedError(Exception):
        """An exception that shows that the Hub was used."""

    def fetch(case_id: str, **options: object) -> None:
        raise FetchedError(case_id, options["repo_id"])

    monkeypatch.setattr("interpbench_conversion.hub.fetch_case", fetch)
    weights = make_model("3").weights["embed.W_E"]
    np.testing.assert_array_equal(load_case("3").weights["embed.W_E"], weights)
    with pytest.raises(FetchedError, match="cybershiptrooper/InterpBench"):
        load_case("3", "hub")
    for folder in ("./packaged", Path("packaged"), "./hub", Path("hub")):
        other = load_case("3", folder).weights["embed.W_E"]
        assert not np.array_equal(other, weights)


LEAN = """
import pathlib, sys
import interpbench_jax.loading as loading
loading.packaged_models = lambda: pathlib.Path(sys.argv[1])
loading.load_case("11")
ours = ("interpbench_conversion", "interpbench_jax.cases")
heavy = ("jax", "flax", "huggingface_hub", "datasets", *ours)
print([name for name in heavy if name in sys.modules])
"""


def test_loading_imports_little(models: Path) -> None:
    command = [sys.executable, "-c", LEAN, str(models)]
    ran = subprocess.run(command, capture_output=True, check=True, text=True)
    assert ran.stdout == "[]\n"


# Folders


@requires_upstream
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


@requires_upstream
def test_a_number_means_the_task_of_the_release_whose_layout_it_is() -> None:
    for source in (UPSTREAM / "release" / "13", UPSTREAM / "release"):
        case = load_case("13-current", source)
        assert case.case_id == "13-current" and case.task.releases == ("current",)
        assert case.vocab == ("0", "1", "2", "BOS", "PAD")
        with pytest.raises(ValueError, match=r"'13' in .* of case '13-current'; request it by"):
            load_case("13", source)
    assert load_case(UPSTREAM / "release" / "13").case_id == "13-current"
    assert load_case(UPSTREAM / "release_v1" / "13").case_id == "13"
    assert load_case("11-current", UPSTREAM / "release").case_id == "11"


@requires_upstream
def test_heads_of_the_current_layout_are_renamed_to_the_models() -> None:
    """Upstream's current files name the program's head 0 where the model uses head 2."""
    v1, current = (load_case("3", UPSTREAM / layout) for layout in ("release_v1", "release"))
    assert v1.circuit is not None and current.circuit is not None
    assert current.circuit.in_universe("head") == v1.circuit.in_universe("head")


@requires_upstream
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


@requires_upstream
@pytest.mark.parametrize(
    ("case_id", "source", "error", "message"),
    [
        ("11", "nowhere", FileNotFoundError, "Expected 'packaged', 'hub', a folder, or a Hub"),
        ("11", Path("no/where"), FileNotFoundError, "which is not a folder here"),
        ("11", UPSTREAM / "release_v1" / "3", FileNotFoundError, "the folder of case '3'"),
        ("12", UPSTREAM / "release_v1", FileNotFoundError, "found neither our config.json nor"),
    ],
)
def test_sources_without_the_case_are_refused(
    case_id: str, source: str | Path, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_case(case_id, source)


@requires_upstream
def test_another_case_in_our_layout_is_refused(tmp_path: Path) -> None:
    load_case("11", UPSTREAM / "release_v1").save(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"Expected case '13' in .*, got case '11'"):
        load_case("13", tmp_path / "mine")


@requires_upstream
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    shutil.copytree(UPSTREAM / "release" / "13", tmp_path / "case")
    (tmp_path / "case" / "ll_model_cfg.pkl").chmod(0o644)
    shutil.copyfile(
        UPSTREAM / "release" / "3" / "ll_model_cfg.pkl", tmp_path / "case" / "ll_model_cfg.pkl"
    )
    with pytest.raises(UpstreamFormatError, match=r"expected blocks\.0\.attn\.mask to be a lower"):
        load_case("case", tmp_path / "case")


@requires_upstream
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


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("as_text", [False, True])
def test_a_folder_by_its_path(tmp_path: Path, as_text: bool) -> None:
    folder = make_model("3").save(tmp_path / "mine")
    found = load_case(f"{folder}" if as_text else folder)
    assert found == make_model("3"), "whatever the folder is called"
    with pytest.raises(ValueError, match="Expected a folder alone, or an id and a source"):
        load_case(folder, "hub")
    with pytest.raises(ValueError, match="Expected no revision"):
        load_case(folder, revision="main")
    with pytest.raises(FileNotFoundError, match=r"or a folder .*there is no such folder"):
        load_case(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"Expected case 'empty' in .*it contains nothing"):
        (tmp_path / "empty").mkdir()
        load_case(tmp_path / "empty")
