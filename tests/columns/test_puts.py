"""Profiles put by columns beside `PutProfile`, over rule sets whose features come, go and change their type."""

from __future__ import annotations

import asyncio
import json
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import hiredis
import numpy as np
import pytest
from google.type.money_pb2 import Money
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bundle import Bundle, Pauses, compile_bundle
from engine.columns.puts import PutBatch, PutColumns
from engine.compiler.nodes import Type
from engine.errors import InvalidInput
from engine.identity import customer_key, name_hash
from engine.kernels.arena import FINE
from engine.kernels.puts import find_items
from engine.learning.policies import Posteriors
from engine.pb.tact.v1 import decision_pb2, profile_pb2
from engine.service.profile_codec import decode_profile
from engine.service.values import encode_value
from engine.state.log import Entry, ProfileEntry
from engine.state.log import decode as decode_entry
from engine.state.model import Cell, Commit, ConsentEntry, Contact, Profile, ReadBatch, ReadEntry, Record
from engine.state.profile import decode, encode
from engine.state.record import encode as encode_record
from engine.step.group import Group, Pending, apply_groups
from engine.step.inputs import MISSING, STALE, feature_value
from engine.step.operations import PutProfile
from engine.step.take import World

NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000
PREFIX = np.frombuffer(b"t:", np.uint8)
REST = """
purposes:
  marketing: {consent: required, if_state_unknown: silent}
  news: {consent: required, if_state_unknown: silent}
channels: {push: {}, sms: {}}
events: {deposit: {}}
messages:
  hello: {purpose: marketing, topic: loans, on: [deposit], channels: [push], variants: {one: {en: "Hello"}}}
"""
NAMES = ("a", "b", "c", "d", "long_name", "timezone")
KINDS = ("number", "integer", "text", "bool", "time", "date", "money EUR", "money USD", "duration", "texts")
NUMBERS = [0.0, -0.0, 0.01, -327.68, 1234.56, 0.1 + 0.2, 1e300, 65536.0, 2.0**31, 9.995, -1.0, 1e-300, 127.0, -129.0]
WHOLE = st.sampled_from([0, 1, -1, 127, 128, -128, -129, 2**15, 2**31, -(2**31) - 1, 2**53]) | st.integers(
    -(2**63), 2**63 - 1
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.sampled_from(NUMBERS)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-99, 99, width=32),
    "integer": WHOLE,
    "text": st.text(max_size=8) | st.sampled_from(["x" * 255, "x" * 256, "Zürich", ""]),
    "bool": st.booleans(),
    "time": st.integers(-62_135_596_800, 253_402_300_799).map(lambda s: s * 10**9) | st.integers(0, 2**62),
    "date": st.integers(-719_162, 2_932_896) | st.sampled_from([0, 59, 60, 11_016, 10_956, 47_541]),
    "money EUR": st.integers(-(10**12), 10**12).map(lambda n: n * 10**7) | st.integers(-(10**20), 10**20),
    "money USD": st.integers(-200, 200).map(lambda n: n * 10**7),
    "duration": st.integers(0, 10**15),
    "texts": st.lists(st.text(max_size=3), max_size=2).map(tuple),
}
ZONES = st.sampled_from(["Europe/Madrid", "UTC", "Asia/Kolkata"])


def value_of(kind: str, value: Any) -> decision_pb2.Value:
    name, _, unit = kind.partition(" ")
    return encode_value(name, value, unit)


def bundle_of(features: dict[str, str], ages: dict[str, str] | None = None) -> Bundle:
    declared: dict[str, object] = {}
    for name, kind in features.items():
        typed, _, currency = kind.partition(" ")
        declared[name] = {"type": typed} | ({"currency": currency} if currency else {})
        if ages and name in ages:
            declared[name]["max_age"] = ages[name]  # type: ignore[index]
    return compile_bundle({"a.yaml": REST.encode(), "b.yaml": json.dumps({"features": declared}).encode()})


def world(bundle: Bundle) -> World:
    return World(bundle, Pauses(), Posteriors(), b"")


State = dict[str, tuple[bytes, bytes]]
Put = tuple[bytes, Entry]


