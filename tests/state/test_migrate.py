"""The store's format: a newer one is refused, an older one is brought up to date, by real profiles of layout 1."""

from __future__ import annotations

import asyncio
import json

import pytest

from engine.errors import Conflict
from engine.identity import BUCKETS, customer_key
from engine.state import format as formats
from engine.state import profile as profiles
from engine.state.contents import Contents, customer_of
from engine.state.migrate import migrate
from engine.state.model import Commit, ReadRequest
from engine.state.packing import CorruptBlob
from engine.state.redis import RedisStore
from tests.state.test_profile import LAYOUT_1, WANTED

CUSTOMERS = [customer_key(f"customer {i}") for i in range(30)]


async def put(store: RedisStore, blobs: list[bytes]) -> None:
    now_ms = (await store.read([])).now_ms
    commits = [Commit(c, b"", b"", None, blob) for c, blob in zip(CUSTOMERS, blobs, strict=False)]
    assert all(s.done for s in await store.commit(commits, now_ms + 2000))


async def kept(store: RedisStore) -> list[bytes]:
    return [e.profile for e in (await store.read([ReadRequest(c, ()) for c in CUSTOMERS])).entries]


def older(n: int) -> bytes:
    return n.to_bytes(8, "big") + LAYOUT_1[8:]


def test_a_new_store_says_its_format(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await put(store, [profiles.encode(WANTED)])
        form = json.loads(await store.admin.get(store.key("format")))
        assert form == {"layout": formats.LAYOUT, "buckets": BUCKETS, "min_reader": formats.LAYOUT}
        report = await migrate(store, commit=True)
        assert (report.layout, report.steps, report.done) == (formats.LAYOUT, [], True)

    runner.run(scenario())


def test_profiles_of_an_older_layout_are_written_again(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        new = profiles.encode(WANTED)
        await put(store, [older(n + 1) if n % 2 else new for n in range(30)])
        await store.admin.delete(store.key("format"))  # as it was before there was one
        before = await kept(store)
        told = await migrate(store, commit=False)
        assert (told.layout, told.target, told.done) == (1, 2, False)
        assert (told.steps[0].looked_at, told.steps[0].older, told.steps[0].rewritten) == (30, 15, 0)
        assert await kept(store) == before
        assert await store.admin.get(store.key("format")) is None

        done = await migrate(store, commit=True)
        assert (done.done, done.steps[0].rewritten) == (True, 15)
        after = await kept(store)
        for n, (was, now) in enumerate(zip(before, after, strict=True)):
            assert now[8] == 2
            assert (was == now) == (n % 2 == 0)
            found = profiles.decode(now)
            assert (found.cells, found.contact) == (WANTED.cells, WANTED.contact)
            assert found.version != was[:8] or n % 2 == 0  # a commit that read the old one is refused
        assert formats.decode(await store.admin.get(store.key("format"))).layout == 2
        assert (await migrate(store, commit=True)).steps == []

    runner.run(scenario())


def test_what_cannot_be_read_keeps_the_format_as_it_was(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await put(store, [older(1), older(2)[:-1] + b"}"])
        await store.admin.delete(store.key("format"))
        report = await migrate(store, commit=True)
        assert (report.done, report.steps[0].rewritten) == (False, 1)
        assert report.steps[0].unreadable == [CUSTOMERS[1].hex]
        assert await store.admin.get(store.key("format")) is None

    runner.run(scenario())


def test_a_newer_format_is_refused(
    store: RedisStore, store_url: str, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        await put(store, [older(1)])
        newer = formats.encode(formats.Format(layout=9, min_reader=8))
        await store.admin.set(store.key("format"), newer)
        with pytest.raises(Conflict, match="layout 9, for readers of 8 or newer, and this version reads up to 2"):
            await migrate(store, commit=True)
        older_version = RedisStore(store_url, store.prefix)
        assert [s for s in await older_version.check() if s.startswith("refused: the store is of layout 9")]
        commit = Commit(CUSTOMERS[0], b"", older(1)[:8], None, older(2))
        assert [s.status for s in await older_version.commit([commit], 1 << 60)] == ["generation"]
        await store.admin.set(store.key("format"), formats.encode(formats.Format(layout=9, min_reader=2)))
        assert not [
            s for s in await older_version.check() if s.startswith("refused")
        ]  # newer, but still for readers such as this
        await older_version.close()

    runner.run(scenario())


def test_formats() -> None:
    assert formats.decode(None) == formats.OLDEST
    assert formats.refusal(formats.encode(formats.Format())) == ""
    assert "1024 buckets" in formats.refusal(b'{"layout": 2, "buckets": 1024, "min_reader": 2}')
    for damaged in (b"{", b"[]", b'{"layout": 2}', b'{"layout": "x", "buckets": 4096, "min_reader": 2}'):
        assert "format key" in formats.refusal(damaged)
        with pytest.raises(CorruptBlob):
            formats.decode(damaged)


@pytest.mark.parametrize("odd", ["", "a*[b]?:", "\\^-:"])
def test_names_tell_customers(store_url: str, key_prefix: str, runner: asyncio.Runner, odd: str) -> None:
    async def scenario() -> None:
        store = RedisStore(store_url, key_prefix + odd)
        await put(store, [profiles.encode(WANTED)] * 30)
        contents = Contents(store.url, store.prefix)
        found = {customer_of(name) async for names in contents.names("{*}p:*") for name in names}
        assert found == set(CUSTOMERS)
        await contents.close()
        await store.close()

    runner.run(scenario())
    for other in (b"{0}log", b"{0}control", b"{1}p:AAAAAAAAAAAAAAAAAAAAAA", b"{0}p:short", b"{x}p:!!"):
        assert customer_of(other) is None
