"""The HTML page: whole, by itself, and safe with any text that a log may hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.decision import SHARE_UNIT, OutcomeKind
from engine.readout.page import page
from engine.readout.report import Wish, make_report
from engine.readout.svg import Interval, Line, bars, densities, forest, lines, stacked, ticks
from engine.readout.trials import read_trials
from engine.state.log import CandidateEntry, Entry
from tests.readout.written import DAY_MS, START_MS, archive, decision, outcome

NUMBER = re.compile(r'(?<= )(?:x|y|x1|x2|y1|y2|cx|cy|width|height|points)="([^"]*)"')
FINITE = st.floats(-1e6, 1e6)


class Parsed(HTMLParser):
    """Tags that are open, all attributes, all text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(k, v or "") for k, v in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(k, v or "") for k, v in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def document(tmp_path: Path, name: str = "offer") -> str:
    half = {f"{name}-a": SHARE_UNIT // 2, f"{name}-b": SHARE_UNIT // 2}
    entries: list[Entry] = []
    for i in range(400):
        variant = f"{name}-{'ab'[i % 2]}"
        more = {"candidates": [CandidateEntry(name, 0, 1.0, SHARE_UNIT)]}
        one = decision(f"c{i}", 1, START_MS + i * DAY_MS // 4, half, variant, message=name, segment=name, **more)
        if i % 10 == 9:
            one.outcome, one.reason, one.withheld = 2, 40, True
        entries.append(one)
        if i % 3 == 0 or i % 7 == 0:
            entries.append(outcome(one, OutcomeKind.CONVERTED, value=2.0))
    log = read_trials(archive(tmp_path, entries), True)
    return page(make_report(log, Wish(by=("features.x",))), f"log of {name}")


def test_the_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    text = document(tmp_path)
    parsed = Parsed(text)
    assert parsed.open == []
    assert text.count("<svg") >= 7
    assert not parsed.tags & {"script", "link", "img", "iframe", "object"}
    assert not {k for k, _ in parsed.attributes} & {"src", "href", "onload", "onclick", "style"}
    assert "url(" not in text
    assert "://" not in text
    assert "prefers-color-scheme: dark" in text
    assert "nan" not in NUMBER.findall(text)


def test_texts_of_the_log_are_texts_of_the_page(tmp_path: Path) -> None:
    name = "<script>alert('x')</script>&\""
    text = document(tmp_path, name)
    parsed = Parsed(text)
    assert parsed.open == []
    assert "script" not in parsed.tags
    assert name in parsed.text


@settings(deadline=None)
@given(FINITE, FINITE)
def test_ticks_are_few_round_and_inside(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    found = ticks(low, high)
    assert len(found) <= 8
    slack = 1e-6 * max(abs(low), abs(high))
    assert all(low - slack <= t <= high + slack for t in found)


OPTIONAL = st.one_of(st.none(), FINITE)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=30), FINITE, FINITE, FINITE), max_size=6),
    st.lists(OPTIONAL, min_size=3, max_size=3),
)
def test_plots_take_whatever_there_is(rows: list[tuple[str, float, float, float]], values: list[float | None]) -> None:
    intervals = [Interval(label, v, min(a, b), max(a, b), (a, b)) for label, v, a, b in rows]
    intervals.append(Interval("none", None, None, None))
    drawn = [
        forest("f", intervals, str, str),
        lines(
            "l", [0, DAY_MS, 2 * DAY_MS], [Line("x", values, 0, (values, values)), Line("y", [None] * 3, 7)], str, True
        ),
        densities("d", [(label, v, abs(a) * 1e-3, 1) for label, v, a, _ in rows], str),
        bars("b", [(label, abs(int(v))) for label, v, _, _ in rows], 10),
        stacked("s", [(label, [("A", abs(int(v))), ("B", 1)]) for label, v, _, _ in rows], ["A"]),
    ]
    for plot in drawn:
        assert Parsed(plot).open == []
        for found in NUMBER.findall(plot):
            assert all(abs(float(n)) < 1e7 for n in re.split("[ ,]+", found))
