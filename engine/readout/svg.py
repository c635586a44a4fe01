"""Plots as inline SVG, drawn here: no library, no script, nothing fetched. Colours are the page's CSS variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

WIDTH = 720
NARROW = 480  # of plots that stand beside each other
COLOURS = 6  # --c0 .. --c5, then again
_LETTER = 6.6  # width of a character, about
_ROW = 24
_TICKS = 5
_CURVE = 64  # points of a density

Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Interval:
    """A row of a forest plot. `low` None: nothing can be said; `narrow` a second interval inside, as (low, high)."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    narrow: tuple[float, float] | None = None
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line through time; None is a gap. `band`: lows and highs around it. `colour`: 0 to 5, then again."""

    name: str
    values: Sequence[float | None]
    colour: int
    band: tuple[Sequence[float | None], Sequence[float | None]] | None = None


def ticks(low: float, high: float) -> list[float]:
    """Round numbers over a range, about five."""
    span = high - low
    if not math.isfinite(span) or span < 1e-12:
        return [low]
    step = math.pow(10.0, math.floor(math.log10(span / _TICKS)))
    step *= float(next((m for m in (1, 2, 5) if span / (step * m) <= _TICKS + 1), 10))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def forest(title: str, rows: Sequence[Interval], shown: Format, axis: Format) -> str:
    """Effects with their intervals beside each other, zero marked. `axis` writes the ticks."""
    ends = [v for r in rows for v in (r.low, r.high, r.value) if v is not None] or [0.0]
    reach = max(abs(v) for v in ends) or 1.0
    low, high = min(0.0, *ends), max(0.0, *ends)
    low, high = low - 0.06 * reach, high + 0.06 * reach
    left = min(300.0, 16 + _LETTER * max((len(r.label) for r in rows), default=0))
    right = WIDTH - 150.0
    height = _ROW * len(rows) + 34

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = []
    for tick in ticks(low, high):
        parts.append(_segment(x(tick), 4, x(tick), height - 24, "grid"))
        parts.append(_text(x(tick), height - 8, axis(tick), "tick", "middle"))
    parts.append(_segment(x(0.0), 4, x(0.0), height - 24, "zero"))
    for place, r in enumerate(rows):
        y = 16 + _ROW * place
        parts.append(_text(left - 10, y + 4, _cut(r.label, left), "label strong" if r.strong else "label", "end"))
        if r.value is None or r.low is None or r.high is None:
            parts.append(_text(right + 12, y + 4, "too few", "tick", "start"))
            continue
        sure = " sure" if r.low > 0.0 or r.high < 0.0 else ""
        parts.append(_segment(x(r.low), y, x(r.high), y, "wide" + sure))
        if r.narrow is not None:
            parts.append(_segment(x(r.narrow[0]), y, x(r.narrow[1]), y, "narrow" + sure))
        parts.append(f'<circle cx="{x(r.value):.1f}" cy="{y}" r="4.5" class="dot{sure}"/>')
        parts.append(_text(right + 12, y + 4, shown(r.value), "label", "start"))
    return _svg(title, height, parts)


def lines(title: str, at_ms: Sequence[int], series: Sequence[Line], shown: Format, zero: bool = False) -> str:
    """Lines over days, with a legend. `zero`: the axis shows zero."""
    values: list[float] = [v for s in series for column in (s.values, *(s.band or ())) for v in column if v is not None]
    if not values or len(at_ms) < 2:
        return ""
    low, high = min(values), max(values)
    low, high = (min(0.0, low), max(0.0, high)) if zero else (low, high)
    high = high if high - low > 1e-12 else low + 1.0
    left, right, top, bottom = 50.0, NARROW - 10.0, 34.0, 206.0

    def x(moment: float) -> float:
        return left + (moment - at_ms[0]) / (at_ms[-1] - at_ms[0]) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    for tick in ticks(low, high):
        parts.append(_segment(left, y(tick), right, y(tick), "zero" if zero and abs(tick) < 1e-12 else "grid"))
        parts.append(_text(left - 8, y(tick) + 4, shown(tick), "tick", "end"))
    for k in range(3):
        moment = at_ms[0] + (at_ms[-1] - at_ms[0]) * k / 2
        anchor = ("start", "middle", "end")[k]
        written = datetime.fromtimestamp(moment / 1000, UTC).strftime("%d %b %Y")
        parts.append(_text(x(moment), bottom + 18, written, "tick", anchor))
    at = left
    for s in series:
        colour = f"c{s.colour % COLOURS}"
        parts.append(f'<rect x="{at:.1f}" y="8" width="12" height="12" rx="3" class="fill {colour}"/>')
        parts.append(_text(at + 17, 18, s.name, "label", "start"))
        at += 34 + _LETTER * len(s.name)
        if s.band is not None:
            parts += [f'<polygon points="{p}" class="band {colour}"/>' for p in _bands(at_ms, s.band, x, y)]
        for points in _runs(at_ms, s.values, x, y):
            if " " in points:
                parts.append(f'<polyline points="{points}" class="line {colour}"/>')
            else:  # a moment by itself
                cx, _, cy = points.partition(",")
                parts.append(f'<circle cx="{cx}" cy="{cy}" r="2.5" class="fill {colour}"/>')
    return _svg(title, 232, parts, NARROW)


def densities(title: str, curves: Sequence[tuple[str, float, float, int]], shown: Format) -> str:
    """Normal densities, each with (name, mean, standard deviation, colour): where a value may lie."""
    curves = [c for c in curves if c[2] > 1e-9 * max(1.0, abs(c[1]))]
    if not curves:
        return ""
    low, high = min(m - 4 * s for _, m, s, _ in curves), max(m + 4 * s for _, m, s, _ in curves)
    left, right, top, bottom = 14.0, NARROW - 10.0, 34.0, 206.0
    peak = max(1.0 / s for _, _, s, _ in curves)
    parts = []
    for tick in ticks(low, high):
        x = left + (tick - low) / (high - low) * (right - left)
        parts += [_segment(x, top, x, bottom, "grid"), _text(x, bottom + 18, shown(tick), "tick", "middle")]
    at = left
    for name, mean, deviation, place in curves:
        colour = f"c{place % COLOURS}"
        parts.append(f'<rect x="{at:.1f}" y="8" width="12" height="12" rx="3" class="fill {colour}"/>')
        parts.append(_text(at + 17, 18, name, "label", "start"))
        at += 34 + _LETTER * len(name)
        points = []
        for k in range(_CURVE + 1):
            z = 8.0 * k / _CURVE - 4.0
            x = left + (mean + z * deviation - low) / (high - low) * (right - left)
            height = math.exp(-0.5 * z * z) / (deviation * peak)
            points.append(f"{x:.1f},{bottom - height * (bottom - top):.1f}")
        drawn = " ".join(points)
        parts.append(f'<polygon points="{drawn}" class="band {colour}"/>')
        parts.append(f'<polyline points="{drawn}" class="line {colour}"/>')
    return _svg(title, 232, parts, NARROW)


def bars(title: str, rows: Sequence[tuple[str, int]], total: int) -> str:
    """Counts as bars, each with its share of `total`."""
    left, right = 210.0, WIDTH - 140.0
    most = max((count for _, count in rows), default=1) or 1
    parts = []
    for place, (label, count) in enumerate(rows):
        y = 6 + _ROW * place
        wide = max(1.0, (right - left) * count / most)
        parts.append(_text(left - 10, y + 13, _cut(label, left), "label", "end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{wide:.1f}" height="17" rx="3" class="fill c0"/>')
        parts.append(_text(left + wide + 8, y + 13, f"{count:,}  ({count / total:.1%})", "tick", "start"))
    return _svg(title, _ROW * len(rows) + 10, parts)


def stacked(title: str, rows: Sequence[tuple[str, Sequence[tuple[str, int]]]], legend: Sequence[str]) -> str:
    """Rows of equal width, split by what became of them; `legend` gives parts their colours, others are grey."""
    left, right = 210.0, WIDTH - 84.0
    places: dict[str, int] = {name: k for k, name in enumerate(legend)}
    parts, at, y = [], 10.0, 4.0
    for name in [*legend, "other"]:
        width = 34 + _LETTER * len(name)
        if at + width > WIDTH:
            at, y = 10.0, y + 20
        colour = f"c{places[name] % COLOURS}" if name in places else "rest"
        parts.append(f'<rect x="{at:.1f}" y="{y:.1f}" width="12" height="12" rx="3" class="fill {colour}"/>')
        parts.append(_text(at + 17, y + 10, name, "tick", "start"))
        at += width
    y += 26
    for label, counts in rows:
        total = sum(n for _, n in counts) or 1
        parts.append(_text(left - 10, y + 13, _cut(label, left), "label", "end"))
        grouped = {name: sum(n for c, n in counts if c == name) for name in legend}
        grouped["other"] = total - sum(grouped.values())
        at = left
        for name, count in grouped.items():
            wide = (right - left) * count / total
            if wide > 0.0:
                colour = f"c{places[name] % COLOURS}" if name in places else "rest"
                tip = f"<title>{escape(name)}: {count:,} ({count / total:.1%})</title>"
                box = f'x="{at:.1f}" y="{y:.1f}" width="{max(0.5, wide - 1):.1f}" height="17"'
                parts.append(f'<rect {box} class="fill {colour}">{tip}</rect>')
            at += wide
        parts.append(_text(right + 8, y + 13, f"{total:,}", "tick", "start"))
        y += _ROW
    return _svg(title, int(y) + 4, parts)


def _svg(title: str, height: float, parts: Sequence[str], width: int = WIDTH) -> str:
    label = escape(title)
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}"><title>{label}</title>'
    return head + "".join(parts) + "</svg>"


def _segment(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _cut(label: str, width: float) -> str:
    most = max(4, int((width - 14) / _LETTER))
    return label if len(label) <= most else label[: most - 2] + ".."


_Axis = Callable[[float], float]


def _runs(at_ms: Sequence[int], values: Sequence[float | None], x: _Axis, y: _Axis) -> list[str]:
    """The points of each stretch without a gap."""
    runs: list[list[str]] = [[]]
    for moment, value in zip(at_ms, values, strict=True):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{x(moment):.1f},{y(value):.1f}")
    return [" ".join(run) for run in runs if run]


def _bands(
    at_ms: Sequence[int], band: tuple[Sequence[float | None], Sequence[float | None]], x: _Axis, y: _Axis
) -> list[str]:
    lows, highs = (_runs(at_ms, side, x, y) for side in band)
    return [f"{low} {' '.join(reversed(high.split()))}" for low, high in zip(lows, highs, strict=True)]
