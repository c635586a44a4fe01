"""The sums of learning and the log: real decisions, a real store, a real archive; the same hash to the byte."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from engine.bundle import Active, compile_bundle
from engine.decider import Decider, create_decider
from engine.decision import DecideRequest, Decision, Event, OutcomeKind, Outcomes
from engine.errors import Conflict
from engine.learning.learner import Learner, refresh
from engine.learning.snapshot import Learnt
from engine.learning.stored import correct, read_stored
from engine.recovery import rebuild as module
from engine.recovery.rebuild import RebuildReport, rebuild
from engine.revisions import Revisions
from engine.state.archive import Archiver
from engine.state.log import DecisionEntry, decode, encode
from engine.state.redis import RedisStore

DAY_MS = 86_400_000
RULES = """
events: {e: {young: number, side: text}}
purposes: {p: {consent: not_required}}
policies:
  plain: {kind: thompson, reward: {replied: 1.0, converted: 3.0}, attribution: 1 day}
  linear: {kind: linucb, reward: {replied: 1.0}, attribution: 1 day, context: [event.young], by: [event.side]}
  forgets: {kind: epsilon_greedy, reward: {replied: 2.0}, attribution: 2 days, forget: {half_life: 32 hours}}
  trial: {kind: fixed}
messages:
  m: {purpose: p, on: [e], when: event.young < 0.3, channels: [sms], policy: plain,
      variants: {x: {en: One}, y: {en: Two}}}
  n: {purpose: p, on: [e], when: event.young >= 0.7, channels: [sms], policy: linear,
      variants: {x: {en: One}, y: {en: Two}}}
  o: {purpose: p, on: [e], when: event.young >= 0.3 && event.young < 0.5, channels: [sms], policy: forgets,
      variants: {x: {en: One}, y: {en: Two}}}
  t: {purpose: p, on: [e], when: event.young >= 0.5 && event.young < 0.7, channels: [sms], policy: trial,
      variants: {x: {en: One}, y: {en: Two}}}
