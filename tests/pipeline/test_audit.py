"""The log at its limit: `require` sends nothing and books nothing, `best-effort` drops and counts; both keep caps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.bundle import Active, compile_bundle
from engine.decider import create_decider
from engine.decision import DecideRequest, Decision, Event, Outcome, OutcomeKind, Outcomes, Reason
from engine.errors import InvalidInput, Unavailable
from engine.identity import customer_key
from engine.state.archive import Archiver
from engine.state.log import DecisionEntry, decode
from engine.state.model import ReadRequest
from engine.state.record import decode as decode_record
from engine.state.redis import RedisStore

RULES = {
    "rules.yaml": b"""
events: {ping: {}}
purposes: {service: {consent: not_required}}
channels: {push: {}}
messages:
  pong: {purpose: service, on: [ping], channels: [push], variants: {plain: {en: "Pong."}}}
caps:
  - {at_most: 3, per: [customer], in: 7 days}
"""
}
ANA = customer_key("ana")
LIMIT = 2


def request(n: int) -> DecideRequest:
    return DecideRequest(Event(f"e{n}", "ana", "ping", None, {}))


@pytest.mark.parametrize("audit", ["require", "best-effort"])
def test_a_log_at_its_limit(
    store_url: str, key_prefix: str, runner: asyncio.Runner, tmp_path: Path, audit: str
) -> None:
    async def scenario() -> None:
        store = RedisStore(store_url, key_prefix, max_log_length=LIMIT, audit=audit)  # type: ignore[arg-type]
        decider = create_decider(Active(compile_bundle(RULES)), store)

        async def decide(n: int) -> Decision:
            [result] = await decider.decide([request(n)])
            assert isinstance(result, list)
            return result[0]

        async def touches() -> int:
            read = await store.read([ReadRequest(ANA, ())])
            return len(decode_record(read.entries[0].record).touches)

        firsts = [await decide(n) for n in range(LIMIT)]
        assert [d.reason for d in firsts] == [Reason.SELECTED] * LIMIT
        third = await decide(LIMIT)
        report = Outcomes(firsts[0].decision_id, OutcomeKind.DELIVERED, None, 0.0, "", "")
        [taken] = await decider.record_outcomes([report])
        if audit == "require":
            assert (third.outcome, third.reason) == (Outcome.NO_MESSAGE, Reason.LOG_FULL)
            assert await touches() == LIMIT
            assert isinstance(taken, Unavailable)
            assert store.log_dropped == 0
        else:
            assert (third.outcome, third.reason) == (Outcome.SEND, Reason.SELECTED)
            assert await touches() == LIMIT + 1
            assert not isinstance(taken, InvalidInput | Unavailable)
            assert store.log_dropped == 2
        key = store.bucket_key(ANA.bucket, "log")
        assert await store.admin.xlen(key) == LIMIT
        archiver = Archiver(store, tmp_path)
        assert (await archiver.run_once()).trimmed == LIMIT
        again = await decide(LIMIT)  # the same event: nothing was booked for it, or it has its answer
        assert (again.outcome, again.reason) == (Outcome.SEND, Reason.SELECTED)
        over = await decide(LIMIT + 1)
        assert over.reason is Reason.CAP_REACHED
        logged = [decode(pairs[b"d"]) for _, pairs in await store.admin.xrange(key)]
        assert [e.event for e in logged if isinstance(e, DecisionEntry)] != []
        assert len(logged) == (2 if audit == "require" else 1)
        await archiver.close()
        await store.close()

    runner.run(scenario())
