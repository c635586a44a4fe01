"""The readout as one HTML page that needs nothing else: tables, plots, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from engine.readout.holdout import Held, columns
from engine.readout.kpis import rows_of
from engine.readout.report import Comparison, MessageReport, Report
from engine.readout.segments import POLICY_SEGMENT
from engine.readout.svg import Interval, Line, bars, densities, forest, lines, stacked
from engine.readout.trials import HORIZONS

_STYLE = """
:root { color-scheme: light dark; --back: #fbfbfa; --card: #fff; --ink: #1d2025; --soft: #646b76; --edge: #e2e4e8;
  --good: #12805c; --bad: #c0362c; --c0: #2f6fdb; --c1: #d9822b; --c2: #2a9d6f; --c3: #a24fc4; --c4: #c2395b;
  --c5: #5b8a9a; --rest: #b9bec7; }
@media (prefers-color-scheme: dark) { :root { --back: #14161a; --card: #1c1f25; --ink: #e7e9ec; --soft: #9aa3af;
  --edge: #30353d; --good: #4cc38a; --bad: #ff7b72; --c0: #6ea8fe; --c1: #f0a35e; --c2: #58c896; --c3: #c792e8;
  --c4: #f2789a; --c5: #8fc0d0; --rest: #59606b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 28px 20px 60px; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 25px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 0; } h3 { font-size: 15px; margin: 22px 0 6px; }
p { margin: 6px 0; } .soft { color: var(--soft); } .bad { color: var(--bad); font-weight: 600; }
section { background: var(--card); border: 1px solid var(--edge); border-radius: 12px;
  padding: 20px 22px; margin-top: 22px; }
.facts { display: flex; flex-wrap: wrap; gap: 10px 34px; margin: 14px 0 0; }
.facts b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; }
.tag { display: inline-block; border: 1px solid var(--edge); border-radius: 99px; padding: 0 10px; font-size: 13px;
  color: var(--soft); margin: 6px 6px 0 0; }
.tag.good { color: var(--good); border-color: currentColor; }
.tag.bad { color: var(--bad); border-color: currentColor; }
.scroll { overflow-x: auto; margin-top: 12px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: var(--soft); font-size: 13px; } th, td { text-align: right; padding: 5px 10px;
  border-bottom: 1px solid var(--edge); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 6px 26px; }
svg { width: 100%; max-width: 760px; margin-top: 8px; height: auto; display: block; }
svg text { fill: var(--ink); font-size: 12.5px; }
svg .tick { fill: var(--soft); font-size: 11.5px; } svg .strong { font-weight: 600; }
.grid { stroke: var(--edge); } .zero { stroke: var(--soft); stroke-dasharray: 3 3; }
.wide { stroke: var(--c0); stroke-width: 2; } .narrow { stroke: var(--c0); stroke-width: 6; stroke-opacity: .35; }
.dot { fill: var(--c0); } .wide.sure, .narrow.sure { stroke: var(--c1); } .dot.sure { fill: var(--c1); }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .band { fill-opacity: .16; stroke: none; }
.fill.c0, .band.c0 { fill: var(--c0); } .fill.c1, .band.c1 { fill: var(--c1); } .fill.c2, .band.c2 { fill: var(--c2); }
.fill.c3, .band.c3 { fill: var(--c3); } .fill.c4, .band.c4 { fill: var(--c4); } .fill.c5, .band.c5 { fill: var(--c5); }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); }
.line.c3 { stroke: var(--c3); } .line.c4 { stroke: var(--c4); } .line.c5 { stroke: var(--c5); }
.rest { fill: var(--rest); }
details { margin-top: 16px; } summary { cursor: pointer; color: var(--soft); }
"""
_SEGMENTS_MAX = 24
_REASONS_MAX = 14


def page(report: Report, title: str) -> str:
    """The whole document. Every text that comes from the log is escaped."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Readout of {escape(title)}</title><style>{_STYLE}</style></head><body>",
        f'<h1>What was said, and what came of it</h1><p class="soft">{escape(title)}: {_day(report.first_ms)} to '
        f"{_day(report.last_ms)}</p>",
        _facts(report),
        *(_message(m, report) for m in report.messages),
    ]
    if report.single:
        parts.append(f'<p class="soft">One variant only, nothing to compare: {escape(", ".join(report.single))}</p>')
    if report.holdout:
        parts.append(_holdout(report.holdout, report.level))
    parts += [_funnel(report), _how(report), "</body></html>"]
    return "".join(parts)


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%d %b %Y")


