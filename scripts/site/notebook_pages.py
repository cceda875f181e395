"""The pages of the notebooks: their text, code and stored outputs."""

from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

INTRODUCTION = """# Notebooks

The notebooks are in the folder `examples/notebooks` of the repository. The tests execute each of
them; the pages here show the outputs that are stored in the files.
"""


def notebooks(folder: Path) -> list[Path]:
    """Return the notebooks of a folder, in the order of their names."""
    return sorted(folder.glob("*.ipynb"))


def notebook_files(folder: Path) -> dict[str, str | bytes]:
    """Return the content of each page and picture by its path in the site."""
    files: dict[str, str | bytes] = {}
    lines = []
    for path in notebooks(folder):
        notebook = nbformat.read(path, as_version=4)
        # nbconvert's names of pictures repeat in every notebook.
        resources = {"output_files_dir": f"{path.stem}_files"}
        text, found = MarkdownExporter().from_notebook_node(notebook, resources)
        files[f"notebooks/{path.stem}.md"] = text
        for name, content in found["outputs"].items():
            files[f"notebooks/{name}"] = content
        title = text.lstrip().splitlines()[0].removeprefix("# ")
        lines.append(f"1. [{title}]({path.stem}.md)")
    files["notebooks/index.md"] = INTRODUCTION + "\n" + "\n".join(lines) + "\n"
    return files
