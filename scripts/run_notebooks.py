"""Execute the example notebooks and write them back with their outputs.

    python scripts/run_notebooks.py                                # all of them
    python scripts/run_notebooks.py examples/notebooks/2_patching.ipynb -o elsewhere

Each runs in a fresh kernel of this Python, in an empty working directory. What depends on the run
(counts, times, paths, addresses) is removed, so that a second run changes only numbers and images.
Needs nbclient and ipykernel.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from interpbench_jax.storage import write_file

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "notebooks"
TIMEOUT = 600
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class ThisPython(KernelSpecManager):
    """Starts kernels with the Python that runs this, whatever kernels are installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return how to start a kernel, under any name."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def notebooks() -> list[Path]:
    """Return the example notebooks, in order."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        ValueError: if the file is not a notebook.
    """
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def environment() -> dict[str, str]:
    """Return this process's environment, in which Python finds this repository's packages first."""
    paths = [str(path) for path in (ROOT, ROOT / "conversion", ROOT / "hf_dataset")]
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.environ | {"PYTHONPATH": os.pathsep.join([*paths, *others])}


def execute(notebook: NotebookNode, folder: Path, timeout: int = TIMEOUT) -> NotebookNode:
    """Return the notebook, executed in a folder, with normalized outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell raises an error.
        nbclient.exceptions.CellTimeoutError: if a cell takes longer than `timeout` seconds.
    """
    settings = environment() | {
        "IPYTHONDIR": str(folder / ".ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / ".runtime"),
        "JAX_PLATFORMS": "cpu",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "COLUMNS": "100",
    }
    client = NotebookClient(
        notebook,
        timeout=timeout,
        km=AsyncKernelManager(kernel_spec_manager=ThisPython(), kernel_name="python3"),
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=settings)
    return normalize(notebook, folder)


def normalize(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Return the notebook without what differs between runs and machines."""
    notebook.metadata = nbformat.from_dict(_METADATA)
    notebook.nbformat_minor = 5
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index}"
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        cell.outputs = _joined(cell.outputs)
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            if "text" in output:
                output.text = _normal(output.text, folder)
            for kind in ("text/plain", "text/html"):
                if kind in output.get("data", {}):
                    output.data[kind] = _normal(output.data[kind], folder)
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join what was printed into one output for each stream; it arrives in parts at random."""
    found: list[NotebookNode] = []
    for output in outputs:
        if found and output.output_type == found[-1].output_type == "stream":
            if output.name == found[-1].name:
                found[-1].text += output.text
                continue
        found.append(output)
    return found


def _normal(text: str, folder: Path) -> str:
    text = text.replace(str(folder.resolve()), ".").replace(str(folder), ".")
    return _ADDRESS.sub("", text)


def main() -> None:
    """Execute the notebooks that are named, or all, and print how long each took."""
    parser = argparse.ArgumentParser(description="Execute the example notebooks.")
    parser.add_argument("paths", nargs="*", type=Path, help="default: all example notebooks")
    parser.add_argument("-o", "--output", type=Path, help="folder to write to; default: in place")
    options = parser.parse_args()
    for path in options.paths or notebooks():
        notebook = read(path)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, Path(folder))
        seconds = time.perf_counter() - started
        text = nbformat.writes(notebook) + "\n"
        write_file(path if options.output is None else options.output / path.name, text)
        print(f"{path.name}: {seconds:.0f} s, {len(text.encode()) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
