"""Serves Tact: one serving process, or the supervisor of several. Nothing imports it.

Exit status: 0 after SIGTERM or SIGINT, 1 where it cannot serve, 2 for wrong settings or rules.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import signal
import sys
from pathlib import Path

from engine.compiler.source import render
from engine.errors import RulesInvalid, TactError
from engine.settings import CannotServe, Settings, UsageError, announce, parse
from engine.state.address import Address
from engine.state.embedded import EmbeddedStore
from engine.state.keeper import StoreKeeper


def _run_one(settings: Settings, arguments: list[str]) -> int:
    """One serving process, with its embedded store where it has no other."""
    embedded = StoreKeeper(EmbeddedStore(settings.data)) if settings.redis is None else None
    try:
        url = settings.redis or (embedded.start() if embedded else "")
        from engine.columns.warm import warm  # not for a supervisor: what serves takes more than a second to import
        from engine.serving import serve

        warm()
        factory = None
        if importlib.util.find_spec("uvloop") is not None:
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(serve(settings, url, arguments))
    finally:
        if embedded is not None:
            embedded.stop()


def _run_many(settings: Settings, arguments: list[str]) -> int:
    """The supervisor: owns the embedded store, keeps the workers running."""
    embedded = StoreKeeper(EmbeddedStore(settings.data)) if settings.redis is None else None
    try:
        url = settings.redis or (embedded.start() if embedded else "")
        from engine.supervisor import supervise

        command = [sys.executable, str(Path(__file__).resolve()), *arguments]
        return supervise(settings, command, {**os.environ, "TACT_REDIS": url}, announce)
    finally:
        if embedded is not None:
            embedded.stop()


def main(arguments: list[str] | None = None) -> int:
    """Runs the server; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        settings = parse(arguments, os.environ)
        if settings.redis is not None:
            Address.parse(settings.redis)
    except (UsageError, ValueError) as error:
        sys.stderr.write(f"server.py: {error}\n")
        return 2
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the loop takes over
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        if settings.workers > 1 and settings.worker_of is None:
            return _run_many(settings, arguments)
        return _run_one(settings, arguments)
    except RulesInvalid as error:
        findings = "\n".join(render(f) for f in error.errors)
        sys.stderr.write(f"{findings}\nserver.py: {settings.rules}: {error}, and no earlier one can serve\n")
        return 2
    except (CannotServe, TactError, OSError) as error:
        sys.stderr.write(f"server.py: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
