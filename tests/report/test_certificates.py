"""A certificate's tables."""

import pytest
from rich.console import Console
from rich.table import Table

from interpbench_jax.report.certificates import (
    CertifiedNode,
    Contradiction,
    certified_nodes_table,
    contradictions_table,
    show_down,
)


def printed(table: Table) -> str:
    console = Console(width=120, color_system="standard", force_terminal=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_shares_below_the_bar_stand_out() -> None:
    rows = [
        CertifiedNode("blocks.0.mlp.hook_post", "mood [red]", 0.9, 21.90884, 0.7500889),
        CertifiedNode("blocks.0.attn.hook_result[1]", "", 0.99, 0.0, 0.0),
    ]
    text = printed(certified_nodes_table(rows, "nats", bar=0.95))
    assert "mood [red]" in text and "hook_result[1]" in text and "0.7501" in text
    assert "\x1b[31m0.9000" in text and "\x1b[31m0.9900" not in text


def test_contradictions() -> None:
    rows = [
        Contradiction(("a", "b"), True, 0.0, 0.0),
        Contradiction(("c", "d"), False, 1.5, 0.25),
    ]
    lines = printed(contradictions_table(rows, "nats")).splitlines()
    assert "in the circuit, hardly used" in lines[-2]
    assert "not in the circuit, used" in lines[-1] and "0.2500" in lines[-1]


@pytest.mark.parametrize(
    ("share", "shown"),
    [(1.0, "1.0000"), (0.99999, "0.9999"), (0.9997, "0.9997"), (0.0, "0.0000")],
)
def test_shares_are_never_shown_as_more(share: float, shown: str) -> None:
    assert show_down(share) == shown
