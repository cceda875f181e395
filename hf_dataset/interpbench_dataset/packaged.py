"""The published folder in this installation, and the models that such a folder holds.

Importing this module imports nothing beyond the standard library and the names of cases.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from interpbench_jax.names import case_order

MODELS_FOLDER = "models"
# This file is written last: a model's folder that has it is complete.
_CONFIG_FILE = "config.json"
_FOLDER = Path(__file__).parent / "interpbench"

_NOT_YET = "not trained yet"
# The cases of which there is no model yet that passes its certificate, and why.
UNTRAINED: Mapping[str, str] = MappingProxyType(
    {
        "2": f"{_NOT_YET}; an epoch takes about three minutes on one core",
        "39": f"{_NOT_YET}; 60 positions",
        "97": f"{_NOT_YET}; d_model 200",
        "113": f"{_NOT_YET}; seven layers",
        "124": "the one trained takes all fours, which are held out, for unequal numbers",
    }
)


def packaged_folder() -> Path:
    """Return the published folder that this installation carries.

    Raises:
        FileNotFoundError: if it is not there, or has no card.
    """
    if not (_FOLDER / "README.md").is_file():
        raise FileNotFoundError(
            f"Expected the dataset and its card in {_FOLDER}, found none; "
            "reinstall interpbench-jax."
        )
    return _FOLDER


def packaged_models() -> Path:
    """Return the folder with one folder per packaged model; it need not exist."""
    return _FOLDER / MODELS_FOLDER


def model_ids(models: Path) -> tuple[str, ...]:
    """The cases whose models a folder holds, in the order of `case_order`."""
    if not models.is_dir():
        return ()
    found = (path.name for path in models.iterdir() if (path / _CONFIG_FILE).is_file())
    return tuple(sorted(found, key=case_order))
