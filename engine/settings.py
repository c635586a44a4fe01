"""What a server is told: by its command line, else by TACT_* in its environment, else by default."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn
from urllib.parse import urlsplit

import orjson


class UsageError(Exception):
    """A setting is wrong: the text names it, what was found and what was expected."""


class CannotServe(Exception):
    """Why a process ends with status 1, in words for people."""


class Address(NamedTuple):
    """Where to listen. An IPv6 host is without its brackets here."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_STORES = ("redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel", "unix")
_LISTEN = Address("127.0.0.1", 50051)


@dataclass(frozen=True, slots=True)
class Settings:
    """A server's settings. `redis` None: the embedded store. `metrics` None: not served."""

    listen: Address = _LISTEN
    rules: Path = Path("rules")
    redis: str | None = None
    workers: int = 1
    transport: str = "http2"
    data: Path = Path(".tact")
    audit: Literal["require", "best-effort"] = "require"
    max_log: int = 100_000
    durability: Literal["store", "replica"] = "store"
    max_loss: int = 2
    secret: bytes = b""
    commit_budget_ms: int = 2000
    grace_s: float = 30.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    keepalive_s: int = 30
    max_connection_age_s: int = 600
    max_streams: int = 1000
    metrics: Address | None = None
    log_level: str = "info"
    worker_of: int | None = None  # set by the supervisor: this process is worker 0, 1, ..


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("HOST:PORT, such as 127.0.0.1:50051")
    if host.startswith("[") and host.endswith("]"):
        return Address(host[1:-1], int(port))
    if not host or ":" in host:
        raise ValueError("HOST:PORT with an IPv6 address in brackets, such as [::1]:50051")
    return Address(host, int(port))


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise ValueError("a directory that exists")
    return path


def _store(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in _STORES or not (parts.netloc or parts.path):
        raise ValueError(f"an address that begins with {', '.join(s + '://' for s in _STORES[:-1])} or unix://")
    return text


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError("a file that exists")
    return path


def _one_of(*words: str) -> Callable[[str], Any]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}" if len(words) > 1 else words[0])
        return text

    return read


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def _secret(text: str) -> bytes:
    if len(secret := text.encode()) > 64:
        raise ValueError("at most 64 bytes")
    return secret


class _Option(NamedTuple):
    name: str
    read: Callable[[str], Any]
    metavar: str
    help: str


_OPTIONS = (
    _Option("listen", _address, "HOST:PORT", "where to serve (127.0.0.1:50051)"),
    _Option("rules", _directory, "DIR", "the rule set's directory (rules)"),
    _Option("redis", _store, "URL", "the store, see docs/operators.md; without it an embedded one is started"),
    _Option("workers", _integer(1, 256), "N", "processes that serve (1)"),
    _Option("transport", _one_of("http2", "grpcio"), "NAME", "http2, or grpcio: slower, by Google's library (http2)"),
    _Option("data", Path, "DIR", "where the embedded store and the last good rule set are kept (.tact)"),
    _Option("audit", _one_of("require", "best-effort"), "HOW", "log full: refuse (require) or drop (best-effort)"),
    _Option("max_log", _integer(1, 1_000_000_000), "N", "entries a log stream may hold until archived (100000)"),
    _Option(
        "durability", _one_of("store", "replica"), "WHERE", "a commit counts once the store or a replica has it (store)"
    ),
    _Option("max_loss", _integer(0, 86_400), "S", "last writes a store may lose and go on unacknowledged (2)"),
    _Option("secret", _secret, "TEXT", "key of the customer hashes; better given as TACT_SECRET"),
    _Option("commit_budget_ms", _integer(10, 60_000), "MS", "how long a commit may take (2000)"),
    _Option("grace_s", _integer(0, 3600), "S", "how long accepted calls may take to finish at the end (30)"),
    _Option("tls_cert", _file, "FILE", "serve with TLS: the certificate chain, PEM"),
    _Option("tls_key", _file, "FILE", "its private key, PEM"),
    _Option("tls_client_ca", _file, "FILE", "serve only clients with a certificate of this authority, PEM"),
    _Option("keepalive_s", _integer(1, 86_400), "S", "silence before a peer is asked for a sign of life (30)"),
    _Option("max_connection_age_s", _integer(1, 31_536_000), "S", "then a connection is closed in good order (600)"),
    _Option("max_streams", _integer(1, 100_000), "N", "calls at once on one connection (1000)"),
    _Option("metrics", _address, "HOST:PORT", "where to serve Prometheus metrics, summed over workers"),
    _Option("log_level", _one_of("debug", "info", "warning", "error"), "LEVEL", "what is logged (info)"),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; --help lists the settings")


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings of this command line and environment. Raises UsageError with all that is wrong."""
    parser = _Parser(prog="server.py", description="Serves Tact.", allow_abbrev=False)
    for option in _OPTIONS:
        about = f"{option.help} [TACT_{option.name.upper()}]"
        parser.add_argument("--" + option.name.replace("_", "-"), metavar=option.metavar, help=about)
    parser.add_argument("--worker-of", type=int, help=argparse.SUPPRESS)
    given = vars(parser.parse_args(arguments))
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for option in _OPTIONS:
        source, text = "--" + option.name.replace("_", "-"), given[option.name]
        if text is None:
            source, text = f"TACT_{option.name.upper()}", environment.get(f"TACT_{option.name.upper()}") or None
        if text is None:
            continue
        try:
            values[option.name] = option.read(text)
        except ValueError as error:
            shown = "a longer one" if option.name == "secret" else f"'{text}'"
            wrong.append(f"{source}: found {shown}, expected {error}")
    if "rules" not in values and not any(w.startswith(("--rules", "TACT_RULES")) for w in wrong):
        try:
            values["rules"] = _directory("rules")
        except ValueError as error:
            wrong.append(f"--rules: found 'rules', the default, expected {error}")
    if ("tls_cert" in values) != ("tls_key" in values) or ("tls_client_ca" in values and "tls_cert" not in values):
        wrong.append("--tls-cert, --tls-key: expected both for TLS, and --tls-client-ca only beside them")
    if wrong:
        raise UsageError("\n".join(wrong))
    return Settings(**values, worker_of=given["worker_of"])


def without_password(url: str) -> str:
    """A store's address as it may be shown."""
    before, at, after = url.partition("?")[0].rpartition("@")
    return f"{before.partition('://')[0]}://{after}" if at else after


def announce(settings: Settings, address: str, revision: str, store: str) -> None:
    """The one line on standard output: this server can serve."""
    line = {
        "ready": True,
        "address": address,
        "revision": revision,
        "store": store,
        "transport": settings.transport,
        "workers": settings.workers,
        "pid": os.getpid(),
    }
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()
