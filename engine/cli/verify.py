"""`tact verify`: whether a decision log agrees with itself, with the draw, and with the rules."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from engine.cli.check import refuse
from engine.cli.output import FAILED, OK, counted, out, print_json, say
from engine.compiler.model import RuleSet
from engine.compiler.ruleset import load, read_directory
from engine.errors import RulesInvalid
from engine.readout.verdict import CHECKS, Verdict
from engine.readout.verify import verify


def run(log: Path, rules: Path | None, secret: str, as_json: bool) -> int:
    """Verifies; 1 where an entry differs, or the rule set has findings."""
    ruleset: RuleSet | None = None
    if rules is not None:
        try:
            ruleset = load(read_directory(rules))
        except RulesInvalid as error:
            refuse(rules, error.findings, as_json)
            return FAILED
    began = time.perf_counter()
    verdict = verify(log, secret.encode(), ruleset)
    seconds = time.perf_counter() - began
    if as_json:
        print_json(_json(verdict, seconds))
    else:
        _print(out(), verdict, seconds, ruleset)
    return OK if verdict.good else FAILED


def _print(console: Console, v: Verdict, seconds: float, ruleset: RuleSet | None) -> None:
    rate = v.decisions / seconds if seconds else 0.0
    head = f"{counted(v.decisions, 'decision')} and {counted(v.outcomes, 'outcome')} in {seconds:.1f} s"
    say(console, Text(f"{head}, {rate:,.0f} decisions a second", "bold"))
    say(console, f"drawn again from the logged shares: {v.drawn:,}, exact", 2)
    say(console, f"variant shares worked out anew: {v.recomputed:,}", 2)
    if v.between:
        say(console, f"shares of messages drawn by softmax or thompson worked out anew: {v.between:,}", 2)
    if v.ranks:
        say(console, f"learned ranks worked out anew: {v.ranks:,}", 2)
    if v.units:
        note = "by one unit of 2^-30 (maths libraries differ in their last digit)"
        say(console, f"of these off {note}: {v.units:,}", 4)
    if v.near:
        say(console, Text(f"of these off by more, at most 0.00006: {v.near:,}", "yellow"), 4)
        say(console, "so a version that integrated otherwise wrote them; if nobody upgraded, find out who did", 6)
    if v.open_shares:
        say(console, f"variant shares taken as logged: {v.open_shares:,}", 2)
        if ruleset is None:
            say(console, "without --rules nothing says what their policies are", 4)
        elif v.other_revision:
            say(console, f"{v.other_revision:,} of another revision than {ruleset.revision}", 4)
        if ruleset is not None and v.open_shares > v.other_revision:
            rest = v.open_shares - v.other_revision
            say(
                console, f"{rest:,} learnt from more than this log holds: checked to be the same wherever they stand", 4
            )
    if v.open_ranks:
        say(console, f"learned ranks taken as logged: {v.open_ranks:,}", 2)
    if v.good:
        say(console, Text("nothing differs", "green"))
        return
    for check, count in v.counts.most_common():
        say(console, Text(f"{counted(count, 'difference')}: {CHECKS[check]}", "bold red"))
        for d in v.differences:
            if d.check == check:
                where = f"{d.path}, entry {d.log_id}" if d.log_id else d.path
                say(console, f"{d.decision_id}  {where}" if d.decision_id else where, 2)
                say(console, f"found {d.found}; expected {d.expected}", 4)
    if v.counts["uniform"] >= v.drawn > 0:
        say(console, Text("every uniform differs: is --secret (TACT_SECRET) the server's?", "yellow"))


def _json(v: Verdict, seconds: float) -> dict[str, object]:
    return {
        "decisions": v.decisions,
        "drawn": v.drawn,
        "outcomes": v.outcomes,
        "recomputed": v.recomputed,
        "off_by_a_unit": v.units,
        "near": v.near,
        "taken_as_logged": v.open_shares,
        "drawn_between": v.between,
        "ranks_recomputed": v.ranks,
        "ranks_taken_as_logged": v.open_ranks,
        "of_another_revision": v.other_revision,
        "seconds": round(seconds, 3),
        "counts": dict(v.counts.most_common()),
        "differences": [d._asdict() for d in v.differences],
    }
