"""Fault 13: a cluster of three masters and three replicas; a manual failover, slots that move key by key (as all
versions can) and at once (as Valkey 9 can), a killed master, one that is paused, and one that is killed while its
replica lags behind: that one loses what it had acknowledged, so caps are passed, by no more than that.

Callers' own ledger says what they saw: for how long the customers of the node concerned were decided without state,
whether more was sent than a cap allows, and whether a word of the cluster ever reached them.

What a failover can lose is what the master acknowledged and its replica had not got. The bound that is checked: sends
to this node's customers acknowledged in the last second before (the replica lags by less).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.identity import customer_key
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.slots import SLOT_OF_BUCKET
from tests.faults.line import OK, Answer, Line, connect, event
from tests.faults.report import Report, serving
from tests.server.process import RULES
from tests.valkeys import Valkey, ValkeyCluster, until

CAP, EVENTS = 3, 6  # of a customer
NODE_TIMEOUT_MS, NODE_TIMEOUT_MS_LONG = 1000, 3000
OVER_S = 3.0  # an outage may last that much longer than the node timeout
LOST_S = 1.0
_LAG_S = 0.5
ROUNDS_LONG = 5
_RULES = RULES.replace("if_state_unknown: send", "if_state_unknown: silent") + (
    f"caps: [{{at_most: {CAP}, per: [customer], in: 7 days, purposes: [service]}}]\n"
)
_WORDS = (b"MOVED", b"ASK ", b"TRYAGAIN", b"READONLY", b"CLUSTERDOWN", b"LOADING", b"MASTERDOWN", b"NOSCRIPT")
_POOL = 200  # customers that have events at one time
_IN_FLIGHT, _LINES = 8, 2
_CALM_S = 0.5


@dataclass(slots=True)
class _Fault:
    """What was done to which slots, when it began, and when a replica had taken over, where one was to."""

    slots: set[int]
    began: float
    taken_over: float = 0.0


@dataclass(slots=True)
class _Ledger:
    """What callers saw: when each slot's customers were decided with state, sends by customer, refusals by status."""

    good: list[tuple[float, int]] = field(default_factory=list)
    sends: defaultdict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    without_state: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    words: Counter[bytes] = field(default_factory=Counter)
    unsettled: list[tuple[int, str]] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)  # customers that have half of the events

    def note(self, number: int, customer: str, answer: Answer) -> None:
        """One call's end."""
        now, slot = time.monotonic(), _slot(customer)
        self.statuses[answer.status] += 1
        self.words.update(word for word in _WORDS if word in answer.body + answer.details)
        if answer.status != OK:
            self.unsettled.append((number, customer))
            return
        [decision] = pb.DecideResponse.FromString(answer.body).decisions
        if decision.reason == pb.Decision.STATE_UNKNOWN:
            self.without_state += 1
            return
        self.good.append((now, slot))
        if decision.outcome == pb.Decision.SEND:
            self.sends[customer][decision.decision_id] = now

    def outage_s(self, slots: set[int], began: float, *, others: bool = False) -> float:
        """The longest time between two decisions with state for customers of these slots, or of all others."""
        times = [began, *(at for at, slot in self.good if at > began and (slot in slots) is not others)]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    def until_good_s(self, slots: set[int], since: float) -> float:
        """How long it took until one of these slots' customers was decided with state."""
        return next((at - since for at, slot in self.good if at > since and slot in slots), 60.0)

    def sent_between(self, slots: set[int], begin: float, end: float) -> int:
        """Sends to customers of these slots."""
        return sum(begin <= at <= end for c, sends in self.sends.items() if _slot(c) in slots for at in sends.values())

    def overshoot(self) -> int:
        """Sends above the cap, over all customers."""
        return sum(max(0, len(sends) - CAP) for sends in self.sends.values())


def _slot(customer: str) -> int:
    return SLOT_OF_BUCKET[customer_key(customer).bucket]