def _facts(r: Report) -> str:
    facts = [("decisions", r.decisions), ("customers", r.customers), ("draws", r.trials), ("outcomes", r.outcomes)]
    cells = "".join(f"<div><b>{n:,}</b><span class=soft>{what}</span></div>" for what, n in facts)
    strays = f'<p class="bad">{r.strays:,} outcomes of decisions that the log does not hold</p>' if r.strays else ""
    return f'<div class="facts">{cells}</div>{strays}'


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _message(m: MessageReport, r: Report) -> str:
    tags = [f'<span class="tag">{"policy " + escape(m.policy) if m.policy else "no policy"}</span>']
    how = "fixed slice beside it" if m.fixed_slice else "learning" if m.learns else "fixed shares"
    tags.append(f'<span class="tag">{how}</span>')
    tags.append(f'<span class="tag">control: {escape(m.control)}{"" if m.control_known else " (first by name)"}</span>')
    ratio = f"sample ratio p {_p(m.ratio.seq_p)} watched, {_p(m.ratio.p)} one look"
    tags.append(f'<span class="tag {"bad" if m.ratio.suspect else "good"}">{ratio}</span>')
    for c in m.main:
        kind = {"higher": " good", "lower": " bad"}.get(c.verdict, "")
        tags.append(f'<span class="tag{kind}">{escape(c.variant)}: {c.verdict}</span>')
    parts = [f"<section><h2>{escape(m.message)}</h2>{''.join(tags)}"]
    if m.ratio.suspect:
        parts.append(
            '<p class="bad">Drawn and expected numbers differ: something loses or adds trials after the draw. '
            "Find out what before reading on.</p>"
        )
    if m.outside:
        parts.append(f'<p class="soft">{m.outside:,} decisions outside of the trial are left out.</p>')
    if m.open_trials:
        parts.append(
            f'<p class="soft">{m.open_trials:,} of {m.trials:,} trials are younger than {r.days:g} days and are not '
            "compared yet.</p>"
        )
    parts.append(_arms(m, r))
    if m.main:
        parts.append(f"<h3>Effect on {r.kind.lower()} within {r.days:g} days, against {escape(m.control)}</h3>")
        parts.append(_effects(m, r.level))
    s = m.series
    kind = r.kind.lower()
    colour = {variant: k for k, variant in enumerate(s.variants)}
    watched = [Line(w.variant, w.effect, colour[w.variant], (w.low, w.high)) for w in s.watched]
    shares = [Line(v, p, colour[v]) for v, p in zip(s.variants, s.probability, strict=True)]
    rewards = [Line(v, y, colour[v]) for v, y in zip(s.variants, s.reward, strict=True)] if r.kind else []
    plots = [
        ("Effect as it was on each day, pp", lines("effect over time", s.at_ms, watched, _axis, zero=True)),
        (f"Where the rate of {kind} lies", densities("posteriors", _curves(m, colour), lambda v: f"{v:.3g}")),
        ("Probability of each variant", lines("probabilities over time", s.at_ms, shares, lambda v: f"{v:.0%}", True)),
        (f"Cumulative {kind}", lines("cumulative reward", s.at_ms, rewards, lambda v: f"{v:,.0f}", zero=True)),
    ]
    drawn = "".join(f"<div><h3>{title}</h3>{plot}</div>" for title, plot in plots if plot)
    parts.append(f'<div class="plots">{drawn}</div>')
    if m.others:
        parts.append(f"<details><summary>All outcomes and horizons</summary>{_others(m.others, r.level)}</details>")
    parts.append("</section>")
    return "".join(parts)


