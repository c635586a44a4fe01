"""Profiles to the server: a few requests under way, results in order, and again what may be tried again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from engine.cli.client import Client, status_text
from engine.pb.tact.v1 import profile_pb2 as pb

ITEMS_MAX = 1000  # of a request
BYTES_MAX = 8 << 20
UNDER_WAY = 4
TURNS = 6
_PAUSE_S = 0.1  # doubled with every turn
_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
_AGAIN_CODES = frozenset(code.value[0] for code in _AGAIN)
_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Sent:
    """A request: its rows' places in their block, its fields, and where each one ends in them."""

    places: Sequence[int]
    payload: bytes
    ends: Sequence[int]
    call: Any = None


class Sender:
    """One method of one server. Puts are idempotent: what is not known to be done is sent again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._put = client.unary("/tact.v1.ProfileService/PutProfiles")
        self.under_way: deque[Sent] = deque()

    def send(self, places: Sequence[int], payload: bytes, ends: Sequence[int]) -> None:
        """Begins; the call before the last UNDER_WAY should have been taken with `take`."""
        sent = Sent(places, payload, ends)
        sent.call = self._put.future(payload, timeout=_TIMEOUT_S)
        self.under_way.append(sent)

    def take(self) -> tuple[Sent, list[tuple[int, str]]]:
        """Waits for the oldest request: the places that were refused, and why. Raises CommandError."""
        sent = self.under_way.popleft()
        call, left, refused = sent.call, sent, []
        for turn in range(TURNS):
            last = turn == TURNS - 1
            try:
                results = pb.PutProfilesResponse.FromString(call.result()).results
            except grpc.RpcError as error:
                if last or error.code() not in _AGAIN:
                    raise self._client.told(error) from None
            else:
                again = []
                for k, result in enumerate(results):
                    if result.HasField("error"):
                        if result.error.code in _AGAIN_CODES and not last:
                            again.append(k)
                        else:
                            refused.append((left.places[k], status_text(result.error)))
                if not again:
                    break
                left = _some(left, again)
            time.sleep(_PAUSE_S * 2**turn)
            call = self._put.future(left.payload, timeout=_TIMEOUT_S)
        return sent, refused


def _some(sent: Sent, wanted: Sequence[int]) -> Sent:
    begins = [0, *sent.ends]
    parts = [sent.payload[begins[k] : begins[k + 1]] for k in wanted]
    ends, end = [], 0
    for part in parts:
        end += len(part)
        ends.append(end)
    return Sent([sent.places[k] for k in wanted], b"".join(parts), ends)


def requests(payload: bytes, ends: Sequence[int]) -> list[tuple[range, bytes, list[int]]]:
    """Fields of a PutProfilesRequest cut into requests: places, fields, and where each one ends."""
    found, first, begin = [], 0, 0
    for k, end in enumerate(ends):
        if k > first and (k - first == ITEMS_MAX or end - begin > BYTES_MAX):
            cut = ends[k - 1]
            found.append((range(first, k), payload[begin:cut], [e - begin for e in ends[first:k]]))
            first, begin = k, cut
    if first < len(ends):
        found.append((range(first, len(ends)), payload[begin:], [e - begin for e in ends[first:]]))
    return found
