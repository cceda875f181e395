"""The rules on which module may import which, and on the length of files and functions.

Imports are read from the source, so those inside functions and under TYPE_CHECKING count too.
"""

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The installed packages, and the folder of the repository that contains each.
PACKAGES = {
    "interpbench_jax": "",
    "interpbench_conversion": "conversion",
    "interpbench_dataset": "hf_dataset",
}
FOLDERS = tuple(f"{folder}/{package}".lstrip("/") for package, folder in PACKAGES.items())
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80

# Data flows from left to right; a module imports only modules to its left.
ORDER: tuple[str, ...] = (
    "version",
    "extras",
    "texts",
    "drawings",
    "names",
    "jsontext",
    "storage",
    "axes",
    "namespaces",
    "jsonfields",
    "display",
    "travel",
    "layout",
    "sites",
    "masks",
    "config",
    "universes",
    "bands",
    "bars",
    "circuit",
    "position_truth",
    "weights",
    "case",
    "model",
    "habits",
    "interventions",
    "targets",
    "metrics",
    "objective",
    "pairs",
    "engine",
    "ablations",
    "sweeps",
    "discovery",
    "scores",
    "statistics",
    "report",
    "pictures",
)
# A case contains its circuit, and no method may see the truth.
BLIND = (
    *("model", "habits", "interventions", "targets", "metrics"),
    *("objective", "pairs", "engine", "ablations", "sweeps", "discovery"),
)
FRONT = "interpbench_jax"


def _left_of(name: str) -> set[str]:
    return set(ORDER[: ORDER.index(name)]) - ({"case"} if name in BLIND else set())


MAY_IMPORT: dict[str, set[str]] = {
    **{name: _left_of(name) for name in ORDER},
    "case": _left_of("case") - {"axes", "namespaces", "masks"}
    | {"model", "high_level", "rasp", "cases", "pairs"},
    "scores": _left_of("scores") - {"case", "discovery"},
    "statistics": _left_of("statistics") - {"model", "interventions", "sweeps", "discovery"},
    "high_level": {"axes", "namespaces", "sites"},
    "rasp": {"axes", "namespaces", "sites", "config", "circuit", "high_level"},
    "cases": {
        *("axes", "sites", "config", "circuit", "targets", "metrics", "objective", "pairs"),
        *("high_level", "rasp", "travel", "names", "texts", "universes"),
        *("position_truth", "bands", "storage"),
    },
    "training": _left_of("discovery") | {"case", "cases", "rasp"},
    "certificates": _left_of("report") | {"case", "cases", "rasp", "training"},
    "inputs": _left_of("model") | {"case", "pairs"},
    # The bench reads cases, runs methods and scores them; methods still see no truth.
    "bench": {*ORDER, "cases", "inputs"},
    "interpbench_conversion": _left_of("model") | {"case"},
}
# The modules that join everything.
MAY_IMPORT |= {
    # Objects show drawings in notebooks without importing what draws; one module joins them.
    "notebooks": {"drawings", "pictures"},
    # One module knows the installed data folder, and it imports only the order of case ids.
    "interpbench_dataset.packaged": {"names"},
    "loading": {*MAY_IMPORT, "interpbench_dataset.packaged"},
    "cli": {*MAY_IMPORT, "loading", "interpbench_conversion.verify", "interpbench_dataset", FRONT},
    FRONT: {*MAY_IMPORT, "loading", "notebooks", "interpbench_dataset"}
    - {"interpbench_conversion"},
    "interpbench_dataset": {*MAY_IMPORT, "loading", "interpbench_dataset.packaged"},
    # Certificates run the converted model; so nothing else of that package may import them.
    "interpbench_conversion.verify": {
        *MAY_IMPORT["interpbench_conversion"],
        "interpbench_conversion",
        "model",
        "interventions",
    },
}
# Modules that do not import JAX themselves.
WITHOUT_JAX = ("sites", "config", "circuit", "weights", "case", "scores", "statistics", "report")
TORCH = ("torch", "transformer_lens")
BAD_NAMES = ("utils", "misc", "helpers")


