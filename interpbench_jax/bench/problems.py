"""The problems of an untrusted file: what is wrong, and where."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interpbench_jax.extras import needs_extra

if TYPE_CHECKING:
    from jsonschema import ValidationError

_TYPES = {
    "string": "a string",
    "number": "a number",
    "object": "an object",
    "array": "a list",
}
_LISTED = 10


@dataclass(frozen=True)
class SubmissionProblem:
    """One problem of a submission.

    Attributes:
        path: its place, such as `cases[3].scores[17][0]`; empty for the whole file.
        message: what was expected and what was found.
        is_error: False for a warning.
    """

    path: str
    message: str
    is_error: bool = True

    def __str__(self) -> str:
        kind = "" if self.is_error else "warning: "
        return f"{self.path or 'the file'}: {kind}{self.message}"

    @property
    def order(self) -> tuple[tuple[bool, int, str], ...]:
        """A sort key by place, with indices in numeric order."""
        parts = self.path.replace("]", "").replace("[", ".").split(".")
        return tuple(
            (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts
        )


def check_schema(data: Any, schema: Mapping[str, Any]) -> list[SubmissionProblem]:
    """List every place where a value violates a JSON Schema (2020-12).

    Raises:
        ImportError: if jsonschema is not installed.
    """
    with needs_extra("bench", "Checking submissions"):
        from jsonschema import Draft202012Validator
    errors = Draft202012Validator(schema).iter_errors(data)
    return [SubmissionProblem(_path_of(error), _say(error)) for error in errors]


def at(path: str, *indices: int) -> str:
    """Return the path of an item of a list, or of a list of lists."""
    return path + "".join(f"[{index}]" for index in indices)


def show(value: object) -> str:
    """Return a value as Python writes it, cut to 80 characters."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except ValueError:  # An integer of more digits than Python prints.
        text = "an integer of very many digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def list_some(names: Sequence[str]) -> str:
    """List the first names, and say how many more there are."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _path_of(error: "ValidationError") -> str:
    return join_path(error.absolute_path)


def join_path(parts: Iterable[str | int]) -> str:
    """Join keys and indices into one path: `cases[3].scores[17][0]`."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier():
            path += f".{part}" if path else part
        else:
            path += f"[{part!r}]"
    return path


def _say(error: "ValidationError") -> str:
    """Say what the schema expected and what was found."""
    # jsonschema types these as whatever JSON may hold.
    wanted: Any = error.validator_value
    instance: Any = error.instance
    found = show(instance)
    match error.validator:
        case "type":
            return f"Expected {_TYPES.get(str(wanted), str(wanted))}, got {found}."
        case "const":
            return f"Expected {wanted!r}, got {found}."
        case "enum":
            assert isinstance(wanted, list)
            return f"Expected one of {', '.join(map(str, wanted))}; got {found}."
        case "pattern":
            return f"Expected text that matches {wanted}, got {found}."
        case "minItems" | "maxItems" | "minLength" | "maxLength" if wanted != 0:
            bound = "at least" if str(error.validator).startswith("min") else "at most"
            unit = "items" if str(error.validator).endswith("Items") else "characters"
            return f"Expected {bound} {wanted} {unit}, got {len(instance)}."
        case "items":  # Beyond `prefixItems`.
            return f"Expected a name and a score, got {found}."
        case "required":
            key = error.message.partition(" is a required")[0]
            return f"Expected the key {key}, found none; add it."
        case "additionalProperties":
            known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
            unknown = [key for key in instance if key not in known]
            return f"Expected only the keys {', '.join(known)}; got {show(unknown)} too."
    return show(error.message)
