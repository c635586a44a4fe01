"""Splits of a message's trials: by the policy's own segments, and by values that conditions read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine.readout.log import I64
from engine.readout.trials import TrialLog

SEGMENTS_MAX = 12  # of one split; rarer values are "other"
_PARTS = 4  # a number with many values is split at its quartiles
POLICY_SEGMENT = "policy's segment"


@dataclass(frozen=True, slots=True)
class Segmented:
    """`place` (n,): each trial's segment, as a place in `names`; -1 where the value was not read."""

    by: str
    names: list[str]
    place: I64


def segments_of(log: TrialLog, rows: I64, by: Iterable[str]) -> list[Segmented]:
    """All splits of these trials that have more than one segment."""
    names = log.names.texts
    splits = [_of_texts(POLICY_SEGMENT, [names[c] or None for c in log.segment[rows].tolist()])]
    for path in by:
        splits.append(_of_values(path, log.read_value(rows, path)))
    return [s for s in splits if len(s.names) > 1]


def _of_values(by: str, values: Sequence[object]) -> Segmented:
    """Numbers with many values become quarters of equal size, all else its own segment each."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(set(numbers)) <= SEGMENTS_MAX:
        return _of_texts(by, [_written(v) for v in values])
    cuts = np.unique(np.quantile(numbers, np.arange(1, _PARTS) / _PARTS))
    names = [
        f"<= {cuts[0]:g}",
        *(f"{a:g} to {b:g}" for a, b in pairwise(cuts)),
        f"> {cuts[-1]:g}",
    ]
    known = [isinstance(v, int | float) and not isinstance(v, bool) for v in values]
    column = np.array([float(v) if k else np.nan for v, k in zip(values, known, strict=True)])  # type: ignore[arg-type]
    return Segmented(by, names, np.where(known, np.searchsorted(cuts, column, "left"), -1))


def _written(value: object) -> str | None:
    """A value as a segment's name; what was missing (`?DATA_MISSING`) is a segment too."""
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _of_texts(by: str, texts: Sequence[str | None]) -> Segmented:
    counts = Counter(t for t in texts if t is not None)
    common = [t for t, _ in counts.most_common(SEGMENTS_MAX)]
    names = sorted(common) + (["other"] if len(counts) > SEGMENTS_MAX else [])
    place = {t: k for k, t in enumerate(sorted(common))}
    return Segmented(by, names, np.array([-1 if t is None else place.get(t, len(names) - 1) for t in texts]))
