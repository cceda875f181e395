"""The pages of the cases: program, model, circuit and certificate of each, from the package."""

from inspect import getsource
from sys import modules

import interpbench_jax as ib
from interpbench_dataset.models import model_path
from interpbench_dataset.packaged import packaged_folder
from interpbench_jax.cases import Task
from interpbench_jax.cases.health import read_health
from interpbench_jax.certificates import BARS, Certificate, read_certificate
from interpbench_jax.pictures.circuits import encode_circuit
from interpbench_jax.report.grids import escape
from interpbench_jax.universes import UNIVERSES, universe

INTRODUCTION = """---
hide: [toc]
---

# Cases

The cases of InterpBench's two releases and of [our pilot](../pilot.md) that have a model in the
package. Each page has the program that a model computes, the circuit that follows from it, and the
certificate of the model. Cases with the same number in the column *circuit* have the same circuit.
[Some tasks of the current release](../differences.md#releases) have no model yet.
"""
HEADER = ("case", "task", "model", "edges", "circuit", "tier", "certificate")


def case_files() -> dict[str, str | bytes]:
    """Return the content of each page and picture by its path in the site."""
    files: dict[str, str | bytes] = {}
    rows = []
    for case_id in ib.packaged_cases():
        case = ib.load_case(case_id)
        certificate = read_certificate(packaged_folder() / model_path(case_id))
        files[f"cases/{case_id}.svg"] = encode_circuit(case.truth(), universe="qkv", title="")
        files[f"cases/{case_id}.md"] = case_page(case, certificate)
        rows.append(_summary(case, certificate))
    files["cases/index.md"] = INTRODUCTION + "\n" + table(HEADER, rows)
    return files


def case_page(case: ib.Case, certificate: Certificate) -> str:
    """Return the Markdown of one case."""
    task, circuit = case.task, case.truth()
    config, failures = case.config, certificate.failures()
    sizes = [
        (
            f"`{name}`",
            str(len(circuit.in_universe(name)) - len(circuit.constant_in(name))),
            str(len(circuit.constant_in(name))),
            str(len(universe(name, config.n_layers, config.n_heads).edges)),
        )
        for name in UNIVERSES
    ]
    constant = sorted(map(str, circuit.constant_in("qkv")))
    edges = sorted(map(str, circuit.in_universe("qkv") - circuit.constant_in("qkv")))
    verdict = (
        "The model passes its certificate."
        if not failures
        else "The model does not pass its certificate:\n\n"
        + "\n".join(f"- {escape(each)}" for each in failures)
    )
    return f"""# Case {case.case_id}

{escape(task.description)}

```python
case = ib.load_case("{case.case_id}")
```

## Program

```python
{_source(task)}
```

Its variables, in the order in which they are computed:

```text
{task.program_text}
```

## Model

{config.n_layers} layers of {config.n_heads} heads; d_model {config.d_model}, d_head
{config.d_head}, d_mlp {config.d_mlp}; {config.attention_dir} attention; inputs of up to
{config.n_ctx} positions; {config.d_vocab} tokens{_tokens(case)}. The output is {_output(task)}.
Tier: {task.tier}.
{_note(task)}

{table(("variable", "computed by", "what it does"), _alignment(task))}

## Circuit

![The circuit, from the embeddings at the bottom to the output at the top]({case.case_id}.svg)

{table(("universe", "in the circuit", "constant", "all edges"), sizes)}

{_edge_list("Edges in the circuit, in the universe `qkv`", edges)}

{_edge_list("Constant edges, which scores leave out", constant)}

## Certificate

{verdict}

{table(("measured", "value"), _measured(certificate))}

[The ground truth](../truth.md) says what each of these means.
"""


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table; cells are Markdown."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _summary(case: ib.Case, certificate: Certificate) -> tuple[str, ...]:
    task, config, circuit = case.task, case.config, case.truth()
    n_edges = len(circuit.in_universe("qkv")) - len(circuit.constant_in("qkv"))
    total = len(universe("qkv", config.n_layers, config.n_heads).edges)
    return (
        f"[{case.case_id}]({case.case_id}.md)",
        escape(task.description),
        f"{config.n_layers} layers, {config.n_heads} heads, d_model {config.d_model}",
        f"{n_edges} of {total:,}",
        str(read_health()[case.case_id].circuit),
        task.tier,
        "fails" if certificate.failures() else "passes",
    )


def _source(task: Task) -> str:
    """Return a task's declaration without its imports, or its program if it shares a module."""
    for name, module in modules.items():
        if name.startswith("interpbench_jax.cases.case_") and getattr(module, "TASK", None) is task:
            return _after_imports(getsource(module))
    return task.program_text


def _after_imports(source: str) -> str:
    lines = source.splitlines()
    last = max(
        index
        for index, line in enumerate(lines)
        if line.startswith(("from ", "import ")) or line == ")"
        if not any(each.startswith("TASK") for each in lines[:index])
    )
    return "\n".join(lines[last + 1 :]).strip()


def _tokens(case: ib.Case) -> str:
    if case.vocab is None or len(case.vocab) > 30:
        return ""
    return ", " + " ".join(f"`{token}`" for token in case.vocab)


def _output(task: Task) -> str:
    if task.config.is_regression:
        return "a number at each position"
    return f"one of {task.config.d_vocab_out} classes"


def _note(task: Task) -> str:
    flags = read_health()[task.case_id].flags
    hollow = f"\nOn its own inputs: {escape('; '.join(flags))}." if flags else ""
    return (f"\n{escape(task.note)}" if task.note else "") + hollow


def _alignment(task: Task) -> list[tuple[str, ...]]:
    return [
        (
            f"`{task.component_names[node]}`",
            ", ".join(f"`{each}`" for each in nodes),
            escape(" ".join(role.words for role in task.roles[node])),
        )
        for node, nodes in task.alignment.items()
    ]


def _edge_list(title: str, edges: list[str]) -> str:
    if not edges:
        return ""
    return f'??? note "{title} ({len(edges)})"\n\n' + "\n".join(f"    - `{e}`" for e in edges)


def _measured(certificate: Certificate) -> list[tuple[str, ...]]:
    """Return the numbers of a certificate, shares rounded down."""
    edges, alone = certificate.edges, certificate.circuit_alone
    metric, logits = (edges.separation("qkv", measure) for measure in ("effect", "centred"))
    assert metric is not None and logits is not None
    joint = _share(certificate.lowest_joint) if certificate.joint_iia else "one variable only"
    return [
        ("pairs of inputs", f"{certificate.n:,}"),
        ("accuracy", _share(certificate.accuracy)),
        ("lowest accuracy with a variable interchanged", _share(certificate.lowest_iia)),
        ("with several interchanged", joint),
        ("with one edge of the circuit interchanged", _share(certificate.lowest_edge)),
        ("with a node outside the circuit resampled", _share(certificate.lowest_strict)),
        ("accuracy with all edges outside cut, resampled", _share(alone.edges_resample)),
        ("replaced by their means", _share(alone.edges_mean)),
        (
            "edges outside above 1 % of the median effect, by the metric and by centred logits",
            f"{len(edges.unexpected('qkv', 'effect', BARS.outside))} and "
            f"{len(edges.unexpected('qkv', 'centred', BARS.outside))}",
        ),
        (
            "the largest of them",
            f"{100 * metric.outside_share:.2f} % and {100 * logits.outside_share:.2f} %",
        ),
    ]


def _share(value: float) -> str:
    return f"{int(value * 1e5) / 1e3:g} %"
