"""The dataset's card: YAML for machines, then text for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from interpbench_dataset.facts import FileFacts
from interpbench_dataset.models import ModelFacts, show_share
from interpbench_dataset.schema import (
    CASES,
    CASES_CONFIG,
    CIRCUITS,
    SPLIT,
    Column,
    Json,
    TableSchema,
    yaml_features,
)
from interpbench_dataset.tables import Content, seed_of
from interpbench_jax.extras import needs_extra

with needs_extra("dataset", "Building or checking the dataset"):
    import yaml

TITLE = "InterpBench in JAX"
PAPER = "https://arxiv.org/abs/2407.14494"
CITATION = """\
@article{gupta2024interpbench,
  title   = {{InterpBench}: Semi-Synthetic Transformers for Evaluating Mechanistic
             Interpretability Techniques},
  author  = {Gupta, Rohan and Arcuschin, Iv{\\'a}n and Kwa, Thomas and
             Garriga-Alonso, Adri{\\`a}},
  journal = {arXiv preprint arXiv:2407.14494},
  year    = {2024}
}"""

_TEMPLATE = Path(__file__).with_name("card_template.md")
_MODELS_TEMPLATE = Path(__file__).with_name("card_models_template.md")
_PREFERRED_EXAMPLE = "11"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


def render_card(
    content: Content, facts: Mapping[str, FileFacts], models: Sequence[ModelFacts]
) -> str:
    """Return the card of a dataset.

    Args:
        content: the dataset's rows.
        facts: size and digest of each table's file, by path.
        models: the models beside the tables; without any, the card does not mention models.
    """
    front = yaml.safe_dump(
        front_matter(content, facts), sort_keys=False, allow_unicode=True, width=1_000_000
    )
    text = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        _fillings(content) | _model_fillings(models)
    )
    return f"---\n{front}---\n{text}"


def front_matter(content: Content, facts: Mapping[str, FileFacts]) -> Json:
    """Return the card's YAML as plain values."""
    n_rows = sum(table.num_rows for table in content.tables.values())
    return {
        "pretty_name": TITLE,
        "license": "cc-by-4.0",
        "annotations_creators": ["machine-generated"],
        "size_categories": [next((name for end, name in _SIZES if n_rows < end), "n>1M")],
        "tags": [
            "mechanistic-interpretability",
            "circuit-discovery",
            "activation-patching",
            "benchmark",
            "synthetic",
            "rasp",
            "jax",
            "arxiv:2407.14494",
        ],
        "configs": [_config(schema, facts[schema.path]) for schema in content.schemas],
        "dataset_info": [
            _info(schema, content, facts[schema.path].n_bytes) for schema in content.schemas
        ],
    }


def _config(schema: TableSchema, facts: FileFacts) -> Json:
    config: Json = {"config_name": schema.config_name}
    if schema.config_name == CASES_CONFIG:
        config["default"] = True
    config["description"] = f"{schema.description} sha256:{facts.sha256}"
    config["data_files"] = [{"split": SPLIT, "path": schema.path}]
    return config


def _info(schema: TableSchema, content: Content, n_bytes: int) -> Json:
    table = content.tables[schema.config_name]
    split = {"name": SPLIT, "num_bytes": table.nbytes, "num_examples": table.num_rows}
    return {
        "config_name": schema.config_name,
        "description": schema.description,
        "homepage": PAPER,
        "license": "cc-by-4.0",
        "features": yaml_features(schema.columns),
        "splits": [split],
        "download_size": n_bytes,
        "dataset_size": table.nbytes,
    }


def _fillings(content: Content) -> dict[str, str]:
    rows = content.tables[CASES_CONFIG].to_pylist()
    ids = [row["case_id"] for row in rows]
    example = _example(ids)
    by_name = {schema.config_name: schema for schema in content.schemas}
    notes = [f"- **{row['case_id']}**: {row['note']}" for row in rows if row["note"]]
    return {
        "n_cases": str(len(rows)),
        "n_rows": str(rows[0]["n_rows"]),
        "example": example,
        "example_path": by_name[example].path,
        "example_seed": str(seed_of(example)),
        "case_table": _case_table(rows),
        "notes": "\n".join(["Notes on single cases:", "", *notes]) if notes else "",
        "field_tables": _field_tables(by_name[example]),
        "citation": CITATION,
    }


def _model_fillings(models: Sequence[ModelFacts]) -> dict[str, str]:
    if not models:
        return {"model_line": "", "model_section": ""}
    ids = [model.case_id for model in models]
    section = Template(_MODELS_TEMPLATE.read_text(encoding="utf-8")).substitute(
        example=_example(ids), model_table=_model_table(models)
    )
    cases = "1 case" if len(models) == 1 else f"{len(models)} cases"
    line = f";\n- **models**: trained weights of {cases}, and what was measured of them"
    return {"model_line": line, "model_section": section}


def _model_table(models: Sequence[ModelFacts]) -> str:
    lines = []
    for model in models:
        measured = model.certificate
        shares = ["-"] * 3
        if measured is not None:
            every = ([measured.accuracy], measured.iia.values(), measured.strict_accuracy.values())
            shares = [show_share(values) for values in every]
        lines.append([model.case_id, *shares, f"{model.weights.n_bytes:,} B"])
    header = ("case", "accuracy", "smallest IIA", "smallest strict accuracy", "size")
    return _markdown(header, lines)


def _example(ids: Sequence[str]) -> str:
    return _PREFERRED_EXAMPLE if _PREFERRED_EXAMPLE in ids else ids[0]


def _case_table(rows: Sequence[Mapping[str, object]]) -> str:
    header = (
        "case",
        "task",
        "tier",
        "output",
        "attention",
        "positions",
        "tokens",
        "circuit / edges",
        "rows",
        "distinct",
    )
    lines = []
    for row in rows:
        output = f"{row['d_vocab_out']} classes" if row["is_categorical"] else "a number"
        edges = f"{row['n_complete_circuit_edges']} / {row['n_edges']}"
        if row["n_constant_edges"]:
            edges += f" ({row['n_constant_edges']} constant)"
        cells = [row["case_id"], row["task_description"], row["tier"], output, row["attention"]]
        cells += [row["max_seq_len"], row["d_vocab"], edges, row["n_rows"]]
        lines.append([str(cell) for cell in (*cells, row["n_distinct_inputs"])])
    return _markdown(header, lines)


def _field_tables(pairs: TableSchema) -> str:
    sections = []
    titles = {
        f"A case's pairs, such as `{pairs.config_name}`": pairs,
        "`cases`": CASES,
        "`circuits`": CIRCUITS,
    }
    for title, schema in titles.items():
        lines = [
            [f"`{column.name}`", _type_text(column, schema is pairs), column.description]
            for column in schema.columns
        ]
        sections.append(f"### {title}\n\n" + _markdown(("column", "type", "what it is"), lines))
    return "\n\n".join(sections)


def _type_text(column: Column, is_pair: bool) -> str:
    if not column.is_list:
        return column.dtype
    if not is_pair:
        return f"list of {column.dtype}"
    dtype = "int32 (float32 for a regression)" if "target" in column.name else column.dtype
    return f"list of max_seq_len {dtype}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
