"""Profiles, written to a server before it is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice

from bench.load.client import OK, RESOURCE_EXHAUSTED, UNAVAILABLE, Target, connect
from engine.pb.tact.v1 import profile_pb2

_PUT = "/tact.v1.ProfileService/PutProfiles"
_PER_CALL = 1000  # the most that a call may hold
_CALLS_AT_ONCE = 2  # the client makes one while the server reads the other
_TRIES = 8
_PAUSE_S = 0.2
_TRANSIENT = (RESOURCE_EXHAUSTED, UNAVAILABLE)  # writing a profile again does no harm


class Refused(ValueError):
    """The server did not take a profile; the text says which and why."""


async def put_profiles(target: Target, profiles: Iterable[profile_pb2.Profile]) -> int:
    """Writes them in calls of a thousand, again where the server is busy; returns how many.

    Raises Refused, and OSError without a connection.
    """
    waiting: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
    channel = await connect(target, _PUT, lambda number, *answer: waiting.pop(number).set_result(answer))
    number = 0

    async def put(first: int, made: list[profile_pb2.Profile]) -> None:
        nonlocal number
        for attempt in range(_TRIES):
            number += 1
            waiting[number] = answered = asyncio.get_running_loop().create_future()
            channel.send(number, profile_pb2.PutProfilesRequest(profiles=made).SerializeToString())
            channel.flush()
            status, answer = await answered
            if not channel.usable:
                raise ConnectionError("the server closed the connection")
            if not _wrong(first, status, answer, last=attempt == _TRIES - 1):
                return
            await asyncio.sleep(_PAUSE_S * 2**attempt)

    source, count = iter(profiles), 0
    under_way: set[asyncio.Task[None]] = set()
    try:
        while made := list(islice(source, _PER_CALL)):
            under_way.add(asyncio.ensure_future(put(count, made)))
            count += len(made)
            await asyncio.sleep(0)
            if len(under_way) == _CALLS_AT_ONCE:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        await asyncio.gather(*under_way)
    finally:
        for task in under_way:
            task.cancel()
        await channel.close()
    return count


def _wrong(first: int, status: int, answer: bytes, last: bool) -> bool:
    """Whether another try is due. Raises Refused where that would not help, or this was the last."""
    found = [(status, f"PutProfiles ended with status {status}")] if status != OK else []
    for place, result in enumerate(profile_pb2.PutProfilesResponse.FromString(answer).results if not found else ()):
        if result.HasField("error"):
            found.append((result.error.code, f"profile {first + place + 1}: {result.error.message}"))
    for code, text in found:
        if last or code not in _TRANSIENT:
            raise Refused(text)
    return bool(found)
