"""`tact backfill`: past events from a file into the windows of a running server.

The file is sorted by customer in a database on disk, so it may be larger than the memory. Of each customer the latest
part is sent first; the server remembers how far back each window is whole, so that a run after a run, or after one
that was stopped, adds only what is missing.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from engine.cli.client import Client, status_text
from engine.cli.lines import read_items
from engine.cli.output import FAILED, OK, USAGE, CommandError, complain, counted, out, print_json, progress
from engine.compiler.overloads import parse_timestamp
from engine.pb.tact.v1 import decision_pb2 as pb

PART = 500  # events of a customer at once, and of a call: the server does nothing else for some 30 ms
_CUSTOMERS = 500  # of a call
_BYTES = 2 << 20  # of a call, about
_FATES = ("counted", "known", "late", "apart")


class Line(NamedTuple):
    """An event, or what is wrong with it; `number` is its line or row."""

    number: int
    event: pb.Event | None
    problem: str = ""


def run(
    file: Path, since: str, until: str, mapping: Path | None, rules: Path | None, target: str, as_json: bool
) -> int:
    """Adds the file's events; 1 where a line or a customer was refused."""
    bounds = _time(since, "--since"), _time(until, "--until")
    lines = _lines(file) if mapping is None else _mapped(file, mapping, rules)
    with tempfile.TemporaryDirectory(prefix="tact-backfill-") as directory, progress(quiet=as_json) as bar:
        past = _Past(Path(directory) / "past.db")
        task = bar.add_task("sorting", total=None)
        wrong = 0
        for line in lines:
            problem = line.problem if line.event is None else past.take(line.event, bounds)
            if problem:
                complain(f"{file}:{line.number}", problem)
                wrong += 1
            bar.update(task, advance=1)
        past.sort()
        if wrong:
            raise CommandError(f"nothing was sent: {counted(wrong, 'line')} of {file} cannot be used")
        if past.first_ms is None or past.last_ms is None:
            raise CommandError(f"{file} has no events in this time")
        span = bounds[0] or past.first_ms, bounds[1] or past.last_ms
        with Client(target) as client:
            task = bar.add_task("adding", total=past.events)
            sending = _Sending(client)
            for call in _calls(past.parts(*span)):
                sending.send(call)
                bar.update(task, advance=sum(len(history.events) for history in call))
    return _tell(sending, past, as_json)


def _time(written: str, option: str) -> int | None:
    if not written:
        return None
    try:
        return parse_timestamp(written) // 1_000_000
    except ValueError as error:
        text = f"{option}: found '{written}': {error}; expected a time such as 2026-01-31T00:00:00Z"
        raise CommandError(text, USAGE) from None


def _lines(file: Path) -> Iterator[Line]:
    for item in read_items(file, pb.DecideRequest):
        yield Line(item.line, item.message.event if item.message is not None else None, item.problem)


def _mapped(file: Path, mapping: Path, rules: Path | None) -> Iterator[Line]:
    """The rows of a table, as `tact replay` reads them."""
    if rules is None:
        raise CommandError("--mapping needs --rules DIR, for the types of the attributes", USAGE)
    from engine.compiler.ruleset import load, read_directory
    from engine.errors import RulesInvalid
    from engine.replay.mapping import read_mapping
    from engine.replay.rows import BadRow, Table
    from engine.service.values import encode_value

    try:
        ruleset = load(read_directory(rules))
        with Table(file, read_mapping(mapping, ruleset), ruleset) as table:
            for row in table.rows():
                if isinstance(row, BadRow):
                    yield Line(row.number, None, row.problem)
                    continue
                given = row.request.event
                event = pb.Event(event_id=given.event_id, customer_id=given.customer_id, type=given.type)
                assert given.occurred_at_ns is not None
                event.occurred_at.FromNanoseconds(given.occurred_at_ns)
                declared = ruleset.events[given.type].attributes
                for name, value in given.attributes.items():
                    one = declared[name]
                    event.attributes[name].CopyFrom(encode_value(one.type.value, value, one.unit or ""))
                yield Line(row.number, event)
    except RulesInvalid as error:
        raise CommandError(f"{error}; `tact check` and `tact replay` tell them all") from None
    except OSError as error:
        raise CommandError(f"{error.filename or file} cannot be used: {error.strerror or error}", USAGE) from None


