"""Backup, loss and restore as an operator does them: a real server, its embedded store, the commands."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import decision_pb2_grpc, profile_pb2, profile_pb2_grpc
from engine.state.archive import Archiver
from engine.state.embedded import EmbeddedStore
from engine.state.redis import RedisStore
from engine.state.runs import runs
from tests.cli.test_stores import prepared
from tests.server.process import Server
from tests.state.test_profile import LAYOUT_1

Tact = Callable[..., Any]
RULES = """\
events: {deposit: {amount: number}}
purposes: {marketing: {consent: required}}
channels: {push: {}}
messages:
  offer: {purpose: marketing, on: [deposit], value: 1.0, channels: [push], variants: {plain: {en: "Save."}}}
caps:
  - {at_most: 2, per: [customer], in: 7 days}
"""
CUSTOMERS = [f"c{i}" for i in range(12)]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    started: list[Server] = []

    def one() -> Server:
        started.append(Server(tmp_path, rules=RULES))
        return started[-1]

    yield one
    for server in started:
        server.close()


class Caller:
    """What a gateway knows: what it was told to send."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.number = 0

    def decide(self, address: str, customer: str, event: str = "") -> pb.Decision:
        self.number += 1
        request = pb.DecideRequest(
            event=pb.Event(event_id=event or f"e{self.number}", customer_id=customer, type="deposit")
        )
        with grpc.insecure_channel(address) as channel:
            [decision] = decision_pb2_grpc.DecisionServiceStub(channel).Decide(request, timeout=20).decisions
        if decision.outcome == pb.Decision.SEND and not event:
            self.sent[customer] += 1
        return decision


def consent(address: str, *customers: str, granted: bool = True) -> None:
    state = profile_pb2.Consent.GRANTED if granted else profile_pb2.Consent.WITHDRAWN
    consents = [profile_pb2.Consent(purpose="marketing", state=state)]
    profiles = [
        profile_pb2.Profile(customer_id=c, contact=profile_pb2.ContactPreferences(consents=consents)) for c in customers
    ]
    with grpc.insecure_channel(address) as channel:
        results = profile_pb2_grpc.ProfileServiceStub(channel).PutProfiles(
            profile_pb2.PutProfilesRequest(profiles=profiles), timeout=20
        )
    assert not [r for r in results.results if r.HasField("error")]


