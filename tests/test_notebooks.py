"""The example notebooks run, and their stored outputs are those of a run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbclient")
from nbformat import NotebookNode

from scripts.run_notebooks import FOLDER, environment, notebooks, read

SCRIPT = FOLDER.parents[1] / "scripts" / "run_notebooks.py"
PATHS = notebooks()
MOST_BYTES, MOST_IMAGE = 250_000, 60_000
_NUMBER = re.compile(r"\d\.\d|\de-?\d")


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: NotebookNode) -> list[tuple[str, ...]]:
    """Return what a cell shows: for each output its type, its stream and its forms."""
    return [
        (output.output_type, output.get("name", ""), *sorted(output.get("data", ())))
        for output in cell.outputs
    ]


def texts(cell: NotebookNode) -> list[str]:
    """Return what a cell prints and shows as text."""
    shown = [out.get("text", out.get("data", {}).get("text/plain")) for out in cell.outputs]
    return [text for text in shown if text]


def test_there_are_five() -> None:
    assert [path.name[:2] for path in PATHS] == ["1_", "2_", "3_", "4_", "5_"]
    assert all(path.parent == FOLDER for path in PATHS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_stored_notebook_is_tidy(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.encode()) < MOST_BYTES
    # No folder or name of the machine on which it ran.
    assert not re.search(r"(?<![\w.:/])/(tmp|home|root|work|Users|usr|private|var)/", source)
    assert str(Path.home()) not in source and " at 0x" not in source
    notebook = read(path)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        assert cell.metadata == {} and cell.source == cell.source.strip()
    cells = code_cells(notebook)
    assert any(cell.outputs for cell in cells)
    for cell in cells:
        assert cell.execution_count is None
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr"
            assert output.get("execution_count") is None and not output.get("metadata")
            assert len(output.get("data", {}).get("image/png", "")) < MOST_IMAGE * 4 / 3


def with_marks(path: Path) -> object:
    """A notebook; the one that trains runs so long that optimizing its programs saves time."""
    marks = [pytest.mark.optimized] if path.name.startswith("5_") else []
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("path", [with_marks(path) for path in PATHS])
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    # In a process of its own: the sockets of a kernel's client are closed when it ends.
    command = [sys.executable, str(SCRIPT), str(path), "-o", str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout, end="")
    stored, notebook = read(path), read(tmp_path / path.name)
    for before, after in zip(code_cells(stored), code_cells(notebook), strict=True):
        warned = [out.text for out in after.outputs if out.get("name") == "stderr"]
        assert not warned, after.source
        assert kinds(after) == kinds(before), after.source
        for old, new in zip(texts(before), texts(after), strict=True):
            # Numbers may differ in their last digits between machines.
            if not _NUMBER.search(old):
                assert new == old, after.source
