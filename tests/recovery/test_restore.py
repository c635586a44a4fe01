"""Decide, back up, decide more, lose the store, restore: every promise made meanwhile still holds."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.bundle import Active, Bundle, compile_bundle
from engine.decider import Decider, create_decider
from engine.decision import DecideRequest, Decision, Event, Outcome, OutcomeKind, Outcomes, Reason
from engine.errors import Conflict
from engine.identity import customer_key, event_hash
from engine.learning.learner import Learner
from engine.recovery.archived import entries_after
from engine.recovery.backup import back_up
from engine.recovery.files import LOGS, MANIFEST, STATE, BackupError
from engine.recovery.rebook import ANSWERED_BEFORE
from engine.recovery.restore import restore
from engine.revision_store import RevisionStore, Stored
from engine.state.archive import Archiver
from engine.state.contents import Contents
from engine.state.embedded import EmbeddedStore
from engine.state.log import DecisionEntry
from engine.state.model import ConsentEntry, Contact, Profile, ReadRequest, Record, TouchFlag
from engine.state.profile import decode as decode_profile
from engine.state.record import decode as decode_record
from engine.state.redis import RedisStore
from engine.state.runs import runs
from engine.state.tenure import Tenure
from engine.step.operations import ProfileChange

RULES = {
    "rules.yaml": b"""
events:
  paid: {amount: number, loan: text}
features:
  balance: number
  timezone: {type: text, default: Europe/Madrid}
purposes:
  marketing: {consent: required}
  collections: {consent: not_required, holdout: true}
holdout: {share: 0.2, salt: s}
channels: {push: {}, sms: {}}
policies:
  words: {kind: thompson, floor: 0.1, reward: {clicked: 1.0}, attribution: 1 minutes}
  tone: {kind: fixed, sticky: customer}
messages:
  offer:
    purpose: marketing
    topic: savings
    on: [paid]
    when: features.balance >= 10
    value: event.amount
    policy: words
    channels: [push]
    variants: {short: {en: "Save."}, long: {en: "Save more of it."}}
  reminder:
    purpose: collections
    on: [paid]
    about: event.loan
    value: 5.0
    policy: tone
    channels: [sms]
    variants: {plain: {en: "Your loan is due."}, kind: {en: "Please think of your loan."}}
caps:
  - {at_most: 4, per: [customer], in: 7 days}
  - {at_most: 3, per: [customer, topic], in: 7 days}
  - {at_most: 2, per: [customer, about], in: 7 days, purposes: [collections]}
"""
}
NAMES = [f"customer {i}" for i in range(25)]
LOANS = ["a", "b"]


@dataclass
class Bank:
    """One deployment on one store, and what its callers were told: the ledger is not the engine's."""

    store: RedisStore
    decider: Decider
    chance: random.Random
    sent: dict[str, Decision] = field(default_factory=dict)  # by decision id
    answers: dict[tuple[str, str], tuple[DecideRequest, list[Decision]]] = field(default_factory=dict)
    number: int = 0

    def event(self) -> DecideRequest:
        self.number += 1
        attributes: dict[str, object] = {"amount": self.chance.choice([1.0, 9.0]), "loan": self.chance.choice(LOANS)}
        return DecideRequest(Event(f"e{self.number}", self.chance.choice(NAMES), "paid", None, attributes))

    async def decide(self, requests: list[DecideRequest]) -> list[list[Decision]]:
        results = await self.decider.decide(requests)
        for request, result in zip(requests, results, strict=True):
            assert isinstance(result, list), result
            self.answers.setdefault((request.event.customer_id, request.event.event_id), (request, result))
            self.sent |= {d.decision_id: d for d in result if d.outcome is Outcome.SEND}
        return results  # type: ignore[return-value]

    async def day(self, decisions: int) -> None:
        """Decisions, profiles, outcomes of every kind, and an erasure now and then."""
        for _ in range(decisions // 10):
            await self.decide([self.event() for _ in range(10)])
            name = self.chance.choice(NAMES)
            granted = self.chance.random() < 0.8
            narrow = [ConsentEntry("marketing", False, 0, "branch", "v1", "", "sms")] * (self.chance.random() < 0.3)
            contact = Contact([ConsentEntry("marketing", granted, 0, "branch", "v1"), *narrow])
            await self.decider.put_profiles([ProfileChange(name, {"balance": 50.0}, [], contact)])
            for decision_id in self.chance.sample(sorted(self.sent), min(2, len(self.sent))):
                kind = self.chance.choice(
                    [k for k in OutcomeKind if k is not OutcomeKind.OPTED_OUT] * 4 + [OutcomeKind.OPTED_OUT]
                )
                report = Outcomes(decision_id, kind, None, 1.0, self.chance.choice(["", f"o{self.number}"]), "")
                await self.decider.record_outcomes([report])
            if self.chance.random() < 0.1:
                await self.decider.erase(self.chance.choice(NAMES))

    async def state(self) -> dict[str, tuple[Profile, Record]]:
        read = await self.store.read([ReadRequest(customer_key(name), ()) for name in NAMES])
        return {
            name: (decode_profile(e.profile), decode_record(e.record))
            for name, e in zip(NAMES, read.entries, strict=True)
        }


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle(RULES)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedStore]:
    one = EmbeddedStore(tmp_path / "other", persist=False)
    one.start()
    yield one
    one.stop()


