"""Faults of store and service: python -m tests.faults 15 23 [--long]. A line of JSON each; status 1 if one fails."""

from __future__ import annotations

import argparse
import sys

import uvloop

from tests.faults import (
    cancels,
    clocks,
    cluster,
    cold,
    floods,
    half_open,
    limits,
    losses,
    network,
    overload,
    races,
    retries,
    silence,
    stops,
)

FAULTS = {
    1: races.run,
    2: losses.killed,
    3: losses.powerless,
    4: losses.truncated,
    5: losses.emptied,
    6: silence.stopped,
    7: silence.full,
    8: silence.hole,
    9: network.dropped,
    10: network.slow,
    11: network.cut,
    12: network.forgotten,
    13: cluster.run,
    15: stops.run,
    16: cancels.run,
    17: clocks.run,
    22: limits.run,
    23: half_open.run,
    24: floods.run,
    25: overload.run,
    26: retries.run,
    27: cold.run,
}


def main() -> int:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fault", type=int, nargs="+", choices=FAULTS)
    parser.add_argument("--long", action="store_true", help="as often and as long as the list of faults asks for")
    chosen = parser.parse_args()
    failed = False
    for number in chosen.fault:
        report = uvloop.run(FAULTS[number](chosen.long))
        report.show()
        failed |= bool(report.broken or report.slow)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
