"""`tact evaluate`: what another policy would have earned, from the log of the one that ran."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from engine.cli.check import refuse
from engine.cli.output import FAILED, OK, USAGE, CommandError, counted, out, print_json, print_table, say
from engine.decision import OutcomeKind
from engine.errors import RulesInvalid, TactError
from engine.readout.judged import Mapped, Ready, from_table, from_trials, policies_of
from engine.readout.offpolicy import Judgement, judge
from engine.readout.target import SERVED_FLOOR, Target, read_target
from engine.readout.trials import kinds_of, read_trials

NOTE = (
    "Per decision, at the states that the log saw: what a policy changes for later decisions (caps, fatigue) is not in "
    "it. DM's interval leaves out the error of its model."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Options of a Tact log, and the level."""

    kind: str
    days: float
    message: str
    level: float


def run(log: Path, policy: Path, asked: Asked, mapped: Mapped, as_json: bool) -> int:
    """Judges; 1 where the policy has findings or cannot be judged, or the estimates cannot be believed."""
    if not 0.5 <= asked.level < 1.0:
        raise CommandError(f"the level {asked.level:g} is none; expected one from 0.5 to below 1, as 0.95", USAGE)
    try:
        ready, target, reward = (
            _from_table(log, policy, mapped) if is_table(log) else _from_log(log, policy, asked, mapped)
        )
    except RulesInvalid as error:
        refuse(policy, error.findings, as_json)
        return FAILED
    floor = SERVED_FLOOR if ready.log.logged is not None else 0.0
    variants = [a.rpartition("/")[2] for a in ready.log.actions] if ready.log.logged is not None else ready.log.actions
    probabilities = target.probabilities(variants, ready.log.possible, ready.column, floor)
    judgement = judge(ready.log, probabilities, asked.level)
    if as_json:
        print_json(_json(judgement, target, reward))
    else:
        _print(out(), judgement, target, reward, asked.level)
    return FAILED if judgement.overlap.warnings else OK


def is_table(log: Path) -> bool:
    """Whether this is a table from elsewhere, and no decision log of ours."""
    if log.is_dir():
        return False
    if log.suffix != ".parquet":
        return True
    try:
        return "candidates" not in pq.read_schema(log).names
    except (pa.ArrowException, OSError) as error:
        raise TactError(f"{log}: {error}") from None


def _from_table(log: Path, policy: Path, mapped: Mapped) -> tuple[Ready, Target, dict[str, float]]:
    ready = from_table(log, mapped)
    target = read_target(policy, (), ready.log.actions)
    if target.reward:
        raise CommandError("`reward` is for Tact's own log; a table has its column (--reward)", USAGE)
    return ready, target, {mapped.reward: 1.0}


def _from_log(log: Path, policy: Path, asked: Asked, mapped: Mapped) -> tuple[Ready, Target, dict[str, float]]:
    trials = read_trials(log, with_values=True)
    known = policies_of(trials)
    if not known:
        raise TactError(f"{log}: no decision was drawn by a policy")
    variants = sorted({v for names in known.values() for v in names})
    target = read_target(policy, list(known), variants)
    kinds = [k.name.lower() for k in kinds_of(trials)]
    if asked.kind and asked.kind.lower() not in {k.name.lower() for k in OutcomeKind}:
        raise CommandError(f"no outcome is called '{asked.kind}'", USAGE)
    reward = dict(target.reward) or {asked.kind.lower() or (kinds[0] if kinds else "converted"): 1.0}
    context = list(dict.fromkeys([*mapped.context, *(p for p in target.paths if p not in ("segment", "message"))]))
    return from_trials(trials, target.name, reward, asked.days, context, asked.message), target, reward


def _print(console: Console, j: Judgement, target: Target, reward: dict[str, float], level: float) -> None:
    o = j.overlap
    say(
        console,
        Text(f"{target.name}: {counted(o.decisions, 'decision')} of {counted(o.customers, 'customer')}", "bold"),
    )
    worth = ", ".join(k if v == 1.0 else f"{k} x {v:g}" for k, v in reward.items())
    say(
        console,
        f"earned ({worth}): {j.earned:.5g} a decision, {level:.0%} from {j.earned_low:.5g} to {j.earned_high:.5g}",
    )
    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for place, header in enumerate(("method", "would earn", f"{level:.0%}", "gain", f"{level:.0%}")):
        grid.add_column(header, justify="right" if place else "left", no_wrap=True)
    for e in j.estimates:
        style = "green" if e.gain_low > 0.0 else "red" if e.gain_high < 0.0 else ""
        grid.add_row(
            e.method, f"{e.value:.5g}", f"{e.low:.5g} to {e.high:.5g}", Text(f"{e.gain:+.4g}", style),
            f"{e.gain_low:+.4g} to {e.gain_high:+.4g}",
        )  # fmt: skip
    print_table(console, grid)
    unknown = "not known (the table has the drawn action's propensity alone)"
    told = unknown if o.unsupported is None else f"{o.unsupported:.2%}"
    say(console, f"effective decisions {o.effective:,.0f} of {o.decisions:,}; without support: {told}")
    say(console, f"weights: largest {o.largest:.3g} ({o.largest_share:.2%} of all), mean {o.mean_weight:.3f}; "
        f"switch-DR believes the model beyond {o.threshold:.3g}")  # fmt: skip
    for warning in o.warnings:
        say(console, Text(f"do not believe this: {warning}", "bold red"))
    say(console, Text(NOTE, "dim"))


def _json(j: Judgement, target: Target, reward: dict[str, float]) -> dict[str, object]:
    shown = asdict(j)
    shown["overlap"]["warnings"] = j.overlap.warnings
    return {"policy": target.name, "reward": reward, **shown}