def by_columns(
    columns: PutColumns, messages: Sequence[profile_pb2.Profile], state: State, now_ms: int
) -> list[Put | None]:
    """What is written for each profile, None for what is left."""
    payload = profile_pb2.PutProfilesRequest(profiles=messages).SerializeToString()
    spans = np.zeros((1000, 2), np.int64)
    assert find_items(np.frombuffer(payload, np.uint8), spans) == len(messages)
    batch = PutBatch(columns, payload, spans[: len(messages)])
    rows = batch.rows()
    reader = hiredis.Reader()
    reader.feed(batch.read_command(rows, PREFIX))
    watch, mget = reader.gets(), reader.gets()
    assert watch[1:] == mget[1:]
    blobs: list[bytes | None] = []
    for i in rows.tolist():
        blobs += [blob or None for blob in state.get(messages[i].customer_id, (b"", b""))]
    command, total = batch.commit(rows, blobs, now_ms, PREFIX)
    reader.feed(command)
    commands = []
    while (one := reader.gets()) is not False:
        commands.append(one)
    assert (commands[0], commands[-1], len(commands)) == ([b"MULTI"], [b"EXEC"], total + 2)
    done = batch.rows_of(rows)
    assert total == 2 * len(done)
    found: list[Put | None] = [None] * len(messages)
    answer, ends = batch.results(done)
    begin = 0
    for k, i in enumerate(done.tolist()):
        key = customer_key(messages[i].customer_id)
        tag, name = f"t:{{{key.bucket}}}", b2a_base64(key.digest, newline=False)[:22].decode()
        added, written = commands[1 + 2 * k : 3 + 2 * k]
        assert added[:-1] == [b"XADD", f"{tag}log".encode(), b"*", b"d"]
        assert written[:-1] == [b"SET", f"{tag}p:{name}".encode()]
        assert f"{tag}r:{name}".encode() in watch
        found[i] = written[-1], decode_entry(added[-1])
        result = profile_pb2.PutProfilesResponse.FromString(answer[begin : ends[k]]).results
        assert [r.customer_id for r in result] == [messages[i].customer_id]
        assert not result[0].HasField("error")
        begin = ends[k]
    return found


def by_step(bundle: Bundle, messages: Sequence[profile_pb2.Profile], state: State, now_ms: int) -> list[Put | None]:
    """The same in Python; None where it is refused."""
    loop = asyncio.new_event_loop()
    found: list[Put | None] = []
    for message in messages:
        try:
            change = decode_profile(message, bundle.ruleset)
        except InvalidInput:
            found.append(None)
            continue
        group = Group(customer_key(message.customer_id), [Pending(PutProfile(change), loop.create_future())])
        [commit] = apply_groups(
            world(bundle),
            [group],
            ReadBatch(now_ms, [ReadEntry(*state.get(message.customer_id, (b"", b"")), {})]),
            False,
        )
        if isinstance(group.pending[0].result, Exception):
            found.append(None)
            continue
        assert isinstance(commit, Commit)
        assert commit.profile is not None
        found.append((commit.profile, decode_entry(commit.entries[0])))
    loop.close()
    return found


def compare(columns: Sequence[Put | None], step: Sequence[Put | None]) -> int:
    """Asserts that all that columns took is what the step does, but for the random version; how many."""
    taken = 0
    for mine, theirs in zip(columns, step, strict=True):
        if mine is None:
            continue
        assert theirs is not None
        taken += 1
        (blob, entry), (wanted, told) = mine, theirs
        assert isinstance(entry, ProfileEntry)
        assert isinstance(told, ProfileEntry)
        assert decode(blob).version == entry.profile_version == blob[:8]
        assert any(blob[:8])
        assert blob[8:] == wanted[8:], (decode(blob), decode(wanted))
        assert replace(entry, profile_version=b"") == replace(told, profile_version=b"")
    return taken


SCHEMAS = st.dictionaries(st.sampled_from(NAMES[:5]), st.sampled_from(KINDS), max_size=5)


