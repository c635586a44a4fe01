"""Our own transport with an empty method: what a decision would cost if deciding were free.

Run as a process: `python -m bench.echo.http2`.
"""

from __future__ import annotations

import asyncio

import uvloop

from bench.echo.answer import PATH, announce, answer
from engine.pb.tact.v1 import decision_pb2
from engine.transport import Call, Unary
from engine.transport.http2 import Http2Transport


async def main() -> None:
    """Serves until ended."""
    loop = asyncio.get_running_loop()

    def decide(body: bytes, _: Call) -> asyncio.Future[bytes]:
        done: asyncio.Future[bytes] = loop.create_future()
        done.set_result(answer(decision_pb2.DecideRequest.FromString(body)).SerializeToString())
        return done

    transport = Http2Transport([Unary(PATH, decide)], "127.0.0.1", 0)
    announce(await transport.start())
    await loop.create_future()


if __name__ == "__main__":
    uvloop.run(main())
