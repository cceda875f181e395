"""The error for a missing optional package: what needs it, and which extra installs it."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import interpbench_jax as ib
from interpbench_conversion.hub import fetch_case
from interpbench_dataset.upload import upload
from interpbench_jax.bench.submission import check_submission
from interpbench_jax.bench.table import read_results
from interpbench_jax.extras import needs_extra
from interpbench_jax.report.plots import roc_plot
from interpbench_jax.statistics import wilcoxon_p
from interpbench_jax.storage.sums import check_pyarrow
from interpbench_jax.training.checkpoints import Checkpoints
from tests.certificates.commands import run_command
from tests.tiny_models import make_model


def remove(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make imports of a package fail as if it were not installed."""
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)


def test_what_is_installed_is_imported() -> None:
    with needs_extra("analysis", "This"):
        import networkx
    assert networkx.DiGraph


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError, match="x"), needs_extra("analysis", "This"):
        raise KeyError("x")


def small_sweep() -> ib.SweepResult:
    tokens = np.zeros((1, 4), np.int32)
    return ib.sweep_nodes(make_model("11").model, tokens, tokens)


CALLS: list[tuple[str, str, Callable[[], object]]] = [
    ("huggingface_hub", "hub", lambda: ib.load_case("11", "hub")),
    ("huggingface_hub", "hub", lambda: fetch_case("11")),
    ("huggingface_hub", "hub", lambda: upload("someone/interpbench")),
    ("datasets", "dataset", lambda: ib.load_dataset("11")),
    ("networkx", "analysis", lambda: ib.CASES["11"].upstream_circuit.to_networkx()),
    ("pandas", "analysis", lambda: small_sweep().to_pandas()),
    ("pyarrow", "bench", check_pyarrow),
    ("pyarrow", "bench", lambda: read_results(Path(__file__))),
    ("jsonschema", "bench", lambda: check_submission({}, {})),
    ("matplotlib", "bench", lambda: roc_plot({}, "none")),
    ("scipy", "bench", lambda: wilcoxon_p(np.arange(5.0), np.zeros(5))),
    ("orbax", "train", lambda: Checkpoints(Path("nowhere"))),
]


@pytest.mark.parametrize(("package", "extra", "call"), CALLS)
def test_a_missing_package_is_named_with_its_extra(
    package: str, extra: str, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(package, monkeypatch)
    with pytest.raises(ImportError) as raised:
        call()
    assert f"needs {package}, which is not installed" in str(raised.value)
    assert f'pip install "interpbench-jax[{extra}]"' in str(raised.value)
    assert (raised.value.name or "").partition(".")[0] == package


def test_a_command_says_it_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remove("huggingface_hub", monkeypatch)
    run_command("show", "11", "--repo", "hub", code=2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert 'pip install "interpbench-jax[hub]"' in " ".join(shown.err.split())
