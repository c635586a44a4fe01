"""The newest snapshot of what was learnt, replaced whole by one assignment."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.learning.posteriors import Posteriors


@dataclass(slots=True)
class Learnt:
    """Read once per batch."""

    posteriors: Posteriors = field(default_factory=Posteriors)
