"""`python -m bench load --target HOST:PORT --rate 5000 --duration 30 --events FILE`."""

from __future__ import annotations

import argparse
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import uvloop
from rich.console import Console

from bench.load.capacity import Objective, find_capacity
from bench.load.chart import can_draw, page, picture
from bench.load.client import Target
from bench.load.drive import Result, drive
from bench.load.events import BadFile, read_profiles, read_requests
from bench.load.profiles import Refused, put_profiles
from bench.load.report import as_json, show
from bench.load.schedule import ARRIVALS, send_times

_CALLS_MAX = 2_000_000  # of one run: their times are kept
_PROBE_OBJECTIVES = 4  # a rate of a third above capacity delays by a quarter of the probe, by its end
_LINES_MAX = 200_000  # of an event file: what is more is not read


class BadUse(ValueError):
    """Options that do not go together; the text says which."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the load; 1 where calls failed or no rate held the objective, 2 where it could not run."""
    given = _parser().parse_args(arguments)
    console = Console(stderr=given.json)
    try:
        return _run(given, console)
    except (BadFile, BadUse, Refused) as error:
        text = str(error)
    except TimeoutError:
        text = f"{given.target}: no connection in time"
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else given.target
        text = f"{named}: {error.strerror or error or 'no connection'}"
    console.print(text, style="red", highlight=False, soft_wrap=True)
    return 2


def _run(given: argparse.Namespace, console: Console) -> int:
    if given.png and not can_draw():
        raise BadUse(
            "--png needs matplotlib, which is not installed: `make bench-peers` installs it; --html needs nothing"
        )
    if given.find_capacity and given.probe_seconds * 1000 < _PROBE_OBJECTIVES * given.slo_p99_ms:
        raise BadUse(
            f"--probe-seconds is too short to see a queue grow to {given.slo_p99_ms:g} ms: "
            f"expected at least {_PROBE_OBJECTIVES * given.slo_p99_ms / 1000:g}, better five times that"
        )
    target = Target(given.target, _tls(given), given.tls_name)
    if given.profiles:
        console.print(f"{uvloop.run(put_profiles(target, read_profiles(given.profiles))):,} profiles written")
    longest = given.probe_seconds if given.find_capacity else given.duration
    lines = _LINES_MAX if given.find_capacity else min(_LINES_MAX, max(1, round(given.rate * longest)))
    made = read_requests(given.events, lines, given.as_written)

    def probe(rate: float, seconds: float, seed: int) -> Result:
        times = send_times(rate, seconds, given.arrivals, seed)
        if len(times) > _CALLS_MAX:
            raise BadUse(f"{rate:g}/s for {seconds:g} s are {len(times):,} calls; at most {_CALLS_MAX:,} are sent")
        return uvloop.run(drive(target, made.one, times, rate, given.connections))

    settings = {"target": given.target, "arrivals": given.arrivals, "connections": given.connections}
    if given.warm_up > 0:
        probe(given.rate, given.warm_up, given.seed + 1)
    if given.find_capacity:
        rate, result = _capacity(given, console, probe)
        if result is None:
            return 1
        settings |= {"capacity": rate, "slo_p99_ms": given.slo_p99_ms}
    else:
        result = probe(given.rate, given.duration, given.seed)
    figures = as_json(result, settings)
    _write(figures, given)
    if given.json:
        sys.stdout.write(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        show(console, figures)
    return 1 if result.refused + result.failed else 0


def _capacity(
    given: argparse.Namespace, console: Console, probe: Callable[[float, float, int], Result]
) -> tuple[float, Result | None]:
    def told(rate: float, result: Result, why: str) -> None:
        p99 = result.latencies.quantile(0.99) / 1e6
        console.print(f"  {rate:>10,.0f}/s  p99 {p99:8.3g} ms  {why or 'holds'}", highlight=False)

    objective = Objective(given.slo_p99_ms)
    rate, best = find_capacity(
        lambda rate: probe(rate, given.probe_seconds, given.seed), objective, given.rate, told=told
    )
    if best is None:
        console.print(f"no rate holds p99 <= {given.slo_p99_ms:g} ms", style="red")
    else:
        console.print(f"capacity: {rate:,.0f} calls a second with p99 <= {given.slo_p99_ms:g} ms", style="bold")
    return rate, best


def _write(figures: dict[str, object], given: argparse.Namespace) -> None:
    if given.html:
        given.html.write_text(page(figures), "utf-8")
    if given.png:
        picture(figures, given.png)
    if given.out:
        given.out.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


def _tls(given: argparse.Namespace) -> ssl.SSLContext | None:
    files = [name for name in (given.tls_ca, given.tls_cert, given.tls_key) if name]
    if not given.tls:
        if files or given.tls_name:
            raise BadUse("--tls-ca, --tls-cert, --tls-key and --tls-name are for --tls")
        return None
    if given.tls_key and not given.tls_cert:
        raise BadUse("--tls-key needs --tls-cert")
    try:
        context = ssl.create_default_context(cafile=given.tls_ca)
        if given.tls_cert:
            context.load_cert_chain(given.tls_cert, given.tls_key)
    except OSError as error:  # does not say which file
        raise BadUse(f"cannot use {' and '.join(files)}: {error.strerror or error}") from error
    context.set_alpn_protocols(["h2"])
    return context


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number above 0")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench load", description=__doc__)
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--events", required=True, type=Path, metavar="FILE", help="a DecideRequest a line, JSON")
    parser.add_argument("--profiles", type=Path, metavar="FILE", help="written first: a Profile a line, JSON")
    parser.add_argument("--rate", type=_positive, default=1000.0, help="calls a second; of a search the first")
    parser.add_argument("--duration", type=_positive, default=30.0, metavar="SECONDS")
    parser.add_argument("--warm-up", type=float, default=2.0, metavar="SECONDS", help="sent first, not counted")
    parser.add_argument("--arrivals", choices=ARRIVALS, default="poisson")
    parser.add_argument("--connections", type=int, default=4, metavar="N")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals")
    parser.add_argument("--as-written", action="store_true", help="keep the file's event ids and times")
    parser.add_argument("--find-capacity", action="store_true", help="the highest rate that holds --slo-p99-ms")
    parser.add_argument("--slo-p99-ms", type=_positive, default=10.0, metavar="MS")
    parser.add_argument("--probe-seconds", type=_positive, default=5.0, metavar="SECONDS", help="of a search's runs")
    parser.add_argument("--tls", action="store_true", help="by the system's authorities, or --tls-ca")
    parser.add_argument("--tls-ca", metavar="FILE", help="whose signature the server's certificate must have")
    parser.add_argument("--tls-name", metavar="NAME", help="whom it must be of, where that is not HOST")
    parser.add_argument("--tls-cert", metavar="FILE", help="the client's own certificate, for mutual TLS")
    parser.add_argument("--tls-key", metavar="FILE", help="its key, where the certificate's file has none")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the figures as JSON to a file")
    parser.add_argument("--html", type=Path, metavar="FILE", help="a page with the latency chart")
    parser.add_argument("--png", type=Path, metavar="FILE", help="the chart as a picture, where matplotlib is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
