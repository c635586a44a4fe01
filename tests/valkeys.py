"""Valkey servers of a test's own on loopback: single ones, clusters, and sentinels. They end with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine.state.embedded import _WRAPPER, server_binary
from engine.state.slots import SLOTS

WAIT_S = 15.0
NODE_TIMEOUT_MS = 1000
_SETTINGS = ("bind 127.0.0.1", "daemonize no", 'save ""', "appendonly no", "maxmemory-policy noeviction")


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def until(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> float:
    """Waits for something; the seconds it took. Fails with what was waited for."""
    began = time.monotonic()
    while True:
        with suppress(redis.RedisError, OSError):
            if condition():
                return time.monotonic() - began
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"waited {timeout_s} s for {what}")
        time.sleep(0.01)


class Valkey:
    """One server process. `admin` is redis-py's client of it."""

    def __init__(self, directory: Path, *settings: str, sentinel: bool = False, password: str = "") -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port, self.bus = free_ports(2)
        self._sentinel = sentinel
        self._file = directory / "valkey.conf"
        lines = [*(() if sentinel else _SETTINGS), f"port {self.port}", f"dir {directory}", "logfile log", *settings]
        self._file.write_text("\n".join(line.replace("$BUS", str(self.bus)) for line in lines) + "\n")
        self.admin: Any = redis.Redis(
            port=self.port, password=password or None, protocol=2, socket_timeout=5.0, retry=Retry(NoBackoff(), 0)
        )
        self.start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the process (again)."""
        # not as a child that could outlive a test that is killed
        command = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _WRAPPER,
            str(os.getpid()),
            str(server_binary()),
            str(self._file),
        ]
        self.process = subprocess.Popen(
            [*command, *(["--sentinel"] if self._sentinel else [])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(lambda: self.process.poll() is not None or bool(self.admin.ping()), "a server")
        assert self.process.poll() is None, (self.directory / "log").read_text()[-500:]

    def kill(self) -> None:
        """Without a last word."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.admin.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class ValkeyCluster:
    """Masters with equal shares of the slots, and `replicas` of each."""

    def __init__(
        self,
        directory: Path,
        masters: int = 3,
        replicas: int = 0,
        settings: Sequence[str] = (),
        timeout_ms: int = NODE_TIMEOUT_MS,
        password: str = "",
    ) -> None:
        common = [
            "cluster-enabled yes",
            "cluster-config-file nodes.conf",
            "cluster-port $BUS",
            f"cluster-node-timeout {timeout_ms}",
            "cluster-require-full-coverage no",
            "cluster-replica-validity-factor 0",
            "repl-diskless-sync-delay 0",
            *settings,
        ]
        self.nodes: list[Valkey] = []
        try:
            for number in range(masters * (1 + replicas)):
                self.nodes.append(Valkey(directory / f"node{number}", *common, password=password))
            self.masters, self.replicas = self.nodes[:masters], self.nodes[masters:]
            self._join()
        except BaseException:
            self.close()
            raise

    @property
    def seeds(self) -> str:
        return ",".join(node.endpoint for node in self.nodes[:2])

    @property
    def url(self) -> str:
        return f"redis+cluster://{self.seeds}"

    def _join(self) -> None:
        for number, node in enumerate(self.nodes):
            node.admin.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        share = SLOTS / len(self.masters)
        for number, node in enumerate(self.masters):
            first, last = round(number * share), round((number + 1) * share) - 1
            node.admin.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in self.nodes[1:]:
            self.nodes[0].admin.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)
        until(lambda: all(len(self.listed(n)) == len(self.nodes) for n in self.nodes), "nodes to meet")
        for number, node in enumerate(self.replicas):
            node.admin.execute_command("CLUSTER", "REPLICATE", self.id_of(self.masters[number % len(self.masters)]))
        until(lambda: all(self.whole(node) for node in self.nodes), "the cluster")
        if self.replicas:
            until(lambda: all("master_link_status:up" in self.replication(r) for r in self.replicas), "the replicas")

    @staticmethod
    def listed(node: Valkey) -> list[list[str]]:
        """CLUSTER NODES, without those that shake hands."""
        lines = node.admin.execute_command("CLUSTER", "NODES")
        if isinstance(lines, dict):
            return [[about["node_id"], key, about["flags"]] for key, about in lines.items()]
        return [line.split(" ") for line in lines.decode().splitlines() if "handshake" not in line]

    @staticmethod
    def id_of(node: Valkey) -> str:
        return str(node.admin.execute_command("CLUSTER", "MYID").decode())

    @staticmethod
    def replication(node: Valkey) -> str:
        """INFO of it."""
        return "\n".join(f"{key}:{value}" for key, value in node.admin.info("replication").items())

    def whole(self, node: Valkey) -> bool:
        """Whether the node sees all slots served, and everybody's role."""
        info = node.admin.execute_command("CLUSTER", "INFO")
        text = info.decode() if isinstance(info, bytes) else "\r\n".join(f"{k}:{v}" for k, v in info.items())
        slaves = sum("slave" in words[2] for words in self.listed(node))
        return "cluster_state:ok" in text and "cluster_slots_ok:16384" in text and slaves == len(self.replicas)

    def owner_of(self, slot: int) -> Valkey:
        """The master of a slot, as the first living node sees it."""
        for node in self.nodes:
            with suppress(redis.RedisError, OSError):
                for first, last, master, *_ in node.admin.execute_command("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(n for n in self.nodes if n.port == master[1])
        raise AssertionError(f"nobody has slot {slot}")

    def replica_of(self, master: Valkey) -> Valkey:
        return next(r for r in self.replicas if r.admin.info("replication").get("master_port") == master.port)

    def begin_move(self, slot: int, source: Valkey, target: Valkey) -> None:
        """From here on the source sends askers for what it lacks to the target."""
        target.admin.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.admin.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, slot: int, source: Valkey, target: Valkey, at_most: int = 1_000_000) -> int:
        """Moves keys, as resharding does; how many."""
        moved = 0
        while moved < at_most:
            keys = source.admin.execute_command("CLUSTER", "GETKEYSINSLOT", slot, min(100, at_most - moved))
            if not keys:
                break
            source.admin.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
        return moved

    def end_move(self, slot: int, source: Valkey, target: Valkey) -> None:
        """The slot is the target's."""
        for node in (target, source, *(n for n in self.nodes if n not in (source, target) and self._leads(n))):
            node.admin.execute_command("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    @staticmethod
    def _leads(node: Valkey) -> bool:
        return bool(node.admin.info("replication")["role"] == "master")

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