async def bank(url: str, prefix: str, bundle: Bundle, seed: int) -> Bank:
    store = RedisStore(url, prefix)
    await store.check()  # as a server does: from now on it has a generation
    revisions = RevisionStore(store.side, store.key)
    await revisions.keep(Stored(bundle.revision, file_count=1), dict(RULES), "", activate=True)
    return Bank(store, create_decider(Active(bundle), store), random.Random(seed))


def promises(profile: Profile, record: Record) -> object:
    """What must be the same: touches, stops, assignments, consents."""
    consents = profile.contact.consents if profile.contact is not None else []
    return sorted(record.touches), record.opt_outs, record.assignments, consents


@pytest.mark.parametrize("seed", range(4))
def test_nothing_promised_is_forgotten(
    store_url: str,
    key_prefix: str,
    server: EmbeddedStore,
    bundle: Bundle,
    runner: asyncio.Runner,
    tmp_path: Path,
    seed: int,
) -> None:
    async def scenario() -> None:
        first = await bank(store_url, key_prefix, bundle, seed)
        archiver = Archiver(first.store, tmp_path / "archive")
        full = Contact([ConsentEntry("marketing", True, 0, "branch", "v1")])
        await first.decider.put_profiles([ProfileChange(n, {"balance": 50.0}, [], full) for n in NAMES])
        await first.day(60)
        await archiver.run_once()
        before = dict(first.answers)
        # the copy is made while decisions go on
        report, _ = await asyncio.gather(back_up(store_url, tmp_path / "backup", key_prefix), first.day(40))
        assert report.records > 0
        await first.day(60)
        await archiver.run_once()
        lost = await first.state()
        old, *_ = runs(tmp_path / "archive")  # long before the backup: not even looked at
        (old.path / "decision.parquet").write_bytes(b"")
        os.utime(old.path / "ranges.json", (0, 0))

        store = RedisStore(server.url, key_prefix)
        told = await restore(server.url, tmp_path / "backup", tmp_path / "archive", prefix=key_prefix)
        assert told.rebooked.touches > 0
        assert told.rebooked.without_rules == 0
        second = Bank(store, create_decider(Active(bundle), store), first.chance, dict(first.sent), {}, first.number)
        back = await second.state()
        for name in NAMES:
            assert promises(*back[name]) == promises(*lost[name]), name

        closed = await second.decide([second.event()])
        assert closed[0][0].reason is Reason.STATE_UNKNOWN
        assert "restored from the backup of" in store.closed
        await store.acknowledge_generation()

        # the same events again: what was answered before the backup to the byte, what came later without a message
        repeated = Counter()
        for key, (request, answer) in first.answers.items():
            if event_hash(key[1]) not in {a.event for a in lost[key[0]][1].answers}:
                continue  # erased since
            [result] = await second.decider.decide([request])
            assert isinstance(result, list)
            if key in before or result == answer:
                assert result == answer
                repeated["as it was"] += 1
                continue
            assert all(d.outcome is Outcome.NO_MESSAGE for d in result)
            sent = [d.outcome is Outcome.SEND for d in answer]
            reasons = [Reason.STATE_UNKNOWN if s else d.reason for s, d in zip(sent, answer, strict=True)]
            assert [d.reason for d in result] == reasons
            assert [d.details.cause == ANSWERED_BEFORE for d in result] == sent
            repeated["as documented"] += 1
        assert min(repeated.values()) > 10

        # and life goes on: no cap is exceeded by what was sent before and after together
        for _ in range(12):
            await second.decide([second.event() for _ in range(25)])
        final = await second.state()
        lost_once = TouchFlag.outcome(OutcomeKind.NOT_DELIVERED)  # its place may have been taken before it turned up
        for name, (_, record) in final.items():
            counting = [t for t in record.touches if t.counts(False) and not t.flags & lost_once]
            assert len(counting) <= 4, name
            for about, n in Counter(t.about for t in counting if t.about).items():
                assert n <= 2, (name, about)
        await archiver.close()
        await first.store.close()
        await store.close()

    runner.run(scenario())


