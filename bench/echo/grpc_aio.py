"""An empty grpc.aio server on uvloop. Run as a process: `python -m bench.echo.grpc_aio`."""

from __future__ import annotations

from typing import Any

import grpc
import uvloop

from bench.echo.answer import announce, answer
from engine.pb.tact.v1 import decision_pb2_grpc


class Echo(decision_pb2_grpc.DecisionServiceServicer):
    """`Decide` alone."""

    async def Decide(self, request: Any, context: Any) -> Any:
        """At once."""
        return answer(request)


async def main() -> None:
    """Serves until ended."""
    server = grpc.aio.server()
    decision_pb2_grpc.add_DecisionServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(f"127.0.0.1:{port}")
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
