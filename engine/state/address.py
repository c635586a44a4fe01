"""Where a store is, as operators write it.

    redis://[user:password@]host[:port][/db]                            one node; rediss:// with TLS
    unix://path[?db=n]                                                  one node on this machine
    redis+cluster://[user:password@]host[:port][,host[:port]..]         a cluster, by any of its nodes
    redis+sentinel://[user:password@]host[:port][,..]/service[/db]      the master that sentinels name

rediss+cluster:// and rediss+sentinel:// with TLS. Options, as a query: `ca`, `cert` and `key` are files (PEM): whom
to trust instead of the system's authorities, and our own certificate; `sentinel_username` and `sentinel_password`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

Kind = Literal["node", "cluster", "sentinel"]
_PORT, _SENTINEL_PORT = 6379, 26379
_OPTIONS = frozenset(("db", "ca", "cert", "key", "sentinel_username", "sentinel_password"))
_SCHEMES = "redis://, rediss://, redis+cluster://, rediss+cluster://, redis+sentinel://, rediss+sentinel:// or unix://"


class Endpoint(NamedTuple):
    """A TCP address. An IPv6 host is without its brackets here."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """`path` is a Unix socket's, else the endpoints hold: of the node, of a cluster's nodes, or of sentinels."""

    endpoints: tuple[Endpoint, ...]
    kind: Kind = "node"
    path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    db: int = 0
    tls: bool = False
    service: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)

    @staticmethod
    def parse(url: str) -> Address:
        """Reads an address. Raises ValueError."""
        parts = urlsplit(url)
        secure, _, kind = parts.scheme.partition("+")
        unix = parts.scheme == "unix"
        if not unix and (secure not in ("redis", "rediss") or kind not in ("", "cluster", "sentinel")):
            raise ValueError(f"a store's address begins with {_SCHEMES}, not {parts.scheme + '://'!r}")
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if unknown := sorted(options.keys() - _OPTIONS):
            raise ValueError(f"a store's address has no option {unknown[0]!r}; it knows {', '.join(sorted(_OPTIONS))}")
        login, _, hosts = parts.netloc.rpartition("@")
        username, _, password = login.partition(":")
        service, _, db = parts.path.strip("/").partition("/") if kind == "sentinel" else ("", "", parts.path.strip("/"))
        db = options.pop("db", "0" if unix else db or "0")
        if not db.isdecimal() or (kind == "cluster" and db != "0"):
            raise ValueError(f"the database of a store's address is a number (0 in a cluster), not {db!r}")
        if kind == "sentinel" and not service:
            raise ValueError("an address of sentinels ends with the name of the service, such as .../mymaster")
        if ("cert" in options) != ("key" in options):
            raise ValueError("`cert` and `key` of a store's address belong together")
        port = _SENTINEL_PORT if kind == "sentinel" else _PORT
        return Address(
            () if unix else tuple(_endpoint(text, port) for text in hosts.split(",")),
            "cluster" if kind == "cluster" else "sentinel" if kind == "sentinel" else "node",
            unquote(parts.path) if unix else "",
            unquote(username),
            unquote(password),
            int(db),
            secure == "rediss",
            unquote(service),
            **options,
        )

    @property
    def host(self) -> str:
        return self.endpoints[0].host

    @property
    def port(self) -> int:
        return self.endpoints[0].port

    def __str__(self) -> str:
        """For messages: no password."""
        if self.path:
            return f"unix://{self.path}"
        where = ",".join(map(str, self.endpoints))
        return f"{self.service} of {where}" if self.service else where

    def at(self, endpoint: Endpoint) -> Address:
        """One node of this cluster or service."""
        return replace(self, endpoints=(endpoint,), kind="node", service="")

    def context(self) -> ssl.SSLContext | None:
        """Read anew for each connection, so that renewed certificates count. Raises OSError."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.cert:
            context.load_cert_chain(self.cert, self.key)
        return context


def _endpoint(text: str, port: int) -> Endpoint:
    host, colon, number = text.rpartition(":")
    if not colon or number.endswith("]"):
        host, number = text, str(port)
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise ValueError(f"found {text!r} in a store's address, expected host:port")
    return Endpoint(host.removeprefix("[").removesuffix("]") or "localhost", int(number))
