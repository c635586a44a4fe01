"""Presets of quiet hours: to the second, around both switches of the clocks, and where the zone is unknown."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from engine.compiler import regimes, ruleset
from engine.compiler.model import QuietHours, RuleSet
from engine.contact.hours import closes, send_time
from engine.decision import Reason
from engine.errors import RulesInvalid
from engine.state.model import Contact

RULES = """
quiet_hours:
  us: {preset: united_states}
  drop: {preset: united_states, then: drop}
  florida: {preset: florida}
  india: {preset: india_promotional}
  two: {from: "20:00", to: "08:00", zone: customer, if_zone_unknown: [Europe/Madrid, Atlantic/Canary]}
  never: {from: "12:00", to: "11:00", zone: customer, if_zone_unknown: [Europe/Madrid, Atlantic/Canary]}
caps:
  - {preset: florida, purposes: [ads]}
"""
BASE = """
events: {ping: {}}
features: {timezone: text}
purposes: {ads: {consent: required, quiet_hours: us}}
messages:
  m: {purpose: ads, topic: loans, on: [ping], channels: [sms], variants: {plain: {en: "Hello."}}}
"""


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return ruleset.load({"a.yaml": (RULES + BASE).encode()})


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def at(quiet: QuietHours, now: str, zone: str | None) -> str | None:
    """When it is sent, in UTC; None where it is not."""
    found = send_time(ms(now), quiet, None, zone)
    return datetime.fromtimestamp(found / 1000, ZoneInfo("UTC")).isoformat() if isinstance(found, int) else None


@pytest.mark.parametrize(
    ("preset", "zone", "now", "sent"),
    [
        # a day without a switch, to the second
        ("us", "America/New_York", "2026-06-01T07:59:59-04:00", "2026-06-01T08:00:00-04:00"),
        ("us", "America/New_York", "2026-06-01T08:00:00-04:00", "2026-06-01T08:00:00-04:00"),
        ("us", "America/New_York", "2026-06-01T20:59:59-04:00", "2026-06-01T20:59:59-04:00"),
        ("us", "America/New_York", "2026-06-01T21:00:00-04:00", "2026-06-02T08:00:00-04:00"),
        # clocks go forward on March 8 at 2: the night has eleven hours less one
        ("us", "America/New_York", "2026-03-07T21:00:00-05:00", "2026-03-08T08:00:00-04:00"),
        ("us", "America/New_York", "2026-03-08T01:59:59-05:00", "2026-03-08T08:00:00-04:00"),
        ("us", "America/New_York", "2026-03-08T11:59:59+00:00", "2026-03-08T08:00:00-04:00"),  # 7:59:59 there
        ("us", "America/New_York", "2026-03-08T12:00:00+00:00", "2026-03-08T08:00:00-04:00"),
        # and back on November 1 at 2: one hour is lived twice
        ("us", "America/New_York", "2026-10-31T21:00:00-04:00", "2026-11-01T08:00:00-05:00"),
        ("us", "America/New_York", "2026-11-01T01:30:00-04:00", "2026-11-01T08:00:00-05:00"),
        ("us", "America/New_York", "2026-11-01T12:59:59+00:00", "2026-11-01T08:00:00-05:00"),
        ("us", "America/New_York", "2026-11-01T13:00:00+00:00", "2026-11-01T08:00:00-05:00"),
        # Phoenix has no daylight saving, Honolulu is far away
        ("us", "America/Phoenix", "2026-07-01T20:59:59-07:00", "2026-07-01T20:59:59-07:00"),
        ("us", "Pacific/Honolulu", "2026-07-01T21:00:00-10:00", "2026-07-02T08:00:00-10:00"),
        ("florida", "America/New_York", "2026-06-01T20:00:00-04:00", "2026-06-02T08:00:00-04:00"),
        ("florida", "America/Chicago", "2026-06-01T19:59:59-05:00", "2026-06-01T19:59:59-05:00"),
        ("india", None, "2026-06-01T09:59:59+05:30", "2026-06-01T10:00:00+05:30"),
        ("india", "America/New_York", "2026-06-01T20:59:59+05:30", "2026-06-01T20:59:59+05:30"),
        ("india", "Asia/Kolkata", "2026-06-01T21:00:00+05:30", "2026-06-02T10:00:00+05:30"),
        # Florida's customers without a zone: open where it is open in both of its zones
        ("florida", None, "2026-06-01T08:59:59-04:00", "2026-06-01T08:00:00-05:00"),
        ("florida", None, "2026-06-01T19:59:59-04:00", "2026-06-01T19:59:59-04:00"),
        ("florida", "Mars/Olympus", "2026-06-01T20:00:00-04:00", "2026-06-02T08:00:00-05:00"),
        # the United States: from 8 in Hawaii and Samoa and Guam to 21 in Puerto Rico
        ("us", None, "2026-06-01T15:00:00-04:00", "2026-06-02T08:00:00+10:00"),
        ("us", None, "2026-06-01T20:59:59-04:00", "2026-06-01T20:59:59-04:00"),
        ("us", None, "2026-06-01T21:00:00-04:00", "2026-06-03T08:00:00+10:00"),
    ],
)
def test_presets_to_the_second(rules: RuleSet, preset: str, zone: str | None, now: str, sent: str) -> None:
    found = at(rules.quiet_hours[preset], now, zone)
    assert found is not None
    assert ms(found) == ms(sent), found


@pytest.mark.parametrize("day", ["2026-03-08", "2026-11-01", "2026-03-29", "2026-07-14", "2027-12-31"])
@pytest.mark.parametrize("preset", ["us", "florida", "two"])
def test_an_unknown_zone_is_open_only_where_all_are(rules: RuleSet, preset: str, day: str) -> None:
    """Against every second that matters: the hours and seconds around them, by each zone's own clock."""
    quiet = rules.quiet_hours[preset]
    begin = datetime.fromisoformat(day + "T00:00:00+00:00")
    for quarter in range(4 * 24):
        for second in (-1, 0, 1):
            now = begin + timedelta(minutes=15 * quarter, seconds=second)
            open_in = []
            for name in quiet.unknown_zones:
                local = now.astimezone(ZoneInfo(name))
                minute = local.hour * 60 + local.minute
                open_in.append(quiet.to_minute <= minute < quiet.from_minute)
            now_ms = int(now.timestamp()) * 1000
            found = send_time(now_ms, quiet, None, None)
            assert isinstance(found, int)
            assert (found == now_ms) == all(open_in), now
            assert send_time(found, quiet, None, None) == found


