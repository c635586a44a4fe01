"""Many comparisons at once, and whether an effect differs between segments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from engine.readout.special import chi_square_sf, two_sided


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values: the chance of even one false finding stays below the level (Holm 1979). None stays None."""
    known = sorted((v, i) for i, v in enumerate(p) if v is not None)
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for place, (value, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - place) * value))
        adjusted[i] = largest
    return adjusted


def benjamini_hochberg(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values: of what is found at most the level is false, on average (Benjamini & Hochberg 1995)."""
    known = sorted(((v, i) for i, v in enumerate(p) if v is not None), reverse=True)
    adjusted: list[float | None] = [None] * len(p)
    smallest = 1.0
    for place, (value, i) in enumerate(known):
        smallest = min(smallest, value * (len(known) / (len(known) - place)))
        adjusted[i] = smallest
    return adjusted


def interaction(effect: float, se: float, other: float, other_se: float) -> float:
    """The p-value of 'the effect here is that elsewhere', for two disjoint groups of customers.

    Segments are compared with the rest, not with zero: 'significant here, not there' is no difference
    (Gelman & Stern 2006).
    """
    spread = math.hypot(se, other_se)
    return two_sided((effect - other) / spread) if spread > 0.0 else 1.0


def heterogeneity(effects: Sequence[float], ses: Sequence[float]) -> float | None:
    """The p-value of 'all segments have the same effect' (Cochran's Q, 1954); None for fewer than two."""
    if len(effects) < 2:
        return None
    weight = 1.0 / np.square(np.asarray(ses, float))
    mean = float(weight @ effects) / float(weight.sum())
    q = float((weight * np.square(np.asarray(effects, float) - mean)).sum())
    return chi_square_sf(q, len(effects) - 1)
