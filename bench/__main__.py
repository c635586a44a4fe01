"""`python -m bench [PROGRAM ..] [--quick] [--json]`: measures, and exits 1 where a bound does not hold.

`python -m bench load ..` sends load to a server, `python -m bench make ..` makes rules, customers and events for
that: each has its own `--help`.
"""

from __future__ import annotations

import argparse
import importlib
import sys

import orjson

from bench.rows import FULL, QUICK, TINY, show

PROGRAMS = ("compare", "pipeline", "log", "kernels", "state", "learning", "population")


def main(arguments: list[str] | None = None) -> int:
    """Runs the programs named, or all; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["load"]:
        from bench.load.__main__ import main as load

        return load(arguments[1:])
    if arguments[:1] == ["make"]:
        from bench.make import main as make

        return make(arguments[1:])
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"of {', '.join(PROGRAMS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="for a glance: under 45 s a program")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    unknown = [name for name in given.programs if name not in PROGRAMS]
    if unknown:
        parser.error(f"found '{unknown[0]}', expected one of {', '.join(PROGRAMS)}")
    effort = TINY if given.tiny else QUICK if given.quick else FULL
    rows = []
    for name in given.programs or PROGRAMS:
        measured = importlib.import_module(f"bench.{name}").run(effort)
        rows += [{"program": name, **row.as_json()} for row in measured]
        if not given.json:
            show(name, measured)
    if given.json:
        sys.stdout.write(orjson.dumps({"rows": rows}, option=orjson.OPT_INDENT_2).decode() + "\n")
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
