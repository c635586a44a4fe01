"""The commands over a decision log, as users run them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.readout.written import RULES, write_log

Tact = Callable[..., Any]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("log")
    write_log(directory, customers=200, events=12)
    return directory


@pytest.fixture
def rule_set(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    for name, text in RULES.items():
        (tmp_path / "set" / name).write_bytes(text)
    return tmp_path / "set"


def test_verify_says_what_it_did(tact: Tact, log: Path, rule_set: Path) -> None:
    ran = tact("verify", log, "--rules", rule_set)
    assert ran.status == 0
    assert ran.out.startswith("2,400 decisions and ")
    assert ran.out.endswith("nothing differs\n")
    found = tact("verify", log, "--rules", rule_set, "--json").json
    assert found["decisions"] == 2400
    assert found["counts"] == {}
    assert found["recomputed"] + found["taken_as_logged"] < found["drawn"]  # the rest is sticky


def test_verify_fails_where_a_row_was_altered(tact: Tact, log: Path) -> None:
    path = sorted(log.rglob("decision.parquet"))[0]
    table = pq.read_table(path)
    rows = table.to_pylist()
    changed = next(r for r in rows if r["message"] == "bill" and r["outcome"] == 1)
    changed["variant"] = "a" if changed["variant"] == "b" else "b"
    copy = path.parent.parent / "copy.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), copy)
    ran = tact("verify", copy)
    copy.unlink()
    assert ran.status == 1
    identity = f"{changed['customer'].hex()}-{changed['event']:016x}-0"
    assert "1 difference: the variant is not the one that its shares and uniform draw" in ran.out
    assert f"{identity}  {copy}, entry {changed['log_id']}" in ran.out


def test_verify_hints_at_a_wrong_secret(tact: Tact, log: Path) -> None:
    ran = tact("verify", log, "--secret", "another")
    assert ran.status == 1
    assert ran.out.endswith("every uniform differs: is --secret (TACT_SECRET) the server's?\n")
