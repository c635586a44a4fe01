"""Cases of contact policy against Tact, by both of its ways: python -m tests.cases [DIR]. Status 1 if one fails."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from functools import partial
from pathlib import Path

from engine.columns.warm import warm
from engine.replay.manual_store import ManualStore
from engine.state.embedded import EmbeddedStore
from tests.cases.runner import HERE, load, play_all


def main() -> int:
    """Runs from the command line, on a store of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, nargs="?", default=HERE, help="where *.yaml are (tests/cases/contact)")
    cases = list(load(parser.parse_args().directory))
    warm()
    with tempfile.TemporaryDirectory(prefix="tact-cases-") as name:
        server = EmbeddedStore(Path(name), persist=False)
        store_of = partial(ManualStore, server.start(), commit_budget_ms=60_000)
        failed, decided, taken = asyncio.run(play_all(cases, lambda which: store_of(f"{which}:")))
        server.stop()
    for one in failed:
        sys.stdout.write(f"{one}\n")
    sys.stdout.write(
        f"{len(cases)} cases by two ways, {len(failed)} failed; the lane took {taken} of {decided} events\n"
    )
    return int(bool(failed) or not cases)


if __name__ == "__main__":
    sys.exit(main())
