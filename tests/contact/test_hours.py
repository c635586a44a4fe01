"""Quiet hours and the customer's own hours, to the second, over daylight saving."""

from __future__ import annotations

from datetime import datetime

import pytest

from engine.compiler.model import Position, QuietHours
from engine.contact.hours import closes, send_time
from engine.decision import Reason
from engine.state.model import Contact

HERE = Position("x.yaml", 1, 1)


def night(then: str = "defer", zone: str = "customer") -> QuietHours:
    return QuietHours("night", 20 * 60, 8 * 60, zone, then, HERE)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("now", "sent"),
    [
        ("2026-06-01T10:00:00+02:00", "2026-06-01T10:00:00+02:00"),
        ("2026-06-01T19:59:59+02:00", "2026-06-01T19:59:59+02:00"),
        ("2026-06-01T20:00:00+02:00", "2026-06-02T08:00:00+02:00"),
        ("2026-06-02T03:00:00+02:00", "2026-06-02T08:00:00+02:00"),
        ("2026-06-02T07:59:59+02:00", "2026-06-02T08:00:00+02:00"),
        ("2026-06-02T08:00:00+02:00", "2026-06-02T08:00:00+02:00"),
        ("2026-03-28T21:00:00+01:00", "2026-03-29T08:00:00+02:00"),  # clocks go forward in that night
        ("2026-10-24T21:00:00+02:00", "2026-10-25T08:00:00+01:00"),  # and back
        ("2028-02-28T23:00:00+01:00", "2028-02-29T08:00:00+01:00"),
    ],
)
def test_a_night_is_waited_for(now: str, sent: str) -> None:
    assert send_time(ms(now), night(), None, "Europe/Madrid") == ms(sent)


def test_drop_says_when_it_ends() -> None:
    found = send_time(ms("2026-06-01T21:00:00+02:00"), night("drop"), None, "Europe/Madrid")
    assert not isinstance(found, int)
    assert found[0] is Reason.QUIET_HOURS
    assert found[1].frees_at_ms == ms("2026-06-02T08:00:00+02:00")


@pytest.mark.parametrize("zone", [None, "", "Mars/Olympus", "../../etc/passwd"])
def test_an_unknown_zone_is_silence(zone: str | None) -> None:
    found = send_time(ms("2026-06-01T12:00:00+02:00"), night(), None, zone)
    assert not isinstance(found, int)
    assert found[0] is Reason.QUIET_HOURS
    assert "time zone is unknown" in found[1].cause


def test_declared_zone_needs_no_customer_zone() -> None:
    now = ms("2026-06-01T12:00:00+02:00")
    assert send_time(now, night(zone="Europe/Madrid"), None, None) == now


def test_the_customers_own_hours() -> None:
    contact = Contact(preferred_from_minute=18 * 60, preferred_to_minute=21 * 60)
    now = ms("2026-06-01T10:00:00+02:00")
    assert send_time(now, night(), contact, "Europe/Madrid") == ms("2026-06-01T18:00:00+02:00")
    found = send_time(now, None, contact, "Europe/Madrid")
    assert not isinstance(found, int)
    assert found[0] is Reason.OUTSIDE_PREFERRED_HOURS
    evening = ms("2026-06-01T20:30:00+02:00")  # their hours, but quiet: the next moment that is both
    assert send_time(evening, night(), contact, "Europe/Madrid") == ms("2026-06-02T18:00:00+02:00")


def test_own_hours_inside_the_night_are_never() -> None:
    contact = Contact(preferred_from_minute=22 * 60, preferred_to_minute=23 * 60)
    found = send_time(ms("2026-06-01T10:00:00+02:00"), night(), contact, "Europe/Madrid")
    assert not isinstance(found, int)


def test_when_the_permitted_time_ends() -> None:
    now = ms("2026-06-01T10:00:00+02:00")
    own = Contact(preferred_from_minute=9 * 60, preferred_to_minute=17 * 60)
    assert closes(now, night(), None, "Europe/Madrid") == ms("2026-06-01T20:00:00+02:00")
    assert closes(now, night(), own, "Europe/Madrid") == ms("2026-06-01T17:00:00+02:00")
    assert closes(now, None, None, "Europe/Madrid") is None
