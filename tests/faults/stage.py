"""A server, its store and the network between them, to do harm to: all on loopback, all started here."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from zlib import crc32

from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.embedded import EmbeddedStore
from engine.state.redis import RedisStore
from tests.faults.ledger import Ledger
from tests.faults.line import OK, Answer, Line, close_all, connect
from tests.faults.proxy import Proxy
from tests.server.process import Server

CAP = 5
RULES = f"""\
events: {{deposit: {{}}}}
purposes: {{marketing: {{consent: not_required}}}}
messages:
  offer: {{purpose: marketing, on: [deposit], channels: [push], variants: {{a: {{en: "A"}}, b: {{en: "B"}}}}}}
caps: [{{at_most: {CAP}, per: [customer], in: 7 days, purposes: [marketing]}}]
"""
MARGIN_S = 0.05  # how much later than its deadline a call may end (I5)


@dataclass
class Stage:
    """`direct`: the store without the network in between, for those who check."""

    data: Path
    valkey: EmbeddedStore
    proxy: Proxy
    server: Server
    address: str
    direct: RedisStore
    lines: list[Line] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        """Where the server's keeper puts the log."""
        return self.data / "data" / "archive"

    async def dial(self, count: int) -> list[Line]:
        """So many connections more."""
        made = [await connect(self.address) for _ in range(count)]
        self.lines += made
        return made

    def leave(self) -> None:
        """Ends what a fault that failed left under way."""
        for load in self.loads:
            load.over = True
        self.loads.clear()

    def kill(self) -> None:
        """kill -9 for the store."""
        os.kill(self.valkey.pid, signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP for the store."""
        os.kill(self.valkey.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT for the store."""
        os.kill(self.valkey.pid, signal.SIGCONT)

    async def dead(self) -> None:
        """Returns when the store has ended."""
        await until(lambda: not self.valkey.alive())

    async def restart(self) -> None:
        """Starts the store again; in a thread that lives as long as the loop, as the store does not outlive it."""
        await asyncio.to_thread(self.valkey.start)

    async def settled(self) -> None:
        """Returns when a decision can be taken; then nothing of before is under way any more."""
        [line] = await self.dial(1)
        began = time.monotonic()
        number = 0
        while time.monotonic() - began < 30:
            number += 1
            answer = await line.call(request("settling", f"{os.urandom(6).hex()}"), timeout_ms=2000)
            if answer.status == OK:
                reason = pb.DecideResponse.FromString(answer.body).decisions[0].reason
                if reason in (pb.Decision.SELECTED, pb.Decision.CAP_REACHED):
                    self.settled_s = time.monotonic() - began
                    return
            await asyncio.sleep(0.01)
        raise AssertionError(f"the server does not decide: {self.server.said()[-2000:]}")

    settled_s: float = 0.0

    async def check(self, ledger: Ledger, lost: int = 0) -> list[str]:
        """What does not hold of the ledger, once calls have ended."""
        return await ledger.check(self.direct, self.archive, lost)


def request(customer: str, event: str) -> bytes:
    """A DecideRequest that the stage's rules have an offer for; one in three has to go the ordinary way."""
    made = pb.Event(event_id=event, customer_id=customer, type="deposit")
    return pb.DecideRequest(event=made, max_messages=2 if crc32(event.encode()) % 3 == 0 else 0).SerializeToString()


_shared: Stage | None = None


@asynccontextmanager
async def staged(
    *arguments: str,
    persist: bool = True,
    fsync: Literal["everysec", "always"] = "always",
    environment: dict[str, str] | None = None,
) -> AsyncIterator[Stage]:
    """A stage of its own, or the one that is shared where it is to be nothing special."""
    if _shared is not None and not arguments and persist and fsync == "always" and environment is None:
        try:
            await _shared.settled()  # what the fault before did to its connections is over
            yield _shared
        finally:
            _shared.leave()
            _shared.proxy.calm()
            close_all()
        return
    with tempfile.TemporaryDirectory(prefix="tact-f-") as name:
        data = Path(name)
        valkey = EmbeddedStore(data / "store", persist=persist, fsync=fsync)
        url = valkey.start()
        proxy = Proxy(url)
        server = None
        direct = RedisStore(url)
        try:
            server = Server(data, "--redis", await proxy.start(), *arguments, rules=RULES, environment=environment)
            ready = await asyncio.to_thread(server.ready)
            yield Stage(data, valkey, proxy, server, ready["address"], direct)
        finally:
            proxy.calm()
            close_all()
            if server is not None:
                await asyncio.to_thread(server.close)
            await proxy.stop()
            await direct.close()
            valkey.stop()


@asynccontextmanager
async def sharing() -> AsyncIterator[None]:
    """Meanwhile stages that are to be nothing special are one."""
    global _shared
    async with staged() as stage:
        _shared = stage
        try:
            yield
        finally:
            _shared = None


@dataclass
class Load:
    """Callers, one call after the other on their lines, each event tried again until it is settled.

    `names`: the customers. Every call has a deadline of `timeout_ms`.
    """

    stage: Stage
    ledger: Ledger
    prefix: str
    customers: int = 200
    callers: int = 16
    timeout_ms: int = 1000
    retries: int = 1000
    pause_s: float = 0.0
    seed: int = 1
    events: str = ""  # what the ids of events begin with
    over: bool = False
    calls: int = 0
    ended: list[tuple[float, float, Answer]] = field(default_factory=list)

    async def run(self, lines: Sequence[Line]) -> None:
        """Until `over`; a line that is lost is dialled anew."""
        self.stage.loads.append(self)
        chance = random.Random(self.seed)
        await asyncio.gather(*(self._caller(k, list(lines), chance) for k in range(self.callers)))

    async def _caller(self, k: int, lines: list[Line], chance: random.Random) -> None:
        number = 0
        line = lines[k % len(lines)]
        while not self.over:
            number += 1
            customer, event = f"{self.prefix}{chance.randrange(self.customers)}", f"{self.events}{k}-{number}"
            for _ in range(self.retries):
                if line.closed.done():
                    try:
                        [line] = await self.stage.dial(1)
                    except OSError:
                        await asyncio.sleep(0.02)
                        continue
                began = time.monotonic()
                answer = await line.call(request(customer, event), timeout_ms=self.timeout_ms)
                self.calls += 1
                self.ended.append((began, time.monotonic() - began, answer))
                if self.ledger.take(customer, event, answer, self.timeout_ms / 1000) or self.over:
                    break
                await asyncio.sleep(0.01)
            if self.pause_s:
                await asyncio.sleep(self.pause_s)

    def slowest_s(self) -> float:
        """The longest call."""
        return max((took for _, took, _ in self.ended), default=0.0)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Waits for it; whether it came true."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    return condition()
