"""Croissant metadata, which describes the same tables to tools other than `datasets`.

Source: the Croissant 1.0 specification, http://mlcommons.org/croissant/1.0.
"""

import json
from collections.abc import Mapping, Sequence

from interpbench_dataset.card import CITATION, PAPER, TITLE
from interpbench_dataset.facts import FileFacts
from interpbench_dataset.models import ModelFacts
from interpbench_dataset.schema import DATASET_VERSION, Column, Dtype, Json, TableSchema
from interpbench_dataset.tables import Content

# A constant, so that the file does not depend on the day on which it is built.
DATE_PUBLISHED = "2026-11-22"

_TYPES: Mapping[Dtype, str] = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "int32": "sc:Integer",
    "float32": "sc:Float",
}
_CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def render_croissant(
    content: Content, facts: Mapping[str, FileFacts], models: Sequence[ModelFacts]
) -> str:
    """Return the metadata as JSON-LD text.

    Args:
        content: the dataset's rows.
        facts: size and digest of each table's file, by path.
        models: the models beside the tables, whose files no record set reads.
    """
    tables = [
        _file_object(
            facts[schema.path],
            f"The rows of config {schema.config_name!r}.",
            "application/x-parquet",
        )
        for schema in content.schemas
    ]
    # Safetensors has no registered media type.
    weights = [
        _file_object(
            model.weights,
            f"A trained model of case {model.case_id!r}: its weights as safetensors.",
            "application/octet-stream",
        )
        for model in models
    ]
    described: Json = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": "interpbench-jax",
        "alternateName": TITLE,
        "description": (
            "Tasks of InterpBench, a benchmark of small transformers whose circuits are known: "
            "pairs of inputs with targets, the tasks themselves, and the true circuits."
        ),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "citeAs": CITATION,
        "creator": {"@type": "sc:Organization", "name": "The interpbench-jax authors"},
        "datePublished": DATE_PUBLISHED,
        "isLiveDataset": False,
        "keywords": ["mechanistic interpretability", "circuit discovery", "activation patching"],
        "license": "https://creativecommons.org/licenses/by/4.0/",
        "url": PAPER,
        "version": DATASET_VERSION,
        "distribution": [*tables, *weights],
        "recordSet": [_record_set(schema) for schema in content.schemas],
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _file_object(facts: FileFacts, description: str, encoding: str) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": facts.path,
        "name": facts.path,
        "description": description,
        "contentUrl": facts.path,
        "contentSize": f"{facts.n_bytes} B",
        "encodingFormat": encoding,
        "sha256": facts.sha256,
    }


def _record_set(schema: TableSchema) -> Json:
    return {
        "@type": "cr:RecordSet",
        "@id": schema.config_name,
        "name": schema.config_name,
        "description": schema.description,
        "field": [_field(schema, column) for column in schema.columns],
    }


def _field(schema: TableSchema, column: Column) -> Json:
    field: Json = {
        "@type": "cr:Field",
        "@id": f"{schema.config_name}/{column.name}",
        "name": column.name,
        "description": column.description,
        "dataType": _TYPES[column.dtype],
        "source": {"fileObject": {"@id": schema.path}, "extract": {"column": column.name}},
    }
    if column.is_list:
        field["repeated"] = True
    return field
