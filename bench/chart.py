"""`python -m bench.chart FIGURES.json OUT.png`: what `python -m bench kernels --json` measured, as a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

_COLOURS = ("#0b3c5d", "#2274a5", "#5fa8d3", "#9bc7e4")
_MARKS = ("s", "D", "^", "v", "P", "X")


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Time per event by rule set size: a line a batch size, and one a peer. matplotlib is asked for only here."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    figure, axes = plt.subplots(figsize=(9, 5.4), dpi=110)
    ours: dict[int, dict[int, float]] = {}
    peers: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.get("what") == "eligibility":
            ours.setdefault(row["batch"], {})[row["rules"]] = row["us_per_event"]
        elif "engine" in row and row["engine"] != "tact":
            peers.setdefault(row["engine"], {})[row["rules"]] = row["us_per_event"]
    ends = []
    for k, (name, points) in enumerate(peers.items()):
        xs, ys = zip(*sorted(points.items()), strict=True)
        axes.plot(xs, ys, color="#b8b8b8", marker=_MARKS[k % len(_MARKS)], markersize=5, lw=1)
        ends.append((ys[-1], xs[-1], name, "#6b6b6b"))
    for colour, (batch, points) in zip(_COLOURS, sorted(ours.items(), reverse=True), strict=False):
        xs, ys = zip(*sorted(points.items()), strict=True)
        axes.plot(xs, ys, color=colour, marker="o", markersize=4, lw=2)
        ends.append((ys[-1], xs[-1], f"Tact, batch {batch:,}", colour))
    axes.set_xscale("log")
    axes.set_yscale("log")
    _labels(axes, ends)
    axes.set_xlabel("rules")
    axes.set_title("Time to find the messages an event is eligible for", loc="left", fontweight="bold")
    axes.set_ylabel("per event")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _time(y)))
    axes.grid(which="major", color="#e6e6e6", lw=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(out)


def _labels(axes: Any, ends: list[tuple[float, int, str, str]]) -> None:
    """Names at the right ends of the lines, moved apart where they would touch."""
    least = 1.55  # times the label below: the height of a line of text on the logarithmic axis
    x_last = max(x for _, x, _, _ in ends)
    axes.set_xlim(right=x_last * 40)
    for x in sorted({x for _, x, _, _ in ends}):
        below = 0.0
        for y, _, name, colour in sorted(end for end in ends if end[1] == x):
            place = max(y, below * least)
            axes.annotate(name, (x, y), (x * 1.25, place), color=colour, fontsize=8.5, va="center")
            below = place


def _time(us: float) -> str:
    return f"{us / 1000:g} ms" if us >= 1000 else f"{us:g} us"


if __name__ == "__main__":
    draw(orjson.loads(Path(sys.argv[1]).read_bytes())["rows"], Path(sys.argv[2]))