@st.composite
def contacts(draw: st.DrawFn) -> profile_pb2.ContactPreferences:
    made = profile_pb2.ContactPreferences()
    for purpose in draw(st.lists(st.sampled_from(["marketing", "news"]), max_size=2)):
        consent = made.consents.add(purpose=purpose, state=draw(st.sampled_from([1, 1, 1, 2])))
        at_ms = draw(st.sampled_from([0, 0, NOW_MS - DAY_MS, NOW_MS - 5 * DAY_MS, NOW_MS + 200_000, NOW_MS + 400_000]))
        if at_ms:
            consent.changed_at.FromMilliseconds(at_ms)
        consent.source = draw(st.sampled_from(["", "branch", "Büro"]))
        consent.wording_version = draw(st.sampled_from(["", "v1"]))
    made.blocked_topics.extend(draw(st.lists(st.sampled_from(["loans", "funds", "laons"]), max_size=2)))
    made.blocked_channels.extend(draw(st.lists(st.sampled_from(["push", "sms"]), max_size=2)))
    if draw(st.integers(0, 6)) == 0:
        made.preferred_hours.to = "20:00"
        setattr(made.preferred_hours, "from", "08:00")
    return made


@st.composite
def messages_of(draw: st.DrawFn, schema: dict[str, str]) -> list[profile_pb2.Profile]:
    found = []
    for k in range(draw(st.integers(1, 4))):
        message = profile_pb2.Profile(customer_id=f"c{k}")
        for name in draw(st.lists(st.sampled_from(sorted(schema)), unique=True)) if schema else ():
            message.features[name].CopyFrom(value_of(schema[name], draw(VALUES[schema[name]])))
        if draw(st.integers(0, 5)) == 0 and schema:
            cleared = draw(st.sampled_from(sorted(schema)))
            if cleared not in message.features:
                message.clear_features.append(cleared)
        if draw(st.integers(0, 2)) == 0:
            message.contact.CopyFrom(draw(contacts()))
        found.append(message)
    return found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_partial_puts_under_changing_rule_sets(data: st.DataObject) -> None:
    """Each rule set writes over what the ones before left. All cells are where a plain dictionary has them."""
    state: State = {}
    model: dict[str, dict[str, Cell]] = {}
    schemas = data.draw(st.lists(SCHEMAS, min_size=2, max_size=4))
    bundles = [bundle_of(schema, {"a": "2 days"} if "a" in schema else None) for schema in schemas]
    for turn, (schema, bundle) in enumerate(zip(schemas, bundles, strict=True)):
        now_ms = NOW_MS + turn * DAY_MS
        messages = data.draw(messages_of(schema))
        wanted = by_step(bundle, messages, state, now_ms)
        columns = PutColumns(bundle, b"")
        compare(by_columns(columns, messages, state, now_ms), wanted)
        compare(by_columns(columns, messages, state, now_ms), wanted)  # all sections are known now
        for message, put in zip(messages, wanted, strict=True):
            if put is None:
                continue
            state[message.customer_id] = put[0], b""
            cells = model.setdefault(message.customer_id, {})
            for name in message.clear_features:
                cells.pop(name, None)
            change = decode_profile(message, bundle.ruleset)
            for name, value in change.features.items():
                kind, _, unit = schema[name].partition(" ")
                cells[name] = Cell(kind, value, now_ms, unit)
    now_ms = NOW_MS + 10 * DAY_MS
    for customer, (blob, _) in state.items():
        stored = decode(blob)
        assert stored.cells == model[customer]
        for schema, bundle in zip(schemas, bundles, strict=True):  # the same bytes under every rule set
            for name, feature in bundle.ruleset.features.items():
                cell = model[customer].get(name)
                fits = cell is not None and " ".join(filter(None, (cell.type, cell.unit))) == schema[name]
                absent = STALE if fits and name == "a" else MISSING
                is_there = fits and name != "a"
                value = feature_value(feature, stored, now_ms)
                assert value == (cell.value if is_there and cell is not None else absent)


