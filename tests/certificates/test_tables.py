"""The tables that show a certificate."""

import dataclasses

import pytest
from rich.console import Console
from rich.table import Table

from interpbench_jax.certificates import NodeEffect
from interpbench_jax.certificates.tables import (
    certified_edges_table,
    certified_nodes_table,
    separations_table,
    show_down,
)
from tests.certificates.made_up import CERTIFICATE, HEAD, MLP


def printed(table: Table) -> str:
    console = Console(width=140, color_system="standard", force_terminal=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_shares_below_the_bar_stand_out() -> None:
    low = dataclasses.replace(
        CERTIFICATE,
        iia={"mood [red]": 0.9},
        alignment={"mood [red]": (MLP,)},
        nodes={HEAD: NodeEffect(0.0, 0.0, 0.0), MLP: NodeEffect(21.90884, 9.5, 0.7500889)},
        strict_accuracy={HEAD: 0.99},
    )
    text = printed(certified_nodes_table(low, "nats", bar=0.95))
    assert "mood [red]" in text and "hook_result[0]" in text and "0.7501" in text
    assert "\x1b[31m0.9000" in text and "\x1b[31m0.9900" not in text


def test_edges_and_how_far_apart_they_are() -> None:
    table = certified_edges_table(CERTIFICATE, "nats")
    # The circuit's edges come first, then the strongest edges outside it.
    assert [str(cell) for cell in table.columns[2].cells] == ["in", "in", "constant", "out"]
    text = printed(separations_table(CERTIFICATE))
    assert "centred logits" in text and "kl" in text and "0.250%" in text


@pytest.mark.parametrize(
    ("share", "shown"),
    [(1.0, "1.0000"), (0.99999, "0.9999"), (0.9997, "0.9997"), (0.0, "0.0000")],
)
def test_shares_are_never_shown_as_more(share: float, shown: str) -> None:
    assert show_down(share) == shown
