"""`tact plan`: how large a trial must be, before it begins."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from engine.cli.output import OK, USAGE, CommandError, out, print_json, print_table, say
from engine.decision import OutcomeKind
from engine.errors import TactError
from engine.readout.planning import LIFTS, WEEKS, Need, Reach, Trial, checked, need, reach
from engine.readout.power import rate_variance
from engine.readout.trials import DAY_MS, kinds_of, read_trials


@dataclass(frozen=True, slots=True)
class Asked:
    """The options as they came; None and "" where not given."""

    rate: float | None
    mean: float | None
    deviation: float | None
    effect: float | None
    lift: float | None
    customers: int | None
    per_day: float | None
    log: Path | None
    message: str
    kind: str
    days: float


def run(asked: Asked, shape: Trial, as_json: bool) -> int:
    """Plans. `shape` has arms, shares, level and power; its outcome is filled in from what was asked."""
    mean, variance, is_rate, per_day = _outcome(asked)
    arms, share = shape.arms, shape.share or 1.0 / max(2, shape.arms)
    trial = checked(Trial(mean, variance, is_rate, arms, share, shape.alpha, shape.power, shape.messages, shape.saved))
    if asked.effect is not None:
        effects = [asked.effect]
    elif asked.lift is not None:
        effects = [mean * asked.lift]
    else:
        effects = [mean * lift for lift in LIFTS if not is_rate or mean * (1 + lift) < 1.0]
    needs = [need(trial, effect) for effect in effects]
    sizes = [asked.customers] if asked.customers else [math.ceil(7 * w * per_day) for w in WEEKS] if per_day else []
    reaches = [reach(trial, n) for n in sizes]
    if as_json:
        shown = {"control": mean, "variance": variance, "rate": is_rate, "per_day": per_day, "level": trial.level}
        needed = [
            asdict(n) | {"days": _days(n.one_look, per_day), "days_watched": _days(n.watched, per_day)} for n in needs
        ]
        print_json(shown | {"needs": needed, "reaches": [asdict(r) for r in reaches]})
    else:
        _print(out(), trial, needs, reaches, per_day)
    return OK


def _outcome(asked: Asked) -> tuple[float, float, bool, float | None]:
    """(the control's mean, its variance, whether it is a rate, customers a day)."""
    given = [asked.rate is not None, asked.mean is not None, asked.log is not None]
    if sum(given) != 1:
        raise CommandError("tact plan takes --rate, or --mean with --deviation, or --log with --message", USAGE)
    if asked.effect is not None and asked.lift is not None:
        raise CommandError("--effect or --lift, not both: a lift is an effect as a part of the control's mean", USAGE)
    if asked.rate is not None:
        return asked.rate, rate_variance(asked.rate), True, asked.per_day
    if asked.mean is not None:
        if asked.deviation is None:
            raise CommandError("--mean needs --deviation: the standard deviation between customers", USAGE)
        return asked.mean, asked.deviation**2, False, asked.per_day
    return _from_log(asked)


def _from_log(asked: Asked) -> tuple[float, float, bool, float | None]:
    """A message's rate per customer, from the first time it was sent to each, and its customers a day."""
    assert asked.log is not None
    log = read_trials(asked.log)
    kinds = {k.name.lower(): k for k in kinds_of(log)}
    kind = asked.kind.lower() or next(iter(kinds), "")
    if kind not in kinds:
        raise TactError(f"the log has no outcome '{kind}'; it has: {', '.join(kinds) or 'none'}")
    sent = ~log.withheld
    messages = sorted({log.names.texts[c] for c in np.unique(log.message[sent]).tolist()})
    if asked.message not in messages:
        raise TactError(f"the log sent no message '{asked.message}'; it sent: {', '.join(messages)}")
    rows = np.flatnonzero(sent & (log.message == log.names.code(asked.message)))
    first = np.unique(log.customer[rows], return_index=True)[1]
    closed = rows[first][log.closed(asked.days)[rows[first]]]
    if not len(closed):
        raise TactError(f"no customer was sent '{asked.message}' more than {asked.days:g} days before the log ends")
    rate = float(log.rewards(asked.days, int(OutcomeKind(kinds[kind])))[closed].mean())
    span = max(1.0, (int(log.at_ms[rows].max()) - int(log.at_ms[rows].min())) / DAY_MS)
    return rate, rate_variance(rate), True, asked.per_day or len(first) / span


def _days(customers: int, per_day: float | None) -> float | None:
    return math.ceil(customers / per_day) if per_day else None


def _print(console: Console, t: Trial, needs: list[Need], reaches: list[Reach], per_day: float | None) -> None:
    base = f"{t.mean:.3%}" if t.is_rate else f"{t.mean:g} +- {math.sqrt(t.variance):g}"
    shares = f"{t.control:.1%} control, {t.share:.1%} each variant"
    say(console, Text(f"control {base}; {t.arms} arms ({shares}); power {t.power:.0%}, level {t.alpha:g}", "bold"))
    if t.comparisons > 1:
        say(console, f"level {t.level:.2g} each: {t.comparisons} comparisons in all", 2)
    if t.saved:
        say(console, f"{t.saved:.0%} of the variance is taken away by what is known before", 2)
    if per_day:
        say(console, f"{per_day:,.1f} new customers a day", 2)
    when = ["days"] if per_day else []
    grid = _grid("effect", "lift", "customers, one look", *when, "customers, watched", *when)
    for n in needs:
        ends = [[f"{c:,}", *([f"{_days(c, per_day):,.0f}"] if per_day else [])] for c in (n.one_look, n.watched)]
        grid.add_row(_effect(n.effect, t.is_rate), f"{n.lift:+.1%}", *ends[0], *ends[1])
    print_table(console, grid)
    if reaches:
        console.print()
        grid = _grid(
            "customers", *(["days"] if per_day else []), "smallest effect, one look", "watched", "lift, watched"
        )
        for r in reaches:
            days = [f"{_days(r.customers, per_day):,.0f}"] if per_day else []
            lift = f"{r.watched / t.mean:+.1%}" if t.mean else "-"
            smallest = [_effect(v, t.is_rate) for v in (r.one_look, r.watched)]
            grid.add_row(f"{r.customers:,}", *days, *smallest, lift)
        print_table(console, grid)
    note = "watched: the confidence sequence may be looked at every day, and the trial stopped when it leaves out zero"
    say(console, Text(note, "dim"))
    say(console, Text("then: tact report LOG --plan-for the watched number, kept until the end", "dim"))


def _grid(*headers: str) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for header in headers:
        grid.add_column(header, justify="right", no_wrap=True)
    return grid


def _effect(value: float, is_rate: bool) -> str:
    return f"{100 * value:+.3g} pp" if is_rate else f"{value:+.4g}"
