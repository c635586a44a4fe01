"""What a replay counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from engine.decision import Decision, Outcome, Reason
from engine.replay.rows import BadRow

SHOWN_BAD = 5


@dataclass(slots=True)
class Summary:
    """Counts over all rows so far; seconds by phase. `contacted`, `left`: [rows, positive ones]."""

    rows: int = 0
    bad: int = 0
    first_bad: list[BadRow] = field(default_factory=list)
    decided: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    variants: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    caps: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)
    contacted: list[int] = field(default_factory=lambda: [0, 0])
    left: list[int] = field(default_factory=lambda: [0, 0])
    learnt: int = 0
    seconds: Counter[str] = field(default_factory=Counter)
    busy_s: float = 0.0  # of the seconds of `decide`: on the processor
    total_s: float = 0.0

    @property
    def per_second(self) -> float:
        """Decisions per second of the pipeline: without reading the table, learning and logging."""
        return self.decided / self.seconds["decide"] if self.seconds["decide"] else 0.0

    def refuse(self, row: BadRow) -> None:
        """A row that is left out."""
        self.rows += 1
        self.bad += 1
        if len(self.first_bad) < SHOWN_BAD:
            self.first_bad.append(row)

    def count(self, decision: Decision, positive: bool | None) -> None:
        """One event's decision."""
        self.decided += 1
        sent = decision.outcome is Outcome.SEND
        self.outcomes[decision.outcome.name] += 1
        self.reasons[decision.reason.name] += 1
        if sent:
            self.messages[decision.message] += 1
            self.variants[f"{decision.message}/{decision.variant}"] += 1
            self.channels[decision.channel] += 1
        elif decision.reason is Reason.CAP_REACHED:
            self.caps[decision.details.cap] += 1
        elif decision.reason is Reason.GAP_NOT_ELAPSED:
            self.gaps[decision.details.gap] += 1
        if positive is not None:
            pair = self.contacted if sent else self.left
            pair[0] += 1
            pair[1] += positive
