"""Outcomes that name no decision, over the wire: what they are credited to, and what is wrong with them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.redis import RedisStore

RULES = b"""\
events: {deposit: {}}
purposes: {service: {consent: not_required}}
products: {loan: {}}
channels: {sms: {}}
messages:
  offer:
    purpose: service
    product: loan
    on: [deposit]
    channels: [sms, push]
    variants: {plain: {en: "A loan?"}}
"""
Report = pb.OutcomeReport


def violations_of(status: status_pb2.Status) -> dict[str, str]:
    for packed in status.details:
        bad = error_details_pb2.BadRequest()
        if packed.Unpack(bad):
            return {v.field: v.description for v in bad.field_violations}
    return {}


def report(**fields: Any) -> pb.OutcomeReport:
    """A conversion that is as it should be, but for `fields` (None: absent)."""
    now = Timestamp(seconds=int(time.time()) + 60)
    whole = {
        "kind": Report.CONVERTED, "customer_id": "c1", "product": "loan", "outcome_id": "l1", "occurred_at": now,
    }  # fmt: skip
    return Report(**{name: value for name, value in (whole | fields).items() if value is not None})


def test_outcomes_without_a_decision(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path, {"rules.yaml": RULES}) as s:

            async def told(*reports: pb.OutcomeReport) -> list[pb.OutcomeResult]:
                return list((await s.decisions.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=reports))).results)

            decision = (await s.decisions.Decide(kit.deposit())).decisions[0]
            delivered = Report(decision_id=decision.decision_id, kind=Report.DELIVERED)
            by_sms = {"product": None, "channel": "sms", "kind": Report.REPLIED}
            none, arrived, sold, again, reply, pushed = await told(
                report(), delivered, report(), report(), report(**by_sms), report(**by_sms | {"channel": "push"})
            )
            assert not any(r.HasField("error") for r in (none, arrived, sold, again, reply, pushed))
            mine = [decision.decision_id]
            assert [list(r.credited_decision_ids) for r in (none, arrived, sold, again, reply, pushed)] == [
                [], [], mine, mine, mine, [],
            ]  # fmt: skip
            assert [r.repeated for r in (sold, again)] == [False, True]

            wrong = {
                "occurred_at": report(occurred_at=None),
                "outcome_id": report(outcome_id=None),
                "customer_id": report(customer_id=None),
                "product": report(product=None),
                "channel": report(channel="sms"),
                "decision_id": report(kind=Report.DELIVERED),
            }
            for field, result in zip(wrong, await told(*wrong.values()), strict=True):
                assert list(violations_of(result.error)) == [field]
            both, product, channel, stop, nothing = await told(
                report(decision_id=decision.decision_id),
                report(product="laon"),
                report(**by_sms | {"channel": "smss"}),
                report(kind=Report.OPTED_OUT),
                Report(kind=Report.CONVERTED),
            )
            assert set(violations_of(both.error)) == {"customer_id", "product"}
            assert violations_of(product.error)["product"] == (
                "product \"laon\" is not in the rule set; did you mean 'loan'?"
            )
            assert violations_of(channel.error)["channel"].startswith('channel "smss" is not in the rule set')
            assert "PutProfiles" in violations_of(stop.error)["decision_id"]
            assert violations_of(nothing.error)["decision_id"].startswith("is missing: expected a decision_id")
            assert "customer_id" in violations_of(nothing.error)["decision_id"]

    runner.run(scenario())
