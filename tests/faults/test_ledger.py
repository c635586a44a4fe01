"""The ledger sees what does not hold."""

from __future__ import annotations

import asyncio

from engine.bundle import Active, compile_bundle
from engine.decider import create_decider
from engine.decision import DecideRequest, Event, OutcomeKind, Outcomes
from engine.identity import customer_key
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.service.encode import encode_response
from engine.state.redis import RedisStore
from tests.faults.ledger import Ledger
from tests.faults.stage import CAP, RULES


def told(customer: str, event: str, outcome: int = pb.Decision.SEND, text: str = "") -> pb.DecideResponse:
    decision = pb.Decision(
        customer_id=customer, event_id=event, outcome=outcome, reason=pb.Decision.SELECTED, text=text
    )  # fmt: skip
    return pb.DecideResponse(event_id=event, decisions=[decision])


def note(ledger: Ledger, customer: str, event: str, response: pb.DecideResponse) -> None:
    ledger.told(customer, event, response, response.SerializeToString())


def test_answers_that_are_wrong_by_themselves() -> None:
    ledger = Ledger()
    note(ledger, "ana", "e1", told("bo", "e1"))
    note(ledger, "ana", "e2", told("ana", "e2"))
    note(ledger, "ana", "e2", told("ana", "e2", text="another"))
    assert [what[:2] for what in ledger.broken] == ["I4", "I2"]


def test_what_the_store_does_not_know(store: RedisStore, runner: asyncio.Runner) -> None:
    ledger = Ledger(cap=1)
    for event in ("e1", "e2"):
        note(ledger, "ana", event, told("ana", event))
    found = runner.run(ledger.check(store))
    assert [what[:2] for what in found] == ["I1", "I3", "I6"]
    assert (ledger.overshoot(), ledger.missing) == (1, 2)
    assert runner.run(ledger.check(store, lost=2)) == []


def test_what_the_store_has_too_much_or_too_little_of(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        decider = create_decider(Active(compile_bundle({"r.yaml": RULES.encode()})), store)
        ledger = Ledger(CAP)
        for number in range(3):
            event = f"e{number}"
            [decisions] = await decider.decide([DecideRequest(Event(event, "ana", "deposit", None, {}))])
            assert isinstance(decisions, list)
            note(ledger, "ana", event, encode_response(decisions, event, 0))
        assert await ledger.check(store) == []
        await decider.record_outcomes(
            [Outcomes(decisions[0].decision_id, OutcomeKind.NOT_DELIVERED, None, 0.0, "", "")]
        )
        assert [what[:2] for what in await ledger.check(store)] == ["I6", "I3"]
        ledger.released["ana"].add("e2")
        assert await ledger.check(store) == []
        ledger.cap = 1
        assert [what[:2] for what in await ledger.check(store)] == ["I1", "I1"]
        ledger.cap = CAP
        await store.admin.delete(store.bucket_key(customer_key("ana").bucket, "log"))
        assert [what[:2] for what in await ledger.check(store)] == ["I6", "I6"]

    runner.run(scenario())
