"""The log's keeper: a process beside those that serve, which learns from the log and archives it.

Both read every entry, which takes as long as deciding did: inside a serving process they took its time by
seconds. The first serving process of a server starts one, and starts it again where it ends. Of several on one store
each learns, and one archives (`state/tenure.py`). It gives way to those that serve, and its standard input ends with
its parent, so that it does not outlive it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from engine.background import give_way
from engine.clock import SystemClock
from engine.errors import TactError
from engine.learning.learner import Learner, keep_learning
from engine.revisions import Revisions
from engine.settings import Settings, parse
from engine.state.archive import Archiver
from engine.state.cluster_store import kind_of_store
from engine.state.erasure import pending, rewrite
from engine.state.reading import Recent
from engine.state.tenure import Tenure

logger = logging.getLogger("tact.keeper")

LEARN_EVERY_S = 5.0
ARCHIVE_EVERY_S = 10.0
LOOK_FOR_ERASED_EVERY_S = 3600.0
ERASE_AFTER_MS = 86_400_000  # one pass over the archive a day at most, however many customers are erased
_SETTLED_MS = 1000  # beyond the time that a commit may take
_END_S = 5.0
_COLLECTED_AFTER = 100_000, 10, 10  # entries come by the thousand, and none of them is part of a cycle


async def keep(settings: Settings, url: str, stop: asyncio.Event) -> None:
    """Learns from the log and archives it until told to stop. Raises RulesInvalid, and whatever ends one of the two."""
    store = kind_of_store(url)(url, max_log_length=settings.max_log, max_loss_ms=settings.max_loss * 1000)
    revisions = Revisions(store.side, store.key, settings.data / "last_good" / "rules")
    active = await revisions.follow(settings.rules)
    recent = Recent()
    learner = Learner(store, active, recent)
    directory = settings.data / "archive"
    archiver = Archiver(store, directory, learner.safe_id, recent=recent, tenure=Tenure(store, directory))
    now_ms = SystemClock().now_ms
    work = [
        revisions.watch(),
        keep_learning(learner, LEARN_EVERY_S, settings.commit_budget_ms + _SETTLED_MS),
        keep_archiving(archiver),
        keep_erasing(directory, now_ms),
    ]
    tasks = [asyncio.ensure_future(one) for one in work]
    stopped = asyncio.ensure_future(stop.wait())
    ended, _ = await asyncio.wait((stopped, *tasks), return_when=asyncio.FIRST_COMPLETED)
    for task in (stopped, *tasks):
        task.cancel()
    await asyncio.wait(tasks, timeout=_END_S)
    for close in (learner.close, archiver.close, store.close):
        await close()
    for task in ended - {stopped}:  # nothing that works for ever ends without an error, and half a keeper is none
        task.result()


async def keep_archiving(archiver: Archiver) -> None:
    """Archives for ever; whatever fails is tried again."""
    while True:
        await asyncio.sleep(ARCHIVE_EVERY_S)
        try:
            while (await archiver.run_once()).behind:
                pass
        except (TactError, OSError) as error:
            logger.error("the log could not be archived: %s", error)
        except Exception:
            logger.exception("the log could not be archived")


async def keep_erasing(directory: Path, now_ms: Callable[[], int]) -> None:
    """Takes what erased customers left out of the archive, for ever, within a day or so of their erasure. Whatever
    fails is tried again.
    """
    while True:
        try:
            await asyncio.to_thread(erase_due, directory, now_ms())
        except (TactError, OSError) as error:
            logger.error("erased customers could not be taken out of the archive: %s", error)
        except Exception:
            logger.exception("erased customers could not be taken out of the archive")
        await asyncio.sleep(LOOK_FOR_ERASED_EVERY_S)


def erase_due(directory: Path, now_ms: int) -> bool:
    """Carries out what erasures wait in the archive, once one of them is a day old; whether it did."""
    waiting = pending(directory)
    if not waiting.customers or now_ms - waiting.oldest_ms < ERASE_AFTER_MS:
        return False
    report = rewrite(directory)
    logger.info("%d erased customers: %d log entries taken out of the archive", report.customers, report.removed)
    return True


async def _run(settings: Settings) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None)  # its parent says when: accepted calls come first

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 64):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()
    assert settings.redis is not None
    await keep(settings, settings.redis, stop)


def main() -> None:
    """Runs the keeper with the arguments and the environment of a server."""
    settings = parse(sys.argv[1:], os.environ)
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("engine.revisions").setLevel(logging.WARNING)  # the servers say what is served
    give_way()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AFTER)
    asyncio.run(_run(settings))


if __name__ == "__main__":
    main()
