"""What a peer may cost beside its calls: a bucket of tokens, filled by time and by calls that were answered.

Rapid resets (CVE-2023-44487), floods of PING, SETTINGS, WINDOW_UPDATE and empty frames all spend from it; a client that
cancels a part of its calls does not run dry.
"""

from __future__ import annotations


class Credit:
    """Starts full with `burst` tokens; `per_s` come with time, others are earned."""

    __slots__ = ("_at_s", "_burst", "_left", "_per_s")

    def __init__(self, burst: float, per_s: float, now_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._at_s = now_s

    def earn(self, tokens: float) -> None:
        """Adds tokens, never above the burst."""
        self._left = min(self._burst, self._left + tokens)

    def spend(self, tokens: int, now_s: float) -> bool:
        """Takes tokens; False where the peer has none left."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s) - tokens
        self._at_s = now_s
        return self._left >= 0
