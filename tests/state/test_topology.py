"""Addresses, and what nodes of a cluster say of each other."""

from __future__ import annotations

import asyncio

import pytest

from engine.state.address import Address, Endpoint
from engine.state.cluster import Cluster, Node
from engine.state.topology import Member, members

TOLD = """\
aa 10.0.0.1:7000@17000,one.bank,shard-id=1 master - 0 1 3 connected 0-99 200 [150->-bb] [160-<-cc]
bb :7001@17001 myself,master - 0 1 2 connected 100-199
cc [::1]:7002@17002 slave aa 0 1 3 connected
dd :0@0 master,noaddr - 0 1 9 disconnected 300
ee 10.0.0.5:7003@17003 handshake - 0 1 0 connected
"""


@pytest.mark.parametrize(("tls", "first"), [(False, "10.0.0.1"), (True, "one.bank")])
def test_what_nodes_say_of_each_other(tls: bool, first: str) -> None:
    assert members(TOLD, Endpoint("seed", 1), tls) == [
        Member("aa", Endpoint(first, 7000), 3, ((0, 99), (200, 200))),
        Member("bb", Endpoint("seed", 7001), 2, ((100, 199),)),
        Member("cc", Endpoint("::1", 7002), 3, ()),
    ]
    assert members("", Endpoint("seed", 1), tls) == []


def test_who_was_replaced_cannot_take_its_slots_back(runner: asyncio.Runner) -> None:
    def view(epochs: tuple[int, int], slots: tuple[str, str]) -> str:
        lines = zip("ab", epochs, slots, strict=True)
        return "\n".join(f"{i} {i}:1@2 master - 0 1 {epoch} connected {span}" for i, epoch, span in lines)

    async def scenario() -> None:
        cluster = Cluster(Address.parse("redis+cluster://seed"), 1.0)
        told_by = Node(Address.parse("redis://seed"), 1.0)

        async def owners(text: str) -> list[str]:
            await cluster._take_map(text, told_by)
            return [owner.endpoint.host for slot in (0, 9) if (owner := cluster._owners[slot]) is not None]

        assert await owners(view((1, 2), ("0-4", "5-9"))) == ["a", "b"]
        assert await owners(view((1, 3), ("", "0-9"))) == ["b", "b"]  # b took over
        assert await owners(view((1, 2), ("0-4", "5-9"))) == ["b", "b"]  # says a, which stood still meanwhile
        assert await owners(view((4, 3), ("0-4", "5-9"))) == ["a", "b"]  # they went back to it
        assert await owners("c c:1@2 master - 0 1 1 connected 0-9") == ["c", "c"]  # another cluster by that name
        await cluster.close()

    runner.run(scenario())


def test_addresses_of_clusters_and_services() -> None:
    a = Address.parse("rediss+cluster://user:p%40ss@one:7000,two,[::1]:7002?ca=/etc/ca.pem")
    assert (a.kind, a.tls, a.username, a.password, a.ca) == ("cluster", True, "user", "p@ss", "/etc/ca.pem")
    assert a.endpoints == (("one", 7000), ("two", 6379), ("::1", 7002))
    assert str(a) == "one:7000,two:6379,[::1]:7002"
    assert "p@ss" not in repr(a)
    one = a.at(Endpoint("three", 1))
    assert (one.kind, one.endpoints, one.tls, one.password) == ("node", (("three", 1),), True, "p@ss")
    b = Address.parse("redis+sentinel://one,two:5000/bank/2?sentinel_password=x")
    assert (b.kind, b.service, b.db, b.sentinel_password) == ("sentinel", "bank", 2, "x")
    assert b.endpoints == (("one", 26379), ("two", 5000))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("redis+clusters://x", "begins with redis://"),
        ("rediss+cluster://x/1", "0 in a cluster"),
        ("redis+sentinel://x", "name of the service"),
        ("redis://x?tls=yes", "no option 'tls'"),
        ("rediss://x?cert=a", "belong together"),
        ("redis://x:port", "expected host:port"),
        ("redis+cluster://x:1,y:70000", "expected host:port"),
    ],
)
def test_wrong_addresses(wrong: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Address.parse(wrong)
