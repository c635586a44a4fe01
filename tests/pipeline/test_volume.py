"""Volumes over all customers: never exceeded by any number of workers, on a real store."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from engine.bundle import Active, Bundle, compile_bundle
from engine.contact.volume import Left
from engine.decider import Decider, create_decider
from engine.decision import DecideRequest, Decision, Event, Outcome, Reason
from engine.errors import StoreUnavailable, TactError, Unavailable
from engine.identity import CustomerKey, customer_key
from engine.state.redis import RedisStore
from engine.state.volume import LEASE_MAX, LeaseAsk, RedisCounters
from engine.step import take

DAY_MS = 86_400_000
RULES = """
events: {deposit: {amount: number}, ping: {}}
features: {timezone: text}
purposes: {ads: {consent: not_required, holdout: %(holdout)s}, service: {consent: not_required, tier: 1}}
messages:
  offer: {purpose: ads, topic: loans, on: [deposit], channels: [sms], variants: {plain: {en: "A loan?"}}}
  second: {like: offer, value: 0.5}
  pong: {purpose: service, on: [ping], channels: [sms], variants: {plain: {en: "Pong."}}}
caps:
%(caps)s
"""
BY_MESSAGE = "  - {volume: %d, per: [message], in: calendar day, zone: Europe/Madrid}"


def bundle(caps: str, holdout: str = "false", more: str = "", **renamed: str) -> Bundle:
    text = RULES % {"caps": caps, "holdout": holdout} + more
    for old, new in renamed.items():
        text = text.replace(f"  {old}: {{", f"  {new}: {{was: [{old}], ").replace(f"like: {old},", f"like: {new},")
    return compile_bundle({"a.yaml": text.encode()})


@pytest.fixture
def stores(store_url: str, key_prefix: str, runner: asyncio.Runner) -> Iterator[list[RedisStore]]:
    found = [RedisStore(store_url, key_prefix, commit_budget_ms=2000) for _ in range(3)]
    yield found
    for one in found:
        runner.run(one.close())


def worker(store: RedisStore, rules: Bundle) -> Decider:
    return create_decider(Active(rules), store)


def requests(ids: Sequence[int], type_: str = "deposit", dry_run: bool = False) -> list[DecideRequest]:
    return [DecideRequest(Event(f"e{i}", f"c{i}", type_, None, {}), dry_run=dry_run) for i in ids]


def told(results: Sequence[list[Decision] | TactError]) -> Counter[str]:
    """How many of each message were sent, and of each reason why not."""
    found: Counter[str] = Counter()
    for result in results:
        assert isinstance(result, list), result
        found[result[0].message if result[0].outcome is Outcome.SEND else result[0].reason.name] += 1
    return found


def test_many_workers_never_exceed_it_and_nothing_is_left_unsaid_when_all_are_asked(
    stores: list[RedisStore], runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        rules = bundle(BY_MESSAGE % 100)
        workers = [worker(s, rules) for s in stores]
        results = await asyncio.gather(*(w.decide(requests(range(k, 600, 3))) for k, w in enumerate(workers)))
        found = told([r for part in results for r in part])
        assert found["offer"] <= 100
        assert found["second"] <= 100
        held = 2 * len(workers) * LEASE_MAX
        assert found["offer"] + found["second"] >= 200 - held
        for w in workers:  # what was leased and not used goes back, and others find it
            await w.drain()
        fresh = worker(stores[0], rules)
        found += told(await fresh.decide(requests(range(1000, 1400))))
        assert (found["offer"], found["second"]) == (100, 100)

    runner.run(scenario())


def test_one_worker_says_it_exactly_and_why_not_any_more(stores: list[RedisStore], runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        one = worker(stores[0], bundle("  - {name: few offers, volume: 7, in: calendar month}"))
        found = await one.decide(requests(range(20)))
        assert told(found) == {"offer": 7, "VOLUME_REACHED": 13}
        last = found[-1]
        assert isinstance(last, list)
        details = last[0].details
        assert (details.cap, details.count, details.limit, details.message) == ("few offers", 7, 7, "offer")
        now = await stores[0].admin.time()
        assert 0 < details.frees_at_ms - now[0] * 1000 <= 31 * DAY_MS
        assert details.frees_at_ms % DAY_MS == 0  # the end of a month in UTC
        # nothing else is stopped by it
        assert told(await one.decide(requests(range(50, 60), "ping"))) == {"pong": 10}

    runner.run(scenario())


def test_a_repeat_and_a_dry_run_take_nothing(stores: list[RedisStore], runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        one = worker(stores[0], bundle("  - {volume: 3, in: calendar day}"))
        assert told(await one.decide(requests(range(40), dry_run=True))) == {"offer": 40}
        first = await one.decide(requests([1, 2]))
        assert await one.decide(requests([1, 2, 1, 2])) == first * 2
        assert told(await one.decide(requests(range(10, 20)))) == {"offer": 1, "VOLUME_REACHED": 9}
        assert told(await one.decide(requests(range(40), dry_run=True))) == {"VOLUME_REACHED": 40}

    runner.run(scenario())


def test_explain_asks_the_counter_and_takes_nothing(stores: list[RedisStore], runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        rules = bundle("  - {volume: 1, per: [message], in: calendar day}")
        one, two = worker(stores[0], rules), worker(stores[1], rules)
        what_if = requests([99])[0]
        explained = await two.explain(what_if, rules, "")
        assert {c.message: c.stopped_by for c in explained.candidates}["offer"] is Reason.SELECTED
        await two.drain()
        assert told(await one.decide(requests([1, 2, 3]))) == {"offer": 1, "second": 1, "VOLUME_REACHED": 1}
        explained = await worker(stores[1], rules).explain(what_if, rules, "")
        offer = next(c for c in explained.candidates if c.message == "offer")
        assert (offer.stopped_by, offer.details.count, offer.details.limit) == (Reason.VOLUME_REACHED, 1, 1)
        assert offer.position is not None

    runner.run(scenario())


def test_who_is_held_out_takes_nothing(stores: list[RedisStore], runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        more = "holdout: {share: 50%, salt: x}\n"
        one = worker(stores[0], bundle("  - {volume: 20, in: calendar day}", "true", more))
        found = told(await one.decide(requests(range(120))))
        assert found["offer"] == 20
        assert found["HOLDOUT"] > 15

    runner.run(scenario())


def test_a_renamed_message_goes_on_from_the_same_count(stores: list[RedisStore], runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        old, new = bundle(BY_MESSAGE % 5), bundle(BY_MESSAGE % 5, offer="loan_offer")
        one = worker(stores[0], old)
        assert told(await one.decide(requests(range(3)))) == {"offer": 3}
        await one.drain()
        found = told(await worker(stores[1], new).decide(requests(range(10, 30))))
        assert found == {"loan_offer": 2, "second": 5, "VOLUME_REACHED": 13}

    runner.run(scenario())


def test_each_kind_counts_apart_and_a_message_without_one_is_not_held(
    stores: list[RedisStore], runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        one = worker(stores[0], bundle("  - {volume: 4, per: [topic, channel], in: calendar week}"))
        assert told(await one.decide(requests(range(10)))) == {"offer": 4, "VOLUME_REACHED": 6}
        rules = bundle("  - {volume: 4, per: [product], in: calendar week}")
        assert told(await worker(stores[1], rules).decide(requests(range(20, 30)))) == {"offer": 10}

    runner.run(scenario())


def test_what_is_not_committed_is_not_counted(stores: list[RedisStore], runner: asyncio.Runner) -> None:
    """The store refuses commits for a while; then all of the volume is still there."""

    async def scenario() -> None:
        one = worker(stores[0], bundle("  - {volume: 10, in: calendar day}"))
        stores[0].max_log_length = 0
        assert told(await one.decide(requests(range(30)))) == {"LOG_FULL": 30}
        stores[0].max_log_length = 100_000
        assert told(await one.decide(requests(range(40, 70)))) == {"offer": 10, "VOLUME_REACHED": 20}

    runner.run(scenario())


def test_a_step_that_fails_loses_nothing_of_a_volume(
    stores: list[RedisStore], runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One customer's step fails, whoever is in the batch with them, and what the others booked before is given back."""
    real = take.identify

    def identify(decision: Decision, key: CustomerKey, *rest: Any) -> None:
        if key == customer_key("c7"):
            raise ZeroDivisionError
        real(decision, key, *rest)

    async def scenario() -> None:
        rules = bundle("  - {volume: 100, in: calendar day}")
        one = worker(stores[0], rules)
        monkeypatch.setattr(take, "identify", identify)
        found = await one.decide(requests([0]))
        assert (
            one.leases.volumes.left(next(iter(one.leases.volumes._held.values()))[1]) is Left.SOME
        )  # some are on hand
        *more, failed = await one.decide(requests([1, 2, 3, 4, 5, 7]))
        assert isinstance(failed, Unavailable)
        found += more
        await one.drain()
        found += await worker(stores[0], rules).decide(requests(range(100, 250)))
        assert told(found)["offer"] == 100

    runner.run(scenario())


