"""The archiver writes every entry once, whenever it is interrupted, and trims no more than it may."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from engine.identity import CustomerKey, customer_key
from engine.keeping import erase_due
from engine.state.archive import Archiver
from engine.state.erasure import ErasureReport, pending, rewrite
from engine.state.log import CandidateEntry, DecisionEntry, ErasedEntry, OutcomeEntry, ProfileEntry, encode
from engine.state.model import Commit
from engine.state.redis import RedisStore
from engine.state.runs import ArchiveError, reconcile, rows_and_removed, runs

CUSTOMERS = [customer_key(f"customer {i}") for i in range(60)]


async def write(store: RedisStore, first: int, count: int) -> None:
    """A decision and an outcome for each number, spread over the customers."""
    now_ms = (await store.read([])).now_ms
    commits = []
    for n in range(first, first + count):
        customer = CUSTOMERS[n % len(CUSTOMERS)]
        decision = DecisionEntry(n, customer.digest, n, 0, b"", b"", "paid", "r", 2, 11)
        decision.candidates = [CandidateEntry("m", 31, 1.5, 0)]
        outcome = OutcomeEntry(n, n, customer.digest, n, n, 1.0, 6)
        commits.append(Commit(customer, b"", b"", None, entries=[encode(decision), encode(outcome)]))
    assert all(s.done for s in await store.commit(commits, now_ms + 2000))


async def erase(store: RedisStore, customer: CustomerKey) -> None:
    """An ERASED entry."""
    now_ms = (await store.read([])).now_ms
    entry = encode(ErasedEntry(now_ms, customer.digest))
    assert (await store.commit([Commit(customer, b"", b"", None, entries=[entry])], now_ms + 2000))[0].done


def archived(directory: Path, kind: str) -> Counter[int]:
    files = sorted(str(p) for p in directory.glob(f"run-*/{kind}.parquet"))
    return Counter(ds.dataset(files).to_table(columns=["event"])["event"].to_pylist()) if files else Counter()


async def left(store: RedisStore) -> int:
    keys = {store.bucket_key(c.bucket, "log") for c in CUSTOMERS}
    return sum([await store.admin.xlen(k) for k in keys])


def test_every_entry_once(store: RedisStore, runner: asyncio.Runner, tmp_path: Path) -> None:
    async def scenario() -> None:
        archiver = Archiver(store, tmp_path / "log")
        await write(store, 0, 200)
        report = await archiver.run_once()
        assert (report.run, report.read, report.trimmed, report.longest, report.behind) == (1, 400, 400, 0, False)
        assert report.written == {"decision": 200, "outcome": 200}
        again = await archiver.run_once()
        assert (again.run, again.read, again.trimmed) == (1, 0, 0)
        await write(store, 200, 10)
        assert (await archiver.run_once()).read == 20
        assert archived(tmp_path / "log", "decision") == Counter(range(210))
        assert archived(tmp_path / "log", "outcome") == Counter(range(210))
        assert await left(store) == 0
        await archiver.close()

    runner.run(scenario())


@pytest.mark.parametrize("step", ["_write", "_sync_of_ranges", "_remember", "_trim"])
def test_a_crash_at_any_step_loses_and_doubles_nothing(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    async def scenario() -> None:
        await write(store, 0, 100)
        first = Archiver(store, tmp_path)
        await first.run_once()
        await write(store, 100, 100)
        with monkeypatch.context() as patch:
            if step == "_sync_of_ranges":
                patch.setattr("engine.state.archive.write_synced", crash)
            else:
                patch.setattr(first, step, crash)
            with pytest.raises((KeyboardInterrupt, asyncio.CancelledError)):
                await asyncio.ensure_future(guarded(first))
        await first.close()
        await write(store, 200, 50)
        second = Archiver(store, tmp_path)
        report = await second.run_once()
        assert report.read == (100 if step in ("_remember", "_trim") else 300)
        assert archived(tmp_path, "decision") == Counter(range(250))
        assert archived(tmp_path, "outcome") == Counter(range(250))
        assert await left(store) == 0
        await second.close()

    runner.run(scenario())
    assert not list(tmp_path.glob(".run-*"))


async def guarded(archiver: Archiver) -> None:
    """KeyboardInterrupt would stop the loop itself; the crash is told to the test as a cancellation."""
    try:
        await archiver.run_once()
    except KeyboardInterrupt:
        raise asyncio.CancelledError from None


def test_a_disk_that_was_full_is_got_over(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def scenario() -> None:
        archiver = Archiver(store, tmp_path)
        await write(store, 0, 50)
        for step in ("write_synced", "sync"):
            with monkeypatch.context() as patch:
                patch.setattr(f"engine.state.archive.{step}", full)
                with pytest.raises(OSError, match="No space"):
                    await archiver.run_once()
        await archiver.run_once()
        assert archived(tmp_path, "decision") == Counter(range(50))
        assert await left(store) == 0
        await archiver.close()

    runner.run(scenario())


def test_nothing_unlearnt_is_trimmed(store: RedisStore, runner: asyncio.Runner, tmp_path: Path) -> None:
    async def scenario() -> None:
        folded = "0-0"
        archiver = Archiver(store, tmp_path, lambda bucket: folded)
        await write(store, 0, 60)
        report = await archiver.run_once()
        assert (report.read, report.trimmed) == (120, 0)
        key = store.bucket_key(CUSTOMERS[0].bucket, "log")
        folded = (await store.admin.xrange(key))[0][0].decode()
        report = await archiver.run_once()
        assert 0 < report.trimmed < 120
        assert (await store.admin.xrange(key))[0][0].decode() > folded
        folded = "99999999999999-0"
        assert (await archiver.run_once()).trimmed == 120 - report.trimmed
        assert await left(store) == 0
        await archiver.close()

    runner.run(scenario())


def test_falling_behind_is_said(
    store_url: str, key_prefix: str, runner: asyncio.Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        store = RedisStore(store_url, key_prefix, max_log_length=10)
        archiver = Archiver(store, tmp_path, lambda bucket: "0-0", max_entries=100)
        await write(store, 0, 60 * 4)
        report = await archiver.run_once()
        assert report.behind
        assert 100 <= report.read < 480
        while report.behind:
            report = await archiver.run_once()
        assert archived(tmp_path, "outcome") == Counter(range(240))
        assert archiver.runs_behind >= 4
        assert "the archiver is behind: the longest log stream holds 8 of at most 10" in caplog.text
        await archiver.close()
        await store.close()

    runner.run(scenario())


def test_what_cannot_be_read_is_kept_as_it_is(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        entries = [b"\x63 from the future", encode(ErasedEntry(1, CUSTOMERS[0].digest))]
        now_ms = (await store.read([])).now_ms
        await store.commit([Commit(CUSTOMERS[0], b"", b"", None, entries=entries)], now_ms + 1000)
        archiver = Archiver(store, tmp_path)
        assert (await archiver.run_once()).written == {"unreadable": 1, "erased": 1}
        table = ds.dataset(str(tmp_path / "run-0000000001" / "unreadable.parquet")).to_table()
        assert table["d"].to_pylist() == [b"\x63 from the future"]
        assert "kind 99" in caplog.text
        await archiver.close()

    runner.run(scenario())


def test_an_erased_customer_leaves_the_archive(store: RedisStore, runner: asyncio.Runner, tmp_path: Path) -> None:
    """What came before the erasure goes, of every kind; a later life, the ERASED entry and everybody else stay."""
    ana = CUSTOMERS[0]

    async def scenario() -> None:
        archiver = Archiver(store, tmp_path)
        await write(store, 0, 120)
        now_ms = (await store.read([])).now_ms
        unknown = [b"\x63 later " + ana.digest, b"\x63 later " + CUSTOMERS[1].digest]
        consent = encode(
            ProfileEntry(1, ana.digest, b"12345678", ["balance"], [], True, [["marketing", True, 1, "", ""]])
        )
        more = [Commit(ana, b"", b"", None, entries=[consent, *unknown])]
        assert (await store.commit(more, now_ms + 2000))[0].done
        await archiver.run_once()
        assert rewrite(tmp_path) == ErasureReport(1)
        await erase(store, ana)
        await write(store, 120, 60)
        await archiver.run_once()
        assert pending(tmp_path).customers == 1
        report = rewrite(tmp_path)
        assert (report.run, report.customers, report.removed) == (2, 1, 6)
        gone = {0, 60}
        assert archived(tmp_path, "decision") == Counter(set(range(180)) - gone)
        assert archived(tmp_path, "outcome") == Counter(set(range(180)) - gone)
        first, second = runs(tmp_path)
        assert [rows_and_removed(p) for kind, p in first.tables() if kind in ("profile", "unreadable")] == [
            (0, 1),
            (1, 1),
        ]
        assert [rows_and_removed(p) for kind, p in second.tables() if kind == "erased"] == [(1, 0)]
        reconcile(first)
        reconcile(second)
        assert rewrite(tmp_path) == ErasureReport(2)
        await erase(store, ana)  # once more: the later life goes as well
        await archiver.run_once()
        assert rewrite(tmp_path).removed == 2
        assert archived(tmp_path, "decision") == Counter(set(range(180)) - gone - {120})
        await archiver.close()

    runner.run(scenario())


def test_an_erasure_is_carried_out_within_a_day(store: RedisStore, runner: asyncio.Runner, tmp_path: Path) -> None:
    async def scenario() -> int:
        archiver = Archiver(store, tmp_path)
        await write(store, 0, 60)
        await erase(store, CUSTOMERS[3])
        await archiver.run_once()
        await archiver.close()
        return (await store.read([])).now_ms

    now_ms = runner.run(scenario())
    assert not erase_due(tmp_path / "nowhere", now_ms)
    assert not erase_due(tmp_path, now_ms + 3_600_000)
    assert erase_due(tmp_path, now_ms + 86_400_000)
    assert archived(tmp_path, "decision") == Counter(set(range(60)) - {3})
    assert not erase_due(tmp_path, now_ms + 2 * 86_400_000)


def test_a_run_that_does_not_hold_what_was_read_is_told(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def scenario() -> None:
        archiver = Archiver(store, tmp_path)
        await write(store, 0, 60)
        await erase(store, CUSTOMERS[3])
        await archiver.run_once()
        await archiver.close()

    runner.run(scenario())
    [run] = runs(tmp_path)
    (run.path / "outcome.parquet").unlink()
    with pytest.raises(ArchiveError, match=r"was to hold 121 entries and holds 61"):
        rewrite(tmp_path)
    assert pending(tmp_path).customers == 1
    (run.path / "decision.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArchiveError, match=r"decision.parquet cannot be read"):
        rewrite(tmp_path)