"""
KINDS = (None, OutcomeKind.DELIVERED, OutcomeKind.REPLIED, OutcomeKind.CONVERTED, OutcomeKind.NOT_DELIVERED)


class Installation:
    """A store with rules, a learner and an archive."""

    def __init__(self, store: RedisStore, url: str, prefix: str, directory: Path) -> None:
        self.store, self.url, self.prefix = store, url, prefix
        self.rules, self.archive = directory / "rules", directory / "archive"
        self.rules.mkdir()
        self.revisions = Revisions(store.side, store.key, directory / "last")
        self.customers = 0

    async def start(self, rules: str = RULES) -> None:
        """Serves these rules."""
        (self.rules / "rules.yaml").write_text(rules)
        self.active: Active = await self.revisions.start(self.rules)
        self.learner = Learner(self.store, self.active)
        self.archiver = Archiver(self.store, self.archive, self.learner.safe_id)
        self.learnt = Learnt()
        self.decider: Decider = create_decider(self.active, self.store, learnt=self.learnt)

    async def deploy(self, old: str, new: str) -> None:
        """Changes the rules."""
        rules = (self.rules / "rules.yaml").read_text()
        assert old in rules
        self.active.bundle = compile_bundle({"rules.yaml": rules.replace(old, new).encode()})

    async def live(self, count: int) -> None:
        """Decisions for new customers, and what came of them."""
        first, self.customers = self.customers, self.customers + count
        requests = [
            DecideRequest(Event(f"e{k}", f"c{k}", "e", None, {"young": k % 10 / 10, "side": "lr"[k // 10 % 2]}))
            for k in range(first, first + count)
        ]
        reports = []
        for k, answer in enumerate(await self.decider.decide(requests), first):
            assert not isinstance(answer, Exception)
            decision: Decision = answer[0]
            for kind in {KINDS[k // 10 % 5], KINDS[k // 7 % 5]} - {None}:
                assert kind is not None
                reports.append(Outcomes(decision.decision_id, kind, None, 0.0, "", ""))
        assert all(r is None or not isinstance(r, Exception) for r in await self.decider.record_outcomes(reports))

    async def learn(self, days: float) -> int:
        """Folds what has closed in so many days."""
        return await self.learner.run_once(await self.learner.now_ms() + int(days * DAY_MS))

    async def hashes(self) -> dict[bytes, dict[bytes, bytes]]:
        """The sums and the offsets, as they are stored."""
        admin = self.store.admin
        return {name: await admin.hgetall(self.store.key(name.decode())) for name in (b"learn:sums", b"learn:offsets")}

    async def rebuild(self, write: bool = False, force: bool = False) -> RebuildReport:
        """Compares, or puts right."""
        now_ms = await self.learner.now_ms() + 4 * DAY_MS
        return await rebuild(self.url, self.archive, write, force, self.prefix, now_ms)

    async def close(self) -> None:
        await self.learner.close()
        await self.archiver.close()


@pytest.fixture
def here(store: RedisStore, store_url: str, key_prefix: str, tmp_path: Path) -> Installation:
    return Installation(store, store_url, key_prefix, tmp_path)


def test_sums_are_built_again_to_the_byte(here: Installation, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await here.start()
        await here.live(200)
        assert (await here.rebuild()).same  # nothing was learnt, nothing is there
        assert await here.learn(1.5) > 50
        await here.archiver.run_once()  # all of it is trimmed, but for trials that are open
        await here.live(100)
        await here.deploy("converted: 3.0", "converted: 1.0")  # open trials are learnt on the terms of before
        await here.deploy("context: [event.young]", "context: [event.young * 2]")
        await here.deploy("half_life: 32 hours", "half_life: 320 hours")
        await here.live(100)
        assert await here.learn(3.0) > 50
        await here.archiver.run_once()
        await here.live(100)
        right = await here.hashes()
        assert (await here.rebuild()).same
        sums = here.store.key("learn:sums")
        [field] = [f for f in right[b"learn:sums"] if f.startswith(b'r["plain","m","","x"')]

        await here.store.admin.hincrby(sums, field, 5)
        report = await here.rebuild()
        assert [d.arm[:4] for d in report.differs] == [("plain", "m", "", "x")]
        assert not report.unknown
        assert (await here.rebuild(write=True)).written
        assert await here.hashes() == right

        await here.store.admin.delete(sums)
        await here.store.admin.hset(sums, mapping={'n["gone","m","","x"]': 7, 'r["gone","m","","x"]': 0})
        assert {d.arm.policy for d in (await here.rebuild()).differs} == {"plain", "linear", "forgets", "gone"}
        assert (await here.rebuild(write=True)).written
        assert await here.hashes() == right

        version = await here.store.admin.get(here.store.key("learn:version"))
        await here.store.admin.delete(sums, here.store.key("learn:offsets"))  # no learner sees what is archived alone
        report = await here.rebuild()
        assert report.passed_over > 100
        assert (await here.rebuild(write=True)).written
        assert await here.store.admin.get(here.store.key("learn:version")) > version
        await here.learn(0.0)  # was faster than the correction, or begins again
        await here.learn(3.0)
        assert (await here.rebuild()).same
        await here.close()

    runner.run(scenario())


def test_learners_go_on_meanwhile(here: Installation, runner: asyncio.Runner) -> None:
    """A correction is of the moment that was read; what learners add after it stays."""

    async def scenario() -> None:
        await here.start()
        await here.live(100)
        await here.learn(1.5)
        right = await read_stored(here.store)
        await here.store.admin.delete(here.store.key("learn:sums"))
        wrong = await read_stored(here.store)
        await here.live(100)
        await here.learn(3.0)
        assert await correct(here.store, wrong, right.sums)
        assert (await here.rebuild()).same
        assert not await correct(here.store, wrong, right.sums)  # not twice
        assert (await here.rebuild()).same
        await here.close()

    runner.run(scenario())


def test_decisions_and_the_archiver_go_on_meanwhile(
    here: Installation, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came since the logs were read, and went into the archive before that was, is no trial that learners miss."""

    async def scenario() -> None:
        await here.start()
        await here.live(200)
        assert await here.learn(3.0) > 50
        await here.archiver.run_once()
        read = module._read_streams

        async def late(*given: Any) -> object:
            found = await read(*given)
            await here.live(200)  # into logs that were trimmed to the end, and ones that were not there
            await here.archiver.run_once()
            return found

        monkeypatch.setattr(module, "_read_streams", late)
        report = await here.rebuild()
        assert (report.passed_over, report.unknown, report.same) == (0, [], True)
        await here.close()

    runner.run(scenario())


