"""JSON from files that may hold anything."""

import json


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
