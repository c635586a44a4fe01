"""The peer of `transport`: an empty grpc.aio server that parses the same request and answers with a
decision of the same size. Run as a process: `python -m bench.echo`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import grpc
import uvloop

from engine.pb.tact.v1 import decision_pb2, decision_pb2_grpc

_TEXT = "You moved 50 today. See what that can become."


class Echo(decision_pb2_grpc.DecisionServiceServicer):
    """Decides nothing, remembers nothing."""

    async def Decide(self, request: Any, context: Any) -> Any:
        """A SEND of usual size."""
        event = request.event
        decision = decision_pb2.Decision(
            decision_id="1-0123456789abcdef0123456789abcdef-0123456789abcdef-0",
            event_id=event.event_id,
            customer_id=event.customer_id,
            outcome=decision_pb2.Decision.SEND,
            message="message_1",
            variant="amount",
            channel="push",
            text=_TEXT,
        )
        return decision_pb2.DecideResponse(decisions=[decision], event_id=event.event_id)


async def main() -> None:
    """Serves until ended."""
    server = grpc.aio.server()
    decision_pb2_grpc.add_DecisionServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(json.dumps({"address": f"127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
