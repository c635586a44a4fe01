"""A run for people and machines: one screen, JSON, and a page with the latency chart."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping

from google.protobuf.message import DecodeError
from rich.console import Console
from rich.table import Table

from bench.load.drive import Result
from bench.load.histogram import QUANTILES
from engine.pb.tact.v1 import decision_pb2

_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
LATE_MS = 1.0  # later than this at p99 the client, not the server, may be what was measured


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
        "errors": result.errors,
        "lost": result.lost,
        "statuses": {_STATUSES[code] if code < 17 else str(code): n for code, n in sorted(result.statuses.items())},
        "latency_ms": {_named(q): result.latencies.quantile(q) / 1e6 for q in QUANTILES}
        | {"mean": result.latencies.mean() / 1e6, "max": result.latencies.largest / 1e6},
        "client_late_ms": {_named(q): result.late.quantile(q) / 1e6 for q in (0.5, 0.99)},
        "outcomes": outcomes(result),
        "curve": result.latencies.curve(),
    }


def _named(quantile: float) -> str:
    return "p" + f"{quantile * 100:g}".replace(".", "_")


def show(console: Console, figures: Mapping[str, object]) -> None:
    """One screen."""
    latency, late = figures["latency_ms"], figures["client_late_ms"]
    assert isinstance(latency, dict)
    assert isinstance(late, dict)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("sent", f"{figures['sent']:,} calls at {figures['rate']:,.0f}/s for {figures['seconds']:.1f} s")
    table.add_row("answered", f"{figures['answered_per_s']:,.0f}/s, {figures['errors']:,} without a good answer")
    shown = "   ".join(f"{name.replace('_', '.')} {value:.3g}" for name, value in latency.items())
    table.add_row("latency, ms", shown)
    found = figures["outcomes"]
    assert isinstance(found, dict)
    table.add_row("decided", ", ".join(f"{name} {share:.0%}" for name, share in list(found.items())[:6]) or "-")
    table.add_row("statuses", ", ".join(f"{name} {n:,}" for name, n in figures["statuses"].items()))  # type: ignore[attr-defined]
    console.print(table)
    if late["p99"] > LATE_MS:
        text = f"the client sent its calls up to {late['p99']:.2g} ms late (p99): it may be what was measured"
        console.print(text, style="yellow")


def page(figures: Mapping[str, object]) -> str:
    """A page of its own: latency by percentile, as Gil Tene's charts show it."""
    curve = figures["curve"]
    assert isinstance(curve, list)
    width, height, left, bottom = 860, 420, 70, 50
    top_ms = 10 ** math.ceil(math.log10(max(0.01, curve[-1][1])))
    low_ms = 10 ** math.floor(math.log10(max(0.001, min(ms for _, ms in curve if ms > 0))))
    decades = max((-math.log10(1 - share) for share, _ in curve if share < 1), default=1.0) or 1.0

    def x(share: float) -> float:
        nines = decades * 1.04 if share >= 1 else -math.log10(1 - share)
        return left + (width - left - 20) * nines / (decades * 1.04)

    def y(ms: float) -> float:
        part = (math.log10(max(ms, low_ms)) - math.log10(low_ms)) / (math.log10(top_ms) - math.log10(low_ms))
        return height - bottom - (height - bottom - 20) * part

    lines = []
    for k in range(int(math.log10(low_ms)), int(math.log10(top_ms)) + 1):
        at = y(10**k)
        lines.append(f'<line x1="{left}" x2="{width - 20}" y1="{at:.1f}" y2="{at:.1f}"/>')
        lines.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{10**k:g} ms</text>')
    for share, label in ((0.0, "0"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")):
        if share == 0 or -math.log10(1 - share) <= decades:
            lines.append(f'<text x="{x(share):.1f}" y="{height - bottom + 22}" text-anchor="middle">{label}</text>')
    path = " ".join(f"{x(share):.1f},{y(ms):.1f}" for share, ms in curve)
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(figures[name]))}</td></tr>"
        for name in ("target", "arrivals", "connections", "rate", "sent", "answered_per_s", "errors")
        if name in figures
    )
    latency = figures["latency_ms"]
    assert isinstance(latency, dict)
    rows += "".join(f"<tr><th>{name.replace('_', '.')}</th><td>{ms:.3g} ms</td></tr>" for name, ms in latency.items())
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Latency at {figures["rate"]:,.0f} calls a second</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1b2733; max-width: 900px; margin: 2rem auto; }}
svg line {{ stroke: #e3e8ec; }} svg text {{ font-size: 12px; fill: #5b6b78; }}
th {{ text-align: left; font-weight: 600; padding-right: 2rem; }} td {{ text-align: right; }}
</style>
<h1>Latency by percentile at {figures["rate"]:,.0f} calls a second</h1>
<svg viewBox="0 0 {width} {height}" role="img" aria-label="latency by percentile">
{"".join(lines)}
<polyline points="{path}" fill="none" stroke="#0b6e99" stroke-width="2.5"/>
</svg>
<p>Counted from the moment each call was due, sent or not: a slow server cannot hide behind a waiting client.</p>
<table>{rows}</table>
</html>
"""
