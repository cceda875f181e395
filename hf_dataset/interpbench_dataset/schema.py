"""The schemas of the published tables: every column of every table, declared once.

Parquet schemas, the card's YAML and Croissant's fields are all derived from these. Nothing here
needs pyarrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from interpbench_jax.cases import IoiTask, Task

Dtype = Literal["string", "bool", "int32", "float32"]
Json = dict[str, object]

CARD_FILE = "README.md"
CROISSANT_FILE = "croissant.json"
CASES_CONFIG = "cases"
CIRCUITS_CONFIG = "circuits"
SPLIT = "test"
DEFAULT_ROWS = 1000
DATASET_VERSION = "1.0.0"


_CORRUPTED = {"abc": "the prompt with three other names, all different"}
# The counterfactuals of a language task, beside the one in `corrupted_input_ids`.
OTHER_COUNTERFACTUALS = {
    "swapped": "the prompt with the second sentence's names swapped, so that the answer flips",
    "random": "another prompt, drawn at random",
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: the column's name in the file.
        dtype: dtype of a value, or of a list's items.
        description: a phrase about its content, for the card and for Croissant.
        is_list: whether each value is a list.
        length: number of items in every list; None if there are no lists or they differ in length.
    """

    name: str
    dtype: Dtype
    description: str
    is_list: bool = False
    length: int | None = None


@dataclass(frozen=True)
class TableSchema:
    """One table: a config of the dataset, with the one split `test` in one file.

    Attributes:
        config_name: the name for `load_dataset`: `"cases"`, `"circuits"` or a case's id.
        path: the file's path, relative to the published folder.
        description: a sentence about its rows, for the card and for Croissant.
        columns: the columns, in order.
    """

    config_name: str
    path: str
    description: str
    columns: tuple[Column, ...]


CASES = TableSchema(
    CASES_CONFIG,
    "cases.parquet",
    "One row per case: the task, its program, the model's shape and how it is trained.",
    (
        Column("case_id", "string", "the case, as InterpBench numbers it"),
        Column(
            "releases",
            "string",
            "the releases of InterpBench that have it, or `pilot`",
            is_list=True,
        ),
        Column("task_description", "string", "what the model computes at each position"),
        Column("tier", "string", "difficulty: how much the model has to do"),
        Column("circuit_number", "int32", "number of its circuit; cases with one circuit share it"),
        Column(
            "flags",
            "string",
            "what is hollow about it: outputs without a value, parts that change nothing",
            is_list=True,
        ),
        Column("program", "string", "the RASP program as text, one step a line"),
        Column("note", "string", "what to know before comparing with upstream; may be empty"),
        Column("vocab", "string", "every token, BOS and PAD included, ordered by id", is_list=True),
        Column("bos_id", "int32", "id of the token that every input starts with"),
        Column(
            "pad_id",
            "int32",
            "id of the token that fills up shorter inputs; -1 where all inputs are of one length",
        ),
        Column(
            "gpt2_ids",
            "int32",
            "for a language task, GPT-2's id of each token of `vocab`; empty elsewhere",
            is_list=True,
        ),
        Column("is_categorical", "bool", "whether targets are class ids rather than numbers"),
        Column(
            "output_classes",
            "string",
            "label of every output class, ordered by id; empty for a regression",
            is_list=True,
        ),
        Column("first_scored", "int32", "first position whose output counts; all later ones do"),
        Column("metric", "string", "what patching is judged by, unless a user says otherwise"),
        Column("counterfactual", "string", "what kind of inputs `corrupted_input_ids` are"),
        Column("attention", "string", "'causal' or 'bidirectional'"),
        Column("min_seq_len", "int32", "positions of the shortest input, BOS counted"),
        Column("max_seq_len", "int32", "positions of the longest input, BOS counted"),
        Column("varies_length", "bool", "whether rows have every length, and are padded"),
        Column("n_layers", "int32", "layers of the model"),
        Column("n_heads", "int32", "attention heads per layer"),
        Column("d_model", "int32", "width of the residual stream"),
        Column("d_head", "int32", "width of a head's queries, keys and values"),
        Column("d_mlp", "int32", "hidden width of an MLP"),
        Column("d_vocab", "int32", "tokens, BOS and PAD included"),
        Column("d_vocab_out", "int32", "outputs per position: classes, or 1 for a regression"),
        Column("n_edges", "int32", "edges of the universe 'head'"),
        Column(
            "n_complete_circuit_edges",
            "int32",
            "edges of the complete circuit in the universe 'head', constant ones among them",
        ),
        Column(
            "n_constant_edges",
            "int32",
            "those that carry the same in both inputs of every pair, which scores leave out",
        ),
        Column(
            "n_upstream_circuit_edges",
            "int32",
            "edges of the circuit that InterpBench scores in the universe 'head'",
        ),
        Column("nodes_not_in_circuit", "string", "nodes that must have no effect", is_list=True),
        Column(
            "alignment",
            "string",
            "JSON object: for each component of the compiled program, the model's nodes",
        ),
        Column(
            "roles",
            "string",
            "JSON object: for each node that is aligned, and the embeddings, what it computes: a "
            "list of objects with name, program and words",
        ),
        Column("transformer_config", "string", "JSON object: the model's shape and choices"),
        Column("training_args", "string", "JSON object: how release 1.0.0 trained its model"),
        Column("n_rows", "int32", "rows of the case's own table"),
        Column("n_distinct_inputs", "int32", "different `input_ids` among those rows"),
        Column("seed", "int32", "seed that those rows were drawn with"),
    ),
)

