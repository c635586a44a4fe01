"""Files of protobuf JSON, one message a line, read piece by piece; what cannot be read is told by line."""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Generic, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from engine.cli.output import USAGE, CommandError
from engine.compiler.source import did_you_mean
from engine.pb.tact.v1.decision_pb2 import Value

M = TypeVar("M", bound=Message)

LINE_BYTES_MAX = 4 << 20
_WRITTEN_MAX = 64
_UNKNOWN_FIELD = re.compile(r'has no field named "(?P<name>[^"]*)" at "(?P<at>[^"]*)"')
_FIELDS = re.compile(r'Available Fields\(except extensions\): "\[(?P<names>.*)\]"', re.S)


@dataclass(slots=True)
class Item(Generic[M]):
    """One line: its number from 1, and its message, or what is wrong with it."""

    line: int
    message: M | None
    problem: str = ""


def read_items(path: Path, kind: type[M]) -> Iterator[Item[M]]:
    """The lines of a file (`-`: standard input; .gz too); empty ones are left out.

    Raises CommandError where the file cannot be read.
    """
    try:
        with _open(path) as stream:
            number = 0
            while line := stream.readline(LINE_BYTES_MAX + 1):
                number += 1
                if len(line) > LINE_BYTES_MAX:
                    yield Item(number, None, f"the line is longer than {LINE_BYTES_MAX} bytes")
                    while line and not line.endswith(b"\n"):
                        line = stream.readline(LINE_BYTES_MAX)
                elif line.strip():
                    yield _item(number, line, kind)
    except FileNotFoundError:
        raise CommandError(f"{path} does not exist", USAGE) from None
    except (OSError, EOFError) as error:
        raise CommandError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _open(path: Path) -> IO[bytes]:
    if str(path) == "-":
        return sys.stdin.buffer
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _item(number: int, line: bytes, kind: type[M]) -> Item[M]:
    try:
        return Item(number, parse(line, kind))
    except ValueError as error:
        return Item(number, None, str(error))


def parse(data: bytes, kind: type[M]) -> M:
    """A message from its protobuf JSON. Raises ValueError with what is wrong."""
    name = kind.DESCRIPTOR.full_name
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: byte {error.start + 1} is 0x{error.object[error.start]:02x}") from None
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"not JSON: {error.msg} at {place}; expected a {name}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return from_object(value, kind)


def from_object(value: object, kind: type[M]) -> M:
    """A message from its protobuf JSON as an object. Raises ValueError with what is wrong."""
    name = kind.DESCRIPTOR.full_name
    if not isinstance(value, dict):
        raise ValueError(f"found {type(value).__name__}, expected an object that is a {name}")
    try:
        return ParseDict(value, kind())
    except (ParseError, RecursionError) as error:
        raise ValueError(_bare(value, Default().FindMessageTypeByName(name), "") or _told(str(error), name)) from None


def _told(text: str, name: str) -> str:
    """protobuf's complaint, shortened; a field that does not exist gets the nearest one that does."""
    unknown = _UNKNOWN_FIELD.search(text)
    if unknown is None:
        return f"not a {name}: {' '.join(text.split())}"
    listed = _FIELDS.search(text)
    fields = re.findall(r"'([^']*)'", listed["names"]) if listed else []
    hint = did_you_mean(unknown["name"], fields) or (f"it has {', '.join(fields)}" if fields else "")
    return f"{unknown['at']} has no field '{unknown['name']}'" + (f"; {hint}" if hint else "")


def _bare(value: dict[str, object], kind: Descriptor, path: str) -> str:
    """What is wrong where a Value is written without its kind, by far the commonest mistake; "" where none is."""
    for field in kind.fields:
        given = value.get(field.json_name, value.get(field.name))
        if (of := field.message_type) is None or given is None:
            continue
        for place, one, message in _messages(given, of, path + field.name):
            if isinstance(one, dict):
                found = _bare(one, message, f"{place}.")
            else:
                found = _kinds(place, one) if message is Value.DESCRIPTOR else ""
            if found:
                return found
    return ""


def _messages(given: object, of: Descriptor, path: str) -> Iterator[tuple[str, object, Descriptor]]:
    """The messages in a field: of each its place, what was written, and what it should be."""
    if of.GetOptions().map_entry:
        inner = of.fields_by_name["value"].message_type
        if isinstance(given, dict) and inner is not None:
            yield from ((f"{path}.{key}", one, inner) for key, one in given.items())
    elif isinstance(given, list):
        yield from ((f"{path}[{k}]", one, of) for k, one in enumerate(given))
    else:
        yield path, given, of


def _kinds(place: str, given: object) -> str:
    """What a bare value should be."""
    written = json.dumps(given, ensure_ascii=False)
    if len(written) > _WRITTEN_MAX:
        written = ".."
    if isinstance(given, bool):
        expected = f'{{"flag": {written}}}'
    elif isinstance(given, int | float):
        expected = f'{{"number": {written}}}' + (f' or {{"integer": {written}}}' if isinstance(given, int) else "")
    elif isinstance(given, str):
        expected = f'{{"text": {written}}}'
    elif isinstance(given, list):
        expected = f'{{"texts": {{"values": {written}}}}}'
    else:
        expected = 'an object such as {"number": 5}'
    return f"{place}: found {written}, expected {expected}"
