"""Counters and histograms for Prometheus, served only where asked for.

Workers share a directory: each keeps its figures in files of its own there (prometheus_client's multiprocess mode),
and their supervisor serves the sums. The files are named by the worker's number, not its process: a worker that was
started again counts on, so that no sum of a counter ever falls.
"""

from __future__ import annotations

from collections import Counter as CountOf
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server, values
from prometheus_client.multiprocess import MultiProcessCollector

from engine.decision import Decision, Reason

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # in a worker's environment: where the files are; read by prometheus_client
_LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


class Metrics:
    """One process's figures, in a registry of its own; `worker`: in files beside those of other workers."""

    def __init__(self, worker: int | None = None) -> None:
        if worker is not None:
            values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        decisions = Counter("tact_decisions", "Decisions answered, by reason.", ["reason"], registry=self.registry)
        self._decisions = {int(reason): decisions.labels(reason.name) for reason in Reason}
        self._calls = Histogram(
            "tact_call_seconds", "Calls, by method.", ["method"], buckets=_LATENCY_S, registry=self.registry
        )
        about = "Operations per batch of the pipeline."
        self._batches = Histogram("tact_batch_operations", about, buckets=_SIZES, registry=self.registry)
        self._store_errors = Counter(
            "tact_store_errors", "Accesses to the store that did not go through.", ["what"], registry=self.registry
        )
        self.log_dropped = Gauge(
            "tact_log_dropped", "Log entries dropped since start.", registry=self.registry, multiprocess_mode="sum"
        )
        about = "How often lost writes of the store were noticed, since start."
        self.losses = Gauge("tact_store_losses", about, registry=self.registry, multiprocess_mode="sum")
        about = "1 while nothing that needs state is sent, until somebody acknowledges what the store lost."
        self.closed = Gauge("tact_store_closed", about, registry=self.registry, multiprocess_mode="max")
        about = "When the log was archived last, in unix seconds by the store's clock; 0 where that is not known."
        name = "tact_log_archived_timestamp_seconds"
        self.archived_s = Gauge(name, about, registry=self.registry, multiprocess_mode="max")

    def decisions(self, decisions: Sequence[Decision]) -> None:
        """One event was answered."""
        for decision in decisions:
            self._decisions[decision.reason].inc()

    def reasons(self, reasons: Sequence[int]) -> None:
        """Events were answered, each for one of these reasons (numbers of `Reason`)."""
        if len(reasons) == 1:
            self._decisions[reasons[0]].inc()
            return
        for reason, count in CountOf(reasons).items():
            self._decisions[reason].inc(count)

    def called(self, method: str, seconds: float) -> None:
        """One call ended."""
        self._calls.labels(method.rpartition("/")[2]).observe(seconds)

    def batch(self, size: int) -> None:
        """One batch of the pipeline began with `size` operations."""
        self._batches.observe(size)

    def store_error(self, what: str) -> None:
        """The store did not do what it was asked: read, commit, collision, or a commit's status."""
        self._store_errors.labels(what).inc()

    def serve(self, host: str, port: int) -> str:
        """Serves /metrics from a thread; returns HOST:PORT as bound. Raises OSError where it cannot bind."""
        return _serve(self.registry, host, port)


class Summed:
    """The supervisor's figures, beside the sums over its workers', which are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.registry = CollectorRegistry()
        MultiProcessCollector(self.registry, str(directory))  # type: ignore[no-untyped-call]
        self.workers = Gauge("tact_workers", "Workers that serve.", registry=self.registry)
        about = "Workers that ended and were started again."
        self.restarts = Counter("tact_worker_restarts", about, registry=self.registry)

    def serve(self, host: str, port: int) -> str:
        """Serves /metrics from a thread; returns HOST:PORT as bound. Raises OSError where it cannot bind."""
        return _serve(self.registry, host, port)


def _serve(registry: CollectorRegistry, host: str, port: int) -> str:
    server, _ = start_http_server(port, host, registry)
    return f"{host}:{server.server_port}"
