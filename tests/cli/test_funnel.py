"""What `tact explain` says of a limit: how far it is used, and when it lets a message through."""

from __future__ import annotations

import io

from rich.console import Console

from engine.cli.funnel import print_decision, print_funnel
from engine.pb.tact.v1 import decision_pb2 as pb


def written(decision: pb.Decision, *candidates: pb.Candidate) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=120, no_color=True)
    print_decision(console, decision)
    print_funnel(console, candidates)
    return [line.strip() for line in out.getvalue().splitlines()]


def test_a_cap_says_its_count_its_limit_and_when_it_frees() -> None:
    details = pb.Details(message="offer", cap="two a week", count=2, limit=2)
    details.frees_at.FromSeconds(1_796_040_000)
    refused = pb.Decision(
        outcome=pb.Decision.NO_MESSAGE, reason=pb.Decision.CAP_REACHED, reason_text="a cap is reached: two a week",
        details=details,
    )  # fmt: skip
    candidate = pb.Candidate(
        message="offer", stopped_by=pb.Decision.CAP_REACHED, reason_text=refused.reason_text, details=details,
        position=pb.SourcePosition(path="contact_policy.yaml", line=12, column=5),
    )  # fmt: skip
    assert written(refused, candidate) == [
        "NO_MESSAGE  CAP_REACHED: a cap is reached: two a week",
        "2 of 2, frees 2026-11-30T12:00:00Z",
        "- offer  CAP_REACHED  a cap is reached: two a week",
        "2 of 2, frees 2026-11-30T12:00:00Z",
        "contact_policy.yaml:12:5",
    ]


def test_hours_say_when_they_end_and_others_say_nothing_of_it() -> None:
    hours = pb.Details(message="offer", condition="night")
    hours.frees_at.FromSeconds(1_796_040_000)
    quiet = pb.Candidate(message="offer", stopped_by=pb.Decision.QUIET_HOURS, details=hours)
    audience = pb.Candidate(
        message="other", stopped_by=pb.Decision.NOT_IN_AUDIENCE, details=pb.Details(message="other")
    )
    said = written(pb.Decision(outcome=pb.Decision.NO_MESSAGE), quiet, audience)
    assert said.count("frees 2026-11-30T12:00:00Z") == 1
    assert not any(" of " in line for line in said)