async def run(long: bool = False) -> Report:
    """Four of them once, or all of them five times with the node timeout of production."""
    timeout_ms = NODE_TIMEOUT_MS_LONG if long else NODE_TIMEOUT_MS
    report, ledger, stop = Report(13), _Ledger(), asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="tact-cluster-") as directory:
        made = asyncio.to_thread(ValkeyCluster, Path(directory), replicas=1, timeout_ms=timeout_ms)
        with await made as cluster, serving("--redis", cluster.url, rules=_RULES) as (server, address):
            lines = [await connect(address) for _ in range(_LINES)]
            load = asyncio.gather(*(_call(line, ledger, stop) for line in lines for _ in range(_IN_FLIGHT)))
            await asyncio.sleep(_CALM_S)
            bound, over = 0, Counter[str]()
            outages, elsewhere = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
            takeovers, ours = defaultdict[str, list[float]](list), list[float]()
            for turn in range(ROUNDS_LONG if long else 1):
                for fault in _LONG if long else _BRIEF:
                    name = fault.__name__.strip("_")
                    done = await asyncio.to_thread(fault, cluster, ledger)
                    slots, began = done.slots, done.began
                    await asyncio.sleep(_CALM_S)
                    outages[name].append(ledger.outage_s(slots, began))
                    elsewhere[name].append(ledger.outage_s(slots, began, others=True))
                    if done.taken_over:
                        takeovers[name].append(done.taken_over - began)
                        ours.append(ledger.until_good_s(slots, done.taken_over))
                    ledger.watched = []
                    over[name] += ledger.overshoot() - sum(over.values())
                    if fault in (_killed, _paused, _lags):
                        bound += ledger.sent_between(slots, began - LOST_S, began)
                    elif turn == 0:
                        report.must(ledger.overshoot() == 0, f"{name}: what was planned passed a cap")
                    most_s = timeout_ms / 1000 + OVER_S
                    report.in_time(outages[name][-1] <= most_s, f"{name}: an outage of {outages[name][-1]:.2f} s")
            stop.set()
            await load
            before = ledger.overshoot()
            for number, customer in ledger.unsettled[:]:  # what was not answered is asked again by its id
                ledger.note(number, customer, await lines[0].call(event(number, customer)))
            report.must("Traceback" not in server.said(), "a traceback")
    report.must(not ledger.words, f"words of the cluster reached callers: {dict(ledger.words)}")
    report.must(ledger.overshoot() <= bound, f"{ledger.overshoot()} sends above caps; at most {bound} could be lost")
    report.must(sum(map(len, ledger.sends.values())) > 100, "too little was sent to show anything")
    report.figures = {
        "node_timeout_s": timeout_ms / 1000,
        "outage_s": {name: round(max(seen), 2) for name, seen in outages.items()},
        "of_it_until_a_replica_took_over_s": {name: round(max(seen), 2) for name, seen in takeovers.items()},
        "and_after_it_s": round(max(ours), 2),
        "outage_of_others_s": {name: round(max(seen), 2) for name, seen in elsewhere.items()},
        "decided": len(ledger.good),
        "sent": sum(map(len, ledger.sends.values())),
        "without_state": ledger.without_state,
        "statuses": dict(ledger.statuses),
        "overshoot": ledger.overshoot(),
        "overshoot_by_fault": dict(over),
        "overshoot_before_retries": before,
        "overshoot_at_most": bound,
    }
    return report


async def _call(line: Line, ledger: _Ledger, stop: asyncio.Event) -> None:
    while not stop.is_set():
        number = next(_numbers)
        customer = f"c{number // EVENTS + random.randrange(_POOL)}"
        if ledger.watched and number % 2:
            customer = random.choice(ledger.watched)
        ledger.note(number, customer, await line.call(event(number, customer)))


_numbers = itertools.count()


def _slots_of(cluster: ValkeyCluster, node: Valkey) -> set[int]:
    for told_by in cluster.nodes:
        if told_by.process.poll() is None:
            rows = told_by.admin.execute_command("CLUSTER", "SLOTS")
            return {s for first, last, who, *_ in rows if who[1] == node.port for s in range(first, last + 1)}
    raise AssertionError("no node is left")


def _pair(cluster: ValkeyCluster) -> tuple[Valkey, Valkey]:
    """A master, and its replica."""
    replica = next(n for n in cluster.nodes if n.admin.info("replication")["role"] == "slave")
    port = replica.admin.info("replication")["master_port"]
    return next(n for n in cluster.nodes if n.port == port), replica