class Import(NamedTuple):
    module: str
    line: int
    in_function: bool


def sources(root: Path, *folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield every Python file under some folders of a repository, with its relative path."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root), ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST, in_function: bool = False) -> Iterator[Import]:
    """Yield every imported module, whether by a statement or by a call of `import_module`."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name, node.lineno, in_function) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                start = "." * level + (module or "")
                submodules = not level and start in PACKAGES
                targets = [f"{start}.{alias.name}" for alias in names] if submodules else [start]
                yield from (Import(name, node.lineno, in_function) for name in targets)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield Import(name, node.lineno, in_function)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports(node, in_function or is_function)


def unit_of(path: Path) -> str:
    """Return the name that the rules use for a file: our module, subpackage or package."""
    package, *rest = path.with_suffix("").parts
    if package in PACKAGES.values():
        package, *rest = rest
    if package != "interpbench_jax":
        name = ".".join((package, *rest))
        return name if name in MAY_IMPORT else package
    return FRONT if rest == ["__init__"] else rest[0]


def unit_of_import(module: str, root: Path) -> str | None:
    """Return the rules' name for an imported module, or None if it is not ours."""
    package, *rest = module.split(".")
    if package != "interpbench_jax":
        name = ".".join((package, *rest[:1]))
        return name if name in MAY_IMPORT else package if package in PACKAGES else None
    is_module = rest and any(
        (root / package / name).exists() for name in (rest[0], f"{rest[0]}.py")
    )
    return rest[0] if is_module or (rest and rest[0] in MAY_IMPORT) else FRONT


def import_violations(root: Path) -> list[str]:
    """Return our imports that go from right to left or cross a boundary."""
    found = []
    for path, tree in sources(root, *FOLDERS):
        unit = unit_of(path)
        if unit not in MAY_IMPORT:
            found.append(f"{path}: no rule says what it may import; add it to this test's table")
            continue
        for module, line, _ in imports(tree):
            imported = unit_of_import(module, root)
            if module.startswith("."):
                found.append(f"{path}:{line} has a relative import of {module}")
            elif imported not in (None, unit, *MAY_IMPORT[unit]):
                found.append(f"{path}:{line} belongs to {unit}, imports {module} of {imported}")
    return found


def third_party_violations(root: Path) -> list[str]:
    """Return imports of torch outside `conversion` or at module level, and unneeded ones of JAX."""
    found = []
    for path, tree in sources(root, *FOLDERS, "scripts", "examples"):
        unit = unit_of(path)
        for module, line, in_function in imports(tree):
            package = module.partition(".")[0]
            if package in TORCH and not (unit == "interpbench_conversion" and in_function):
                found.append(f"{path}:{line} imports {package}")
            if package in ("jax", "flax") and unit in WITHOUT_JAX:
                found.append(f"{path}:{line} imports {package}, but {unit} works without it")
    return found


def name_violations(root: Path) -> list[str]:
    """Return modules with meaningless names."""
    paths = (path for folder in (*FOLDERS, "tests") for path in (root / folder).rglob("*"))
    return [str(path.relative_to(root)) for path in paths if path.stem in BAD_NAMES]


def _is_reexport(node: ast.stmt, path: Path) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign() | ast.AnnAssign():
            calls = any(isinstance(part, ast.Call) for part in ast.walk(node))
            return unit_of(path) == FRONT or not calls
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=[]):
            return all(_is_reexport(each, path) for each in body)
        case ast.FunctionDef(name="__getattr__" | "__dir__"):
            return unit_of(path) == FRONT  # It looks names up lazily, from a table.
    return False


def init_violations(root: Path) -> list[str]:
    """Return statements in an `__init__.py` that do more than re-export names."""
    return [
        f"{path}:{node.lineno} does more than re-export"
        for path, tree in sources(root, *FOLDERS)
        if path.name == "__init__.py"
        for node in tree.body
        if not _is_reexport(node, path)
    ]


