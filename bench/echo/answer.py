"""What every echo in Python says: where it listens, and a decision of usual size made from the parsed request."""

from __future__ import annotations

import json
import sys

from engine.pb.tact.v1 import decision_pb2

PATH = "/tact.v1.DecisionService/Decide"


def answer(request: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
    """A SEND. Decides nothing, remembers nothing."""
    event = request.event
    decision = decision_pb2.Decision(
        decision_id="1-0123456789abcdef0123456789abcdef-0123456789abcdef-0",
        event_id=event.event_id,
        customer_id=event.customer_id,
        outcome=decision_pb2.Decision.SEND,
        message="message_1",
        variant="amount",
        channel="push",
        text="You moved 50 today. See what that can become.",
    )
    return decision_pb2.DecideResponse(decisions=[decision], event_id=event.event_id)


def announce(address: str) -> None:
    """One JSON line on standard output, as `server.py` writes it."""
    sys.stdout.write(json.dumps({"address": address}) + "\n")
    sys.stdout.flush()
