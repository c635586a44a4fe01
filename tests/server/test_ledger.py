"""Many clients at once against a server of two workers, and a ledger of their own, checked for each customer."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import defaultdict

import grpc

from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import decision_pb2_grpc
from tests.faults.ledger import Ledger
from tests.faults.line import DECIDE, OK, Answer, Line
from tests.faults.stage import CAP, Stage, request, staged

PLAIN, RELEASING, STOPPING = "plain", "releasing", "stopping"
NAMES = [f"{kind}{n}" for kind in (PLAIN, RELEASING, STOPPING) for n in range(3)]
EVENTS = 25  # of each customer, each asked for about three times
OUTCOMES = "/tact.v1.DecisionService/RecordOutcomes"


class Clients:
    """Callers in this loop and in threads; one ledger for all, under a lock."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.ledger, self.lock = stage, Ledger(CAP), threading.Lock()
        self.stopped: set[str] = set()  # those whose STOP was acknowledged
        self.asked: set[tuple[str, str]] = set()
        self.after_stop: dict[str, set[str]] = defaultdict(set)  # events first asked for after it

    def asks(self, customer: str, event: str) -> None:
        """Before a call."""
        with self.lock:
            if customer in self.stopped and (customer, event) not in self.asked:
                self.after_stop[customer].add(event)
            self.asked.add((customer, event))

    def hears(self, customer: str, event: str, body: bytes) -> pb.OutcomeReport | None:
        """After a call: what is to be reported."""
        response = pb.DecideResponse.FromString(body)
        with self.lock:
            self.ledger.told(customer, event, response, body)
            decision = response.decisions[0]
            if decision.outcome != pb.Decision.SEND:
                return None
            if customer.startswith(RELEASING) and event not in self.ledger.released[customer]:
                self.ledger.released[customer].add(event)
                return pb.OutcomeReport(decision_id=decision.decision_id, kind=pb.OutcomeReport.NOT_DELIVERED)
            if customer.startswith(STOPPING):
                return pb.OutcomeReport(decision_id=decision.decision_id, kind=pb.OutcomeReport.OPTED_OUT)
        return None

    def reported(self, customer: str) -> None:
        """After an outcome was taken."""
        if customer.startswith(STOPPING):
            with self.lock:
                self.stopped.add(customer)

    async def over_lines(self, line: Line, seed: int) -> None:
        """Many calls at once on one connection."""
        chance = random.Random(seed)

        async def call(body: bytes, path: str = DECIDE) -> Answer:
            while True:  # what is not known to be done is tried again
                answer = await line.call(body, path, timeout_ms=20_000)
                if answer.status == OK:
                    return answer
                await asyncio.sleep(0.005)

        async def one(customer: str, event: str) -> None:
            self.asks(customer, event)
            answer = await call(request(customer, event))
            if (report := self.hears(customer, event, answer.body)) is not None:
                await call(pb.RecordOutcomesRequest(outcomes=[report]).SerializeToString(), OUTCOMES)
                self.reported(customer)

        wanted = [(name, f"e{n}") for name in NAMES for n in range(EVENTS)]
        chance.shuffle(wanted)
        for at in range(0, len(wanted), 40):
            await asyncio.gather(*(one(*who) for who in wanted[at : at + 40]))

    def over_grpc(self, seed: int) -> None:
        """One call after the other, by gRPC's own client."""
        chance = random.Random(seed)
        with grpc.insecure_channel(self.stage.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
            stub = decision_pb2_grpc.DecisionServiceStub(channel)
            for _ in range(60):
                customer, event = chance.choice(NAMES), f"e{chance.randrange(EVENTS)}"
                self.asks(customer, event)
                try:
                    answer = stub.Decide(pb.DecideRequest.FromString(request(customer, event)), timeout=20)
                except grpc.RpcError as error:
                    assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017 # type: ignore[attr-defined]
                    continue
                report = self.hears(customer, event, answer.SerializeToString(deterministic=True))
                if report is not None:
                    stub.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=[report]), timeout=20)
                    self.reported(customer)


def test_a_ledger_kept_outside_agrees_with_the_engine(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        async with staged("--workers", "2") as stage:
            clients = Clients(stage)
            lines = await stage.dial(3)
            threads = [asyncio.to_thread(clients.over_grpc, 100 + k) for k in range(4)]
            await asyncio.gather(*(clients.over_lines(line, k) for k, line in enumerate(lines)), *threads)
            ledger = clients.ledger
            assert len(ledger.answers) == len(NAMES) * EVENTS
            assert await stage.check(ledger) == []
            for name in NAMES:
                sent = ledger.sent[name]
                if name.startswith(PLAIN):
                    assert len(sent) == CAP
                elif name.startswith(RELEASING):  # each frees its place at once, so more than a cap's worth are sent
                    assert len(sent) > CAP
                else:
                    assert 1 <= len(sent) <= CAP
                    assert not sent & clients.after_stop[name]
            assert any(clients.after_stop.values())

    runner.run(scenario())
