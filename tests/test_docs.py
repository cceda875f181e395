"""The README and the documentation: code runs, types are right, commands and links exist."""

import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from interpbench_jax.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def code_of(page: Path, language: str) -> str:
    """Return all blocks of a language as one text with the page's line numbers."""
    text = page.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in BLOCK.finditer(text):
        if block[1] == language:
            first = text.count("\n", 0, block.start(2))
            code = block[2].splitlines()
            lines[first : first + len(code)] = code
    return "\n".join(lines) + "\n"


@pytest.mark.slow
@pytest.mark.optimized
def test_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    # The other pages' code runs when the documentation is built.
    exec(compile(code_of(README, "python"), str(README), "exec"), {})
    perfect = "{'qkv': 1.0, 'qkv-merged': 1.0, 'head': 1.0, 'head-no-embed': 1.0}\n"
    assert capsys.readouterr().out == perfect * 2


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_types_are_right(tmp_path: Path) -> None:
    pages = {}
    for page in PAGES:
        code = code_of(page, "python")
        if code.strip():
            pages[page.relative_to(ROOT).with_suffix(".py").as_posix().replace("/", "_")] = page
            (tmp_path / list(pages)[-1]).write_text(code, encoding="utf-8")
    paths = [ROOT, ROOT / "conversion", ROOT / "hf_dataset"]
    settings = {
        "typeCheckingMode": "standard",
        # A page goes on with the names of its earlier blocks, and ends blocks with expressions.
        "reportRedeclaration": "none",
        "include": ["."],
        "pythonVersion": "3.11",
        "extraPaths": [str(path) for path in paths],
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run([*command, "-p", str(tmp_path)], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(pages) > 10
    found = []
    for each in report["generalDiagnostics"]:
        page = pages[Path(each["file"]).name].relative_to(ROOT)
        found.append(f"{page}:{each['range']['start']['line'] + 1}: {each['message']}")
    assert not found


class Line(NamedTuple):
    """A line of a page that calls the command."""

    page: str
    words: tuple[str, ...]


def commands() -> list[Line]:
    """Return the words that follow `interpbench` on each line of a page, without comments."""
    return [
        Line(str(page.relative_to(ROOT)), tuple(shlex.split(line, comments=True)[1:]))
        for page in PAGES
        for line in code_of(page, "").splitlines()
        if line.startswith("interpbench ")
    ]


def test_commands_exist() -> None:
    found = commands()
    assert len(found) > 30
    top = typer.main.get_command(app)
    for line in found:
        command, rest = top, line.words
        while hasattr(command, "commands"):
            # `dataset build|check|upload` names three commands.
            names = rest[0].split("|")
            assert set(names) <= set(command.commands), line  # pyright: ignore
            command, rest = command.commands[names[0]], rest[1:]  # pyright: ignore
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        assert {word for word in rest if word.startswith("-")} <= known, line


def test_the_page_of_commands_has_each() -> None:
    page = "docs/commands.md"
    listed = {line.words[0] for line in commands() if line.page == page}
    top = typer.main.get_command(app)
    assert listed == set(top.commands)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        # The site generates these pages.
        if "://" in path or re.fullmatch(r"(\.\./)?(cases|notebooks)/\S+\.md", path):
            continue
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), target
        if anchor:
            assert anchor in anchors_of(goal), target


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    found = set()
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    for heading in headings:
        named = re.search(r"\{ #(\S+) \}", heading)
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.add(named[1] if named else plain)
    return found


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150
