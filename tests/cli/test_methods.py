"""The command that lists the discovery methods."""

import json

from interpbench_jax.discovery import METHODS
from tests.commands import run


def test_every_method_is_listed() -> None:
    rows = {row["method"]: row for row in json.loads(run("methods", "--json").stdout)["methods"]}
    assert list(rows) == list(METHODS)
    assert all(row["computes"].endswith(".") for row in rows.values())
    assert rows["eap"]["default_metric"] == "loss" and rows["eap"]["settings"] == {}
    assert rows["exact"]["default_metric"] == "distance"
    assert rows["eap-ig-inputs"]["settings"] == {"steps": 5}
    assert [name for name, row in rows.items() if row["depends_on_order"]] == ["acdc"]
    assert rows["chance"]["is_random"] and not rows["eap"]["is_random"]


def test_people_get_a_table() -> None:
    lines = run("methods", COLUMNS="").stdout.splitlines()
    (eap,) = [line for line in lines if line.split()[:1] == ["eap"]]
    assert "to first order at the clean run." in eap and "loss against the targets" in eap
    (acdc,) = [line for line in lines if line.split()[:1] == ["acdc"]]
    assert "distance from the clean run" in acdc and acdc.endswith("the order of edges")
