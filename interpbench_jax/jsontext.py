"""JSON from files that may hold anything."""

import json
from collections.abc import Mapping


def parse_json_object(text: str, what: str) -> dict[str, object]:
    """A JSON object from text that may be anything.

    Raises:
        ValueError: if it is not one; `what` says in the message what was expected.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected {what} as JSON, got text that is not: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"Expected {what} as a JSON object, got a {type(data).__name__}.")
    return data


def check_format(data: Mapping[str, object], name: str) -> None:
    """Refuse an object that is not of one of our formats, version 1.

    Raises:
        ValueError: if its `format` or `version` is another.
    """
    if data.get("format") != name or data.get("version") != 1:
        raise ValueError(
            f'Expected a JSON object with "format": "{name}" and "version": 1; '
            "the file is something else or comes from a newer release."
        )