class _Past:
    """The events of a file, on disk."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE past (customer TEXT, at_ms INTEGER, event BLOB)")
        self._db.execute("BEGIN")
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.events = 0
        self.outside = 0

    def take(self, event: pb.Event, bounds: tuple[int | None, int | None]) -> str:
        """Keeps an event; what is wrong with it, or "". One with a customer alone says that nothing happened."""
        if not event.customer_id:
            return "the event has no customerId"
        nothing = not event.event_id and not event.type
        if not event.HasField("occurred_at"):
            if nothing:
                self._db.execute("INSERT INTO past VALUES (?, NULL, NULL)", (event.customer_id,))
                return ""
            return "the event has no occurredAt: expected when it happened"
        at_ms = event.occurred_at.ToMilliseconds()
        if (bounds[0] is not None and at_ms < bounds[0]) or (bounds[1] is not None and at_ms > bounds[1]):
            self.outside += 1
            return ""
        self.first_ms = at_ms if self.first_ms is None else min(self.first_ms, at_ms)
        self.last_ms = at_ms if self.last_ms is None else max(self.last_ms, at_ms)
        self.events += 1
        row = (event.customer_id, at_ms, event.SerializeToString())
        self._db.execute("INSERT INTO past VALUES (?, ?, ?)", row)
        return ""

    def sort(self) -> None:
        """All are taken."""
        self._db.execute("COMMIT")
        self._db.execute("CREATE INDEX by_customer ON past (customer, at_ms DESC)")

    def parts(self, since_ms: int, until_ms: int) -> Iterator[pb.History]:
        """The histories, each customer's latest part first; events of one moment are in one part."""
        rows = self._db.execute("SELECT customer, at_ms, event FROM past ORDER BY customer, at_ms DESC")
        for customer, own in groupby(rows, key=lambda row: str(row[0])):
            part = _history(customer, until_ms)
            earliest_ms = until_ms
            for _, at_ms, event in own:
                if at_ms is None:
                    continue
                if len(part.events) >= PART and at_ms < earliest_ms:
                    part.since.FromMilliseconds(earliest_ms)
                    yield part
                    part = _history(customer, earliest_ms)
                earliest_ms = at_ms
                part.events.append(pb.Event.FromString(event))
            part.since.FromMilliseconds(since_ms)
            yield part


def _history(customer: str, until_ms: int) -> pb.History:
    until = Timestamp()
    until.FromMilliseconds(until_ms)
    return pb.History(customer_id=customer, until=until)


def _calls(parts: Iterable[pb.History]) -> Iterator[list[pb.History]]:
    """Parts that go together: of each customer one at a time."""
    call: list[pb.History] = []
    events = size = 0
    for part in parts:
        own = part.ByteSize()
        full = events + len(part.events) > PART or size + own > _BYTES or len(call) == _CUSTOMERS
        if call and (full or call[-1].customer_id == part.customer_id):
            yield call
            call, events, size = [], 0, 0
        call.append(part)
        events, size = events + len(part.events), size + own
    if call:
        yield call


class _Sending:
    """What became of what was sent."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.customers: set[str] = set()
        self.totals = dict.fromkeys(_FATES, 0)
        self.failed: dict[str, str] = {}

    def send(self, call: list[pb.History]) -> None:
        """One call. Of a customer whose later part was refused the earlier ones are not sent: there would be a gap."""
        histories = [history for history in call if history.customer_id not in self.failed]
        if not histories:
            return
        request = pb.BackfillRequest(histories=histories)
        for result in self._client.call(self._client.decisions.Backfill, request).results:
            if result.HasField("error"):
                self.failed[result.customer_id] = status_text(result.error)
                complain(f"customer {result.customer_id}", self.failed[result.customer_id])
                continue
            self.customers.add(result.customer_id)
            for fate in _FATES:
                self.totals[fate] += getattr(result, fate)


def _tell(sending: _Sending, past: _Past, as_json: bool) -> int:
    done = len(sending.customers - sending.failed.keys())
    failed = [{"customer": name, "message": told} for name, told in sorted(sending.failed.items())]
    if as_json:
        shown = {"customers": done, "events": past.events, "outside": past.outside, **sending.totals, "errors": failed}
        print_json(shown)
    else:
        total = sending.totals
        console = out()
        console.print(
            f"{counted(done, 'customer')}: {counted(total['counted'], 'event')} added, {total['known']:,} known"
        )
        if total["late"]:
            console.print(f"{total['late']:,} LATE: perhaps counted before, so not added", style="yellow")
        if total["apart"]:
            told = "the file ends before windows began: --until TIME says that nothing happened in between"
            console.print(f"{total['apart']:,} not added: {told}", style="yellow")
        if failed:
            console.print(f"{counted(len(failed), 'customer')} refused", style="red")
    return FAILED if failed else OK