def _curves(m: MessageReport, colour: Mapping[str, int]) -> list[tuple[str, float, float, int]]:
    """Each arm's estimated mean: near enough its posterior under a flat prior, as soon as there are many trials."""
    curves: list[tuple[str, float, float, int]] = []
    for c in m.main:
        e = c.effect
        if e.mean_control is not None and e.se_control is not None and not curves:
            curves.append((m.control, e.mean_control, e.se_control, colour[m.control]))
        if e.mean_treated is not None and e.se_treated is not None:
            curves.append((c.variant, e.mean_treated, e.se_treated, colour[c.variant]))
    return curves


def _arms(m: MessageReport, r: Report) -> str:
    headers = ["variant", "trials", "expected", "customers", "mean probability"]
    headers += [f"{r.kind.lower()} {d} d" for d in HORIZONS] if r.kind else []
    rows = []
    for arm, expected in zip(m.arms, m.ratio.expected, strict=True):
        rates = [
            f"{t.positive / t.trials:.2%}" if t.trials else "-"
            for t in arm.totals
            if t.kind == r.kind and not t.category
        ]
        rows.append(
            [arm.variant, f"{arm.trials:,}", f"{expected:,.1f}", f"{arm.customers:,}", f"{arm.probability:.3f}", *rates,
             f"{arm.not_delivered:,}"]
        )  # fmt: skip
    note = ""
    if m.learns:
        note = '<p class="soft">Rates as drawn lean where a policy learns. The effects below do not.</p>'
    kpis = [
        [
            row.title,
            f"{row.days:g}",
            *("-" if v is None else f"{v:.2%}" if row.is_rate else f"{v:.4g}" for v in row.values),
        ]
        for row in rows_of([arm.totals for arm in m.arms])
    ]
    measured = _table(["measured", "days", *(arm.variant for arm in m.arms)], kpis) if kpis else ""
    told = f"<details><summary>Replies, transactions, activity</summary>{measured}</details>" if kpis else ""
    return _table([*headers, "not delivered"], rows) + note + told


def _effects(m: MessageReport, level: float) -> str:
    rows = [_interval(c.variant, c, True) for c in m.main]
    told = sorted(m.segments, key=lambda s: (s.variant, s.by))[:_SEGMENTS_MAX]  # segments keep their order
    for s in told:
        e = s.effect
        narrow = (e.low, e.high) if e.low is not None and e.high is not None else None
        mark = " *" if s.adjusted is not None and s.adjusted < 1.0 - level else ""
        what = "" if s.by == POLICY_SEGMENT else s.by.rpartition(".")[2]
        label = f"{what} {s.segment}{mark}".strip()
        label = label if len(m.main) == 1 else f"{s.variant}: {label}"
        rows.append(Interval(label, e.effect, e.seq_low, e.seq_high, narrow))
    plot = forest("effects with intervals", rows, _points, _axis)
    note = f"Thin: {level:.0%} confidence sequence, may be watched daily. Thick: {level:.0%} interval for one look."
    if any(s.adjusted is not None and s.adjusted < 1.0 - level for s in told):
        note += " *: differs from the rest of the customers (Benjamini-Hochberg)."
    if len(m.segments) > len(told):
        note += f" {len(told)} of {len(m.segments)} segments shown."
    table = _table(
        ["variant", "effect", f"{level:.0%} watched", "p watched", "p one look", "Holm", "ratio", "variance saved"],
        [
            [c.variant, _points(c.effect.effect), _range(c.effect.seq_low, c.effect.seq_high), _p(c.effect.seq_p),
             _p(c.effect.p), _p(c.holm), "-" if c.effect.ratio is None else f"{c.effect.ratio:.2f}",
             "-" if c.effect.saved is None else f"{c.effect.saved:.0%}"]
            for c in m.main
        ],
    )  # fmt: skip
    return f'{plot}<p class="soft">{escape(note)}</p>{table}'


