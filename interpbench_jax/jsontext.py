"""Parsing of JSON from files with arbitrary contents."""

import json
from collections.abc import Mapping


def parse_json_object(text: str, what: str) -> dict[str, object]:
    """Parse a JSON object from arbitrary text.

    Raises:
        ValueError: if the text is not a JSON object; `what` is its name in the message.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected {what} as JSON, got text that is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"Expected {what} as a JSON object, got a {type(data).__name__}.")
    return data


def check_format(data: Mapping[str, object], name: str) -> None:
    """Check that an object is in one of our formats, version 1.

    Raises:
        ValueError: if its `format` or `version` is different.
    """
    if data.get("format") != name or data.get("version") != 1:
        raise ValueError(
            f'Expected a JSON object with "format": "{name}" and "version": 1; '
            "the file is something else or comes from a newer release."
        )
