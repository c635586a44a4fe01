"""What is sent: an event file as ready-made requests, and the profiles put in beforehand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import uvloop
from google.protobuf.json_format import Parse, ParseError
from google.protobuf.message import Message

from bench.load.client import OK, connect
from engine.pb.tact.v1 import decision_pb2, profile_pb2

PUT = "/tact.v1.ProfileService/PutProfiles"
_BATCH = 500

Kind = TypeVar("Kind", bound=Message)


class BadFile(ValueError):
    """A line that is not what it should be; the text says which."""


def _lines(file: Path, kind: type[Kind]) -> list[Kind]:
    read = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if line.strip():
            try:
                read.append(Parse(line, kind()))
            except ParseError as error:
                raise BadFile(f"{file}:{number}: {error}") from None
    if not read:
        raise BadFile(f"{file}: no lines")
    return read


def bodies(file: Path, count: int, run: str, as_written: bool) -> list[bytes]:
    """`count` DecideRequests as bytes, the file's lines again and again.

    Each gets an event id of its own, as an id that was answered before costs the server next to nothing,
    and no time, so that it happens when it arrives; with `as_written` both stay.
    """
    requests = _lines(file, decision_pb2.DecideRequest)
    if as_written:
        return [r.SerializeToString() for r in requests]
    made = []
    for number in range(count):
        request = decision_pb2.DecideRequest()
        request.CopyFrom(requests[number % len(requests)])
        request.event.event_id = f"{run}-{number}"
        request.event.ClearField("occurred_at")
        made.append(request.SerializeToString())
    return made


def put_profiles(target: str, file: Path, tls: ssl.SSLContext | None) -> int:
    """Writes the file's profiles to the server; returns how many. Raises BadFile where one is refused."""
    profiles = _lines(file, profile_pb2.Profile)
    uvloop.run(_put(target, profiles, tls))
    return len(profiles)


async def _put(target: str, profiles: Sequence[profile_pb2.Profile], tls: ssl.SSLContext | None) -> None:
    ended: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def done(_: int, status: int, answer: bytes) -> None:
        ended.set_result((status, answer))

    channel = await connect(target, PUT, done, tls)
    await asyncio.sleep(0)
    for first in range(0, len(profiles), _BATCH):
        ended = asyncio.get_running_loop().create_future()
        request = profile_pb2.PutProfilesRequest(profiles=profiles[first : first + _BATCH])
        channel.send(first, request.SerializeToString())
        channel.flush()
        status, answer = await ended
        if status != OK:
            raise BadFile(f"PutProfiles ended with status {status}")
        for place, result in enumerate(profile_pb2.PutProfilesResponse.FromString(answer).results):
            if result.HasField("error"):
                raise BadFile(f"profile {first + place + 1}: {result.error.message}")
    channel.close()