def _settled(cluster: ValkeyCluster) -> None:
    """Everybody is back, and every replica has its master's data."""

    def all_well() -> bool:
        linked = [n.admin.info("replication") for n in cluster.nodes]
        slaves = [about for about in linked if about["role"] == "slave"]
        up = all(about["master_link_status"] == "up" for about in slaves)
        return len(slaves) == len(cluster.replicas) and up and all(cluster.whole(n) for n in cluster.nodes)

    until(all_well, "the cluster to be whole again", 60.0)


def _master(node: Valkey) -> Callable[[], bool]:
    return lambda: node.admin.info("replication")["role"] == "master"


def _taken_over(replica: Valkey) -> float:
    """When it had."""
    until(_master(replica), "a replica to take over", 30.0)
    return time.monotonic()


def _manual(cluster: ValkeyCluster, _: _Ledger) -> _Fault:
    master, replica = _pair(cluster)
    slots, began = _slots_of(cluster, master), time.monotonic()
    replica.admin.execute_command("CLUSTER", "FAILOVER")
    until(_master(replica), "a manual failover")
    _settled(cluster)
    return _Fault(slots, began)


def _moves(cluster: ValkeyCluster, ledger: _Ledger) -> _Fault:
    """Slots with many keys, one after the other; each stays half way for a moment."""
    source, _ = _pair(cluster)
    target = next(n for n in cluster.nodes if n is not source and _master(n)())
    slots = sorted(_slots_of(cluster, source) & set(SLOT_OF_BUCKET))[:10]
    names = (f"m{n}" for n in itertools.count())
    ledger.watched = list(itertools.islice((name for name in names if _slot(name) in slots), _POOL))
    time.sleep(_CALM_S)
    began = time.monotonic()
    for slot in slots:
        cluster.begin_move(slot, source, target)
        cluster.move_keys(slot, source, target, 2)
        time.sleep(0.05)
        cluster.move_keys(slot, source, target)
        cluster.end_move(slot, source, target)
    _settled(cluster)
    return _Fault(set(slots), began)


def _migrates(cluster: ValkeyCluster, ledger: _Ledger) -> _Fault:
    """A fifth of a master's slots."""
    source, _ = _pair(cluster)
    target = next(n for n in cluster.nodes if n is not source and _master(n)())
    first = min(_slots_of(cluster, source))
    slots = set(range(first, first + 1000)) & _slots_of(cluster, source)
    began = time.monotonic()
    spans = [str(s) for slot in sorted(slots) if slot - 1 not in slots for s in (slot, _last(slot, slots))]
    source.admin.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *spans, "NODE", cluster.id_of(target))
    until(lambda: slots <= _slots_of(cluster, target), "slots to move at once", 30.0)
    _settled(cluster)
    return _Fault(slots, began)


def _last(slot: int, slots: set[int]) -> int:
    """Of the run that begins there."""
    return next(s for s in itertools.count(slot) if s + 1 not in slots)


def _killed(cluster: ValkeyCluster, _: _Ledger) -> _Fault:
    master, replica = _pair(cluster)
    slots, began = _slots_of(cluster, master), time.monotonic()
    master.kill()
    taken_over = _taken_over(replica)
    master.start()
    _settled(cluster)
    return _Fault(slots, began, taken_over)


def _paused(cluster: ValkeyCluster, _: _Ledger) -> _Fault:
    master, replica = _pair(cluster)
    slots, began = _slots_of(cluster, master), time.monotonic()
    master.process.send_signal(signal.SIGSTOP)
    try:
        taken_over = _taken_over(replica)
    finally:
        master.process.send_signal(signal.SIGCONT)
    _settled(cluster)
    return _Fault(slots, began, taken_over)


def _lags(cluster: ValkeyCluster, ledger: _Ledger) -> _Fault:
    master, replica = _pair(cluster)
    slots = _slots_of(cluster, master)
    master.admin.config_set("requirepass", "changed")  # its replica is thrown out and cannot come back
    master.admin.execute_command("CLIENT", "KILL", "TYPE", "replica")
    time.sleep(_LAG_S)
    began = time.monotonic()
    master.kill()
    taken_over = _taken_over(replica)
    ledger.watched = [c for c, sends in dict(ledger.sends).items() if max(sends.values()) > began - _LAG_S]
    master.start()
    _settled(cluster)
    time.sleep(_CALM_S)
    return _Fault(slots, began, taken_over)


_BRIEF = (_manual, _moves, _killed, _paused)
_LONG = (_manual, _moves, _migrates, _killed, _paused, _lags)
