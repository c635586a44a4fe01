"""Profiles, written to a server before it is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice

from bench.load.client import OK, Target, connect
from engine.pb.tact.v1 import profile_pb2

_PUT = "/tact.v1.ProfileService/PutProfiles"
_PER_CALL = 1000  # the most that a call may hold
_CALLS_AT_ONCE = 2  # the client makes one while the server reads the other


class Refused(ValueError):
    """The server did not take a profile; the text says which and why."""


async def put_profiles(target: Target, profiles: Iterable[profile_pb2.Profile]) -> int:
    """Writes them in calls of a thousand; returns how many. Raises Refused, and OSError without a connection."""
    answered: asyncio.Queue[tuple[int, int, bytes]] = asyncio.Queue()
    channel = await connect(target, _PUT, lambda *answer: answered.put_nowait(answer))
    source, count, open_calls = iter(profiles), 0, 0
    try:
        while True:
            made = list(islice(source, _PER_CALL))
            if made:
                channel.send(count, profile_pb2.PutProfilesRequest(profiles=made).SerializeToString())
                channel.flush()
                count += len(made)
                open_calls += 1
            if open_calls and (not made or open_calls == _CALLS_AT_ONCE):
                _check(*await answered.get())
                open_calls -= 1
            if not made and not open_calls:
                return count
    finally:
        channel.close()


def _check(first: int, status: int, answer: bytes) -> None:
    if status != OK:
        raise Refused(f"PutProfiles ended with status {status}")
    for place, result in enumerate(profile_pb2.PutProfilesResponse.FromString(answer).results):
        if result.HasField("error"):
            raise Refused(f"profile {first + place + 1}: {result.error.message}")
