"""An empty grpcio server with threads. Run as a process: `python -m bench.echo.grpc_sync`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from bench.echo.answer import announce, answer
from engine.pb.tact.v1 import decision_pb2_grpc

_THREADS = 16


class Echo(decision_pb2_grpc.DecisionServiceServicer):
    """`Decide` alone."""

    def Decide(self, request: Any, context: Any) -> Any:
        """At once."""
        return answer(request)


def main() -> None:
    """Serves until ended."""
    server = grpc.server(ThreadPoolExecutor(_THREADS))
    decision_pb2_grpc.add_DecisionServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    announce(f"127.0.0.1:{port}")
    server.wait_for_termination()


if __name__ == "__main__":
    main()
