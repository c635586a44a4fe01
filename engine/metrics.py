"""Counters and histograms for Prometheus, served only where asked for."""

from __future__ import annotations

from collections import Counter as CountOf
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from engine.decision import Decision, Reason

_LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


class Metrics:
    """One process's figures, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        decisions = Counter("tact_decisions", "Decisions answered, by reason.", ["reason"], registry=self.registry)
        self._decisions = {reason: decisions.labels(reason.name) for reason in Reason}
        self._calls = Histogram(
            "tact_call_seconds", "Calls, by method.", ["method"], buckets=_LATENCY_S, registry=self.registry
        )
        about = "Operations per batch of the pipeline."
        self._batches = Histogram("tact_batch_operations", about, buckets=_SIZES, registry=self.registry)
        self._store_errors = Counter(
            "tact_store_errors", "Accesses to the store that did not go through.", ["what"], registry=self.registry
        )
        self.log_dropped = Gauge("tact_log_dropped", "Log entries dropped since start.", registry=self.registry)

    def decisions(self, decisions: Sequence[Decision]) -> None:
        """One event was answered."""
        for decision in decisions:
            self._decisions[decision.reason].inc()

    def reasons(self, reasons: Iterable[int]) -> None:
        """Events were answered, each for one of these reasons (numbers of `Reason`)."""
        for reason, count in CountOf(reasons).items():
            self._decisions[Reason(reason)].inc(count)

    def called(self, method: str, seconds: float) -> None:
        """One call ended."""
        self._calls.labels(method.rpartition("/")[2]).observe(seconds)

    def batch(self, size: int) -> None:
        """One batch of the pipeline began with `size` operations."""
        self._batches.observe(size)

    def store_error(self, what: str) -> None:
        """The store did not do what it was asked: read, commit, collision, or a commit's status."""
        self._store_errors.labels(what).inc()

    def serve(self, host: str, port: int) -> None:
        """Serves /metrics from a thread. Raises OSError where it cannot bind."""
        start_http_server(port, host, self.registry)
