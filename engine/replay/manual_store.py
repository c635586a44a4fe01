"""A real store whose clock stands where its user puts it: for simulated months, and for tests."""

from __future__ import annotations

from collections.abc import Sequence

from engine.state.model import Commit, CommitStatus
from engine.state.redis import RedisStore

_IN_TIME_MS = 10_000_000_000_000  # later than the server's own clock, which still holds commits to their time
_WAIT_S = 10.0


class ManualStore(RedisStore):
    """`at_ms` is what reads take for the store's time, past or ahead. Keys still expire by the server's clock."""

    at_ms = 0

    def _take_time(self, reply: object) -> int:
        super()._take_time(reply)
        return self.at_ms

    def _seconds_until(self, not_after_ms: int) -> float:
        return _WAIT_S

    async def commit(self, commits: Sequence[Commit], not_after_ms: int) -> list[CommitStatus]:
        return await super().commit(commits, _IN_TIME_MS)
