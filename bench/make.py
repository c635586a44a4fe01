"""`python -m bench make --rules DIR --profiles FILE --events FILE`: a bank to try an installation with.

A rule set, its customers and their events, made with a seed. The files are as in rules/samples: protobuf JSON, a
Profile or a DecideRequest a line. They are written as they are made, so that size is limited by the disk alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import orjson

from bench import generate
from bench.bank import CHANNELS, Bank
from bench.processes import write_files

_CONSENT = 0.8
_CONTACT = {
    "consents": [
        {
            "purpose": "marketing",
            "state": "GRANTED",
            "changedAt": "2026-01-10T09:00:00Z",
            "source": "branch form",
            "wordingVersion": "2026-01",
        }
    ]
}


def profile_lines(customers: int, seed: int) -> Iterator[bytes]:
    """A Profile a line."""
    for customer in generate.draw_customers(customers, seed, consent=_CONSENT):
        features = {name: _value(value) for name, value in customer.features.items()}
        made: dict[str, object] = {"customerId": customer.customer_id, "features": features}
        if customer.consent:
            made["contact"] = _CONTACT
        yield orjson.dumps(made, option=orjson.OPT_APPEND_NEWLINE)


def profile_rows(customers: int, seed: int) -> Iterator[bytes]:
    """The same customers as lines of CSV, a column a feature."""
    drawn = generate.draw_customers(customers, seed, missing=0.03, consent=_CONSENT)
    names = generate.feature_names()
    yield (",".join(["customer_id", *names, "consent.marketing", "consent.marketing.changed_at"]) + "\n").encode()
    for customer in drawn:
        cells = [customer.customer_id, *[_cell(customer.features.get(name)) for name in names]]
        cells += ["yes", "2026-01-10T09:00:00Z"] if customer.consent else ["", ""]
        yield (",".join(cells) + "\n").encode()


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _value(value: object) -> dict[str, object]:
    if isinstance(value, bool):
        return {"flag": value}
    if isinstance(value, int):
        return {"integer": str(value)}  # as protobuf JSON has 64 bits
    return {"number" if isinstance(value, float) else "text": value}


def event_lines(bank: Bank, start: date, days: int, seed: int) -> Iterator[bytes]:
    """A DecideRequest a line, an hour of them at a time."""
    number = 0
    line = (
        '{"event": {"eventId": "e%x-%d", "customerId": "c%d", "type": "%s", "occurredAt": "%sZ", '
        '"attributes": {"amount": {"number": %s}, "channel": {"text": "%s"}}}}\n'
    )
    for hour in bank.hours(start, days):
        times = np.datetime_as_string(hour.at_ms.astype("datetime64[ms]")).tolist()
        columns = (hour.customer.tolist(), hour.type.tolist(), times, hour.amount.tolist(), hour.channel.tolist())
        lines = [
            line % (seed, number + k, customer, generate.EVENT_TYPES[kind], at, amount, CHANNELS[channel])
            for k, (customer, kind, at, amount, channel) in enumerate(zip(*columns, strict=True))
        ]
        number += len(lines)
        yield from (text.encode() for text in lines)


def main(arguments: list[str] | None = None) -> int:
    """Writes what was asked for; 2 where it cannot be written."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not (given.rules or given.profiles or given.events):
        parser.error("nothing to make: expected one of --rules, --profiles, --events")
    try:
        if given.rules:
            if given.rules.exists() and any(given.rules.iterdir()):
                parser.error(f"{given.rules} is not empty")
            write_files(given.rules, generate.rules(given.messages, given.seed).files)
            sys.stdout.write(f"{given.rules}: {given.messages:,} messages\n")
        if given.profiles:
            table = given.profiles.suffix == ".csv"
            _write(given.profiles, (profile_rows if table else profile_lines)(given.customers, given.seed))
            sys.stdout.write(f"{given.profiles}: {given.customers:,} profiles\n")
        if given.events:
            bank = Bank(given.customers, given.seed, given.per_day)
            written = _write(given.events, event_lines(bank, given.start, given.days, given.seed))
            sys.stdout.write(f"{given.events}: {written:,} events of {given.days} days from {given.start} on\n")
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return 2
    return 0


def _write(file: Path, lines: Iterator[bytes]) -> int:
    count = 0
    with file.open("wb") as out:
        for line in lines:
            out.write(line)
            count += 1
    return count


def _above_0(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number above 0")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"found {text}, expected 0 or more")
    return value


def _per_day(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number above 0 and at most 1000")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench make", description=__doc__)
    parser.add_argument("--rules", type=Path, metavar="DIR", help="for a rule set; new or empty")
    parser.add_argument("--profiles", type=Path, metavar="FILE", help="for a Profile a line; .csv: a column a feature")
    parser.add_argument("--events", type=Path, metavar="FILE", help="for a DecideRequest a line, in order of time")
    parser.add_argument("--messages", type=_above_0, default=1000, metavar="N", help="of the rule set (1,000)")
    parser.add_argument("--customers", type=_above_0, default=20_000, metavar="N", help="(20,000)")
    parser.add_argument("--days", type=_above_0, default=7, metavar="D", help="(7)")
    parser.add_argument(
        "--per-day", type=_per_day, default=2.0, metavar="N", help="events of a customer, on the mean (2)"
    )
    parser.add_argument(
        "--start", type=date.fromisoformat, default=date(2026, 9, 1), metavar="DATE", help="(2026-09-01)"
    )
    parser.add_argument("--seed", type=_seed, default=1, metavar="S")
    return parser


if __name__ == "__main__":
    sys.exit(main())
