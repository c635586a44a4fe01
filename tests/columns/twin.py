"""One batch by both ways: columns in kernels, and the step in Python. Everything they leave behind must be equal."""

from __future__ import annotations

import asyncio
from binascii import b2a_base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import hiredis
import numpy as np

from engine.answer import to_bytes
from engine.bundle import Bundle, Pauses
from engine.columns.batch import ColumnBatch, Draw
from engine.columns.rules import RuleColumns
from engine.columns.shares import ShareTable
from engine.decision import Decision
from engine.errors import InvalidInput
from engine.identity import customer_key
from engine.kernels.arena import FINE
from engine.learning.posteriors import Posteriors
from engine.learning.shares import salt_keys
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.service.codec import decode_request
from engine.service.encode import encode_response
from engine.state.log import Entry
from engine.state.log import decode as decode_entry
from engine.state.model import Commit, Profile, ReadBatch, ReadEntry, Record
from engine.state.profile import encode as encode_profile
from engine.state.record import decode as decode_record
from engine.state.record import encode as encode_record
from engine.step.group import Decide, Group, Pending, apply_groups
from engine.step.take import World

SALT = b"tact"
PREFIX = np.frombuffer(b"t:", np.uint8)


State = Mapping[str, tuple[bytes, bytes]]  # profile and record of a customer
Spilled = Mapping[str, Mapping[int, bytes]]  # answers in keys of their own: by customer and event hash


@dataclass
class Left:
    """What one way left behind for an event: the answer's bytes, the record, the log entry, spilled answers.

    `blob`: the record as this way wrote it.
    """

    answer: bytes
    record: Record
    entry: Entry
    spills: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    blob: bytes = b""


def world(bundle: Bundle, pauses: Pauses | None = None, posteriors: Posteriors | None = None) -> World:
    return World(bundle, pauses or Pauses(), posteriors or Posteriors(), SALT)


def by_columns(
    rules: RuleColumns,
    w: World,
    requests: Sequence[pb.DecideRequest],
    state: State,
    now_ms: int,
    spilled: Spilled | None = None,
    taken: Collection[int] | None = None,
) -> list[Left | None]:
    """None for what kernels left to Python. `taken`: the events whose customers are this batch's; None: all."""
    rules.remember(w.history)
    batch = ColumnBatch(rules, [r.SerializeToString() for r in requests])
    events = np.array([i for i in np.flatnonzero(batch.status == FINE) if taken is None or i in taken], np.int64)
    blobs: list[bytes | None] = []
    for i in events.tolist():
        profile, record = state.get(requests[i].event.customer_id, (b"", b""))
        of_its_own = (spilled or {}).get(requests[i].event.customer_id, {}).get(int(batch.requests.event[i]))
        blobs += [profile or None, record or None, of_its_own]
    found: list[Left | None] = [None] * len(requests)
    if not len(events):
        return found
    batch.open(events, now_ms, blobs)
    batch.step(w, Draw(*salt_keys(SALT)), ShareTable(w.posteriors, w.bundle.steps.messages))
    done = batch.answer()
    if not len(done):
        return found
    command, total = batch.commit(done, PREFIX)
    answers, ends = batch.answers(done)
    reader = hiredis.Reader()
    reader.feed(command)
    commands = []
    while (one := reader.gets()) is not False:
        commands.append(one)
    assert (commands[0], commands[-1]) == ([b"MULTI"], [b"EXEC"])
    assert len(commands) == total + 2
    at, begin = 1, 0
    for i, end in zip(done.tolist(), ends, strict=True):
        key = customer_key(requests[i].event.customer_id)
        tag, name = f"t:{{{key.bucket}}}", b2a_base64(key.digest, newline=False)[:22].decode()
        added, written = commands[at : at + 2]
        assert added[:-1] == [b"XADD", f"{tag}log".encode(), b"*", b"d"]
        assert written[:-1] == [b"SET", f"{tag}r:{name}".encode()]
        at += 2
        spills = []
        while len(commands[at]) == 5 and commands[at][0] == b"SET":
            _, own, body, px, life = commands[at]
            assert px == b"PX"
            assert own.startswith(f"{tag}a:{name}:".encode())
            spills.append((own, body, int(life)))
            at += 1
        found[i] = Left(answers[begin:end], decode_record(written[-1]), decode_entry(added[-1]), spills, written[-1])
        begin = end
    return found


def by_step(
    w: World, requests: Sequence[pb.DecideRequest], state: State, now_ms: int, spilled: Spilled | None = None
) -> list[Left | None]:
    """The same by the step in Python. None where nothing was decided: an error, or an answer given before."""
    groups, entries, places = [], [], []
    loop = asyncio.new_event_loop()
    for place, message in enumerate(requests):
        try:
            request = decode_request(message, w.bundle.ruleset)
        except InvalidInput:
            continue
        key = customer_key(request.event.customer_id)
        groups.append(Group(key, [Pending(Decide.of(request), loop.create_future())]))
        profile, record = state.get(request.event.customer_id, (b"", b""))
        entries.append(ReadEntry(profile, record, dict((spilled or {}).get(request.event.customer_id, {}))))
        places.append(place)
    commits = apply_groups(w, groups, ReadBatch(now_ms, entries), False)
    loop.close()
    found: list[Left | None] = [None] * len(requests)
    for group, commit, place in zip(groups, commits, places, strict=True):
        result, message = group.pending[0].result, requests[place]
        if commit is None:
            continue
        assert isinstance(result, list), result
        decisions: list[Decision] = result
        assert isinstance(commit, Commit)
        assert commit.record is not None
        answer = to_bytes(encode_response(decisions, message.event.event_id, 0))
        spills = [(b"%016x" % e, body, life) for e, body, life in commit.spills]
        entry = decode_entry(commit.entries[0])
        found[place] = Left(answer, decode_record(commit.record), entry, spills, commit.record)
    return found


def compare(columns: Sequence[Left | None], step: Sequence[Left | None]) -> int:
    """Asserts that they are equal where kernels took part; returns how many these are."""
    count = 0
    for one, other in zip(columns, step, strict=True):
        if one is None:
            continue
        count += 1
        assert other is not None
        assert pb.DecideResponse.FromString(one.answer) == pb.DecideResponse.FromString(other.answer)
        assert one.answer == other.answer
        one.record.version = other.record.version
        assert one.record == other.record
        assert repr(one.entry) == repr(other.entry)  # a number may be none at all, and is then not itself
        assert len(one.spills) == len(other.spills)
        for mine, twin in zip(one.spills, other.spills, strict=True):
            assert mine[0].endswith(twin[0])
            assert mine[1:] == twin[1:]
    return count


def blobs(profile: Profile, record: Record) -> tuple[bytes, bytes]:
    """As the store holds them; b"" for one without a version."""
    return encode_profile(profile) if profile.version else b"", encode_record(record) if record.version else b""