def erase(address: str, customer: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = profile_pb2_grpc.ProfileServiceStub(channel)
        assert stub.EraseCustomer(profile_pb2.EraseCustomerRequest(customer_id=customer), timeout=20).existed


def archive_the_rest(data: Path) -> None:
    """What the server's keeper would have done with its next turn."""

    async def work(url: str) -> None:
        store = RedisStore(url)
        archiver = Archiver(store, data / "archive", lambda bucket: "0-0")
        await archiver.run_once()
        await archiver.close()
        await store.close()

    server = EmbeddedStore(data)
    asyncio.run(work(server.start()))
    server.stop()


def test_a_store_is_lost_and_comes_back(tact: Tact, start: Callable[[], Server], tmp_path: Path) -> None:
    data, backup, caller = tmp_path / "data", tmp_path / "backup", Caller()
    server = start()
    address = server.ready()["address"]
    consent(address, *CUSTOMERS)
    for customer in CUSTOMERS[:6]:
        assert caller.decide(address, customer).reason == pb.Decision.SELECTED
    first = caller.decide(address, "c6", "before")
    assert first.reason == pb.Decision.SELECTED
    told = tact("backup", backup, "--data", data, "--json")  # while the server serves
    assert (told.status, told.json["profiles"], told.json["records"]) == (0, 12, 7)
    assert tact("backup", backup, "--data", data).status == 1
    for customer in CUSTOMERS:
        caller.decide(address, customer)
    after = caller.decide(address, "c7", "after")
    assert after.reason == pb.Decision.SELECTED
    consent(address, "c8", granted=False)
    consent(address, "c9", granted=False)
    erase(address, "c9")
    assert server.end() == 0
    archive_the_rest(data)
    shutil.rmtree(data / "appendonlydir")  # the disk is gone; the archive lies on another

    assert tact("restore", backup, "--data", data, "--archive", tmp_path / "nowhere").status == 2
    assert tact("restore", backup, "--data", data, "--archive", data / "archive", "--no-archive").status == 2
    told = tact("restore", backup, "--data", data)
    assert told.status == 0, told.err
    assert "13 touches" in told.out
    assert "1 erasure" in told.out
    assert "closed until you run `tact acknowledge`" in told.out
    assert tact("restore", backup, "--data", data).status == 1  # it is not empty any more

    server = start()
    address = server.ready()["address"]
    closed = caller.decide(address, "c0")
    assert closed.reason == pb.Decision.STATE_UNKNOWN
    (tmp_path / "event.jsonl").write_text('{"event": {"eventId": "e", "customerId": "c1", "type": "deposit"}}\n')
    told = tact("decide", tmp_path / "event.jsonl", "--target", address)
    assert "STATE_UNKNOWN: the store lost its data or was restored" in " ".join(told.out.split())
    (tmp_path / "profiles.jsonl").write_text('{"customerId": "c0"}\n')
    load = ("load", tmp_path / "profiles.jsonl", "--target", address)
    refused = tact(*load)
    assert (refused.status, refused.err.count("the store lost its data or was restored; caps cannot be trusted")) == (
        1,
        1,
    )
    assert tact("pause", "--all", "--target", address).status == 0  # rules and pauses are not closed
    told = tact("acknowledge", "--data", data)
    assert (told.status, told.out.splitlines()[0].partition(" of")[0]) == (0, "the store was restored from the backup")
    assert told.out.endswith("caps count what it holds\n")
    assert tact(*load).status == 0
    assert tact("resume", "--all", "--target", address).status == 0
    for _ in range(3):
        for customer in CUSTOMERS:
            caller.decide(address, customer)
    assert caller.sent["c8"] <= 1  # consent was taken back after the backup
    assert caller.decide(address, "c8").reason == pb.Decision.OPTED_OUT
    consent(address, "c9")  # erased, after an opt-out: a bulk load does not undo it
    assert caller.decide(address, "c9").reason == pb.Decision.OPTED_OUT
    assert max(caller.sent.values()) == 2
    assert caller.decide(address, "c6", "before") == first  # to the byte
    again = caller.decide(address, "c7", "after")
    assert (again.outcome, again.reason) == (pb.Decision.NO_MESSAGE, pb.Decision.STATE_UNKNOWN)
    assert "restored since" in again.details.cause

    told = tact("erase-archive", "--data", data, "--json")
    assert (told.status, told.json["customers"]) == (0, 1)
    assert told.json["removed"] >= 2
    assert runs(data / "archive")
    assert server.end() == 0


def test_a_damaged_backup_is_refused(tact: Tact, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    told = tact("restore", tmp_path / "backup", "--data", tmp_path / "data", "--no-archive")
    assert told.status == 1
    assert "is no backup, or a damaged one" in told.err
    assert tact("restore", tmp_path / "nowhere").status == 2
    assert tact("backup", tmp_path / "b", "--data", tmp_path / "none").status == 2
    assert tact("backup", tmp_path / "b", "--redis", "redis://127.0.0.1:1").status == 1
    assert not (tmp_path / "b").exists()


def test_restore_speaks_json(tact: Tact, tmp_path: Path) -> None:
    prepared(tmp_path / "one", LAYOUT_1)
    assert tact("backup", tmp_path / "backup", "--data", tmp_path / "one").status == 0
    two = tmp_path / "two"
    told = tact("restore", tmp_path / "backup", "--data", two, "--no-archive", "--acknowledge", "--json")
    assert told.status == 0
    assert (told.json["keys"], told.json["until_ms"], told.json["acknowledged"]) == (1, 0, True)
    assert (told.json["rebooked"]["touches"], told.json["rebooked"]["to_load"]) == (0, [])
    assert tact("acknowledge", "--data", two).status == 1  # no server runs, and nothing was left running
    assert "1 profile, 1 to be written again" in tact("migrate", "--data", two).out  # of the backup's layout
