"""A real server on a real store, with real clients in the same loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from engine.decider import Decider, create_decider
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import decision_pb2_grpc, profile_pb2_grpc, rules_pb2_grpc
from engine.revisions import Revisions
from engine.service.table import Table
from engine.state.redis import RedisStore
from engine.transport.grpcio import GrpcioTransport

RULES = b"""\
defaults: {language: en}
events:
  deposit: {amount: {type: number, unit: EUR}, channel: text, items: integer, vip: bool, due: time}
  ping: {}
features:
  balance: {type: number, unit: EUR}
  first_name: {type: text, personal: true}
  visits: integer
  joined: time
  has_app: bool
purposes:
  service: {consent: not_required, if_state_unknown: silent}
  marketing: {consent: required, if_state_unknown: silent}
channels:
  push: {}
  sms: {}
messages:
  thanks:
    purpose: service
    on: [deposit]
    value: 1.0
    channels: [push]
    variants: {plain: {en: "Thank you."}}
caps:
  - {at_most: 3, per: [customer], in: 7 days, purposes: [service]}
"""
OTHER_RULES = RULES.replace(b"Thank you.", b"Many thanks.")


@dataclass
class Served:
    """What a scenario works with: the server's parts, and stubs of a channel to it."""

    address: str
    decider: Decider
    revisions: Revisions
    table: Table
    transport: GrpcioTransport
    decisions: Any
    profiles: Any
    rules: Any
    channel: Any


@asynccontextmanager
async def serving(
    store: RedisStore, tmp_path: Path, files: Mapping[str, bytes] | None = None, **options: Any
) -> AsyncIterator[Served]:
    """Serves RULES, or other `files`, on a free port."""
    directory = tmp_path / "rules"
    for path, content in (files or {"rules.yaml": RULES}).items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    revisions = Revisions(store.side, store.key, tmp_path / "last_good")
    active = await revisions.start(directory)
    decider = create_decider(active, store)
    table = Table(decider, revisions, **options)
    transport = GrpcioTransport(table.methods, "127.0.0.1", 0)
    address = await transport.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield Served(
                address,
                decider,
                revisions,
                table,
                transport,
                decision_pb2_grpc.DecisionServiceStub(channel),
                profile_pb2_grpc.ProfileServiceStub(channel),
                rules_pb2_grpc.RuleServiceStub(channel),
                channel,
            )
    finally:
        table.close_streams()
        await transport.stop(5)
        await table.settle()
        await decider.drain()


def deposit(event_id: str = "e1", customer_id: str = "c1", **attributes: Any) -> pb.DecideRequest:
    """A valid request, with attributes given as keyword arguments of Value."""
    values = {name: pb.Value(**value) for name, value in attributes.items()}
    event = pb.Event(event_id=event_id, customer_id=customer_id, type="deposit", attributes=values)
    return pb.DecideRequest(event=event)


@pytest.fixture
def kit() -> SimpleNamespace:
    """The helpers above: test directories are no packages, so they cannot be imported."""
    return SimpleNamespace(serving=serving, deposit=deposit, rules=RULES, other_rules=OTHER_RULES)
