"""Importing the package has no side effects, and the tests' strict settings are in force."""

import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import TypeCheckError

import interpbench_jax
from interpbench_conversion.convert import convert_weights
from interpbench_jax.metrics import kl_divergence
from interpbench_jax.scores import roc_auc
from tests.fixtures import random_weights, tiny_config

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "interpbench_conversion",
    "datasets",
    "flax",
    "huggingface_hub",
    "jax",
    "jaxlib",
    "jaxtyping",
    "matplotlib",
    "networkx",
    "numpy",
    "optax",
    "orbax",
    "pandas",
    "pyarrow",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "typer",
}


def run_python(code: str) -> str:
    """Run code in a separate interpreter, where warnings are errors, and return its output."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def imported_by(code: str) -> set[str]:
    modules = run_python(f"import sys\n{code}\nprint(*{{m.split('.')[0] for m in sys.modules}})")
    return set(modules.split())


def test_importing_the_package_is_light() -> None:
    imported = imported_by("import interpbench_jax")
    assert "interpbench_jax" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize(
    "name", ["sites", "config", "circuit", "weights", "case", "scores", "certificates"]
)
def test_what_handles_no_jax_array_imports_no_jax(name: str) -> None:
    assert not imported_by(f"import interpbench_jax.{name}") & {"jax", "flax", "torch", "datasets"}


def test_every_public_name_is_there() -> None:
    assert len(set(interpbench_jax.__all__)) == len(interpbench_jax.__all__) > 0
    for name in interpbench_jax.__all__:
        assert getattr(interpbench_jax, name) is not None, name
    assert interpbench_jax.__all__ == dir(interpbench_jax)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        interpbench_jax.no_such_name  # noqa: B018  # pyright: ignore


IMPORT_ALL = """
import importlib, json, pathlib, random
import jax, numpy as np, rich.console, typer  # what these do is not ours
from jax._src import xla_bridge

def state():
    return [
        sorted((key, repr(value)) for key, value in jax.config.values.items()),
        hash(random.getstate()),
        np.random.get_state()[1].tolist(),
        repr(np.geterr()),
        xla_bridge.backends_are_initialized(),
    ]

before, missing, count = state(), [], 0
for path in sorted(pathlib.Path("interpbench_jax").rglob("*.py")):
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    if path.stem == "__main__":
        continue
    try:
        importlib.import_module(name)
        count += 1
    except ModuleNotFoundError as error:
        missing.append([name, error.name])
print(json.dumps({"same": state() == before, "missing": missing, "count": count,
                  "backends": xla_bridge.backends_are_initialized()}))
"""
OPTIONAL = {"datasets", "optax", "orbax", "pyarrow", "torch"}


@pytest.mark.slow
def test_importing_every_module_changes_nothing() -> None:
    # Imports change no config flags and no random state, and initialize no devices.
    result = json.loads(run_python(IMPORT_ALL))
    assert result["same"] and not result["backends"]
    assert result["count"] > 20
    assert {str(package).partition(".")[0] for _, package in result["missing"]} <= OPTIONAL


# The command line

HELP = """
import contextlib, io
from interpbench_jax.cli import main
sys.argv = ['interpbench', '--help']
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""
# Importing modules takes most of the time of `--help`; there were 321 with typer 0.29.
MOST_MODULES_OF_HELP = 450


def test_the_script_is_installed() -> None:
    script = Path(sys.executable).with_name("interpbench")
    assert script.exists(), f"install the package: {script} is not there"


def test_help_needs_few_modules_and_no_jax() -> None:
    heavy = {"jax", "flax", "numpy", "torch", "datasets", "pandas", "pyarrow", "scipy"}
    assert not imported_by(HELP) & heavy
    assert int(run_python(f"import sys\n{HELP}\nprint(len(sys.modules))")) < MOST_MODULES_OF_HELP


# The tests' own settings (conftest.py)


@pytest.mark.typechecked
def test_shapes_are_checked_in_tests() -> None:
    logits, targets = jnp.zeros((2, 3, 4)), jnp.zeros((2, 3), jnp.int32)
    assert kl_divergence(logits, logits, targets).shape == (2,)
    with pytest.raises(TypeCheckError, match="clean_logits"):
        kl_divergence(logits, jnp.zeros((2, 3, 5)), targets)
    with pytest.raises(TypeCheckError, match="targets"):
        kl_divergence(logits, logits, jnp.zeros((3, 2), jnp.int32))
    with pytest.raises(TypeCheckError, match="truth"):
        roc_auc(np.zeros(3), np.zeros(4, bool))


@pytest.mark.typechecked
def test_types_are_checked_in_tests() -> None:
    with pytest.raises(TypeCheckError, match="name"):
        convert_weights(tiny_config(), random_weights(tiny_config()), 3)  # pyright: ignore
    with pytest.raises(TypeCheckError, match="act_fn"):
        tiny_config(act_fn="tanh")


@pytest.mark.usefixtures("unchecked")
def test_checks_can_be_left_out() -> None:
    with pytest.raises(ValueError, match="Expected act_fn to be one of"):
        tiny_config(act_fn="tanh")


def test_jax_is_strict_in_tests() -> None:
    with pytest.raises(ValueError, match="strict"):
        jnp.add(jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.float32))
    with pytest.raises(ValueError, match="numpy_rank_promotion"):
        jnp.add(jnp.zeros((2, 2)), jnp.zeros(2))
    assert nnx.set_graph_mode.current_value() is False


def test_float64_where_it_is_asked_for(x64: None) -> None:
    assert jnp.zeros(2).dtype == jnp.float64


def test_float32_elsewhere() -> None:
    assert jnp.zeros(2).dtype == jnp.float32
