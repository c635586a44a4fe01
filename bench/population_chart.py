"""`python -m bench.population_chart FIGURES.json OUT.png`: what `bench population --json` found, as a picture."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from bench.population import FIXED, KNOWING, LEARNING, RANDOM, UNCAPPED

_OURS, _OTHER, _FAINT, _TEXT, _QUIET = "#0b5fa5", "#c2571a", "#8a8f98", "#1f2328", "#59636e"
_MONTH = 30
_PLACES = ((0.055, 0.2), (0.45, 0.18), (0.76, 0.165))  # of the panels: from, width
Floats = npt.NDArray[np.float64]
Arms = Mapping[str, Mapping[str, Floats]]


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Three panels: replies won by learning; people still to be written to; value a month. Medians over the seeds, and
    where there are several the least and the largest as a band. matplotlib is asked for only here."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    told = [row for row in rows if "by_day" in row]
    arms = {row["arm"]: {name: np.array(days, float) for name, days in row["by_day"].items()} for row in told}
    people = told[0]["people"]
    plt.rcParams.update({"font.size": 10, "text.color": _TEXT, "axes.edgecolor": "#c8ccd1"})
    figure = plt.figure(figsize=(10.6, 3.9), dpi=160)
    left, middle, right = (figure.add_axes((x, 0.125, width, 0.72)) for x, width in _PLACES)
    _replies(left, arms)
    _reached(middle, arms, people)
    _months(right, arms, people)
    for axes in (left, middle, right):
        axes.tick_params(colors=_QUIET, length=0)
        axes.grid(axis="y", color="#e7e9ec", lw=0.7)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    figure.savefig(out, facecolor="white")


def _replies(axes: Any, arms: Arms) -> None:
    """Replies of 30 days, beside those of random wordings."""
    days = arms[RANDOM]["replies"].shape[1]
    ends = []
    for name, label, colour, wide in (
        (KNOWING, "each region's\nbest, known:", _FAINT, 1.3),
        (FIXED, "best of all,\nknown:", _OTHER, 1.6),
        (LEARNING, "learning:", _OURS, 2.4),
    ):
        first = min(_MONTH, days) - 1
        ours, theirs = (np.cumsum(arms[arm]["replies"], 1)[:, first:] for arm in (name, RANDOM))
        gain = 100.0 * (ours / np.maximum(theirs, 1.0) - 1.0)
        _line(axes, np.arange(first + 1, days + 1), gain, colour, wide)
        end = float(np.median(gain[:, -1]))
        ends.append((end, f"{label} {end:+.0f} %", colour))
    axes.axhline(0.0, color=_QUIET, lw=1.0)
    ends.append((0.0, "random", _QUIET))
    _name(axes, ends, days)
    _head(axes, "Learning: replies so far,\nmore than with random wording", days)
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:+.0f} %" if y else "0 %")


def _reached(axes: Any, arms: Arms, people: int) -> None:
    """Who stayed and has not said stop, of all."""
    days = arms[LEARNING]["reached"].shape[1]
    ends = []
    for name, label, colour in ((LEARNING, "caps:", _OURS), (UNCAPPED, "no caps:", _OTHER)):
        part = 100.0 * arms[name]["reached"] / people
        _line(axes, np.arange(1, days + 1), part, colour, 2.4 if name == LEARNING else 1.6)
        end = float(np.median(part[:, -1]))
        ends.append((end, f"{label} {end:.0f} %", colour))
    axes.set_ylim(0, 102)
    _name(axes, ends, days)
    _head(axes, "Manners: customers who stayed\nand may still be written to", days)
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0f} %")


def _months(axes: Any, arms: Arms, people: int) -> None:
    """EUR a month and customer there was at the start."""
    ends = []
    count = arms[LEARNING]["value"].shape[1] // _MONTH
    for name, label, colour in ((LEARNING, "caps", _OURS), (UNCAPPED, "no caps", _OTHER)):
        value = arms[name]["value"][:, : count * _MONTH]
        months = value.reshape(len(value), count, _MONTH).sum(2) / people
        _line(axes, np.arange(1, count + 1) * _MONTH, months, colour, 2.4 if name == LEARNING else 1.6, "o")
        ends.append((float(np.median(months[:, -1])), label, colour))
    axes.set_ylim(bottom=0)
    _name(axes, ends, count * _MONTH)
    _head(axes, "Value of a month, EUR\nper customer at the start", count * _MONTH)
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0f}")


def _line(axes: Any, days: Any, seeds: Floats, colour: str, wide: float, mark: str = "") -> None:
    axes.fill_between(days, seeds.min(0), seeds.max(0), color=colour, alpha=0.13, lw=0)
    axes.plot(days, np.median(seeds, 0), color=colour, lw=wide, marker=mark, markersize=4.5, clip_on=False)


def _name(axes: Any, ends: list[tuple[float, str, str]], days: int) -> None:
    """Names at the ends of the lines, moved apart where they would touch."""
    low, high = axes.get_ylim()
    below = -np.inf
    for y, label, colour in sorted(ends):
        lines = label.count("\n") + 1
        place = max(y, below + 0.03 * lines * (high - low))
        axes.annotate(
            label, (days, y), (1.045 * days, place), color=colour, va="center", fontsize=9.5, annotation_clip=False
        )
        below = place + 0.032 * lines * (high - low)
    axes.set_xlim(0, days)


def _head(axes: Any, title: str, days: int) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, pad=9, fontweight="bold")
    months = range(0, days + 1, _MONTH)
    axes.set_xticks(list(months), [f"{k // _MONTH}" for k in months])
    axes.set_xlabel("months", color=_QUIET)


if __name__ == "__main__":
    draw(orjson.loads(Path(sys.argv[1]).read_bytes())["rows"], Path(sys.argv[2]))
