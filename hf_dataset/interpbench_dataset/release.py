"""The bytes of every file that is built from the rows; models are trained, not built."""

from collections.abc import Mapping, Sequence

from interpbench_dataset.card import render_card
from interpbench_dataset.croissant import render_croissant
from interpbench_dataset.facts import FileFacts
from interpbench_dataset.models import ModelFacts
from interpbench_dataset.parquet import encode_table
from interpbench_dataset.schema import CARD_FILE, CROISSANT_FILE
from interpbench_dataset.tables import Content


def render_data(content: Content) -> dict[str, bytes]:
    """Return the Parquet files, by path relative to the folder."""
    return {
        schema.path: encode_table(content.tables[schema.config_name]) for schema in content.schemas
    }


def render_texts(
    content: Content, data: Mapping[str, bytes], models: Sequence[ModelFacts]
) -> dict[str, bytes]:
    """Return the files that describe the Parquet files `data` and the models, the card last."""
    facts = {path: FileFacts.of(path, encoded) for path, encoded in data.items()}
    return {
        CROISSANT_FILE: render_croissant(content, facts, models).encode(),
        CARD_FILE: render_card(content, facts, models).encode(),
    }
