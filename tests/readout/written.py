"""Logs for tests: by the real pipeline on a real store, or from entries that a simulation made."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.bundle import compile_bundle
from engine.decision import SHARE_UNIT
from engine.identity import customer_key
from engine.replay.mapping import read_mapping
from engine.replay.rows import Table
from engine.replay.run import replay
from engine.state.embedded import EmbeddedStore
from engine.state.log import CandidateEntry, DecisionEntry, Entry, LogRow, OutcomeEntry, VariantEntry, encode
from engine.state.tables import tables_of

RULES = {
    "rules.yaml": b"""
events:
  visit: {}
  pay: {}
  ask: {}
  call: {}
  look: {}
  read: {}
features:
  region: text
  age: {type: integer, at_least: 0}
products:
  fund:
    eligible: {adult: {is: features.age >= 18, because: {en: "For adults only."}}}
purposes:
  marketing: {consent: not_required, if_state_unknown: silent, holdout: true}
  service: {consent: not_required, if_state_unknown: send}
channels: {sms: {}}
caps:
  - {name: two a day, at_most: 2, per: [customer], in: 1 day}
holdout: {share: 0.1, salt: s}
policies:
  words: {kind: thompson, reward: {converted: 1}, attribution: 1 hour, floor: 0.1, control: a, by: [features.region]}
  trial: {kind: fixed, weights: {a: 1, b: 3}, control: a}
  stuck: {kind: fixed, sticky: customer}
  line:
    kind: linear_thompson
    reward: {converted: 1}
    attribution: 4 hours
    floor: 0.05
    context: ["ratio(double(features.age), 50.0)"]
  soft:
    kind: softmax
    reward: {converted: 1}
    attribution: 4 hours
    by: [features.region]
    shrink: 20
    forget: {half_life: 1 day}
messages:
  offer:
    product: fund
    purpose: marketing
    on: [visit]
    channels: [sms]
    policy: words
    variants: {a: {en: "A."}, b: {en: "B."}, c: {en: "C."}}
  bill:
    purpose: service
    on: [pay]
    channels: [sms]
    policy: trial
    variants: {a: {en: "A."}, b: {en: "B."}}
  letter:
    purpose: service
    on: [call]
    channels: [sms]
    policy: stuck
    variants: {a: {en: "A."}, b: {en: "B."}, c: {en: "C."}}
  portrait:
    purpose: service
    on: [look]
    channels: [sms]
    policy: line
    variants: {a: {en: "A."}, b: {en: "B."}, c: {en: "C."}}
  note:
    purpose: service
    on: [read]
    channels: [sms]
    policy: soft
    variants: {a: {en: "A."}, b: {en: "B."}}
  hint:
    purpose: service
    on: [ask]
    channels: [sms]
    value: 2.0
    variants: {a: {en: "A."}, b: {en: "B."}, c: {en: "C."}}
  tip:
    purpose: service
    on: [ask]
    channels: [sms]
    value: 2.0
    variants: {plain: {en: "A."}}
  rest:
    purpose: service
    on: [ask]
    channels: [sms]
    variants: {plain: {en: "A."}}
"""
}
_MAPPING = b"""
mapping:
  customer: who
  event: {type: {column: kind}, id: "row-{row}"}
  occurred_at: {column: at, format: rfc3339}
  features: {region: region, age: {column: age, as: integer}}
  outcome: {kind: CONVERTED, when: {column: bought, equals: "yes"}}
"""
START_MS = 1_767_225_600_000  # 2026-01-01
DAY_MS = 86_400_000


KINDS = ("visit", "visit", "pay", "ask", "call", "look", "read")


def write_log(
    directory: Path,
    customers: int,
    events: int,
    seed: int = 1,
    rules: Mapping[str, bytes] = MappingProxyType(RULES),
    kinds: Sequence[str] = KINDS,
    apart_min: int = 1,
) -> None:
    """Archives what the pipeline decides for random customers, `events` each, and learns meanwhile."""
    rng = random.Random(seed)
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=m * apart_min) for m in range(customers * events)]
    lines = ["who,kind,at,region,age,bought"]
    for moment in moments:
        n = rng.randrange(customers)
        kind = rng.choice(kinds)
        bought = "yes" if rng.random() < 0.3 else "no"
        lines.append(f"c{n},{kind},{moment.isoformat()},{'ns'[n % 2]},{10 + n % 50},{bought}")
    with tempfile.TemporaryDirectory(prefix="tact-") as temporary:
        work = Path(temporary)
        (work / "t.csv").write_text("\n".join(lines) + "\n")
        (work / "m.yaml").write_bytes(_MAPPING)
        bundle = compile_bundle(rules)
        embedded = EmbeddedStore(work, persist=False)
        url = embedded.start()
        try:
            with Table(work / "t.csv", read_mapping(work / "m.yaml", bundle.ruleset), bundle.ruleset) as table:
                summary = asyncio.run(replay(bundle, table, url, work, None, directory, lambda _: None))
        finally:
            embedded.stop()
    assert not summary.failed
    assert not summary.bad


def decision(
    customer: str,
    event: int,
    at_ms: int,
    shares: dict[str, int],
    variant: str,
    *,
    message: str = "offer",
    policy: str = "words",
    **more: object,
) -> DecisionEntry:
    """One decision that drew `variant` of `message`; `more` are other fields of the entry."""
    fields: dict[str, object] = {
        "record_version": b"",
        "profile_version": b"",
        "event_type": "visit",
        "revision": "r",
        "outcome": 1,
        "reason": 1,
        "candidates": [CandidateEntry(message, 0, 1.0, SHARE_UNIT)],
        "send_at_ms": at_ms,
    }
    return DecisionEntry(
        at_ms=at_ms,
        customer=customer_key(customer).digest,
        event=event,
        fingerprint=0,
        message=message,
        variant=variant,
        policy=policy,
        variants=[VariantEntry(*pair) for pair in shares.items()],
        **(fields | more),  # type: ignore[arg-type]
    )


def outcome(
    of: DecisionEntry, kind: int, after_ms: int = 3_600_000, value: float = 0.0, category: str = ""
) -> OutcomeEntry:
    """A report on a decision."""
    at_ms = of.send_at_ms + after_ms
    return OutcomeEntry(
        at_ms, at_ms, of.customer, of.event, 0, value, kind, of.slot, of.message, of.variant, of.policy,
        category=category,
    )  # fmt: skip


def archive(directory: Path, entries: Iterable[Entry]) -> Path:
    """Writes entries as one run of the archive."""
    run = directory / "run-0000000001"
    run.mkdir(parents=True)
    rows = [LogRow(0, f"{n}-0", encode(entry)) for n, entry in enumerate(entries, 1)]
    for kind, table in tables_of(rows).items():
        pq.write_table(table, run / f"{kind}.parquet")
    return directory


Row = dict[str, Any]
Edit = Callable[[Row], None]


def altered(log: Path, to: Path, which: Callable[[Row], bool], edit: Edit, kind: str = "decision") -> Path:
    """A copy of the log with one row altered: the first that `which` accepts."""
    shutil.copytree(log, to)
    for path in sorted(to.rglob(f"{kind}.parquet")):
        table = pq.read_table(path)
        rows = table.to_pylist()
        for row in rows:
            if which(row):
                edit(row)
                pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
                return to
    raise AssertionError("no row to alter")
