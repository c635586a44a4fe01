"""PutProfiles through the service, over a real store: what others write meanwhile stays, each has its result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.bundle import Active, Bundle, compile_bundle
from engine.columns.lane import Lane
from engine.columns.put_lane import AT_ONCE, PutLane
from engine.decider import Decider, DeciderSettings
from engine.errors import InvalidInput, StoreUnavailable
from engine.identity import customer_key
from engine.pb.tact.v1 import decision_pb2
from engine.pb.tact.v1 import profile_pb2 as pb
from engine.service.limiter import Limiter
from engine.service.profiles import ProfileService
from engine.state.log import ProfileEntry, decode
from engine.state.redis import Look, RedisStore
from engine.step.operations import ProfileChange
from engine.transport import Call

PATIENT_MS = 20_000  # or a stall of the machine sends everything the ordinary way
RULES = b"""
events: {deposit: {amount: number}}
features: {a: integer, b: integer, c: integer, timezone: text}
purposes: {marketing: {consent: required, if_state_unknown: silent}}
channels: {push: {}}
messages: {m: {purpose: marketing, on: [deposit], channels: [push], variants: {one: {en: "Hello"}}}}
"""


class Hooked(RedisStore):
    """Something happens between a look and its commit."""

    hook: Callable[[], Awaitable[Any]] | None = None
    looks = 0
    status = ""

    async def look(self, *arguments: Any, **named: Any) -> Look:
        self.looks += 1
        return await super().look(*arguments, **named)

    async def commit_look(self, look: Look, command: bytes, commands: int) -> str:
        if self.hook is not None:
            await self.hook()
        return self.status or await super().commit_look(look, command, commands)


class World:
    """A service with its lane. `left`: what went the ordinary way."""

    def __init__(self, store: RedisStore, bundle: Bundle) -> None:
        self.active = Active(bundle)
        self.decider = Decider(self.active, store, DeciderSettings(commit_budget_ms=PATIENT_MS))
        self.left: list[ProfileChange] = []
        put = self.decider.put_profiles

        async def counted(changes: Any) -> Any:
            self.left += changes
            return await put(changes)

        self.decider.put_profiles = counted  # type: ignore[method-assign]
        self.limiter = Limiter(10_000)
        lane = PutLane(self.decider, store, Lane(self.decider, store).logs_fit)
        self.service = ProfileService(self.decider, self.active, self.limiter, lane)

    async def put(self, *profiles: pb.Profile) -> list[pb.PutProfileResult]:
        payload = pb.PutProfilesRequest(profiles=profiles).SerializeToString()
        return list(pb.PutProfilesResponse.FromString(await self.service.put_profiles(payload, Call())).results)

    async def get(self, customer: str) -> dict[str, object]:
        profile = await self.decider.get_profile(customer)
        return {} if profile is None else {name: cell.value for name, cell in profile.cells.items()}


def profile(customer: str, **features: int) -> pb.Profile:
    return pb.Profile(customer_id=customer, features={n: decision_pb2.Value(integer=v) for n, v in features.items()})


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle({"r.yaml": RULES})


def scenario(store_url: str, prefix: str, work: Callable[[Hooked, World], Awaitable[None]], bundle: Bundle) -> None:
    async def whole() -> None:
        store = Hooked(store_url, prefix, commit_budget_ms=PATIENT_MS, timeout_ms=PATIENT_MS)
        try:
            async with asyncio.timeout(60):
                await work(store, World(store, bundle))
        finally:
            await store.close()

    asyncio.run(whole())


def test_each_profile_has_its_result_in_order(store_url: str, key_prefix: str, bundle: Bundle) -> None:
    async def work(store: Hooked, w: World) -> None:
        profiles = [profile(f"c{k}", a=k) for k in range(2 * AT_ONCE + 10)]
        profiles[3].features["nothing"].integer = 1
        profiles[300].features["timezone"].text = "Nowhere"
        profiles[301].clear_features.append("b")
        results = await w.put(*profiles)
        assert [r.customer_id for r in results] == [p.customer_id for p in profiles]
        assert [k for k, r in enumerate(results) if r.HasField("error")] == [3, 300]
        assert [c.customer_id for c in w.left] == ["c301"]
        for k in (0, 2, 255, 256, 299, 301, 2 * AT_ONCE + 9):
            assert await w.get(f"c{k}") == {"a": k}
        assert await w.get("c3") == {}
        key = customer_key("c5")
        [[_, fields]] = await store.admin.xrange(store.bucket_key(key.bucket, "log"))
        entry = decode(fields[b"d"])
        assert isinstance(entry, ProfileEntry)
        assert (entry.customer, entry.written) == (key.digest, ["a"])
        assert (await store.admin.get(store._customer_keys(key)[0]))[:8] == entry.profile_version
        assert w.limiter.in_flight == 0

        with pytest.raises(InvalidInput, match="1001 items"):
            await w.put(*[profile(f"c{k}") for k in range(1001)])
        assert await w.put() == []

    scenario(store_url, key_prefix, work, bundle)


def test_what_others_write_meanwhile_is_kept(store_url: str, key_prefix: str, bundle: Bundle) -> None:
    async def work(store: Hooked, w: World) -> None:
        other = RedisStore(store_url, key_prefix, commit_budget_ms=PATIENT_MS, timeout_ms=PATIENT_MS)
        elsewhere = Decider(Active(bundle), other)
        written: list[int] = []

        async def hook() -> None:
            if len(written) < 3:
                assert await elsewhere.put_profiles([ProfileChange("c7", {"b": len(written)}, [], None)]) == [None]
                written.append(len(written))

        store.hook = hook
        results = await w.put(*[profile(f"c{k}", a=k) for k in range(40)])
        assert not any(r.HasField("error") for r in results)
        assert written == [0, 1, 2]
        assert await w.get("c7") == {"a": 7, "b": 2}
        assert [await w.get(f"c{k}") for k in (0, 6, 8, 39)] == [{"a": k} for k in (0, 6, 8, 39)]
        assert store.looks > 2
        assert len(w.left) <= 1
        await other.close()

    scenario(store_url, key_prefix, work, bundle)


def test_a_customer_erased_meanwhile_has_only_what_came_after(store_url: str, key_prefix: str, bundle: Bundle) -> None:
    async def work(store: Hooked, w: World) -> None:
        await w.put(profile("ana", a=1, b=2))
        other = RedisStore(store_url, key_prefix, commit_budget_ms=PATIENT_MS, timeout_ms=PATIENT_MS)
        elsewhere = Decider(Active(bundle), other)
        erased: list[bool] = []

        async def hook() -> None:
            if not erased:
                erased.append(await elsewhere.erase("ana"))

        store.hook = hook
        [result] = await w.put(profile("ana", c=3))
        assert not result.HasField("error")
        assert erased == [True]
        assert await w.get("ana") == {"c": 3}
        await other.close()

    scenario(store_url, key_prefix, work, bundle)


def test_what_is_not_known_to_be_done_says_so(store_url: str, key_prefix: str, bundle: Bundle) -> None:
    async def work(store: Hooked, w: World) -> None:
        store.status = "unknown"
        results = await w.put(profile("ana", a=1), profile("bo", b=2))
        assert [(r.customer_id, r.error.code) for r in results] == [("ana", 14), ("bo", 14)]
        assert w.left == []
        store.status = "refused"  # nothing was done: the ordinary way finds out why
        results = await w.put(profile("ana", a=1))
        assert not results[0].HasField("error")
        assert [c.customer_id for c in w.left] == ["ana"]
        store.status = ""

        async def down() -> None:
            raise StoreUnavailable("gone")

        store.hook = down
        results = await w.put(profile("ana", a=2))
        assert not results[0].HasField("error")
        assert await w.get("ana") == {"a": 2}

    scenario(store_url, key_prefix, work, bundle)


def test_nearly_full_logs_and_drain_are_for_the_ordinary_way(store_url: str, key_prefix: str, bundle: Bundle) -> None:
    async def work(store: Hooked, w: World) -> None:
        await w.put(profile("bo", a=1))
        store.lengths.full = frozenset((customer_key("ana").bucket,))
        results = await w.put(profile("ana", a=1), profile("bo", a=2))
        assert not any(r.HasField("error") for r in results)
        assert [c.customer_id for c in w.left] == ["ana"]
        await w.decider.drain()
        [result] = await w.put(profile("ana", a=3))
        assert result.error.code == 14

    scenario(store_url, key_prefix, work, bundle)
