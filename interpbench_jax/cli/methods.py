"""The command that lists the discovery methods."""

import inspect
from dataclasses import asdict
from typing import TYPE_CHECKING

from interpbench_jax.cli.console import JsonOption, print_json
from interpbench_jax.cli.terminal import show

if TYPE_CHECKING:
    from interpbench_jax.discovery import Method


def methods(as_json: JsonOption = False) -> None:
    """List the discovery methods: what each computes, and what it measures by default.

    By default, a method measures either the distance of a run's outputs from those of the clean
    run, or their loss against the targets. With --json, the settings of each are listed too.
    """
    from interpbench_jax.discovery import METHODS
    from interpbench_jax.report import methods_table

    rows = [_row(name, method) for name, method in METHODS.items()]
    if as_json:
        print_json({"methods": rows})
        return
    show(methods_table(rows))


def _row(name: str, method: "Method") -> dict[str, object]:
    text = inspect.getdoc(method.run) or ""
    return {
        "method": name,
        "computes": " ".join(text.partition("\n\n")[0].split()),
        "default_metric": method.default_metric,
        "is_random": method.is_random,
        "depends_on_order": method.shuffled is not None,
        "settings": asdict(method.settings),
    }
