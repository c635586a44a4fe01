"""The commands over a decision log: `verify`, `report`, `evaluate`, `plan`. Their options; the work is beside this."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import Json

app = typer.Typer()
_PANEL = "The decision log"
Log = Annotated[Path, typer.Argument(metavar="LOG", exists=True, help="The archive's directory, or one of its files.")]
Rules = Annotated[
    Path | None, typer.Option("--rules", metavar="DIR", exists=True, file_okay=False, help="The rule set that decided.")
]


@app.command(rich_help_panel=_PANEL)
def verify(
    log: Log,
    rules: Rules = None,
    secret: Annotated[
        str, typer.Option(metavar="TEXT", envvar="TACT_SECRET", help="The server's secret, which keys the draws.")
    ] = "",
    json: Json = False,
) -> None:
    """Draw every logged decision again, and tell what differs."""
    from engine.cli import verify as command

    raise typer.Exit(command.run(log, rules, secret, json))


@app.command(rich_help_panel=_PANEL)
def report(
    log: Log,
    rules: Rules = None,
    kind: Annotated[str, typer.Option(metavar="OUTCOME", help="The main outcome, as converted or replied.")] = "",
    days: Annotated[float, typer.Option(metavar="N", min=0.01, help="Its horizon in days.")] = 7,
    by: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Split by a value that conditions read: features.region.")
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="Count these events after a message; again for more."),
    ] = None,
    level: Annotated[float, typer.Option(metavar="X", help="The level of intervals.")] = 0.95,
    plan_for: Annotated[
        int, typer.Option(metavar="N", min=1, help="Customers at which watched intervals are narrowest; keep it.")
    ] = 1000,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write one page with plots.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare variants with their control, and tell what became of all events."""
    from engine.cli import report as command

    wish = command.wish_of(kind, days, level, by or [], plan_for, events or [])
    raise typer.Exit(command.run(log, rules, wish, html, json))


@app.command("evaluate", rich_help_panel=_PANEL)
def judge(
    log: Annotated[Path, typer.Argument(metavar="LOG", exists=True, help="The archive, or a CSV or Parquet table.")],
    policy: Annotated[Path, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="The policy to judge.")],
    kind: Annotated[str, typer.Option(metavar="OUTCOME", help="What is earned, if FILE has no `reward`.")] = "",
    days: Annotated[float, typer.Option(metavar="N", min=0.01, help="Its horizon in days.")] = 7,
    message: Annotated[str, typer.Option(metavar="NAME", help="Only this message's decisions.")] = "",
    context: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What the model of the reward knows; again for more.")
    ] = None,
    action: Annotated[str, typer.Option(metavar="COLUMN", help="Of a table: what was done.")] = "action",
    reward: Annotated[str, typer.Option(metavar="COLUMN", help="Of a table: what it earned.")] = "reward",
    propensity: Annotated[
        str, typer.Option(metavar="COLUMN", help="Of a table: the probability with which it was done.")
    ] = "propensity",
    customer: Annotated[str, typer.Option(metavar="COLUMN", help="Of a table: whose rows belong together.")] = "",
    separator: Annotated[str, typer.Option(metavar="C", help="Of a CSV table; `tab` is a tab.")] = ",",
    level: Annotated[float, typer.Option(metavar="X", help="The level of intervals.")] = 0.95,
    json: Json = False,
) -> None:
    """Judge another policy by the log of the one that ran."""
    from engine.cli import offpolicy as command
    from engine.readout.judged import Mapped

    mapped = Mapped(action, reward, propensity, tuple(context or ()), customer, separator)
    raise typer.Exit(command.run(log, policy, command.Asked(kind, days, message, level), mapped, json))


@app.command(rich_help_panel=_PANEL)
def plan(
    rate: Annotated[float | None, typer.Option(metavar="X", help="The control's rate, as 0.05.")] = None,
    mean: Annotated[float | None, typer.Option(metavar="X", help="Or its mean per customer ..")] = None,
    deviation: Annotated[float | None, typer.Option(metavar="X", help=".. with its standard deviation.")] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="LOG", exists=True, help="Or a log: what a message did so far.")
    ] = None,
    message: Annotated[str, typer.Option(metavar="NAME", help="Which message.")] = "",
    kind: Annotated[str, typer.Option(metavar="OUTCOME", help="The outcome in the log.")] = "",
    days: Annotated[float, typer.Option(metavar="N", min=0.01, help="Its horizon in days.")] = 7,
    effect: Annotated[float | None, typer.Option(metavar="X", help="The difference to find, as 0.01.")] = None,
    lift: Annotated[float | None, typer.Option(metavar="X", help="The same as a part of it, as 0.1.")] = None,
    customers: Annotated[int | None, typer.Option(metavar="N", min=2, help="What could so many find?")] = None,
    per_day: Annotated[float | None, typer.Option(metavar="N", min=0.001, help="New customers a day.")] = None,
    arms: Annotated[int, typer.Option(metavar="N", help="With the control.")] = 2,
    share: Annotated[float, typer.Option(metavar="X", help="Of each variant; 0: equal shares.")] = 0.0,
    messages: Annotated[int, typer.Option(metavar="N", min=1, help="Trials that are read together.")] = 1,
    saved: Annotated[float, typer.Option(metavar="X", help="Part of the variance that CUPED takes away.")] = 0.0,
    alpha: Annotated[float, typer.Option(metavar="X", help="Chance of a false finding.")] = 0.05,
    power: Annotated[float, typer.Option(metavar="X", help="Chance of finding what is there.")] = 0.8,
    json: Json = False,
) -> None:
    """Say how large a trial must be, before it begins."""
    from engine.cli import plan as command
    from engine.readout.planning import Trial

    asked = command.Asked(rate, mean, deviation, effect, lift, customers, per_day, log, message, kind, days)
    shape = Trial(0.0, 0.0, True, arms, share, alpha, power, messages, saved)
    raise typer.Exit(command.run(asked, shape, json))
