"""Since when customers' messages are remembered: `<prefix>{0}kept`, noted by whoever first serves rules that look
further back than any before. See lua/history.lua.
"""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

from engine.state.redis import RedisStore

_LEEWAY_MS = 60_000
_SCRIPT = resources.files("engine.state").joinpath("lua/history.lua").read_text()


class History(NamedTuple):
    """Messages are kept for `kept_ms`, and all of them since `since_ms` (0: always)."""

    kept_ms: int
    since_ms: int

    def unknown_before_ms(self, here_since_ms: int) -> int:
        """What was sent before may be forgotten, to a customer who is here that long; 0: nothing is."""
        return self.since_ms if 0 < here_since_ms < self.since_ms else 0


NO_HISTORY = History(0, 0)


async def note_history(store: object, kept_ms: int, least_ms: int) -> History:
    """Notes that messages are to be kept for so long; what is kept, and since when. `least_ms`: kept in any case.

    Stores that are no Redis keep what they are told. Raises StoreUnavailable.
    """
    if not isinstance(store, RedisStore):
        return History(kept_ms, 0)
    [reply] = await store.shared([("EVAL", _SCRIPT, 1, store.key("kept"), kept_ms, least_ms, _LEEWAY_MS)])
    return History(*map(int, reply))
