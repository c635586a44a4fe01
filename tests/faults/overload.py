"""Fault 25: ten times the capacity. What is above is refused at once, what is taken is answered in time.

Calls are batches of a hundred events. Of single ones nobody can offer and refuse ten times the capacity on a few cores:
to refuse one costs the server, and to make one its client, a good part of what it costs to decide one. What each costs,
and how much was offered and kept, is in the figures, and is not judged.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from engine.pb.tact.v1 import decision_pb2 as pb
from tests.faults.good import Measured, measure
from tests.faults.limits import BATCH
from tests.faults.line import DEADLINE_EXCEEDED, DECIDE, OK, RESOURCE_EXHAUSTED, Answer, Line, connect, event
from tests.faults.report import Report, busy_s, memory_mib, quantile, serving
from tests.server.process import RULES, Server

SECONDS, SECONDS_LONG = 0.5, 60
TIMES, KEPT, REFUSAL_MS = 10, 0.8, 5
_LINES, _TIMEOUT_MS, _SINGLES_S = 8, 2000, 1
_TICK_S = 0.002
_RECOVERY_S = 5.0
_EVENTS, _CUSTOMERS = 100, 100_000  # so many that few have more than eight events
# Work enough per event that the client's share of the processors is small beside the server's.
_MESSAGES = 300
_RULES = """\
events: {deposit: {amount: number}}
purposes: {service: {consent: not_required, if_state_unknown: send}}
channels: {push: {}}
messages:
"""
_MESSAGE = "  m%d: {purpose: service, on: [deposit], value: %d.5, channels: [push], variants: {plain: {en: Hello.}}}\n"
_RULES += "".join(_MESSAGE % (n, n) for n in range(_MESSAGES))
_SERIAL = b"0123456789"  # in every event id of a template


@dataclass(slots=True)
class _Flood:
    """Calls at their times whatever came back."""

    answers: list[Answer]
    took_s: float  # until the last answer
    sending_s: float
    client_s: float  # of processors, while sending
    server_s: float  # of processors, in all

    def of(self, status: int) -> list[Answer]:
        """The answers of this status."""
        return [answer for answer in self.answers if answer.status == status]

    @property
    def per_s(self) -> float:
        """Good answers a second."""
        return len(self.of(OK)) / self.took_s

    @property
    def offered_per_s(self) -> float:
        """Calls a second."""
        return len(self.answers) / self.sending_s


async def run(long: bool = False) -> Report:
    """Half a second of it, or a minute, and single calls then."""
    report, seconds, batch = Report(25), SECONDS_LONG if long else SECONDS, _batches()
    with serving(rules=_RULES if long else RULES) as (server, address):
        lines = [await connect(address) for _ in range(_LINES)]
        await measure(lines, 2, min(seconds, 1), BATCH, batch)  # warm
        alone = await measure(lines[:1], 1, 0.5)
        peak, held = await measure(lines, 4, min(seconds, 10), BATCH, batch), memory_mib(server)
        flood = await _flood(server, lines, TIMES * peak.per_s, seconds, BATCH, batch)
        grown = memory_mib(server) - held
        began = time.monotonic()
        after = await measure(lines[:1], 1, 0.5)
        while long and after.p50_ms > 2 * alone.p50_ms and time.monotonic() - began < _RECOVERY_S:
            after = await measure(lines[:1], 1, 0.5)
        singles = await _singles(server, lines) if long else None
        report.must("Traceback" not in server.said(), "a traceback")
    statuses = Counter(answer.status for answer in flood.answers)
    report.must(set(statuses) <= {OK, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED}, f"statuses {dict(statuses)}")
    report.must(all(a.retry_delay_ms() for a in flood.of(RESOURCE_EXHAUSTED)[:200]), "refused without a delay")
    report.must(
        OK in after.statuses and set(after.statuses) <= {OK, RESOURCE_EXHAUSTED},
        f"statuses afterwards: {dict(after.statuses)}",
    )
    _judge(report, peak, flood)
    report.in_time(after.p50_ms <= 2 * alone.p50_ms, f"not recovered within {_RECOVERY_S:g} s")
    report.figures |= {
        "grown_mib": round(grown, 1),
        "single_p50_ms": [round(alone.p50_ms, 1), round(after.p50_ms, 1)],
        "singles_not_judged": singles,
    }
    return report


def _judge(report: Report, peak: Measured, flood: _Flood) -> None:
    refused = [a.took_s * 1000 for a in flood.of(RESOURCE_EXHAUSTED)]
    accepted = [a.took_s * 1000 for a in flood.of(OK)]
    report.in_time(flood.offered_per_s >= 0.9 * TIMES * peak.per_s, "the client could not offer ten times the peak")
    report.in_time(flood.per_s >= KEPT * peak.per_s, f"goodput fell below {KEPT:.0%} of the peak")
    report.in_time(quantile(refused, 0.5) < REFUSAL_MS, f"refusals took {REFUSAL_MS} ms or more")
    report.figures = {
        "peak_events_per_s": round(peak.per_s * _EVENTS),
        "offered": round(flood.offered_per_s / peak.per_s, 1),
        "kept": round(flood.per_s / peak.per_s, 2),
        "accepted_p99_ms": round(quantile(accepted, 0.99)),
        "refused": len(refused),
        "refusal_ms_p50_p99": [round(quantile(refused, 0.5), 1), round(quantile(refused, 0.99), 1)],
        "late": len(flood.answers) - len(refused) - len(accepted),
        "client_busy": round(flood.client_s / flood.sending_s, 2),
    }


async def _singles(server: Server, lines: list[Line]) -> dict[str, float]:
    """The same with single calls: what of it can be had here, and what it costs."""
    began_s = busy_s(server)
    peak = await measure(lines, 32, _SINGLES_S)
    decided_s = (busy_s(server) - began_s) / max(1, peak.statuses[OK])
    flood = await _flood(server, lines, TIMES * peak.per_s, _SINGLES_S, DECIDE, event)
    refused = flood.of(RESOURCE_EXHAUSTED)
    refused_s = max(0.0, flood.server_s - decided_s * len(flood.of(OK))) / max(1, len(refused))
    return {
        "peak_per_s": round(peak.per_s),
        "offered": round(flood.offered_per_s / peak.per_s, 1),
        "kept": round(flood.per_s / peak.per_s, 2),
        "refusal_ms_p50": round(quantile([a.took_s for a in refused], 0.5) * 1000, 1),
        "decided_us": round(decided_s * 1e6),
        "refused_us": round(refused_s * 1e6),
        "client_us": round(flood.client_s / max(1, len(flood.answers)) * 1e6),
        "client_busy": round(flood.client_s / flood.sending_s, 2),
    }


def _batches() -> Callable[[int], bytes]:
    """Makes a number's batch: a template with the number in it, for the client has other things to do."""
    templates = []
    for first in range(0, _CUSTOMERS, _EVENTS):
        made = pb.DecideBatchRequest()
        for customer in range(first, first + _EVENTS):
            name = f"{_SERIAL.decode()}-{customer}"
            made.requests.add().event.CopyFrom(pb.Event(event_id=name, customer_id=f"b{customer}", type="deposit"))
        templates.append(made.SerializeToString())
    return lambda number: templates[number % len(templates)].replace(_SERIAL, b"%010d" % number)


async def _flood(
    server: Server, lines: list[Line], per_s: float, seconds: float, path: str, make: Callable[[int], bytes]
) -> _Flood:
    """Offers as much whatever comes back."""
    pending: list[asyncio.Future[Answer]] = []
    numbers, turns = itertools.count(10_000_000), itertools.cycle(lines)
    began, client_s, server_s = time.monotonic(), time.process_time(), busy_s(server)
    while (elapsed := time.monotonic() - began) < seconds:
        for _ in range(int(elapsed * per_s) - len(pending)):
            pending.append(next(turns).call(make(next(numbers)), path, timeout_ms=_TIMEOUT_MS))
        await asyncio.sleep(_TICK_S)
    sending_s, client_s = time.monotonic() - began, time.process_time() - client_s
    answers = list(await asyncio.gather(*pending))
    return _Flood(answers, time.monotonic() - began, sending_s, client_s, busy_s(server) - server_s)