def test_all_that_is_plain_is_taken() -> None:
    """Every type that kernels know, over nothing, over itself, over other rule sets: nothing is left."""
    kinds = [kind for kind in KINDS if kind not in ("duration", "texts")]
    schema = dict(zip("abcdefgh", kinds, strict=True)) | {"timezone": "text"}
    samples: dict[str, Any] = {
        "number": 12.5, "integer": 7, "text": "x", "bool": True, "time": 1_700_000_000 * 10**9, "date": 20_000,
        "money EUR": 5 * 10**9, "money USD": 10**7,
    }  # fmt: skip
    messages = []
    for k in range(40):
        message = profile_pb2.Profile(customer_id=f"c{k}")
        for name, kind in schema.items():
            if k % 2 or (k + ord(name[0])) % 5:
                message.features[name].CopyFrom(value_of(kind, "UTC" if name == "timezone" else samples[kind]))
        if k % 3:
            message.contact.consents.add(purpose="marketing", state=1).source = "branch"
            message.contact.blocked_topics.extend(("loans", "funds"))
            message.contact.blocked_channels.append("sms")
        messages.append(message)
    bundle = bundle_of(schema)
    columns = PutColumns(bundle, b"")
    state: State = {}
    for turn in range(3):
        wanted = by_step(bundle, messages, state, NOW_MS + turn)
        assert compare(by_columns(columns, messages, state, NOW_MS + turn), wanted) == len(messages)
        state = {m.customer_id: (put[0], b"") for m, put in zip(messages, wanted, strict=True) if put is not None}
    fewer = bundle_of({name: kind for name, kind in schema.items() if name in "abc"})
    few = [profile_pb2.Profile(customer_id=m.customer_id, features={"a": value_of("number", 1.0)}) for m in messages]
    wanted = by_step(fewer, few, state, NOW_MS + 9)
    taken = compare(by_columns(PutColumns(fewer, b""), few, state, NOW_MS + 9), wanted)
    assert 0 < taken < len(few)  # features that are gone and had no value lose their names: the step does that
    again = {m.customer_id: (put[0], b"") for m, put in zip(messages, wanted, strict=True) if put is not None}
    wanted = by_step(fewer, few, again, NOW_MS + 10)
    assert compare(by_columns(PutColumns(fewer, b""), few, again, NOW_MS + 10), wanted) == len(few)


BUNDLE = bundle_of({"a": "number", "b": "text", "timezone": "text"})


def left(*messages: profile_pb2.Profile, state: State | None = None) -> list[bool]:
    columns = by_columns(PutColumns(BUNDLE, b""), messages, state or {}, NOW_MS)
    compare(columns, by_step(BUNDLE, messages, state or {}, NOW_MS))
    return [one is None for one in columns]


def plain(customer: str = "c", **features: decision_pb2.Value) -> profile_pb2.Profile:
    return profile_pb2.Profile(customer_id=customer, features=features or {"a": value_of("number", 1.0)})


@pytest.mark.parametrize(
    "wrong",
    [
        profile_pb2.Profile(customer_id=""),
        profile_pb2.Profile(customer_id="c\n"),
        profile_pb2.Profile(customer_id="c" * 257),
        plain(unknown=value_of("number", 1.0)),
        plain(a=value_of("text", "1")),
        plain(a=decision_pb2.Value(number=float("inf"))),
        plain(a=decision_pb2.Value()),
        plain(a=decision_pb2.Value(money=Money(currency_code="EUR"))),
        plain(timezone=value_of("text", "Europe/Nowhere")),
        profile_pb2.Profile(customer_id="c", clear_features=["a"]),
        profile_pb2.Profile(customer_id="c", contact={"blocked_channels": ["pigeon"]}),
        profile_pb2.Profile(customer_id="c", contact={"blocked_topics": ["funds", "Loans"]}),
        profile_pb2.Profile(customer_id="c", contact={"consents": [{"purpose": "other", "state": "GRANTED"}]}),
        profile_pb2.Profile(customer_id="c", contact={"consents": [{"purpose": "news"}]}),
    ],
    ids=range(14),
)
def test_what_is_wrong_is_left_and_costs_itself_only(wrong: profile_pb2.Profile) -> None:
    assert left(plain("other"), wrong, plain("third")) == [False, True, False]


def test_of_a_customer_with_several_profiles_all_are_left() -> None:
    assert left(plain("one"), plain("two"), plain("one")) == [True, False, True]
    assert left(plain("one"), profile_pb2.Profile(customer_id="one", clear_features=["a"])) == [True, True]


