"""Work in flight: bounds, shares, turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Overloaded
from engine.service.fairness import Pace, Turns
from engine.service.limiter import Limiter
from engine.transport import Call, Code, RpcError

BATCHER, SINGLE = Call(peer="batcher"), Call(peer="single")
ENTRIES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 200)), max_size=60)


def drained(turns: Turns[int]) -> list[tuple[str, int, int]]:
    out = []
    while turns:
        out.append(turns.next())
        turns.pop()
    return out


@settings(deadline=None)
@given(ENTRIES)
def test_turns_lose_nothing_and_keep_each_peers_order(entries: list[tuple[str, int]]) -> None:
    turns: Turns[int] = Turns()
    for number, (peer, size) in enumerate(entries):
        turns.put(peer, size, number)
    assert len(turns) == len(entries)
    out = drained(turns)
    assert sorted(number for _, _, number in out) == list(range(len(entries)))
    for peer in "abc":
        own = [number for whose, _, number in out if whose == peer]
        assert own == sorted(own)
    assert len(turns) == 0


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 100))
def test_two_that_wait_get_the_same_number_of_items(one: int, other: int) -> None:
    turns: Turns[int] = Turns(quantum=100)
    for number in range(1000):
        turns.put("a", one, number)
        turns.put("b", other, number)
    items: Counter[str] = Counter()
    while sum(items.values()) < 1000:
        peer, size, _ = turns.next()
        turns.pop()
        items[peer] += size
    assert abs(items["a"] - items["b"]) <= 2 * 100


def test_a_single_call_does_not_wait_behind_a_batch_of_10000() -> None:
    turns: Turns[str] = Turns()
    for _ in range(10):
        turns.put("batcher", 1000, "batch")
    turns.put("single", 1, "call")
    assert [entry for _, _, entry in drained(turns)].index("call") == 0  # a batch has to save up for its turn


def test_the_pace_counts_busy_time_only() -> None:
    pace = Pace(every_s=0.095, weight=0.5)
    assert pace.per_s == 0
    for second in range(10):  # 10 ms of work for 5 items, then nothing for a second
        pace.start(second)
        pace.done(5, second + 0.01, idle=True)
    assert pace.per_s == pytest.approx(500)
    pace.start(100)
    pace.done(100, 100.1, idle=False)
    assert pace.per_s == pytest.approx(750)
    pace.done(50, 100.2, idle=True)
    assert pace.per_s == pytest.approx(625)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def busy(limiter: Limiter, call: Call, items: int) -> Callable[[], None]:
    """Enters; returns what leaves."""
    waiting = limiter.enter(call, items)
    return lambda: limiter.leave(call, items, waiting)


def test_a_connection_is_refused_beyond_its_share_and_others_are_not(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        limiter = Limiter(8000, window=(1000, 1000), clock=Clock())
        taken = [busy(limiter, BATCHER, 500) for _ in range(2)]
        with pytest.raises(Overloaded, match="this connection has 1000 items in flight, its share is 1000"):
            limiter.enter(BATCHER, 1)
        taken += [busy(limiter, SINGLE, 1) for _ in range(500)]  # two connections: 500 each
        with pytest.raises(Overloaded, match="this connection has 500 items in flight, its share is 500"):
            limiter.enter(SINGLE, 1)
        with limiter.take(10):
            pass
        limiter.enter(BATCHER, 1, patient=True)
        assert limiter.in_flight == 1501
        for leave in taken:
            leave()
        assert limiter.in_flight == 1

    runner.run(scenario())


def test_shares_grow_with_the_pace_and_the_delay_says_how_long_it_will_take(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        clock = Clock()
        limiter = Limiter(100_000, window=(100, 5000), clock=clock)
        leave = busy(limiter, BATCHER, 2000)
        with pytest.raises(Overloaded) as refused:
            limiter.enter(BATCHER)
        assert refused.value.retry_delay_ms == 100  # the pace is not known
        clock.now_s = 0.5
        leave()  # 4,000 a second: 1,000 in a quarter, 2,000 in a quarter of two seconds, 8,000 at most
        hasty, patient = Call(deadline_s=1.0, peer="batcher"), Call(deadline_s=2.5, peer="batcher")
        taken = [busy(limiter, BATCHER, 100) for _ in range(10)]
        with pytest.raises(Overloaded) as refused:
            limiter.enter(hasty)
        assert refused.value.retry_delay_ms == 250
        taken += [busy(limiter, patient, 100) for _ in range(10)]
        with pytest.raises(Overloaded):
            limiter.enter(patient)
        taken += [busy(limiter, BATCHER, 100) for _ in range(60)]
        with pytest.raises(Overloaded):
            limiter.enter(BATCHER)
        for leave in taken:
            leave()

    runner.run(scenario())


def test_the_capacity_holds_for_all_together(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        limiter = Limiter(3, clock=Clock())
        busy(limiter, BATCHER, 5)()  # larger than all, but alone
        for number in range(3):
            limiter.enter(Call(peer=str(number)))
        with pytest.raises(Overloaded, match="3 items are in flight, at most 3 are taken"):
            limiter.enter(SINGLE)

    runner.run(scenario())


def test_single_calls_pass_a_batch_of_10000(runner: asyncio.Runner) -> None:
    """The pipeline does 100 items a step; a batcher has 10 batches of 1,000, another connection single calls."""

    async def scenario() -> None:
        limiter = Limiter(20_000, window=(1000, 1000))
        order: list[str] = []

        async def work(call: Call, items: int) -> None:
            async with limiter.turn(call, items, patient=True):
                for _ in range(0, items, 100):
                    await asyncio.sleep(0)
                order.append(call.peer)

        batches = [asyncio.ensure_future(work(BATCHER, 1000)) for _ in range(10)]
        await asyncio.sleep(0)
        singles = [asyncio.ensure_future(work(SINGLE, 1)) for _ in range(20)]
        await asyncio.gather(*batches, *singles)
        assert limiter.in_flight == 0
        assert order.index("single") == 1  # behind the one batch that was inside already
        assert [i for i, who in enumerate(order) if who == "single"][-1] == 20

    runner.run(scenario())


def test_what_has_no_time_left_is_not_looked_at(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        clock = Clock()
        limiter = Limiter(1000, window=(1, 1), clock=clock)
        leave = busy(limiter, BATCHER, 1)
        late = limiter.enter(Call(deadline_s=1.0, peer="late"))
        patient = limiter.enter(Call(deadline_s=9.0, peer="patient"))
        assert late is not None
        assert patient is not None
        clock.now_s = 2.0
        leave()
        with pytest.raises(RpcError) as ended:
            late.result()
        assert (ended.value.code, late.done(), patient.done()) == (Code.DEADLINE_EXCEEDED, True, True)
        limiter.leave(Call(peer="late"), 1, late)
        assert patient.result() is None
        limiter.leave(Call(peer="patient"), 1, patient)
        assert limiter.in_flight == 0

    runner.run(scenario())


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 30), st.sampled_from("rcf")), max_size=40))
def test_places_come_back_however_work_ends(work: list[tuple[str, int, str]]) -> None:
    async def scenario() -> None:
        limiter = Limiter(200, window=(40, 40))

        async def one(peer: str, items: int, end: str) -> None:
            async with limiter.turn(Call(peer=peer), items):
                assert limiter._inside < 70
                await asyncio.sleep(0)
                if end == "f":
                    raise ValueError

        tasks = [asyncio.ensure_future(one(*w)) for w in work]
        await asyncio.sleep(0)
        for task, (_, _, end) in zip(tasks, work, strict=True):
            if end == "c":
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (limiter.in_flight, limiter._inside, limiter._held, len(limiter._turns)) == (0, 0, {}, 0)

    with asyncio.Runner() as own:
        own.run(scenario())


def test_the_gate_says_what_enter_would(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        clock = Clock()
        limiter = Limiter(8000, window=(100, 5000), clock=clock)
        assert limiter.gate(BATCHER) is None
        leave = busy(limiter, BATCHER, 500)
        refusal = limiter.gate(BATCHER)
        assert refusal is not None
        assert refusal is limiter.gate(BATCHER)  # made once
        assert refusal.code is Code.RESOURCE_EXHAUSTED
        assert [detail.DESCRIPTOR.name for detail in refusal.details] == ["ErrorInfo", "RetryInfo"]
        assert limiter.gate(SINGLE) is None
        leave()
        assert limiter.gate(BATCHER) is None

    runner.run(scenario())


def test_calls_without_items_leave_as_they_came(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        limiter = Limiter(10)
        for _ in range(3):
            async with limiter.turn(SINGLE, 0), limiter.turn(SINGLE, 0):
                assert limiter.in_flight == 2
        assert limiter.in_flight == 0

    runner.run(scenario())