def size_violations(root: Path) -> list[str]:
    """Return files and functions that are too long."""
    found = []
    for path, tree in sources(root, *FOLDERS):
        lines = len((root / path).read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE_LINES:
            found.append(f"{path} has {lines} lines; at most {MAX_FILE_LINES}")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    found.append(
                        f"{path}:{node.lineno} {node.name} has {lines} lines; at most "
                        f"{MAX_FUNCTION_LINES}"
                    )
    return found


def stride_violations(root: Path) -> list[str]:
    """Return arithmetic outside of `layout.py` with the number of readers or writers of a layer."""
    found = []
    for path, tree in sources(root, *FOLDERS):
        for node in ast.walk(tree):
            match node:
                case ast.BinOp(op=ast.Mult(), left=ast.Constant(value=2 | 3), right=heads):
                    pass
                case ast.BinOp(op=ast.Add(), left=heads, right=ast.Constant(value=1)):
                    pass
                case _:
                    continue
            if ast.unparse(heads).endswith("heads") and path.name != "layout.py":
                found.append(f"{path}:{node.lineno} computes {ast.unparse(node)}; ask a Layout")
    return found


def type_violations(root: Path) -> list[str]:
    """Return classes whose name another class has, except for those of the command line."""
    homes: dict[str, str] = {}
    found = []
    for path, tree in sources(root, *FOLDERS):
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where = f"{path}:{node.lineno}"
                if node.name in homes:
                    found.append(f"{where} defines {node.name} as {homes[node.name]} does")
                homes.setdefault(node.name, where)
    return found


def circle_violations(root: Path) -> list[str]:
    """Return a circle of imports within a subpackage, if there is one."""
    graph: dict[str, set[str]] = {}
    for path, tree in sources(root, *FOLDERS):
        parts = path.relative_to(path.parents[-2]) if path.parts[0] != FRONT else path
        module = ".".join(parts.with_suffix("").parts)
        imported = {each.module for each in imports(tree)}
        package = module.rpartition(".")[0]
        graph[module] = {each for each in imported if each.startswith(f"{package}.")}
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return [f"{' imports '.join(reversed(error.args[1]))}"]
    return []


RULES = {
    "strides": stride_violations,
    "types": type_violations,
    "circles": circle_violations,
    "imports": import_violations,
    "third party": third_party_violations,
    "names": name_violations,
    "inits": init_violations,
    "sizes": size_violations,
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_the_repository_keeps(rule: str) -> None:
    found = RULES[rule](ROOT)
    assert not found, "\n".join(found)


def test_the_repository_was_read() -> None:
    units = {unit_of(path) for path, _ in sources(ROOT, *FOLDERS)}
    assert {"axes", "sites", "circuit", "model", "rasp", "interpbench_conversion", FRONT} <= units


def test_the_architecture_page_lists_what_is_there() -> None:
    """Its tables name every module of the engine and of the sweeps, with about as many lines."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tables = text[text.index("## The engine") : text.index("## Before and after")]
    told: dict[str, int] = {}
    for row in re.findall(r"^\|.*\|$", tables, re.MULTILINE):
        names = re.findall(r"`([\w/]+\.py)`", row)
        counts = re.findall(r"\| ([\d, ]+) \|", row)
        if names and counts:
            told |= zip(names, map(int, counts[0].split(", ")), strict=True)
    for folder, prefix in (("engine", "engine/"), ("sweeps", "")):
        for path in (ROOT / "interpbench_jax" / folder).glob("[!_]*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert abs(told[f"{prefix}{path.name}"] - lines) <= 20, path


# Violations planted in a small repository


def plant(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


PLANTED = [
    ("strides", "engine/a.py", "first = layer + 3 * n_heads", "computes 3 \\* n_heads"),
    ("strides", "engine/a.py", "n = config.n_heads + 1", r"computes config.n_heads \+ 1"),
    ("strides", "layout.py", "n = 3 * n_heads + 1", None),
    ("types", "engine/a.py", "class Run: ...\nclass Run: ...", "py:2 defines Run as .*py:1"),
    ("types", "engine/a.py", "class Run: ...\nclass _Run: ...", None),
    ("circles", "rasp/a.py", "from interpbench_jax.rasp.a import x", "rasp.a imports .*rasp.a"),
    ("circles", "rasp/a.py", "from interpbench_jax.rasp.b import x", None),
    ("imports", "sites.py", "import interpbench_jax.circuit", "to sites, imports .*circuit"),
    ("imports", "sites.py", "from interpbench_jax.circuit import Circuit", "of circuit"),
    ("imports", "sites.py", "from interpbench_jax import circuit", "of circuit"),
    ("imports", "axes.py", "from interpbench_jax import sites as s", "of sites"),
    ("imports", "config.py", "def f():\n    from interpbench_jax.model import x", "py:2 belongs"),
    ("imports", "weights.py", "if TYPE_CHECKING:\n    import interpbench_jax.case", "of case"),
    ("imports", "model/mlp.py", "from importlib import import_module as f\n", None),
    ("imports", "model/mlp.py", "x = import_module('interpbench_jax.sweeps')", "of sweeps"),
    ("imports", "model/mlp.py", "x = importlib.import_module('interpbench_jax.cli')", "of cli"),
    ("imports", "model/mlp.py", "from . import layers", "relative import"),
    ("imports", "model/mlp.py", "from interpbench_jax.model.layers import keep", None),
    ("imports", "model/mlp.py", "from interpbench_jax.interventions import run", "interventions"),
    ("imports", "interventions.py", "from interpbench_jax.metrics import kl", "of metrics"),
    ("imports", "sweeps/run.py", "from interpbench_jax.case import Case", "of case"),
    ("imports", "discovery/eap.py", "from interpbench_jax.scores import auc", "of scores"),
    ("imports", "discovery/eap.py", "from interpbench_jax.case import Case", "of case"),
    ("imports", "discovery/eap.py", "from interpbench_jax.sweeps import sweep_edges", None),
    ("imports", "scores.py", "from interpbench_jax.discovery import METHODS", "of discovery"),
    ("imports", "case.py", "from interpbench_jax.model import build_model", None),
    ("imports", "case.py", "from interpbench_jax.interventions import run", "interventions"),
    ("imports", "rasp/read.py", "from interpbench_jax.cases import CASES", "of cases"),
    ("imports", "cases/case_3.py", "from interpbench_jax.model import Transformer", "of model"),
    ("imports", "cases/case_3.py", "from interpbench_jax.metrics import METRICS", None),
    ("imports", "training/loss.py", "from interpbench_jax.discovery import METHODS", "discovery"),
    ("imports", "training/loss.py", "from interpbench_jax.cases import CASES", None),
    ("imports", "sites.py", "import interpbench_conversion.convert", "of interpbench_conversion"),
    ("imports", "case.py", "from interpbench_conversion import hub", "of interpbench_conversion"),
    ("imports", "loading.py", "from interpbench_conversion.convert import convert_case", None),
    ("imports", "loading.py", "from interpbench_dataset.packaged import packaged_models", None),
    (
        "imports",
        "loading.py",
        "from interpbench_dataset.loading import load_dataset",
        "of interpbench_dataset",
    ),
    ("imports", "cli.py", "from interpbench_conversion import hub", None),
    ("imports", "report/table.py", "from interpbench_jax.cli import main", "of cli"),
    ("imports", "report/table.py", "from interpbench_jax import load_case", "of interpbench_jax"),
    ("imports", "bench/run.py", "from interpbench_jax.discovery import METHODS", None),
    ("imports", "bench/run.py", "from interpbench_jax.report.bench import x", None),
    ("imports", "bench/run.py", "from interpbench_jax.training import train", "of training"),
    ("imports", "bench/run.py", "from interpbench_jax.loading import load_case", "of loading"),
    ("imports", "report/bench.py", "from interpbench_jax.bench import ResultRow", "of bench"),
    ("imports", "discovery/eap.py", "from interpbench_jax.bench import x", "of bench"),
    ("imports", "cli/bench.py", "from interpbench_jax.bench.run import run", None),
    ("imports", "__init__.py", "from interpbench_jax.sites import Node as Node", None),
    ("imports", "__init__.py", "import interpbench_conversion", "of interpbench_conversion"),
    ("imports", "others.py", "", "no rule says"),
    (
        "imports",
        "../conversion/interpbench_conversion/a.py",
        "from interpbench_jax.case import Case",
        None,
    ),
    (
        "imports",
        "../conversion/interpbench_conversion/a.py",
        "from interpbench_jax.model import x",
        "of model",
    ),
    (
        "imports",
        "../conversion/interpbench_conversion/a.py",
        "from interpbench_jax import model",
        "of model",
    ),
    (
        "imports",
        "../conversion/interpbench_conversion/a.py",
        "from interpbench_conversion.verify import x",
        "of interpbench_conversion.verify",
    ),
    (
        "imports",
        "../conversion/interpbench_conversion/a.py",
        "from interpbench_conversion import verify",
        "of interpbench_conversion.verify",
    ),
    (
        "imports",
        "../conversion/interpbench_conversion/verify.py",
        "from interpbench_jax.model import x",
        None,
    ),
    (
        "imports",
        "../conversion/interpbench_conversion/verify.py",
        "from interpbench_jax.sweeps import x",
        "of sweeps",
    ),
    (
        "imports",
        "../hf_dataset/interpbench_dataset/packaged.py",
        "from interpbench_jax.case import x",
        "of case",
    ),
    ("third party", "sites.py", "def f():\n    import torch", "imports torch"),
    ("third party", "cli.py", "from transformer_lens import x", "imports transformer_lens"),
    (
        "third party",
        "../conversion/interpbench_conversion/a.py",
        "import torch.nn",
        "imports torch",
    ),
    (
        "third party",
        "../conversion/interpbench_conversion/a.py",
        "def f():\n    from torch import nn",
        None,
    ),
    ("third party", "../examples/a.py", "import torch", "imports torch"),
    ("third party", "report/plot.py", "def f():\n    import jax.numpy", "report works without it"),
    ("third party", "model/mlp.py", "from flax import nnx", None),
    ("names", "utils.py", "", r"utils\.py"),
    ("names", "model/helpers/a.py", "", "helpers"),
    ("names", "../tests/misc.py", "", "misc"),
    ("inits", "model/__init__.py", "def f(): ...", "does more than re-export"),
    ("inits", "model/__init__.py", "def __getattr__(name): ...", "does more than re-export"),
    ("inits", "model/__init__.py", "X = open('x')", "does more than re-export"),
    ("inits", "model/__init__.py", "class A: ...", "does more than re-export"),
    ("inits", "model/__init__.py", "'Doc.'\nfrom a import b as b\n__all__ = ['b']", None),
    ("inits", "__init__.py", "_LAZY = {'a': 'b'}\ndef __getattr__(name): ...", None),
    ("sizes", "sites.py", "\n" * 401, "401 lines; at most 400"),
    ("sizes", "sites.py", "\n" * 400, None),
    ("sizes", "sites.py", "def f():\n" + "    x = 1\n" * 80, "f has 81 lines; at most 80"),
    ("sizes", "sites.py", "def f():\n" + "    x = 1\n" * 79, None),
]


@pytest.mark.parametrize(("rule", "name", "text", "message"), PLANTED)
def test_a_planted_violation_is_found(
    tmp_path: Path, rule: str, name: str, text: str, message: str | None
) -> None:
    for unit in ("sites", "circuit", "metrics"):
        plant(tmp_path, f"interpbench_jax/{unit}.py", "")
    plant(tmp_path, f"interpbench_jax/{name}", text)
    found = RULES[rule](tmp_path)
    if message is None:
        assert not found
    else:
        assert len(found) == 1 and re.search(message, found[0]), found
