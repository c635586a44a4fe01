"""A run for people and machines: one screen, and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from google.protobuf.message import DecodeError
from rich.console import Console
from rich.table import Table

from bench.load.capacity import LATE_MS
from bench.load.drive import Result
from bench.load.histogram import QUANTILES
from engine.pb.tact.v1 import decision_pb2

_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


def outcomes(result: Result) -> dict[str, float]:
    """Shares of what was decided, among the answers kept."""
    counts: Counter[str] = Counter()
    for answer in result.answers:
        try:
            response = decision_pb2.DecideResponse.FromString(answer)
        except DecodeError:
            continue
        for decision in response.decisions[:1]:
            sent = decision.outcome == decision_pb2.Decision.SEND
            counts["SEND" if sent else decision_pb2.Decision.Reason.Name(decision.reason)] += 1
    total = sum(counts.values())
    return {name: count / total for name, count in counts.most_common()}


def as_json(result: Result, settings: Mapping[str, object]) -> dict[str, object]:
    """Everything that was measured; latencies in milliseconds."""
    return {
        **settings,
        "rate": result.rate,
        "seconds": result.seconds,
        "sent": result.sent,
        "answered_per_s": result.answered_per_s,
        "refused": result.refused,
        "failed": result.failed,
        "lost": result.lost,
        "statuses": {_STATUSES[code] if code < 17 else str(code): n for code, n in sorted(result.statuses.items())},
        "latency_ms": {_named(q): result.latencies.quantile(q) / 1e6 for q in QUANTILES}
        | {"mean": result.latencies.mean() / 1e6, "max": result.latencies.largest / 1e6},
        "refusal_ms": {_named(q): result.refusals.quantile(q) / 1e6 for q in (0.5, 0.99)},
        "client_late_ms": {_named(q): result.late.quantile(q) / 1e6 for q in (0.5, 0.99)},
        "outcomes": outcomes(result),
        "curve": result.latencies.curve(),
    }


def _named(quantile: float) -> str:
    return "p" + f"{quantile * 100:g}".replace(".", "_")


def show(console: Console, figures: Mapping[str, object]) -> None:
    """One screen."""
    latency, late, refusal = figures["latency_ms"], figures["client_late_ms"], figures["refusal_ms"]
    assert isinstance(latency, dict)
    assert isinstance(late, dict)
    assert isinstance(refusal, dict)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("sent", f"{figures['sent']:,} calls at {figures['rate']:,.0f}/s for {figures['seconds']:.1f} s")
    table.add_row("answered", f"{figures['answered_per_s']:,.0f}/s")
    if figures["refused"]:
        table.add_row("refused", f"{figures['refused']:,} calls, told so in {refusal['p99']:.3g} ms (p99)")
    table.add_row("failed", f"{figures['failed']:,} calls, {figures['lost']:,} of them without any answer")
    shown = "   ".join(f"{name.replace('_', '.')} {value:.3g}" for name, value in latency.items())
    table.add_row("latency, ms", shown)
    found = figures["outcomes"]
    assert isinstance(found, dict)
    table.add_row("decided", ", ".join(f"{name} {share:.0%}" for name, share in list(found.items())[:6]) or "-")
    statuses = figures["statuses"]
    assert isinstance(statuses, dict)
    table.add_row("statuses", ", ".join(f"{name} {n:,}" for name, n in statuses.items()))
    console.print(table)
    if late["p99"] > LATE_MS:
        text = f"the client sent its calls up to {late['p99']:.2g} ms late (p99): it may be what was measured"
        console.print(text, style="yellow")
