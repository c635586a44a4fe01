"""Event files and profile files: protobuf JSON, a DecideRequest or a Profile a line, as in rules/samples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast

from google.protobuf.json_format import ParseError
from google.protobuf.message import Message

from bench.load.lines import parse
from bench.load.requests import Requests
from engine.pb.tact.v1 import decision_pb2, profile_pb2

Kind = TypeVar("Kind", bound=Message)


class BadFile(ValueError):
    """A line that is not what it should be; the text says which."""


def _lines(file: Path, kind: type[Kind]) -> Iterator[Kind]:
    empty = True
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                empty = False
                try:
                    yield cast(Kind, parse(line, kind))
                except (ParseError, UnicodeDecodeError) as error:
                    raise BadFile(f"{file}:{number}: {error}") from None
    if empty:
        raise BadFile(f"{file}: no lines")


def read_requests(file: Path, lines_max: int, as_written: bool) -> Requests:
    """The first `lines_max` events of a file, ready to be sent. Raises BadFile, OSError."""
    return Requests(islice(_lines(file, decision_pb2.DecideRequest), lines_max), as_written)


def read_profiles(file: Path) -> Iterator[profile_pb2.Profile]:
    """One after another: a file of any size. Raises BadFile, OSError."""
    return _lines(file, profile_pb2.Profile)
