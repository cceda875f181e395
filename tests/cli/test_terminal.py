"""The output of commands: in narrow terminals, in pipes, without colors, with untrusted text."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from interpbench_jax import load_case
from interpbench_jax.bench.table import write_tables
from interpbench_jax.report.fitting import FittedTable, clean_tree
from tests.bench.fake_results import fake_bench

ESCAPE = "\x1b"
NUMBER = re.compile(r"\d\.\d{3,4}\b")


def on_a_terminal(*arguments: object, columns: int, **environment: str) -> str:
    """Return what a command writes to a terminal of this width."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "interpbench_jax.cli", *map(str, arguments)],
        stdout=terminal,
        stderr=terminal,
        stdin=terminal,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color", **environment},
    )
    os.close(terminal)
    written = b""
    while True:
        try:
            some = os.read(main, 65_536)
        except OSError:  # On Linux, this means that no writer is left.
            break
        if not some:
            break
        written += some
    os.close(main)
    assert process.wait(60) == 0, written.decode()
    return written.decode()


def piped(*arguments: object, **environment: str) -> str:
    """Return what a command writes to a pipe."""
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        [sys.executable, "-m", "interpbench_jax.cli", *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**inherited, **environment},
    ).stdout


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, fake = tmp_path_factory.mktemp("bench"), fake_bench()
    write_tables(folder, fake.results, fake.scores)
    return folder


COMMANDS: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "list": lambda bench: ("list",),
    "show": lambda bench: ("show", "3"),
    "leaderboard": lambda bench: ("leaderboard", bench),
    "compare": lambda bench: ("compare", bench, bench),
    "sample": lambda bench: ("sample", "3", "-n", "2"),
    "methods": lambda bench: ("methods",),
}


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_breaks_in_a_narrow_terminal(command: str, columns: int, bench: Path) -> None:
    arguments = COMMANDS[command](bench)
    text = on_a_terminal(*arguments, columns=columns, NO_COLOR="1")
    lines = text.replace("\r", "").splitlines()
    assert ESCAPE not in text and max(map(len, lines)) <= columns
    # Every number of the wide output appears unbroken, and so does every word that fits.
    wide = on_a_terminal(*arguments, columns=2_000, NO_COLOR="1")
    assert sorted(NUMBER.findall(text)) == sorted(NUMBER.findall(wide))
    short = {word for word in wide.split() if len(word) <= columns - 8 and word[0].isalnum()}
    assert short - set(text.split()) == set()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_gets_whole_rows(command: str, bench: Path) -> None:
    text = piped(*COMMANDS[command](bench))
    assert ESCAPE not in text
    assert [line for line in text.splitlines() if line.endswith(" ")] == []
    if command == "show":
        (start,) = [line for line in text.splitlines() if line.startswith("program")]
        (end,) = [line for line in text.splitlines() if "aggregate(" in line]
        assert start.split(maxsplit=1)[1].startswith("is_x = ") and start.count(" = ") == 1
        assert end.index("share_of_x = ") == start.index("is_x = ") and not end[0].strip()
    if command == "list":
        row = next(line for line in text.splitlines() if line.split()[:1] == ["11"])
        assert "read off the earlier words that are as long." in row and row.split()[-1] == "yes"
        assert "(identity on its inputs)" in [line.strip() for line in text.splitlines()]
    if command == "leaderboard":
        row = next(line for line in text.splitlines() if line.startswith("exact"))
        assert len(NUMBER.findall(row)) >= 2


@pytest.mark.slow
def test_colours_are_for_those_who_want_them(bench: Path) -> None:
    for arguments in (("--help",), ("list", "--help"), ("leaderboard", bench)):
        assert ESCAPE in on_a_terminal(*arguments, columns=100)
        assert ESCAPE not in on_a_terminal(*arguments, columns=100, NO_COLOR="1")


HOSTILE = "\x1b[31mred\x1b]0;title\x07 [/] [bold]x[/bold] \r\n\x9b2J :boom:"


@pytest.mark.slow
def test_text_from_files_is_text(tmp_path: Path) -> None:
    case = load_case("11")
    vocab = case.vocab
    assert vocab is not None
    odd = replace(case, case_id="mine", task_description=HOSTILE, vocab=(HOSTILE, *vocab[1:]))
    folder = odd.save(tmp_path / "exp[red]1[/]")
    shown = on_a_terminal("show", folder, columns=120, NO_COLOR="1")
    assert ESCAPE not in shown and "\x9b" not in shown and "\x07" not in shown
    assert "[/] [bold]x[/bold]" in shown and ":boom:" in shown
    target = tmp_path / "[/]" / "new[red]"
    done = piped("convert", folder, target)
    assert str(target) in done and (target / "config.json").is_file()
    swept = piped("sweep", folder, "--n", "4", "--top", "1")
    assert ESCAPE not in swept and "137 edges (qkv)" in swept


# Tables of a given width


def drawn(table: Table | Tree, width: int) -> str:
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as text:
        console.print(clean_tree(table) if isinstance(table, Tree) else FittedTable(table))
    return text.get()


def make_table() -> Table:
    table = Table(title="A title [red]", caption="a caption\nof two lines", box=None)
    table.add_column("method", no_wrap=True)
    table.add_column("area", justify="right")
    table.add_column("what it does")
    table.add_row("first", "0.1234 [0.1, 0.2]", "some words that take a while to read")
    table.add_row(Text("second"), "[bold]", "[/]")
    return table


def test_a_wide_terminal_has_the_table() -> None:
    lines = drawn(make_table(), 100).splitlines()
    row = next(line for line in lines if line.split()[:1] == ["first"])
    assert "0.1234 [0.1, 0.2]" in row and "some words that take a while to read" in row
    assert "A title [red]" in lines[0] and [line.strip() for line in lines[-2:]] == [
        "a caption",
        "of two lines",
    ]
    assert any("[bold]" in line and "[/]" in line for line in lines)


@pytest.mark.parametrize("width", [20, 30, 50])
def test_a_narrow_one_has_every_word(width: int) -> None:
    text = drawn(make_table(), width)
    assert max(map(len, text.splitlines())) <= width
    for word in ("0.1234", "[0.1,", "0.2]", "[bold]", "[/]", "some", "while", "second"):
        assert word in text.split()


def test_words_wrap_before_rows_become_paragraphs() -> None:
    table = Table(box=None)
    table.add_column("a")
    table.add_column("b")
    table.add_row("one two three", "four five six")
    lines = [line.split() for line in drawn(table, 14).splitlines()]
    assert lines[0] == ["a", "b"] and lines[1][0] == "one"
    assert {word for line in lines for word in line} >= {"one", "two", "three", "four", "five"}


def test_a_row_without_a_first_cell_continues_the_one_above() -> None:
    table = Table(box=None)
    for header in ("name", "text"):
        table.add_column(header)
    table.add_row("one", "a first line of some words")
    table.add_row("", "a second line of some words")
    assert [line.strip() for line in drawn(table, 40).splitlines()] == [
        "name  text",
        "one   a first line of some words",
        "a second line of some words",
    ]
    assert drawn(table, 20).split() == "name one text a first line of some words".split() + (
        "a second line of some words".split()
    )


def test_a_trees_labels_are_text() -> None:
    tree = Tree("root [red]\x1b[31m")
    tree.add(Text("leaf\x9b"))
    text = drawn(tree, 40)
    assert "root [red]" in text and "leaf" in text
    assert ESCAPE not in text and "\x9b" not in text
