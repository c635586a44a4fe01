"""Contact hours and caps of well-known regimes, to be named by `preset:`. They are what the rules say in plain
words, not legal advice: who is contacted where, and what counts as marketing, is for the institution's own lawyers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from engine.compiler.model import Period


class RegimeHours(NamedTuple):
    """Quiet hours in minutes of the day. `zone` is "customer" or an IANA name; `unknown` are the zones in all of
    which it must be open where the customer's is unknown."""

    from_minute: int
    to_minute: int
    zone: str
    unknown: tuple[str, ...]


class RegimeCap(NamedTuple):
    at_most: int
    per: tuple[str, ...]
    over: Period


# One zone for each clock of the fifty states and the inhabited territories: it is open for three hours a day in all.
UNITED_STATES = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles",
    "America/Anchorage", "America/Adak", "Pacific/Honolulu", "America/Puerto_Rico", "Pacific/Guam",
    "Pacific/Pago_Pago",
)  # fmt: skip
FLORIDA = ("America/New_York", "America/Chicago")  # the west of the state is an hour behind

HOURS: Mapping[str, RegimeHours] = {
    # 47 CFR 64.1200(c)(1): before 8 or after 21 by the clock of the called party
    "united_states": RegimeHours(21 * 60, 8 * 60, "customer", UNITED_STATES),
    # Florida Statutes 501.616(6)(a): before 8 or after 20 in the called person's time zone
    "florida": RegimeHours(20 * 60, 8 * 60, "customer", FLORIDA),
    # Telecom Commercial Communications Customer Preference Regulations: promotional from 10 to 21; one zone
    "india_promotional": RegimeHours(21 * 60, 10 * 60, "Asia/Kolkata", ()),
}
CAPS: Mapping[str, RegimeCap] = {
    # Florida Statutes 501.616(6)(b): more than three in 24 hours on the same subject; a subject is a topic
    "florida": RegimeCap(3, ("customer", "topic"), Period(24, "hour")),
}