def _tenure(store: RedisStore, directory: Path) -> Tenure:
    return Tenure(store, directory / "archive")


def test_learning_goes_on_as_if_nothing_had_been(
    store_url: str, key_prefix: str, server: EmbeddedStore, bundle: Bundle, runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def scenario() -> None:
        first = await bank(store_url, key_prefix, bundle, 5)
        full = Contact([ConsentEntry("marketing", True, 0, "branch", "v1")])
        await first.decider.put_profiles([ProfileChange(n, {"balance": 50.0}, [], full) for n in NAMES])
        learner = Learner(first.store, Active(bundle))
        archiver = Archiver(first.store, tmp_path / "archive", learner.safe_id, tenure=_tenure(first.store, tmp_path))
        now_ms = (await first.store.read([])).now_ms

        async def live(reports: int) -> None:
            await first.decide([first.event() for _ in range(40)])
            for decision_id in first.chance.sample(sorted(first.sent), reports):
                kind = first.chance.choice([OutcomeKind.DELIVERED, OutcomeKind.CLICKED])
                await first.decider.record_outcomes([Outcomes(decision_id, kind, None, 1.0, "", "")])

        await live(10)
        await learner.run_once(now_ms + 3_600_000)  # closed and folded
        await live(10)
        await archiver.run_once()
        await back_up(store_url, tmp_path / "backup", key_prefix)
        await live(15)
        await archiver.run_once()
        await archiver.close()

        await restore(server.url, tmp_path / "backup", tmp_path / "archive", prefix=key_prefix)
        store = RedisStore(server.url, key_prefix)
        await store.acknowledge_generation()
        other = Learner(store, Active(bundle))
        assert await other.run_once(now_ms + 7_200_000) == await learner.run_once(now_ms + 7_200_000) > 0
        sums = await first.store.admin.hgetall(first.store.key("learn:sums"))
        assert await store.admin.hgetall(store.key("learn:sums")) == sums != {}
        # the archive holds each entry once, though some were put back into the logs
        elsewhere = Archiver(store, tmp_path / "elsewhere", tenure=Tenure(store, tmp_path / "elsewhere"))
        assert (await elsewhere.run_once()).read == 0  # the store knows its archive, which was not in the backup
        again = Archiver(store, tmp_path / "archive", other.safe_id, tenure=_tenure(store, tmp_path))
        assert (await again.run_once()).read == 0
        second = Bank(store, create_decider(Active(bundle), store), first.chance, {}, {}, first.number)
        await second.decide([second.event()])
        assert (await again.run_once()).read == 1
        for one in (learner, other, elsewhere, again):
            await one.close()
        await store.close()
        await first.store.close()

    runner.run(scenario())


def test_what_is_refused(
    store_url: str, key_prefix: str, server: EmbeddedStore, bundle: Bundle, runner: asyncio.Runner, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"

    async def scenario() -> None:
        with pytest.raises(Conflict, match="holds nothing"):
            await back_up(store_url, backup, key_prefix)
        assert not backup.exists()
        one = await bank(store_url, key_prefix, bundle, 1)
        await one.day(30)
        await back_up(store_url, backup, key_prefix)
        with pytest.raises(Conflict, match="never written over"):
            await back_up(store_url, backup, key_prefix)
        with pytest.raises(Conflict, match="not empty"):
            await restore(store_url, backup, None, prefix=key_prefix)
        for name in (STATE, LOGS, MANIFEST):
            whole = (backup / name).read_bytes()
            (backup / name).write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
            with pytest.raises(BackupError, match="damaged"):
                await restore(server.url, backup, None, prefix=key_prefix)
            (backup / name).write_bytes(whole)
        manifest = (backup / MANIFEST).read_bytes()
        (backup / MANIFEST).write_bytes(manifest.replace(b'"min_reader": 2', b'"min_reader": 7'))
        with pytest.raises(Conflict, match="readers of 7"):
            await restore(server.url, backup, None, prefix=key_prefix)
        (backup / MANIFEST).write_bytes(manifest)
        assert b"personal" in manifest
        await restore(server.url, backup, None, prefix=key_prefix)
        await one.store.close()

    runner.run(scenario())


def test_a_restore_that_breaks_off_is_begun_again(
    store_url: str, key_prefix: str, server: EmbeddedStore, bundle: Bundle, runner: asyncio.Runner, tmp_path: Path
) -> None:
    """At every command that reaches the store; the result is always the same."""

    async def scenario() -> None:
        first = await bank(store_url, key_prefix, bundle, 3)
        full = Contact([ConsentEntry("marketing", True, 0, "branch", "v1")])
        await first.decider.put_profiles([ProfileChange(n, {"balance": 50.0}, [], full) for n in NAMES])
        archiver = Archiver(first.store, tmp_path / "archive")
        await first.day(30)
        await back_up(store_url, tmp_path / "backup", key_prefix)
        await first.day(50)
        await archiver.run_once()
        lost = await first.state()
        store = RedisStore(server.url, key_prefix)
        again = Bank(store, create_decider(Active(bundle), store), first.chance)
        whole = Contents.run
        for at in range(1, 1000):
            calls = 0

            async def breaking(self: Contents, commands: object, missing: bool = False, at: int = at) -> object:
                nonlocal calls
                calls += 1
                if calls == at:
                    raise KeyboardInterrupt
                return await whole(self, commands, missing)  # type: ignore[arg-type]

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Contents, "run", breaking)
                work = asyncio.ensure_future(guarded(server.url, tmp_path, key_prefix))
                done = await work
            if done:
                break
        assert at > 10
        back = await again.state()
        for name in NAMES:
            assert promises(*back[name]) == promises(*lost[name]), name
        for one in (archiver, first.store, store):
            await one.close()

    runner.run(scenario())


async def guarded(url: str, directory: Path, prefix: str) -> bool:
    try:
        await restore(url, directory / "backup", directory / "archive", prefix=prefix)
    except KeyboardInterrupt:
        return False
    return True


def test_rules_that_nobody_has(
    store_url: str, key_prefix: str, server: EmbeddedStore, bundle: Bundle, runner: asyncio.Runner, tmp_path: Path
) -> None:
    """A revision deployed after the backup: told where it is not at hand, found where it is given."""
    later = {"rules.yaml": RULES["rules.yaml"].replace(b"reminder:", b"reminder_2:")}

    async def scenario() -> None:
        first = await bank(store_url, key_prefix, bundle, 1)
        await back_up(store_url, tmp_path / "backup", key_prefix)
        first.decider.active.bundle = compile_bundle(later)
        await first.decide([first.event() for _ in range(20)])
        archiver = Archiver(first.store, tmp_path / "archive")
        await archiver.run_once()
        lost = await first.state()
        for given in ([], [later]):
            store = RedisStore(server.url, key_prefix)
            await store.admin.flushall()
            told = await restore(server.url, tmp_path / "backup", tmp_path / "archive", given, key_prefix)
            back = await Bank(store, first.decider, first.chance).state()
            assert told.rebooked.touches > 5
            if given:
                assert told.rebooked.without_rules == 0
                assert [promises(*back[n]) for n in NAMES] == [promises(*lost[n]) for n in NAMES]
            else:
                assert told.rebooked.without_rules == told.rebooked.touches
                for name in NAMES:  # they count all the same
                    kept = [(t.at_ms, t.message, t.variant, t.channel, t.about) for t in back[name][1].touches]
                    assert kept == [(t.at_ms, t.message, t.variant, t.channel, t.about) for t in lost[name][1].touches]
            await store.close()
        await archiver.close()
        await first.store.close()

    runner.run(scenario())


def test_archives_of_an_earlier_version(
    store_url: str, key_prefix: str, bundle: Bundle, runner: asyncio.Runner, tmp_path: Path
) -> None:
    """Columns that they do not have are as if nothing had been said."""

    async def scenario() -> None:
        one = await bank(store_url, key_prefix, bundle, 1)
        await one.decide([one.event() for _ in range(20)])
        archiver = Archiver(one.store, tmp_path)
        await archiver.run_once()
        await archiver.close()
        await one.store.close()

    runner.run(scenario())
    [run] = runs(tmp_path)
    path = run.path / "decision.parquet"
    new = [a.entry for archived in entries_after(run, {}).values() for a in archived]
    pq.write_table(pq.read_table(path).drop_columns(["about", "sticky"]), path)
    old = [a.entry for archived in entries_after(run, {}).values() for a in archived]
    assert old != new
    assert old == [replace(e, about=0, sticky=False) for e in new if isinstance(e, DecisionEntry)]
