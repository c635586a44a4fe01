"""A real store whose clock stands where a test puts it."""

from engine.replay.manual_store import ManualStore

__all__ = ["ManualStore"]