def test_the_first_run_of_the_archive_is_made_meanwhile(
    here: Installation, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        await here.start()
        await here.archiver.run_once()  # no run yet
        await here.live(200)
        assert await here.learn(3.0) > 50
        assert (await here.rebuild()).same
        read = module._read_streams

        async def late(*given: Any) -> object:
            await here.archiver.run_once()
            return await read(*given)

        monkeypatch.setattr(module, "_read_streams", late)
        await here.store.admin.delete(here.store.key("learn:sums"))
        assert (await here.rebuild(write=True)).written
        await here.close()

    runner.run(scenario())


def test_corrections_learners_and_the_archiver_at_once(here: Installation, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await here.start()
        await here.live(10)
        rival = Learner(here.store, here.active)
        written = 0
        for turn in range(6):
            await here.live(60)
            await here.store.admin.hincrby(here.store.key("learn:sums"), 'n["plain","m","","x"]', 1 + turn)
            at_ms = await rival.now_ms() + 2 * DAY_MS + 1
            first, second, *_ = await asyncio.gather(
                here.rebuild(write=True),
                here.rebuild(write=True),
                here.learn(2.1),
                rival.run_once(at_ms),
                here.archiver.run_once(),
            )
            written += first.written + second.written
        assert written >= 6
        assert (await here.rebuild()).same
        await rival.close()
        await here.close()

    runner.run(scenario())


def test_what_the_log_does_not_say_is_not_guessed(here: Installation, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await here.start()
        await here.live(100)
        await here.learn(1.5)
        await here.archiver.run_once()
        await here.live(100)
        await here.learn(3.0)
        await here.archiver.run_once()
        await here.store.admin.delete(here.store.key("learn:sums"))
        (here.archive / "run-0000000001").rename(here.archive / ".away")
        report = await here.rebuild()
        assert "runs are missing in the archive" in report.unknown
        assert any("neither in the store nor in the archive" in one for one in report.unknown)
        with pytest.raises(Conflict, match="nothing was written, as the log does not say everything: runs are missing"):
            await here.rebuild(write=True)
        assert (await here.rebuild(write=True, force=True)).written
        (here.archive / ".away").rename(here.archive / "run-0000000001")
        assert (await here.rebuild(write=True)).written
        learnt = Learnt()
        await refresh(here.store, learnt)
        assert sum(state.trials for state in learnt.posteriors.arms.values()) == (await here.rebuild()).trials
        await here.close()

    runner.run(scenario())


def test_entries_of_before_the_log_had_terms(here: Installation, runner: asyncio.Runner) -> None:
    """They are taken on the terms of the rule set in use, which may not be those that they were learnt on."""

    async def scenario() -> None:
        await here.start()
        await here.live(200)
        keys = [key async for key in here.store.admin.scan_iter(match=f"{here.prefix}*log")]
        for key in keys:  # as an older version wrote them
            rows = [(log_id, decode(row[b"d"])) for log_id, row in await here.store.admin.xrange(key)]
            await here.store.admin.delete(key)
            for log_id, entry in rows:
                if isinstance(entry, DecisionEntry):
                    entry.terms = ""
                await here.store.admin.xadd(key, {"d": encode(entry)}, log_id)
        count = await here.learn(3.0)
        report = await here.rebuild()
        assert report.same
        assert report.trials == count > 50
        [unknown] = report.unknown
        assert unknown.startswith(f"{count} trials were logged by a version that did not say on which terms")
        await here.archiver.run_once()
        await here.store.admin.hincrby(here.store.key("learn:sums"), 'n["plain","m","","x"]', 1)
        with pytest.raises(Conflict, match="on which terms they are learnt"):
            await here.rebuild(write=True)
        assert (await here.rebuild(write=True, force=True)).written
        assert (await here.rebuild()).same
        await here.close()

    runner.run(scenario())
