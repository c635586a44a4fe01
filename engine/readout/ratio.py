"""Sample-ratio mismatch: were variants drawn as often as their logged probabilities say?

A mismatch means that something removes or adds trials after the draw, and no comparison can be trusted. Counts are
compared with the sum of logged probabilities, not with configured weights: a bandit has none, and rules remove
variants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.readout.log import F64, I64
from engine.readout.special import chi_square_sf

SUSPECT = 0.01  # of the always-valid p-value: at most so many sound trials are ever called suspect


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """`drawn` and `expected` by arm. `p`: chi-square test, looked at once. `seq_p`: may be watched daily."""

    drawn: list[int]
    expected: list[float]
    p: float
    seq_p: float

    @property
    def suspect(self) -> bool:
        """Something is wrong with the trial."""
        return self.seq_p < SUSPECT


def sample_ratio(arm: I64, p: F64) -> SampleRatio:
    """`arm` (n,): the arm drawn; `p` (n, k): the logged probabilities of the arms, rows sum to 1.

    Given the past, each draw has mean p and covariance diag(p) - p p': the deviations' sum is tested against the sum of
    these, by chi-square (Pearson, with probabilities that vary), and arm by arm by a normal mixture martingale with
    Bonferroni's correction (Robbins 1970; as Lindon & Malek 2022, who have fixed probabilities), valid at all times.
    """
    k = p.shape[1]
    drawn = np.bincount(arm, minlength=k)
    expected = p.sum(axis=0)
    deviation = drawn - expected
    covariance = np.diag(expected) - p.T @ p
    live = np.diag(covariance) > 1e-9
    if live.sum() < 2:
        return SampleRatio(drawn.tolist(), expected.tolist(), 1.0, 1.0)
    part = covariance[np.ix_(live, live)]
    statistic = float(deviation[live] @ np.linalg.pinv(part, hermitian=True) @ deviation[live])
    rank = int(np.linalg.matrix_rank(part, hermitian=True))
    variance, off = np.diag(covariance)[live], deviation[live]
    tuned = 100.0  # variance at which a mismatch is seen best: a few hundred trials
    log_e = 0.5 * off * off / (variance + tuned) - 0.5 * np.log1p(variance / tuned)
    seq_p = min(1.0, int(live.sum()) * math.exp(-float(log_e.max())))
    impossible = bool(((expected == 0.0) & (drawn > 0)).any())
    return SampleRatio(
        drawn.tolist(),
        expected.tolist(),
        0.0 if impossible else chi_square_sf(statistic, rank),
        0.0 if impossible else seq_p,
    )