def test_dropped_where_the_zone_is_unknown_says_when_it_is_open_in_all(rules: RuleSet) -> None:
    found = send_time(ms("2026-06-01T21:00:00-04:00"), rules.quiet_hours["drop"], None, None)
    assert not isinstance(found, int)
    assert (found[0], found[1].condition) == (Reason.QUIET_HOURS, "drop")
    assert found[1].frees_at_ms == ms("2026-06-03T08:00:00+10:00")


def test_it_may_be_sent_until_it_is_quiet_in_the_first_zone(rules: RuleSet) -> None:
    now = ms("2026-06-01T12:00:00-04:00")
    assert closes(now, rules.quiet_hours["florida"], None, None) == ms("2026-06-01T20:00:00-04:00")
    assert closes(now, rules.quiet_hours["florida"], None, "America/Chicago") == ms("2026-06-01T20:00:00-05:00")


def test_the_customers_own_hours_hold_in_every_zone_they_may_be_in(rules: RuleSet) -> None:
    own = Contact(preferred_from_minute=9 * 60, preferred_to_minute=10 * 60 + 30)
    now = ms("2026-06-01T09:30:00-04:00")
    assert send_time(now, rules.quiet_hours["florida"], own, None) == ms("2026-06-01T10:00:00-04:00")


def test_hours_that_no_zone_shares_are_silence(rules: RuleSet) -> None:
    found = send_time(ms("2026-06-01T12:00:00-04:00"), rules.quiet_hours["never"], None, None)
    assert not isinstance(found, int)
    assert (found[0], found[1].cause) == (
        Reason.QUIET_HOURS, "no hour is open in all of the zones that the customer may be in",
    )  # fmt: skip


def test_every_preset_is_open_at_some_hour_of_every_day_of_the_year() -> None:
    for name, hours in regimes.HOURS.items():
        quiet = QuietHours(name, hours.from_minute, hours.to_minute, hours.zone, "defer", None, hours.unknown)  # type: ignore[arg-type]
        for day in range(0, 366, 3):
            now = ms("2026-01-01T00:00:00+00:00") + day * 86_400_000
            found = send_time(now, quiet, None, None)
            assert isinstance(found, int)
            assert found - now < 86_400_000


def test_a_preset_cap(rules: RuleSet) -> None:
    [cap] = rules.caps
    assert (cap.at_most, cap.per, str(cap.over), cap.purposes) == (3, ("customer", "topic"), "24 hours", ("ads",))
    assert cap.title == "florida: at most 3 per customer and topic in 24 hours"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("quiet_hours: {us: {preset: untied_states}}", "bad-value"),
        ('quiet_hours: {us: {preset: florida, from: "20:00"}}', "bad-value"),
        ("quiet_hours: {us: {then: drop}}", "missing-key"),
        ("quiet_hours: {us: {preset: india_promotional, if_zone_unknown: [Asia/Kolkata]}}", "bad-value"),
        ("quiet_hours: {us: {preset: florida, if_zone_unknown: [America/Miami]}}", "unknown-zone"),
        ("quiet_hours: {us: {preset: florida, if_zone_unknown: []}}", "missing-value"),
        ("caps: [{preset: florida, in: 7 days}]", "bad-value"),
        ("caps: [{preset: texas}]", "bad-value"),
    ],
)
def test_mistakes(text: str, code: str) -> None:
    base = BASE if "quiet_hours" in text else BASE.replace(", quiet_hours: us", "")
    with pytest.raises(RulesInvalid) as refused:
        ruleset.load({"a.yaml": base.encode(), "b.yaml": text.encode()})
    assert {f.code for f in refused.value.findings} == {code}


def test_a_message_without_a_topic_is_not_held_by_a_cap_per_subject() -> None:
    base = (BASE + RULES).replace(" topic: loans,", "")
    found = ruleset.load({"a.yaml": base.encode()}).warnings
    assert "cap-without-topic" in {f.code for f in found}
