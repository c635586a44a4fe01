"""`tact load`: what is read a table at a time is what is read row by row; bad rows are told; it can go on."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf.json_format import MessageToDict

from engine.cli.load import Loader, Options, _field
from engine.cli.loading import protobuf_json
from engine.cli.loading.checkpoint import SUFFIX
from engine.cli.loading.columns import Columns, Schema
from engine.cli.loading.files import Block, Source
from engine.cli.loading.rows import profile_of
from engine.cli.loading.send import requests
from engine.cli.output import CommandError
from engine.compiler.nodes import Type
from engine.pb.tact.v1 import profile_pb2 as pb
from engine.pb.tact.v1 import profile_pb2_grpc

Tact = Callable[..., Any]
SCHEMA = Schema(
    {
        "balance": (Type.NUMBER, ""), "age": (Type.INTEGER, ""), "name": (Type.TEXT, ""), "vip": (Type.BOOL, ""),
        "born": (Type.DATE, ""), "seen": (Type.TIME, ""), "limit": (Type.MONEY, "EUR"), "tags": (Type.TEXTS, ""),
        "term": (Type.DURATION, ""),
    },
    frozenset(("marketing", "news")),
)  # fmt: skip
NAMES = [
    "customer_id", *SCHEMA.features, "consent.marketing", "consent.marketing.changed_at", "consent.news",
    "consent.marketing.source", "blocked_topics", "blocked_channels", "preferred_from", "preferred_to",
]  # fmt: skip
ROWS: list[list[Any]] = [
    ["c1", 12.5, 41, "Ana", True, "1980-02-29", "2026-11-21T10:00:00+01:00", "12.50", "a|b", "90s", True,
     "2025-01-10T09:00:00Z", None, "branch", "loans|funds", "sms", "08:00", "20:00"],
    ["c2", -0.0, -1, "Zoë, \"the\" second\nline", False, "0001-01-01", "1969-12-31T23:59:59.999999999Z", "-0.01", None,
     None, False, None, True, None, None, None, None, None],
    ["c3", *[None] * 17],
    ["c4", 1e300, 2**63 - 1, "x" * 300, None, "9999-12-31", "2200-01-01T00:00:00.000000001Z", "9000000000.123456789",
     "one", "-1h", None, None, None, None, None, "push|sms", None, None],
    ["c5", 0.1, 0, "", True, "1970-01-01", "1970-01-01T00:00:00Z", "0", "", "0s", True, None, True, "", "", "", "", ""],
]  # fmt: skip


def as_csv(rows: Sequence[Sequence[Any]], names: Sequence[str] = NAMES) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for row in rows:
        writer.writerow(["yes" if v is True else "no" if v is False else "" if v is None else v for v in row])
    return text.getvalue()


def as_json(rows: Sequence[Sequence[Any]]) -> str:
    return "".join(json.dumps({n: v for n, v in zip(NAMES, row, strict=True) if v is not None}) + "\n" for row in rows)


def as_parquet(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    columns: dict[str, list[Any]] = {n: list(v) for n, v in zip(NAMES, zip(*rows, strict=True), strict=True)}
    for name in ("tags", "blocked_topics", "blocked_channels"):
        columns[name] = [v.split("|") if v else None for v in columns[name]]
    columns["limit"] = [None if v is None else Decimal(v) for v in columns["limit"]]
    table = pa.table({n: v for n, v in columns.items() if n not in ("born", "seen", "consent.marketing.changed_at")})
    days = pa.array([v or None for v in columns["born"]]).cast(pa.date32())
    table = table.append_column("born", days)
    for name in ("seen", "consent.marketing.changed_at"):
        table = table.append_column(name, pa.array([v or None for v in columns[name]]).cast(pa.timestamp("ns", "UTC")))
    pq.write_table(table, path)


class _Taken:
    """Instead of a server: keeps what would be sent."""

    def __init__(self) -> None:
        self.under_way: list[Any] = []


def both_ways(path: Path) -> tuple[list[pb.Profile], list[pb.Profile]]:
    """The profiles of a file, by table and by row."""
    with Source(path) as source:
        loader = Loader(source, SCHEMA, Options(), _Taken())  # type: ignore[arg-type]
        tables: list[pb.Profile] = []
        rows: list[pb.Profile] = []
        for block in source.blocks():
            payload, _ = loader._tables.encode(block.table())
            tables += pb.PutProfilesRequest.FromString(payload).profiles
            part, one_by_one, _ = loader._one_by_one(block)
            assert part.wrong == []
            rows += pb.PutProfilesRequest.FromString(one_by_one).profiles
    return tables, rows


def check_both(path: Path) -> list[pb.Profile]:
    tables, rows = both_ways(path)
    assert len(tables) == len(rows) == len(ROWS)
    for mine, theirs in zip(tables, rows, strict=True):
        assert MessageToDict(mine) == MessageToDict(theirs)
        assert mine == theirs
    return rows


def test_csv_by_table_and_by_row(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text(as_csv(ROWS))
    profiles = check_both(file)
    one = profiles[0]
    assert one.features["seen"].time.ToDatetime(UTC) == datetime(2026, 11, 21, 9, tzinfo=UTC)
    assert (one.features["limit"].money.units, one.features["limit"].money.nanos) == (12, 500_000_000)
    assert list(one.features["tags"].texts.values) == ["a", "b"]
    assert one.features["term"].text == "90s"
    assert one.contact.consents[0].source == "branch"
    assert getattr(one.contact.preferred_hours, "from") == "08:00"
    assert profiles[1].features["name"].text == 'Zoë, "the" second\nline'
    assert profiles[1].features["limit"].money.nanos == -10_000_000
    assert {c.purpose: c.state for c in profiles[1].contact.consents} == {"marketing": 2, "news": 1}
    assert profiles[2] == pb.Profile(customer_id="c3")
    assert "name" not in profiles[4].features
    packed = tmp_path / "p.csv.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert check_both(packed) == profiles


def test_parquet_by_table_and_by_row(tmp_path: Path) -> None:
    as_parquet(tmp_path / "p.parquet", [[*r[:6], ROWS[0][6], *r[7:]] if r[0] in ("c2", "c4") else r for r in ROWS])
    profiles = check_both(tmp_path / "p.parquet")
    file = tmp_path / "p.csv"
    file.write_text(as_csv(ROWS))
    of_csv = {p.customer_id: p for p in both_ways(file)[0]}
    for profile in profiles:
        wanted = of_csv[profile.customer_id]
        if profile.customer_id in ("c1", "c3", "c5"):
            assert MessageToDict(profile) == MessageToDict(wanted)


def test_json_rows_by_table_and_by_row(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    lists = ("tags", "blocked_topics", "blocked_channels")
    rows = [
        [(v.split("|") if v else None) if n in lists else v for n, v in zip(NAMES, row, strict=True)] for row in ROWS
    ]
    file.write_text(as_json(rows))
    profiles = check_both(file)
    csv_file = tmp_path / "p.csv"
    csv_file.write_text(as_csv(ROWS))
    assert profiles == both_ways(csv_file)[1]


def test_profile_messages_by_table_and_by_row(tmp_path: Path) -> None:
    of_csv = tmp_path / "p.csv"
    of_csv.write_text(as_csv([[v if n not in ("tags", "preferred_from", "preferred_to") else None
                               for n, v in zip(NAMES, row, strict=True)] for row in ROWS]))  # fmt: skip
    wanted = both_ways(of_csv)[1]
    for profile in wanted:
        profile.features.pop("limit", None)
    for snake in (False, True):
        file = tmp_path / f"p{snake}.jsonl"
        file.write_text("".join(json.dumps(MessageToDict(p, preserving_proto_field_name=snake)) + "\n" for p in wanted))
        assert protobuf_json.is_profile(MessageToDict(wanted[0]), SCHEMA)
        assert check_both(file) == wanted


def test_requests_are_cut(tmp_path: Path) -> None:
    profiles = [pb.Profile(customer_id=f"c{k}") for k in range(2500)]
    fields = [_field(p) for p in profiles]
    ends, end = [], 0
    for f in fields:
        end += len(f)
        ends.append(end)
    found = requests(b"".join(fields), ends)
    assert [len(places) for places, _, _ in found] == [1000, 1000, 500]
    back = [p for _, raw, cuts in found for p in pb.PutProfilesRequest.FromString(raw).profiles if cuts[-1] == len(raw)]
    assert back == profiles


@pytest.mark.parametrize(
    ("names", "mapped", "told"),
    [
        (["balance"], (), "no column is the customer's id"),
        (["id;balance"], (), "The file has id;balance; did you mean --delimiter ';'?"),
        (["id\tbalance"], ("x=age",), "the file has no column 'x'; did you mean --delimiter $'\\t'?"),
        (["id", "balanc"], (), "did you mean 'balance'? "),
        (["id", "x"], ("y=age",), "the file has no column 'y'"),
        (["id", "x"], ("x",), "--map: found 'x'"),
        (["id", "consent.sales"], (), "expected consent.marketing, consent.news"),
        (["id", "age", "x"], ("x=age",), "two columns are 'age'"),
    ],
)
def test_columns_that_mean_nothing(tmp_path: Path, names: list[str], mapped: tuple[str, ...], told: str) -> None:
    file = tmp_path / "p.csv"
    file.write_text(",".join(names) + "\n")
    with Source(file) as source, pytest.raises(CommandError) as refused:
        Loader(source, SCHEMA, Options(mapped=mapped), _Taken())  # type: ignore[arg-type]
    assert told.strip() in str(refused.value)


def blocks_of(path: Path, done: int = 0) -> list[Block]:
    with Source(path) as source:
        return list(source.blocks(done))


def test_blocks_end_with_rows_and_can_be_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.cli.loading.files.BLOCK_BYTES", 64)
    file = tmp_path / "p.csv"
    file.write_text("id,name\r\n" + "".join(f'c{k},"a ""quoted""\nname {k}"\r\n' for k in range(40)) + "last,x")
    columns = Columns(["id", "name"], SCHEMA)
    with Source(file) as source:
        found = [(line, row) for block in source.blocks() for line, row in block.rows()]
    assert [line for line, _ in found] == [*range(2, 82, 2), 82]
    assert profile_of(columns, found[3][1]).features["name"].text == 'a "quoted"\nname 3'  # type: ignore[arg-type]
    for block in blocks_of(file)[:-1]:
        with Source(file) as source:
            rest = [line for b in source.blocks(block.last) for line, _ in b.rows()]
        assert rest == [line for line, _ in found if line > block.last]
    lines = tmp_path / "p.jsonl"
    lines.write_text("".join(json.dumps({"id": f"c{k}"}) + "\n" for k in range(100)))
    with Source(lines) as source:
        assert [line for b in source.blocks(37) for line, _ in b.rows()] == list(range(38, 101))


# ---- against a server -----------------------------------------------------------------------------


def stored(target: str, customer: str) -> pb.Profile:
    with grpc.insecure_channel(target) as channel:
        stub: Any = profile_pb2_grpc.ProfileServiceStub(channel)
        profile: pb.Profile = stub.GetProfile(pb.GetProfileRequest(customer_id=customer)).profile
        return profile


def test_a_csv_file_with_bad_rows(tact: Tact, target: str, tmp_path: Path) -> None:
    file, rejects = tmp_path / "p.csv", tmp_path / "rejects.jsonl"
    file.write_text("client,age,phone,note\nl1,30,1,x\nl2,thirty,2,x\nl3,31\n,32,4,x\nl5,33,5,x\n")
    options = ("--customer", "client", "--map", "note=", "--target", target)
    ran = tact("load", file, *options, "--rejects", rejects)
    assert (ran.status, ran.out) == (1, "2 profiles stored, 3 refused\n")
    assert ran.err.splitlines() == [
        f"{file}:3: column 'age': found \"thirty\", expected a whole number",
        f"{file}:4: found 2 cells, expected 4 as in the header",
        f"{file}:5: column 'client': is empty, expected the customer's id",
    ]
    told = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [(t["line"], t["column"]) for t in told] == [(3, "age"), (4, ""), (5, "client")]
    assert stored(target, "l5").features["age"].integer == 33
    file.write_text("client,age,phone\nl1,31,\nl6,5,6\n" + f"{'x' * 300},1,1\n")
    ran = tact("load", file, *options[:2], *options[4:], "--json")
    assert ran.status == 1
    assert (ran.json["stored"], ran.json["refused"]) == (2, 1)
    assert ran.json["errors"][0]["line"] == 4
    assert "has 300 characters" in ran.json["errors"][0]["message"]
    assert stored(target, "l1").features["age"].integer == 31
    assert stored(target, "l1").features["phone"].text == "1"  # an empty cell leaves what is there


def test_a_load_goes_on_where_it_ended(tact: Tact, target: str, tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("id,age\n" + "".join(f"r{k},{k}\n" for k in range(50)))
    there = file.stat()
    beside = file.with_name(file.name + SUFFIX)
    kept = {"target": target, "size": there.st_size, "modified_ns": there.st_mtime_ns, "line": 41}
    beside.write_text(json.dumps(kept))
    ran = tact("load", file, "--target", target, "--resume", "--json")
    assert (ran.status, ran.json["stored"], ran.json["resumed_behind"]) == (0, 10, 41)
    assert not beside.exists()
    beside.write_text(json.dumps({**kept, "size": 1}))  # of another file
    assert tact("load", file, "--target", target, "--resume", "--json").json["stored"] == 50
    with pytest.raises(grpc.RpcError):
        stored(target, "nobody")


def test_where_a_server_is_lost_the_checkpoint_stays(tact: Tact, tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("id,age\nx,1\n")
    ran = tact("load", file, "--target", "127.0.0.1:1")
    assert ran.status == 1
    assert "no server answers" in ran.err
    assert not file.with_name(file.name + SUFFIX).exists()  # nothing was done