def test_a_stop_or_a_withdrawal_is_left_to_the_step() -> None:
    granted = profile_pb2.Profile(customer_id="c", contact={"consents": [{"purpose": "news", "state": "GRANTED"}]})
    stopped = encode_record(Record(b"r" * 8, NOW_MS, NOW_MS, opt_outs={name_hash("news"): NOW_MS - 5}))
    assert left(granted, state={"c": (b"", stopped)}) == [True]
    assert left(plain(), state={"c": (b"", stopped)}) == [False]
    withdrawn = Profile(b"p" * 8, {}, Contact([ConsentEntry("news", False, NOW_MS - 5, "", "")]))
    declared = BUNDLE.steps.features
    assert left(granted, state={"c": (encode(withdrawn, declared), b"")}) == [True]
    again = profile_pb2.Profile(customer_id="c", contact={"consents": [{"purpose": "news", "state": "WITHDRAWN"}]})
    assert left(again, state={"c": (encode(withdrawn, declared), b"")}) == [False]
    later = profile_pb2.Profile(customer_id="c", contact={"consents": [{"purpose": "news", "state": "GRANTED"}]})
    later.contact.consents[0].changed_at.FromMilliseconds(NOW_MS - 4)
    assert left(later, state={"c": (encode(withdrawn, declared), b"")}) == [False]
    later.contact.consents[0].changed_at.FromMilliseconds(NOW_MS - 5)
    assert left(later, state={"c": (encode(withdrawn, declared), b"")}) == [True]
    assert left(plain(), state={"c": (encode(withdrawn, declared), b"")}) == [False]


def test_time_is_the_records_where_that_is_ahead() -> None:
    ahead = encode_record(Record(b"r" * 8, NOW_MS + 500, NOW_MS))
    [put] = by_columns(PutColumns(BUNDLE, b""), [plain()], {"c": (b"", ahead)}, NOW_MS)
    assert put is not None
    assert decode(put[0]).cells["a"].as_of_ms == NOW_MS + 500


def test_a_text_under_a_type_that_is_none_is_left() -> None:
    """As damage makes it: whether its feature is written anew or not."""
    cells = {"a": Cell(Type.NUMBER, 1.5, NOW_MS), "b": Cell(Type.TEXT, "text", NOW_MS - 5)}
    blob = bytearray(encode(Profile(b"p" * 8, cells), BUNDLE.steps.features))
    assert blob[15] == 3
    columns = PutColumns(BUNDLE, b"")
    for code in (0, 1, 2):
        blob[15] = code
        for message in (plain(b=value_of("text", "new")), plain(a=value_of("number", 2.5))):
            assert by_columns(columns, [message], {"c": (bytes(blob), b"")}, NOW_MS) == [None]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_bytes_are_left_or_read_as_the_step_reads_them(data: st.DataObject) -> None:
    cells = {"a": Cell(Type.NUMBER, 1.5, NOW_MS), "b": Cell(Type.TEXT, "text", NOW_MS - 5)}
    blob = bytearray(
        encode(Profile(b"p" * 8, cells, Contact([ConsentEntry("news", True, 5, "x", "y")])), BUNDLE.steps.features)
    )
    for _ in range(data.draw(st.integers(1, 2))):
        blob[data.draw(st.integers(8, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(blob[: data.draw(st.integers(len(blob) - 3, len(blob)))])
    message = plain(b=value_of("text", "new"))
    columns = PutColumns(BUNDLE, b"")
    payload = profile_pb2.PutProfilesRequest(profiles=[message]).SerializeToString()
    spans = np.zeros((1, 2), np.int64)
    find_items(np.frombuffer(payload, np.uint8), spans)
    batch = PutBatch(columns, payload, spans)
    batch.commit(batch.rows(), [cut, None], NOW_MS, PREFIX)
    if batch.status[0] == FINE:
        [mine] = by_columns(columns, [message], {"c": (cut, b"")}, NOW_MS)
        assert mine is not None
        [theirs] = by_step(BUNDLE, [message], {"c": (cut, b"")}, NOW_MS)
        assert theirs is not None
        assert decode(mine[0]).cells == decode(theirs[0]).cells