CIRCUITS = TableSchema(
    CIRCUITS_CONFIG,
    "circuits.parquet",
    "One row per case, edge universe and edge: what the truth says of the edge.",
    (
        Column("case_id", "string", "the case"),
        Column("universe", "string", "'qkv', 'qkv-merged', 'head' or 'head-no-embed'"),
        Column("src", "string", "node that writes, by its TransformerLens hook name"),
        Column("dst", "string", "node that reads, by its TransformerLens hook name"),
        Column("src_role", "string", "JSON list: what `src` computes, as `cases.roles` says it"),
        Column("dst_role", "string", "JSON list: the same for the component that `dst` is part of"),
        Column(
            "truth",
            "string",
            "'in': the program uses the edge; 'out': it does not; 'constant': it does, for what is "
            "the same in both inputs of every pair, so that scores leave the edge out",
        ),
        Column("in_complete_circuit", "bool", "whether the program uses the edge at all"),
        Column("in_upstream_circuit", "bool", "whether InterpBench counts the edge as true"),
    ),
)


def pairs_schema(task: Task) -> TableSchema:
    """Return the schema of one case's pairs."""
    target: Dtype = "int32" if task.is_categorical else "float32"
    of_output = "class id" if task.is_categorical else "number"

    def row(name: str, dtype: Dtype, description: str) -> Column:
        return Column(name, dtype, description, is_list=True, length=task.max_seq_len)

    length = "any" if task.has_padding else "the same"
    other = _CORRUPTED.get(task.counterfactuals[0], f"another input of {length} length")
    extra: tuple[Column, ...] = ()
    if isinstance(task, IoiTask):
        extra = (
            Column("answer", "int32", "the name that is right at the last position"),
            Column("distractor", "int32", "the other name, which the logit difference is to"),
            *(
                row(f"{kind}_input_ids", "int32", description)
                for kind, description in OTHER_COUNTERFACTUALS.items()
            ),
        )
    return TableSchema(
        task.case_id,
        f"data/{task.case_id}/{SPLIT}-00000-of-00001.parquet",
        f"Case {task.case_id}, pairs of inputs with targets. {task.description}",
        (
            row("input_ids", "int32", "token ids, BOS first"),
            row("corrupted_input_ids", "int32", other),
            row("target", target, f"right {of_output} at each position of `input_ids`"),
            row(
                "corrupted_target",
                target,
                f"right {of_output} at each position of `corrupted_input_ids`",
            ),
            *extra,
        ),
    )


def table_schemas(tasks: Sequence[Task]) -> tuple[TableSchema, ...]:
    """Return every schema of a dataset of these tasks, in the order of its configs."""
    return (CASES, CIRCUITS, *(pairs_schema(task) for task in tasks))


def hub_features(columns: Sequence[Column]) -> Json:
    """Return the `features` that `datasets` reads from a Parquet file's own metadata.

    A list is a `Sequence`: `datasets` 3 has no other name, and 4 and 5 read it as their `List`.
    """
    features: Json = {}
    for column in columns:
        value: Json = {"dtype": column.dtype, "_type": "Value"}
        if column.is_list:
            value = {"feature": value, "_type": "Sequence"}
            if column.length is not None:
                value["length"] = column.length
        features[column.name] = value
    return features


def yaml_features(columns: Sequence[Column]) -> list[Json]:
    """The `features` of `dataset_info` in a card, the same for every release of `datasets`."""
    features: list[Json] = []
    for column in columns:
        feature: Json = {"name": column.name}
        if column.is_list:
            feature["sequence"] = column.dtype  # the key of the type has to come second
            if column.length is not None:
                feature["length"] = column.length
        else:
            feature["dtype"] = column.dtype
        features.append(feature)
    return features
