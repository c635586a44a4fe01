"""The latency chart, latency by percentile as Gil Tene's charts show it: a page of its own, or a picture."""

from __future__ import annotations

import html
import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path

_MARKS = ((0.0, "0"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"))


def can_draw() -> bool:
    """Whether pictures can be made: matplotlib is no dependency, `make bench-peers` installs it."""
    return importlib.util.find_spec("matplotlib") is not None


def picture(figures: Mapping[str, object], out: Path) -> None:
    """Writes the chart as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    curve = figures["curve"]
    assert isinstance(curve, list)
    nines = [-math.log10(1 - share) for share, _ in curve if share < 1]
    nines.append(max(nines, default=0.0) * 1.04 + 0.04)  # the last call
    drawing, axes = plt.subplots(figsize=(9, 4.5), dpi=110)
    axes.plot(nines, [ms for _, ms in curve], color="#0b6e99", lw=2.2)
    axes.set_yscale("log")
    marks = [(-math.log10(1 - share), label) for share, label in _MARKS if -math.log10(1 - share) <= nines[-1]]
    axes.set_xticks([at for at, _ in marks], [label for _, label in marks])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g} ms"))
    axes.set_title(f"Latency by percentile at {figures['rate']:,.0f} calls a second", loc="left", fontweight="bold")
    axes.grid(which="major", color="#e3e8ec", lw=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    drawing.tight_layout()
    drawing.savefig(out)
    plt.close(drawing)


def page(figures: Mapping[str, object]) -> str:
    """The chart and the figures in HTML, with nothing beside."""
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
    for share, label in _MARKS:
        if share == 0 or -math.log10(1 - share) <= decades:
            lines.append(f'<text x="{x(share):.1f}" y="{height - bottom + 22}" text-anchor="middle">{label}</text>')
    path = " ".join(f"{x(share):.1f},{y(ms):.1f}" for share, ms in curve)
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(figures[name]))}</td></tr>"
        for name in ("target", "arrivals", "connections", "rate", "sent", "answered_per_s", "refused", "failed")
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
