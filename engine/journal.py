"""Where decisions made without state are written down: they are in no log, since there was no store."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from engine.decision import DecideRequest, Decision

logger = logging.getLogger(__name__)


class Journal:
    """Appends one JSON line per provisional decision to `path`; ids as hashes, no personal values."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, request: DecideRequest, decisions: Sequence[Decision]) -> None:
        """Notes what was decided; a disk that refuses is said in the log."""
        at_ms = time.time_ns() // 1_000_000
        lines = [
            orjson.dumps(
                {
                    "at_ms": at_ms,
                    "decision_id": d.decision_id,
                    "event_type": request.event.type,
                    "outcome": d.outcome.name,
                    "reason": d.reason.name,
                    "message": d.message,
                    "variant": d.variant,
                    "revision": d.revision,
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for d in decisions
            if d.provisional
        ]
        if not lines:
            return
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
        except OSError as error:
            logger.error("%d provisional decisions could not be journalled: %s", len(lines), error)
