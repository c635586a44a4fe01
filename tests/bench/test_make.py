"""The generator: a bank's rhythm, the same again for a seed, and files that the rule set takes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench.__main__ import main
from bench.bank import CHANNELS, ZONE, Bank, Events, payday
from bench.generate import EVENT_TYPES
from bench.load.events import read_profiles, read_requests
from bench.make import profile_lines, profile_rows
from engine.bundle import compile_bundle
from engine.pb.tact.v1 import decision_pb2

SALARY, DUE = EVENT_TYPES.index("salary"), EVENT_TYPES.index("instalment_due")


@pytest.fixture(scope="module")
def month() -> Events:
    """October 2026: the clocks change on the 25th, the last day is a Saturday."""
    hours = list(Bank(3000, seed=7).hours(date(2026, 10, 1), 31))
    return Events(*(np.concatenate([getattr(hour, name) for hour in hours]) for name in Events.__slots__))


def _local(events: Events) -> list[datetime]:
    return [datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZONE) for ms in events.at_ms.tolist()]


def test_days_and_weeks_have_their_rhythm(month: Events) -> None:
    assert (np.diff(month.at_ms) >= 0).all()
    at = _local(month)
    assert (at[0].date(), at[-1].date()) == (date(2026, 10, 1), date(2026, 10, 31))
    hours = Counter(moment.hour for moment in at)
    assert hours[19] > 10 * hours[3]
    assert hours[13] > hours[16]
    days = Counter(moment.date() for moment in at)
    assert days[date(2026, 10, 16)] > 1.4 * days[date(2026, 10, 18)]  # Friday, Sunday
    assert 3000 * 2 * 31 * 0.9 < len(at) < 3000 * 2 * 31 * 1.2


def test_few_customers_make_most_of_the_events(month: Events) -> None:
    counts = np.sort(np.bincount(month.customer, minlength=3000))[::-1]
    assert 0.4 < counts[:300].sum() / counts.sum() < 0.7
    assert np.median(counts) < counts.mean() / 2
    assert counts[0] > 20 * np.median(counts)


def test_salaries_come_at_the_end_of_the_month(month: Events) -> None:
    paid = month.type == SALARY
    days = Counter(moment.date() for moment, salary in zip(_local(month), paid, strict=True) if salary)
    assert set(days) == {date(2026, 10, 1), date(2026, 10, 23), date(2026, 10, 30)}
    assert days[date(2026, 10, 30)] > 2 * (days[date(2026, 10, 1)] + days[date(2026, 10, 23)])
    assert 0.5 < len(set(month.customer[paid].tolist())) / 3000 < 0.6  # 1 November is a Sunday: some are paid twice
    assert 1000 < np.median(month.amount[paid]) < 2000
    assert set(month.channel[paid].tolist()) == {CHANNELS.index("system")}
    due = month.customer[month.type == DUE]
    assert len(due) == len(set(due.tolist()))  # one a month
    assert 0.15 < len(due) / 3000 < 0.25


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        (0, [date(2026, 7, 31), date(2026, 8, 31), date(2026, 9, 30)]),
        (1, [date(2026, 7, 24), date(2026, 8, 25), date(2026, 9, 25)]),
        (2, [date(2026, 7, 1), date(2026, 7, 31), date(2026, 9, 1)]),  # 1 August is a Saturday
    ],
)
def test_paydays_are_working_days(rule: int, days: list[date]) -> None:
    quarter = [date.fromordinal(k) for k in range(date(2026, 7, 1).toordinal(), date(2026, 9, 30).toordinal() + 1)]
    assert [day for day in quarter if payday(day, rule)] == days


def _make(directory: Path, seed: int) -> dict[str, bytes]:
    directory.mkdir()
    arguments = ["make", "--rules", str(directory / "rules"), "--messages", "40", "--customers", "50", "--days", "2"]
    arguments += ["--profiles", str(directory / "profiles.jsonl"), "--events", str(directory / "events.jsonl")]
    assert main([*arguments, "--seed", str(seed)]) == 0
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_files_fit_each_other_and_a_seed_gives_the_same_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = _make(tmp_path / "a", seed=3)
    assert _make(tmp_path / "b", seed=3) == files
    other = _make(tmp_path / "c", seed=4)
    assert all(
        other[name] != content
        for name, content in files.items()
        if "contact_policy" not in name and name != "rules/schema.yaml"
    )
    rules = {name.removeprefix("rules/"): content for name, content in files.items() if name.startswith("rules/")}
    bundle = compile_bundle(rules)
    assert len(bundle.ruleset.messages) == 40
    profiles = list(read_profiles(tmp_path / "a" / "profiles.jsonl"))
    assert [profile.customer_id for profile in profiles] == [f"c{k}" for k in range(50)]
    assert 25 < sum(profile.HasField("contact") for profile in profiles) < 50
    requests = read_requests(tmp_path / "a" / "events.jsonl", 10_000, as_written=True)
    events = [decision_pb2.DecideRequest.FromString(requests.one()).event for _ in range(len(requests))]
    assert len({event.event_id for event in events}) == len(events) > 100
    assert {event.type for event in events} <= set(EVENT_TYPES)
    assert {event.customer_id for event in events} <= {profile.customer_id for profile in profiles}
    assert set(events[0].attributes) == {"amount", "channel"}
    assert events[0].occurred_at.ToJsonString() >= "2026-08-31T22:00:00Z"


def test_what_cannot_be_made_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("{}")
    for arguments, text in (
        ([], "nothing to make"),
        (["--rules", str(tmp_path)], "is not empty"),
        (["--events", "x", "--customers", "0"], "expected a number above 0"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["make", *arguments])
        assert stopped.value.code == 2
        assert text in capsys.readouterr().err
    assert main(["make", "--events", str(tmp_path / "no" / "events.jsonl"), "--customers", "5"]) == 2
    assert "No such file" in capsys.readouterr().err


def test_profiles_as_csv_are_those_of_json() -> None:
    header, *rows = [line.decode().rstrip("\n").split(",") for line in profile_rows(30, seed=5)]
    assert len(rows) == 30
    for cells, line in zip(rows, profile_lines(30, seed=5), strict=True):
        made = orjson.loads(line)
        given = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        assert given.pop("customer_id") == made["customerId"]
        assert (given.pop("consent.marketing", "") == "yes") == ("contact" in made)
        given.pop("consent.marketing.changed_at", "")
        values = {name: next(iter(value.values())) for name, value in made["features"].items()}
        flags = {True: "yes", False: "no"}
        assert given == {n: flags[v] if isinstance(v, bool) else str(v) for n, v in values.items()}
