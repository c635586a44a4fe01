"""Keeps the embedded store alive: whenever it dies, it is started again on the same data."""

from __future__ import annotations

import logging
import threading

from engine.errors import TactError
from engine.state.embedded import EmbeddedStore

log = logging.getLogger("tact.store")

_LOOK_EVERY_S = 0.1
_AFTER_FAILURE_S = 1.0


class StoreKeeper:
    """Starts a store from a thread that lives as long as the process, as the store wants it, and watches it."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="store-keeper", daemon=True)

    def start(self) -> str:
        """The store's address once it answers; it stays the same. Raises what `EmbeddedStore.start` raises."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self._store.url

    def stop(self) -> None:
        """Ends the watch, then the store."""
        self._stopping.set()
        self._thread.join()
        self._store.stop()

    def _run(self) -> None:
        try:
            self._store.start()
        except BaseException as error:
            self._failure = error
            return
        finally:
            self._started.set()
        while not self._stopping.wait(_LOOK_EVERY_S):
            if self._store.alive():
                continue
            log.error("the embedded store died; starting it again")
            try:
                self._store.start()
                log.warning("the embedded store is back")
            except TactError as error:
                log.error("the embedded store does not start: %s", error)
                self._stopping.wait(_AFTER_FAILURE_S)
