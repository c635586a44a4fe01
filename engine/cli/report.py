"""`tact report`: what a decision log says about variants, segments, the holdout, and reasons."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from engine.cli.check import refuse
from engine.cli.output import FAILED, OK, USAGE, CommandError, counted, out, print_json, print_table, say
from engine.compiler.model import RuleSet
from engine.compiler.ruleset import load, read_directory
from engine.decision import OutcomeKind
from engine.errors import RulesInvalid
from engine.readout.holdout import Held, columns
from engine.readout.kpis import rows_of
from engine.readout.report import Comparison, MessageReport, Report, SegmentEffect, Wish, make_report
from engine.readout.trials import HORIZONS, read_trials

VERDICTS = {"higher": "green", "lower": "red", "open": "", "too few": "dim"}
SHOWN_REASONS = 12


def wish_of(kind: str, days: float, level: float, by: list[str], tuned_for: int, events: list[str]) -> Wish:
    """The options as one. Raises CommandError."""
    known = {k.name.lower(): k for k in OutcomeKind}
    if kind and kind.lower() not in known:
        raise CommandError(f"no outcome is called '{kind}'; expected one of {', '.join(known)}", USAGE)
    if not 0.5 <= level < 1.0:
        raise CommandError(f"the level {level:g} is none; expected one from 0.5 to below 1, as 0.95", USAGE)
    return Wish(known[kind.lower()] if kind else None, days, level, tuple(by), tuned_for, tuple(events))


def run(log: Path, rules: Path | None, wish: Wish, html: Path | None, as_json: bool) -> int:
    """Reads out; 1 where the rule set has findings or a trial's sample ratio is suspect."""
    ruleset: RuleSet | None = None
    if rules is not None:
        try:
            ruleset = load(read_directory(rules))
        except RulesInvalid as error:
            refuse(rules, error.findings, as_json)
            return FAILED
    report = make_report(read_trials(log, bool(wish.by)), wish, ruleset)
    if html is not None:
        from engine.readout.page import page

        try:
            html.write_text(page(report, str(log)), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{html} cannot be written: {error.strerror}") from None
    if as_json:
        print_json(json_of(report))
    else:
        _print(out(), report)
        if html is not None:
            say(out(), Text(f"written: {html}", "dim"))
    suspect = any(m.ratio.suspect for m in report.messages) or any(h.suspect for h in report.holdout)
    return FAILED if suspect else OK


def json_of(report: Report) -> dict[str, object]:
    """The report for programs, with each comparison's verdict."""
    shown = asdict(report)
    for message, m in zip(shown["messages"], report.messages, strict=True):
        message["ratio"]["suspect"] = m.ratio.suspect
        for name, comparisons in (("main", m.main), ("others", m.others)):
            for entry, c in zip(message[name], comparisons, strict=True):
                entry["verdict"] = c.verdict
    return shown


def day(at_ms: int) -> str:
    """A moment's day, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")


def _print(console: Console, r: Report) -> None:
    head = f"{counted(r.decisions, 'decision')} for {counted(r.customers, 'customer')}"
    say(console, Text(f"{head}, {day(r.first_ms)} to {day(r.last_ms)}", "bold"))
    say(console, f"{counted(r.trials, 'draw')}, {counted(r.outcomes, 'outcome')}")
    if r.strays:
        say(console, Text(f"{counted(r.strays, 'outcome')} of decisions that the log does not hold", "yellow"), 2)
    for m in r.messages:
        _print_message(console, m, r)
    if r.single:
        say(console, "one variant only, nothing to compare: " + ", ".join(r.single))
    if r.holdout:
        _print_holdout(console, r.holdout, r.level)
    _print_funnel(console, r)


def _grid(*headers: str, texts: int = 1) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for place, header in enumerate(headers):
        grid.add_column(header, justify="left" if place < texts else "right", no_wrap=True)
    return grid


def _print_message(console: Console, m: MessageReport, r: Report) -> None:
    console.print()
    how = f"policy {m.policy}, " if m.policy else ""
    how += "fixed slice beside it" if m.fixed_slice else "learning" if m.learns else "fixed shares"
    head = Text.assemble((m.message, "bold"), f"  {how}, control {m.control}")
    if not m.control_known:
        head.append(" (nobody says so: the first by name)", "yellow")
    say(console, head)
    if m.outside:
        say(console, f"{m.outside:,} decisions outside of the trial are left out", 2)
    if m.open_trials:
        say(console, f"{m.open_trials:,} of {m.trials:,} trials are younger than {r.days:g} days: not compared yet", 2)
    ratio = m.ratio
    if ratio.suspect:
        text = f"SAMPLE RATIO: drawn and expected differ (p {ratio.seq_p:.2g}): find out why before reading on"
        say(console, Text(text, "bold red"), 2)
    headers = [f"{r.kind.lower()} {days} d" for days in HORIZONS] if r.kind else []
    grid = _grid("variant", "trials", "customers", "expected", "probability", *headers, "not delivered")
    for arm, expected in zip(m.arms, ratio.expected, strict=True):
        rates = []
        for t in arm.totals:
            if t.kind == r.kind and not t.category:
                rates.append(f"{t.positive / t.trials:.2%}" if t.trials else "-")
        grid.add_row(
            arm.variant, f"{arm.trials:,}", f"{arm.customers:,}", f"{expected:,.1f}", f"{arm.probability:.3f}",
            *rates, f"{arm.not_delivered:,}",
        )  # fmt: skip
    print_table(console, grid)
    if m.learns:
        say(console, Text("rates as drawn: a policy that learns makes them lean; the effects below do not", "dim"), 2)
    if m.fixed_slice:
        told = "shares never moved here: the test for one look holds on a day that was fixed beforehand"
        say(console, Text(told, "dim"), 2)
    if m.main:
        _print_effects(console, m.main, r)
    _print_kpis(console, m)
    more = [c for c in m.others if c.verdict in ("higher", "lower")]
    if more:
        say(console, "other outcomes and horizons with a difference:", 2)
        _print_effects(console, more, r)
    if m.segments:
        _print_segments(console, m, r)


def _print_kpis(console: Console, m: MessageReport) -> None:
    grid = _grid("measured", "days", *(arm.variant for arm in m.arms))
    before = ""
    for row in rows_of([arm.totals for arm in m.arms]):
        told = ["-" if v is None else number(v, row.is_rate) for v in row.values]
        grid.add_row("" if row.title == before else row.title, f"{row.days:g}", *told)
        before = row.title
    if before:
        print_table(console, grid)


def _print_effects(console: Console, comparisons: list[Comparison], r: Report) -> None:
    percent = f"{r.level:.0%}"
    grid = _grid(
        "against control", "outcome", "effect", f"{percent} watched", "p watched", f"{percent} one look", "p", "Holm",
        "ratio", "verdict", texts=2,
    )  # fmt: skip
    for c in comparisons:
        e = c.effect
        what = f"{c.outcome} {c.days:g} d" + ("" if c.measure == "rate" else f" {c.measure}")
        rate = c.measure == "rate"
        grid.add_row(
            c.variant, what, signed(e.effect, rate), between(e.seq_low, e.seq_high, rate), p_text(e.seq_p),
            between(e.low, e.high, rate), p_text(e.p), p_text(c.holm), "-" if e.ratio is None else f"{e.ratio:.2f}",
            Text(c.verdict, VERDICTS[c.verdict]),
        )  # fmt: skip
    print_table(console, grid)


def _print_segments(console: Console, m: MessageReport, r: Report) -> None:
    grid = _grid(
        "segment", "value", "variant", "trials", "effect", f"{r.level:.0%} watched", "as elsewhere: p", "BH", texts=3
    )
    for s in sorted(m.segments, key=_strength)[:SHOWN_REASONS]:
        e = s.effect
        grid.add_row(
            s.by, s.segment, s.variant, f"{e.n_treated + e.n_control:,}", signed(e.effect, True),
            between(e.seq_low, e.seq_high, True), p_text(s.interaction), p_text(s.adjusted),
        )  # fmt: skip
    print_table(console, grid)
    if len(m.segments) > SHOWN_REASONS:
        say(console, f"the {SHOWN_REASONS} most different of {len(m.segments)} segments; --json has all", 2)
    for variant, by, p in m.heterogeneity:
        say(console, f"{variant} has the same effect in all of {by}: p {p_text(p)}", 2)


def _strength(s: SegmentEffect) -> float:
    return 2.0 if s.interaction is None else s.interaction


def _print_holdout(console: Console, held: list[Held], level: float) -> None:
    console.print()
    say(console, Text("holdout: everybody against those who are told nothing, from the first message on", "bold"))
    if any(h.suspect for h in held):
        say(
            console, Text("the holdout is not as large as the rules say: find out why before reading on", "bold red"), 2
        )
    grid = _grid(*columns(level))
    for h in held:
        rate = h.is_rate
        grid.add_row(
            h.measure.lower(), f"{h.days:g}", f"{h.sent:,}", f"{h.held:,}", number(h.mean_sent, rate),
            number(h.mean_held, rate), signed(h.difference.value if h.difference else None, rate),
            between(h.seq_low, h.seq_high, rate), p_text(h.seq_p),
        )  # fmt: skip
    print_table(console, grid)


def _print_funnel(console: Console, r: Report) -> None:
    console.print()
    grid = _grid("what became of events", "decisions", "")
    for reason, count in list(r.reasons.items())[:SHOWN_REASONS]:
        grid.add_row(reason, f"{count:,}", f"{count / r.decisions:.1%}")
    print_table(console, grid)
    console.print()
    grid = _grid("message", "considered", "what became of it", texts=1)
    grid.columns[2].justify = "left"
    for message, stops in r.stops.items():
        total = sum(stops.values())
        told = ", ".join(f"{reason} {count / total:.0%}" for reason, count in list(stops.items())[:5])
        grid.add_row(message, f"{total:,}", told)
    print_table(console, grid)


def number(value: float, rate: bool) -> str:
    """A rate in per cent, else a number."""
    return f"{value:.2%}" if rate else f"{value:.4g}"


def signed(value: float | None, rate: bool) -> str:
    """A difference: of rates in percentage points."""
    if value is None:
        return "-"
    return f"{100 * value:+.2f} pp" if rate else f"{value:+.4g}"


def between(low: float | None, high: float | None, rate: bool) -> str:
    """An interval."""
    if low is None or high is None:
        return "-"
    return f"{100 * low:+.2f} to {100 * high:+.2f}" if rate else f"{low:+.4g} to {high:+.4g}"


def p_text(p: float | None) -> str:
    """A p-value to two digits."""
    return "-" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.2g}"
