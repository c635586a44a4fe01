"""What CLUSTER NODES says: who is in a cluster, and who has which slots since when.

<id> <ip:port@bus[,hostname[,..]]> <flags> <master> <ping> <pong> <epoch> <link> [<slot> | <first>-<last> | [moving] ..]
"""

from __future__ import annotations

from typing import NamedTuple

from engine.state.address import Endpoint


class Member(NamedTuple):
    """A node as another one sees it. `spans`: first and last of its slots; of a replica none."""

    id: str
    endpoint: Endpoint
    epoch: int
    spans: tuple[tuple[int, int], ...]


def members(text: str, told_by: Endpoint, tls: bool) -> list[Member]:
    """Everybody with an address, by id. `told_by`: where one without a host is. With TLS a node's name is preferred."""
    found = []
    for words in map(str.split, text.splitlines()):
        if len(words) < 8 or "noaddr" in words[2] or "handshake" in words[2]:
            continue
        endpoint = _endpoint(words[1], told_by, tls)
        if endpoint is not None:
            spans = [word.partition("-") for word in words[8:] if not word.startswith("[")]
            found.append(Member(words[0], endpoint, int(words[6]), tuple((int(a), int(b or a)) for a, _, b in spans)))
    return sorted(found)


def _endpoint(text: str, told_by: Endpoint, tls: bool) -> Endpoint | None:
    address, *names = text.split(",")
    host, _, port = address.partition("@")[0].rpartition(":")
    if tls and names and names[0]:
        host = names[0]
    if not port.isdecimal() or port == "0":
        return None
    return Endpoint(host.strip("[]") or told_by.host, int(port))
