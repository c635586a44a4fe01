"""What values of a rule file look like, as parts of a JSON Schema: texts, names, numbers, spans, maps.

Each takes the description that editors show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]

IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
LANGUAGE = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"
NUMBER = r"^\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*$"
PERIOD = r"\s*\d{1,9}\s+(second|minute|hour|day|week|month)s?\s*"


def scalar(description: str, kinds: Sequence[str], **more: object) -> Schema:
    return {"description": description, "type": [*kinds], **more}


def expression(description: str) -> Schema:
    return scalar(description + " A CEL expression.", ("string", "boolean", "number"), minLength=1)


def text(description: str) -> Schema:
    return scalar(description, ("string",), minLength=1)


def name(description: str) -> Schema:
    return scalar(description, ("string", "number", "boolean"), pattern=NAME, maxLength=100)


def number(description: str, **more: object) -> Schema:
    return scalar(description, ("number", "string"), pattern=NUMBER, **more)


def whole(description: str, minimum: int, maximum: int) -> Schema:
    return scalar(description, ("integer", "string"), pattern=r"^\s*[-+]?\d+\s*$", minimum=minimum, maximum=maximum)


def share(description: str) -> Schema:
    pattern = r"^\s*(\d+(\.\d+)?|\.\d+)(\s*%)?\s*$"
    told = f"{description} `0.05` or `5%`."
    return scalar(told, ("number", "string"), minimum=0, exclusiveMaximum=1, pattern=pattern)


def period(description: str) -> Schema:
    return scalar(f"{description} Such as `7 days`.", ("string",), pattern=f"^{PERIOD}$")


def day(description: str) -> Schema:
    return scalar(f"{description}, such as 2026-11-30.", ("string",), pattern=r"^\d{4}-\d{2}-\d{2}$")


def flag(description: str) -> Schema:
    return {"description": description, "enum": [True, False, "true", "false"]}


def choice(description: str, options: Sequence[str]) -> Schema:
    return {"description": description, "enum": [*options]}


def value(description: str) -> Schema:
    return scalar(description, ("string", "number", "boolean", "array"))


def fields(
    description: str, properties: Mapping[str, Schema], required: Sequence[str] = (), empty: bool = False
) -> Schema:
    schema: Schema = {
        "description": description,
        "type": ["object", "null"] if empty else "object",
        "additionalProperties": False,
        "properties": dict(properties),
    }
    return schema | ({"required": [*required]} if required else {})


def named(description: str, entry: Schema, pattern: str = NAME) -> Schema:
    """A map from names to entries; it may be empty."""
    names = {"pattern": pattern, "maxLength": 100}
    return {
        "description": description,
        "type": ["object", "null"],
        "propertyNames": names,
        "additionalProperties": entry,
    }


def listed(description: str, item: Schema) -> Schema:
    return {"description": description, "type": ["array", "null"], "items": item}


def names(description: str, options: Sequence[str] = ()) -> Schema:
    item = choice("", options) if options else name("")
    del item["description"]
    return {"description": description, "type": "array", "items": item, "uniqueItems": True}


def texts(description: str) -> Schema:
    """Texts by language."""
    entry = text("What is said in this language.")
    return {
        "description": description + " A text per language.",
        "type": ["object", "null"],
        "propertyNames": {"pattern": LANGUAGE},
        "additionalProperties": entry,
    }
