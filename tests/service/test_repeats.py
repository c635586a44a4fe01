"""A retry is known for one whatever the rule set has become meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from engine.bundle import Active, compile_bundle
from engine.decider import create_decider
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.revisions import Revisions
from engine.service.codec import content_fingerprint
from engine.service.decision import DecisionService
from engine.service.limiter import Limiter
from engine.state.redis import RedisStore
from engine.transport import Call, RpcError, awaited

RULES = """
events: {deposit: {amount: number, urgent: bool}}
purposes: {p: {consent: not_required}}
messages: {thanks: {purpose: p, on: [deposit], channels: [sms], variants: {plain: {en: "Thank you."}}}}
"""


def request(**changes: pb.Value) -> pb.DecideRequest:
    attributes = {"amount": pb.Value(number=5), "urgent": pb.Value(flag=True)} | changes
    return pb.DecideRequest(event=pb.Event(event_id="e", customer_id="c", type="deposit", attributes=attributes))


def test_a_retry_gets_its_answer_after_the_schema_changed(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        active = Active(compile_bundle({"r.yaml": RULES.encode()}))
        decider = create_decider(active, store)
        service = DecisionService(decider, active, Revisions(store.side, store.key), Limiter(10))
        first = await awaited(service.decide)(request().SerializeToString(), Call())
        for schema in ("{amount: number, urgent: integer}", "{amount: number}"):
            changed = RULES.replace("{amount: number, urgent: bool}", schema)
            active.bundle = compile_bundle({"r.yaml": changed.encode()})
            assert await awaited(service.decide)(request().SerializeToString(), Call()) == first
            batch = pb.DecideBatchRequest(requests=[request()]).SerializeToString()
            answers = pb.DecideBatchResponse.FromString(await awaited(service.decide_batch)(batch, Call())).responses
            assert answers[0] == pb.DecideResponse.FromString(first)
            with pytest.raises(RpcError, match="INVALID_ARGUMENT"):  # not the same event
                await awaited(service.decide)(request(amount=pb.Value(number=6)).SerializeToString(), Call())

    runner.run(scenario())


def test_fingerprints_are_of_content() -> None:
    assert content_fingerprint(request()) == content_fingerprint(request(amount=pb.Value(integer=5)))
    assert content_fingerprint(request()) != content_fingerprint(request(amount=pb.Value(number=5.5)))
    assert content_fingerprint(request()) != content_fingerprint(request(amount=pb.Value(text="5")))
    assert content_fingerprint(request()) != content_fingerprint(request(urgent=pb.Value()))
