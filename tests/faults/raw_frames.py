"""Throws broken HTTP/2 at a server: valid sessions with frames changed, cut, repeated, invented.

Beside each broken session a good client makes a call; the server must answer that, must not log an
error of its own, and must have let go of everything at the end. What fails names its seed.

Long: python -m tests.faults.raw_frames --seconds 600 [--seed N]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import struct
import sys
import time

from engine.transport.http2 import Http2Transport, Limits
from tests.transport import raw
from tests.transport.methods import Methods
from tests.transport.raw import END_HEADERS, END_STREAM, Client, block, fields, frame, message

_METHODS = ("Echo", "EchoFuture", "Sleep", "Metadata", "Chat", "Total", "Hang", "Pour", "Nothing")
_END_S = 20
_LIMITS = Limits(message_bytes=1 << 20, buffered_bytes=4 << 20, streams=100, control_burst=500)


def session(chance: random.Random) -> bytes:
    """A client's bytes, some of them wrong."""
    out = [raw.PREFACE, frame(raw.SETTINGS, payload=b"" if chance.random() < 0.5 else _settings(chance))]
    for _ in range(chance.randrange(1, 30)):
        out.append(_mutated(chance, _some_frames(chance)))
    data = b"".join(out)
    if chance.random() < 0.05:
        data = _mutated(chance, data)
    return data


def _settings(chance: random.Random) -> bytes:
    return b"".join(
        struct.pack(">HI", chance.randrange(10), chance.choice((0, 1, 16_384, 65_535, (1 << 31) - 1, (1 << 32) - 1)))
        for _ in range(chance.randrange(5))
    )


def _some_frames(chance: random.Random) -> bytes:
    stream = chance.choice((0, 1, 1, 1, 3, 3, 5, 7, 2, 101, (1 << 31) - 1))
    ends = chance.choice((0, END_STREAM))
    pick = chance.randrange(11)
    if pick < 4:
        return _request(chance, stream)
    if pick == 4:
        return frame(raw.DATA, ends, stream, chance.randbytes(chance.choice((0, 1, 5, 100, 16_384))))
    if pick == 5:
        return frame(raw.RST_STREAM, 0, stream, struct.pack(">I", chance.randrange(14)))
    if pick == 6:
        return frame(raw.SETTINGS, chance.choice((0, raw.ACK)), 0, _settings(chance))
    if pick == 7:
        return frame(raw.PING, chance.choice((0, raw.ACK)), 0, chance.randbytes(8)) * chance.choice((1, 1, 100))
    if pick == 8:
        return frame(raw.WINDOW_UPDATE, 0, stream, struct.pack(">I", chance.choice((0, 1, 1000, (1 << 31) - 1))))
    if pick == 9:
        return frame(raw.GOAWAY, 0, 0, bytes(8))
    return frame(chance.randrange(256), chance.randrange(256), stream, chance.randbytes(chance.randrange(50)))


def _request(chance: random.Random, stream: int) -> bytes:
    header = fields(chance.choice(_METHODS))
    if chance.random() < 0.3:
        header.insert(chance.randrange(len(header)), (chance.randbytes(3), chance.randbytes(5)))
    if chance.random() < 0.2:
        header.append((b"grpc-timeout", chance.choice((b"1n", b"50m", b"1S", b"x", b"99999999H"))))
    if chance.random() < 0.2:
        header.append((b"grpc-encoding", chance.choice((b"gzip", b"identity", b"br"))))
    body = b"".join(
        message(chance.randbytes(chance.choice((0, 3, 2000))), chance.random() < 0.1)
        for _ in range(chance.randrange(3))
    )
    encoded = block(header)
    cut = chance.randrange(len(encoded))
    head = frame(raw.HEADERS, END_HEADERS, stream, encoded)
    if chance.random() < 0.2:
        head = frame(raw.HEADERS, 0, stream, encoded[:cut])
        head += frame(raw.CONTINUATION, END_HEADERS, stream, encoded[cut:])
    return head + frame(raw.DATA, chance.choice((0, END_STREAM)), stream, body)


def _mutated(chance: random.Random, data: bytes) -> bytes:
    if chance.random() < 0.6:
        return data
    at = chance.randrange(len(data) or 1)
    kind = chance.randrange(5)
    if kind == 0:
        return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + chance.randbytes(chance.randrange(20)) + data[at:]
    if kind == 3:
        return data + data
    return chance.randbytes(chance.randrange(1, 40))


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


async def _attack(address: tuple[str, int], chance: random.Random) -> None:
    """One session, sent in pieces; reads a while or leaves at once."""
    reader, writer = await asyncio.open_connection(*address)
    data = session(chance)
    try:
        while data:
            size = chance.choice((1, 10, 1000, 1 << 20))
            writer.write(data[:size])
            data = data[size:]
            await writer.drain()
        if chance.random() < 0.7:
            await asyncio.wait_for(reader.read(1000), 0.01 if chance.random() < 0.5 else 0.001)
    except (OSError, TimeoutError):
        pass
    writer.transport.abort()


async def run(seed: int, sessions: int, until_s: float = float("inf")) -> int:
    """Attacks a server of its own; returns how many sessions it stood. Raises AssertionError with the seed."""
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    transport = Http2Transport(Methods().table(), "127.0.0.1", 0, limits=_LIMITS)
    host, _, port = (await transport.start()).rpartition(":")
    address, shared, done = (host, int(port)), transport._shared, 0
    try:
        while done < sessions and time.monotonic() < until_s:
            await _attack(address, random.Random(seed + done))
            done += 1
            if done % 20 == 0:
                answer = await asyncio.to_thread(_good_call, address)
                assert answer == message(b"good"), f"seed {seed + done - 1}: a good call got {answer!r}"
            assert not errors.found, f"seed {seed + done - 1}: {errors.found[0]}"
        async with asyncio.timeout(_END_S):
            await shared.idle.wait()  # what was left has been noticed
        assert shared.held == 0, f"seed {seed} and {done} on: {shared.held} bytes are still held"
    finally:
        await transport.stop(0)
        logging.getLogger().removeHandler(errors)
    assert not errors.found, f"seed {seed} and {done} on: {errors.found[0]}"
    return done


def _good_call(address: tuple[str, int]) -> bytes:
    with Client(address) as client:
        return client.call("Echo", message(b"good")).body


def main() -> int:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    done = asyncio.run(run(given.seed, sys.maxsize, time.monotonic() + given.seconds))
    sys.stdout.write(f"stood {done} broken sessions from seed {given.seed}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