def test_many_exhausted_volumes_are_learnt_of_together(stores: list[RedisStore], runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        more = "".join(f"  m{k}: {{like: offer, value: {k}.5}}\n" for k in range(1, 40))
        text = RULES % {"caps": BY_MESSAGE % 1, "holdout": "false"}
        rules = compile_bundle({"a.yaml": text.replace("caps:\n", f"{more}caps:\n").encode()})
        found = told(await worker(stores[0], rules).decide(requests(range(41))))
        assert set(found.values()) == {1}
        assert len(found) == 41
        assert told(await worker(stores[1], rules).decide(requests([99]))) == {"VOLUME_REACHED": 1}

    runner.run(scenario())


def test_nothing_is_asked_behind_what_surely_fits(
    stores: list[RedisStore], runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    considered: Counter[str] = Counter()
    real = take.consider

    def consider(view: Any, step: Any) -> Any:
        considered[step.message.name] += 1
        return real(view, step)

    async def scenario() -> None:
        news = "".join(f"  n{k}: {{like: offer, purpose: news, value: 0.{k:03}}}\n" for k in range(1, 50))
        text = RULES % {"caps": "  - {volume: 5, in: calendar day, purposes: [ads]}", "holdout": "false"}
        text = text.replace("caps:\n", f"{news}caps:\n")
        text = text.replace("purposes: {ads", "purposes: {news: {consent: not_required}, ads", 1)
        one = worker(stores[0], compile_bundle({"a.yaml": text.encode()}))
        monkeypatch.setattr(take, "consider", consider)
        assert told(await one.decide(requests(range(8)))) == {"offer": 5, "n49": 3}
        assert set(considered) == {"offer", "second", "n49"}

    runner.run(scenario())


def test_leases_get_smaller_and_are_exact(stores: list[RedisStore], runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        counters = RedisCounters(stores[0])
        seconds, _ = await stores[0].admin.time()
        until_ms = seconds * 1000 + DAY_MS
        sizes, used = [], 0
        while True:
            [grant] = await counters.lease([LeaseAsk(7, (), 2000, 1, until_ms)])
            used += grant.more
            assert grant.used == used
            if not grant.more:
                break
            sizes.append(grant.more)
        assert used == 2000
        assert sizes[0] == LEASE_MAX
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[-16:] == [1] * 16
        assert 0 < await stores[0].admin.pttl(stores[0].key("v:0000000000000007")) <= 3 * DAY_MS

    runner.run(scenario())


def test_where_no_volume_can_be_leased_the_others_go_on(stores: list[RedisStore], runner: asyncio.Runner) -> None:
    class Gone(RedisCounters):
        async def lease(self, asks: Sequence[LeaseAsk]) -> list[object]:  # type: ignore[override]
            raise StoreUnavailable("gone")

    async def scenario() -> None:
        one = worker(stores[0], bundle("  - {volume: 10, in: calendar day}"))
        one.leases.counters = Gone(stores[0])
        offers, pongs = await asyncio.gather(
            one.decide(requests(range(5))), one.decide(requests(range(10, 15), "ping"))
        )
        assert all(isinstance(o, StoreUnavailable) for o in offers)
        assert told(pongs) == {"pong": 5}

    runner.run(scenario())


def test_a_slate_that_needs_more_than_is_held_gets_it_or_what_is_left(
    stores: list[RedisStore], runner: asyncio.Runner
) -> None:
    """All messages count together; the last slate finds one left, and says one thing."""

    async def scenario() -> None:
        decider = worker(stores[0], bundle("  - {volume: 5, in: calendar day}"))
        said = []
        for k in range(4):
            request = DecideRequest(Event(f"e{k}", f"c{k}", "deposit", None, {}), max_messages=2)
            [result] = await decider.decide([request])
            assert isinstance(result, list), result
            said.append(sum(d.outcome is Outcome.SEND for d in result))
        assert said == [2, 2, 1, 0]

    runner.run(scenario())
