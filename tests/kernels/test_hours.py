"""The kernels of hours against their twin, to the second, near to changes of the clocks and far from them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.columns.limits import hours_table
from engine.compiler.model import Position, QuietHours
from engine.contact import hours as twin
from engine.decision import Reason
from engine.kernels import hours as kernel
from engine.state.model import Contact
from engine.zones import ZONES, transitions

HERE = Position("x.yaml", 1, 1)
NAMES = (
    "Europe/Madrid", "America/Sao_Paulo", "America/Santiago", "Asia/Kolkata", "Australia/Lord_Howe",
    "Pacific/Apia", "Africa/Casablanca", "Asia/Gaza", "America/Havana", "UTC", "Pacific/Kwajalein",
)  # fmt: skip
YEAR_S = 31_556_952
LAST_S = 4_086_547_200 - 100 * 86_400
CHANGES = {name: [s for s in transitions(name)[0] if 0 < s < LAST_S] for name in NAMES}
CODES = {
    (Reason.QUIET_HOURS, "timezone"): kernel.QUIET_ZONE,
    (Reason.OUTSIDE_PREFERRED_HOURS, "timezone"): kernel.OWN_ZONE,
    (Reason.QUIET_HOURS, "night"): kernel.QUIET,
    (Reason.OUTSIDE_PREFERRED_HOURS, "outside"): kernel.OUTSIDE,
    (Reason.QUIET_HOURS, "the customer's hours"): kernel.NO_HOUR,
}

minutes = st.one_of(st.integers(0, 1439), st.sampled_from((0, 1, 59, 60, 90, 119, 120, 150, 179, 180, 1380, 1439)))


@st.composite
def moments(draw: st.DrawFn, *names: str | None) -> int:
    """Any moment in ms, or one within two days of a change of the clocks of some zone of those."""
    near = sorted({s for name in names for s in CHANGES.get(name or "", ())})
    if near and draw(st.booleans()):
        second = draw(st.sampled_from(near)) + draw(
            st.one_of(st.integers(-172_800, 172_800), st.sampled_from((-1, 0, 1)))
        )
    else:
        second = draw(st.integers(0, LAST_S))
    return max(0, second * 1000 + draw(st.sampled_from((0, 1, 999, -1))))


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, QuietHours | None, Contact | None, str | None]:
    own = draw(st.sampled_from((*NAMES, None, "Mars/Olympus")))
    quiet = None
    if draw(st.integers(0, 4)):
        zone = draw(st.sampled_from(("customer", "customer", *NAMES)))
        start = draw(minutes)
        end = draw(minutes.filter(lambda m: m != start))
        quiet = QuietHours("night", start, end, zone, draw(st.sampled_from(("defer", "drop"))), HERE)
    contact = None
    if draw(st.booleans()):
        contact = Contact()
        if draw(st.booleans()):
            contact.preferred_from_minute, contact.preferred_to_minute = draw(minutes), draw(minutes)
    now_ms = draw(moments(own, quiet.zone if quiet else None))
    return now_ms, quiet, contact, own


def arguments(quiet: QuietHours | None, contact: Contact | None, zone: str | None) -> tuple[object, ...]:
    """What the kernels take after the moment."""
    hours = hours_table({"other": QuietHours("other", 1, 2, "UTC", "drop", HERE), **({"n": quiet} if quiet else {})})
    number = ZONES.id(zone) if zone else kernel.UNKNOWN
    own = (contact.preferred_from_minute, contact.preferred_to_minute) if contact else (-1, -1)
    table = ZONES.table
    return (1 if quiet else -1, hours, *own, number, table.starts, table.at_s, table.offset_s)


def expected(now_ms: int, quiet: QuietHours | None, contact: Contact | None, zone: str | None) -> tuple[int, int, int]:
    found = twin.send_time(now_ms, quiet, contact, zone)
    if isinstance(found, int):
        return found, kernel.SEND, 0
    reason, details = found
    word = details.feature or details.condition
    if not word:
        word = next(w for w in ("outside", "the customer's hours") if details.cause.startswith(w))
    return now_ms, CODES[reason, word], details.frees_at_ms or 0


@settings(max_examples=600, deadline=None)
@given(cases())
def test_send_time_is_the_twins(case: tuple[int, QuietHours | None, Contact | None, str | None]) -> None:
    now_ms, *rest = case
    assert kernel.send_time(now_ms, *arguments(*rest)) == expected(now_ms, *rest)


@settings(max_examples=300, deadline=None)
@given(cases())
def test_closes_is_the_twins(case: tuple[int, QuietHours | None, Contact | None, str | None]) -> None:
    at_ms, *rest = case
    found = twin.closes(at_ms, *rest)
    assert kernel.closes(at_ms, *arguments(*rest)) == (kernel.UNBOUND if found is None else found)


@pytest.mark.parametrize("name", NAMES)
def test_every_change_of_the_clocks(name: str) -> None:
    """The next showing of minutes around each change, from moments around it."""
    table, number, zone = ZONES.table, ZONES.id(name), ZoneInfo(name)
    arrays = (ZONES.table.starts, ZONES.table.at_s, ZONES.table.offset_s)
    random = np.random.default_rng(len(name))
    assert table.starts is not None
    for change in CHANGES[name]:
        for second in (change - 86_400, change - 1, change, change + 1, *(change + random.integers(-90_000, 9_000, 4))):
            at_ms = int(second) * 1000 + int(random.integers(0, 2)) * 999
            shown = int(second + zone.utcoffset(datetime.fromtimestamp(int(second), zone)).total_seconds())
            minute = (shown // 60 + int(random.integers(-90, 90))) % 1440
            assert kernel.next_wall(at_ms, number, minute, *arrays) == twin._next_wall(at_ms, zone, minute)


@pytest.mark.parametrize(
    ("now_ms", "own"),
    [(-1, (60, 120)), (LAST_S * 2000, (60, 120)), (2**63 - 1, (60, 120)), (-(2**63), (60, 120)), (0, (60, -1)),
     (0, (1440, 1)), (0, (1, 1440)), (0, (2**40, 2**62))],
)  # fmt: skip
def test_what_is_beyond_the_tables_is_left_to_the_step(now_ms: int, own: tuple[int, int]) -> None:
    _, hours, _, _, *rest = arguments(None, None, "Europe/Madrid")
    assert kernel.send_time(now_ms, -1, hours, *own, *rest)[1] == kernel.TO_STEP
    assert kernel.send_time(now_ms, -1, hours, -1, -1, *rest) == (now_ms, kernel.SEND, 0)


def test_moments_beyond_the_tables_close_by_the_step() -> None:
    _, hours, _, _, *rest = arguments(None, None, "Europe/Madrid")
    for at_ms in (-1, LAST_S * 2000, 2**63 - 1, -(2**63)):
        assert kernel.closes(at_ms, 0, hours, 60, 120, *rest) == kernel.TO_STEP
        assert kernel.closes(at_ms, -1, hours, -1, -1, *rest) == kernel.UNBOUND