def _interval(label: str, c: Comparison, strong: bool) -> Interval:
    e = c.effect
    narrow = (e.low, e.high) if e.low is not None and e.high is not None else None
    return Interval(label, e.effect, e.seq_low, e.seq_high, narrow, strong)


def _others(others: Sequence[Comparison], level: float) -> str:
    headers = [
        "variant",
        "outcome",
        "days",
        "trials",
        "effect",
        f"{level:.0%} watched",
        "p watched",
        "p one look",
        "verdict",
    ]
    rows = []
    for c in others:
        e, rate = c.effect, c.measure == "rate"
        rows.append(
            [c.variant, c.outcome + ("" if rate else f", {c.measure}"), f"{c.days:g}",
             f"{e.n_treated + e.n_control:,}", _points(e.effect) if rate else _plain(e.effect),
             _range(e.seq_low, e.seq_high, rate), _p(e.seq_p), _p(e.p), c.verdict]
        )  # fmt: skip
    return _table(headers, rows)


def _holdout(held: Sequence[Held], level: float) -> str:
    rows, plot = [], []
    for h in held:
        rate = h.is_rate
        value = h.difference.value if h.difference is not None else None
        name = h.measure.lower()
        means = [f"{v:.2%}" if rate else f"{v:.4g}" for v in (h.mean_sent, h.mean_held)]
        told = _points(value) if rate else _plain(value)
        between = _range(h.seq_low, h.seq_high, rate)
        rows.append([name, f"{h.days:g}", f"{h.sent:,}", f"{h.held:,}", *means, told, between, _p(h.seq_p)])
        if rate:
            narrow = (h.difference.low, h.difference.high) if h.difference is not None else None
            plot.append(Interval(f"{name} {h.days:g} days", value, h.seq_low, h.seq_high, narrow))
    suspect = '<p class="bad">The holdout is not as large as the rules say.</p>' if any(h.suspect for h in held) else ""
    return (
        f"<section><h2>All messages together, against the holdout</h2>{suspect}"
        f"{forest('effects against the holdout', plot, _points, _axis) if plot else ''}{_table(columns(level), rows)}"
        '<p class="soft">Customers from the first message that was sent to, or withheld from, them.</p></section>'
    )


def _funnel(r: Report) -> str:
    reasons = list(r.reasons.items())[:_REASONS_MAX]
    total: dict[str, int] = {}
    for stops in r.stops.values():
        for reason, count in stops.items():
            total[reason] = total.get(reason, 0) + count
    legend = sorted(total, key=lambda reason: -total[reason])[:6]
    rows = [(message, list(stops.items())) for message, stops in r.stops.items()]
    parts = ["<section><h2>What became of events</h2>", bars("reasons of decisions", reasons, max(1, r.decisions))]
    if rows:
        parts += [
            "<h3>Message by message, as often as it was looked at</h3>",
            stacked("reasons by message", rows, legend),
        ]
    return "".join([*parts, "</section>"])


def _how(r: Report) -> str:
    return (
        "<section><h2>How to read this</h2>"
        "<p>Effects are differences of rates, weighted by the logged probabilities. The confidence sequence holds at "
        "all times at once: on a page that is looked at every day it leaves out the truth in at most "
        f"{1 - r.level:.0%} of comparisons. An interval for one look holds on one day that was fixed beforehand. "
        "A verdict is "
        "<b>higher</b> or <b>lower</b> where the confidence sequence leaves out zero, else <b>open</b>. Holm's p-value "
        "counts all messages of this page.</p><p class='soft'>docs/learning.md has the methods, their sources and what "
        "they assume.</p></section>"
    )


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.2f} pp" if abs(value) < 0.0995 else f"{100 * value:+.1f} pp"


def _axis(value: float) -> str:
    """A tick in percentage points."""
    return f"{100 * value:+.3g}" if value else "0"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4g}"


def _range(low: float | None, high: float | None, rate: bool = True) -> str:
    if low is None or high is None:
        return "-"
    return f"{100 * low:+.2f} to {100 * high:+.2f}" if rate else f"{low:+.4g} to {high:+.4g}"


def _p(p: float | None) -> str:
    return "-" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.2g}"
