"""What was learnt is read a little at a time, and comes out the same."""

from __future__ import annotations

import asyncio
import random

import pytest

from engine.learning import learner as learner_module
from engine.learning.learner import refresh
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.snapshot import Learnt
from engine.learning.stored import fields_of_all
from engine.learning.sums import Gathered, arms_of
from engine.state.connection import Part
from engine.state.link import Link
from engine.state.redis import RedisStore


def arms(count: int) -> dict[ArmKey, ArmState]:
    """Of all kinds: by segment, with and without hours, with moments of one context and of two."""
    chance, found = random.Random(5), {}
    for n in range(count):
        hour = 495_000 - n // 60 % 10 if n % 3 else 0
        message = n // 600 if hour else n // 60
        arm = ArmKey(f"policy {n % 3}", f"message {message}", f"segment {n % 5}", f"variant {n % 4}", hour)
        moments = {c: (*[chance.randrange(-9, 9) for _ in range(5)], 1) for c in range(n % 7 - 4)}
        found[arm] = ArmState(n + 1, -n, n * n, moments)
    return found


async def keep(store: RedisStore, learnt: dict[ArmKey, ArmState]) -> None:
    """As learners do, at once."""
    await store.admin.hset(store.key("learn:sums"), mapping=fields_of_all(learnt))
    await store.admin.incr(store.key("learn:version"))


def test_the_same_comes_out(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        known, learnt = arms(3000), Learnt()
        assert not await refresh(store, learnt)
        await keep(store, known)
        assert await refresh(store, learnt)
        assert not await refresh(store, learnt)
        stored = await store.admin.hgetall(store.key("learn:sums"))
        assert learnt.posteriors == Posteriors(1, arms_of(stored)) == Posteriors(1, known)
        assert all(
            type(name) is type(given) for arm in learnt.posteriors.arms for name, given in zip(arm, arm, strict=True)
        )

    runner.run(scenario())


def test_an_index_is_the_same_in_any_order() -> None:
    known = arms(3000)
    right = Posteriors(1, dict(sorted(known.items())))
    hours: dict[ArmKey, list[int]] = {}
    for arm in sorted(known):
        hours.setdefault(arm._replace(hour=0), []).append(arm.hour)
    assert right._hours == hours
    assert max(map(len, hours.values())) == 10
    assert right._newest == {"policy 0": 0, "policy 1": 495_000, "policy 2": 495_000}
    shuffled = list(known.items())
    random.Random(1).shuffle(shuffled)
    other = Posteriors(1)
    for arm, state in shuffled:
        other.put(arm, state)
    assert other == right


def test_fields_may_come_twice_and_in_pieces() -> None:
    known = arms(300)
    fields = [(name, b"%d" % value) for name, value in fields_of_all(known).items()]
    random.Random(2).shuffle(fields)
    gathered = Gathered()
    for first in range(0, len(fields), 7):
        gathered.add(fields[max(0, first - 3) : first + 7])
    assert gathered.fields == len(fields)
    assert dict(gathered.arms()) == known


def test_calls_have_their_turns(store: RedisStore, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_module, "_TURN_S", 0.0, raising=False)
    monkeypatch.setattr(learner_module, "_REST_S", 0.0, raising=False)

    async def scenario() -> None:
        known, learnt, turns = arms(3000), Learnt(), 0
        await keep(store, known)

        async def beat() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beating = asyncio.ensure_future(beat())
        before = await store.admin.info("commandstats")
        assert await refresh(store, learnt)
        beating.cancel()
        after = await store.admin.info("commandstats")
        assert turns > 3000
        assert after.get("cmdstat_hgetall") == before.get("cmdstat_hgetall")  # the store neither

    runner.run(scenario())


def test_a_scan_that_misses_something_is_begun_again(
    store: RedisStore, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the slot moves to another node meanwhile, for which the cursor means nothing."""
    reply_of, scans = learner_module.reply_of, 0

    async def moves(link: Link, *command: Part) -> object:
        nonlocal scans
        found = await reply_of(link, *command)
        if command[0] == "HSCAN":
            scans += 1
            if scans == 1:
                return b"0", found[1][:-2]
        return found

    async def scenario() -> None:
        known, learnt = arms(300), Learnt()
        await keep(store, known)
        assert await refresh(store, learnt)
        assert learnt.posteriors == Posteriors(1, known)

    monkeypatch.setattr(learner_module, "reply_of", moves)
    runner.run(scenario())
    assert scans > 1


def test_it_gets_through_where_others_learn_all_the_time(
    store: RedisStore, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply_of = learner_module.reply_of

    async def moves(link: Link, *command: Part) -> object:
        if command[0] == "HSCAN" and command[2] != b"0":  # whenever it is not read at once
            await store.admin.incr(store.key("learn:version"))
        return await reply_of(link, *command)

    async def scenario() -> None:
        learnt = Learnt()
        await keep(store, arms(3000))
        assert await refresh(store, learnt)
        assert learnt.posteriors.version > 1
        assert len(learnt.posteriors.arms) == 3000

    monkeypatch.setattr(learner_module, "reply_of", moves)
    runner.run(scenario())
