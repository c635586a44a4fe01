"""Counters and histograms for Prometheus, served only where asked for.

Workers share a directory: each keeps its figures in files of its own there (prometheus_client's multiprocess mode),
and their supervisor serves the sums. The files are named by the worker's number, not its process: a worker that was
started again counts on, so that no sum of a counter ever falls.
"""

from __future__ import annotations

from collections import Counter as CountOf
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app, start_http_server, values
from prometheus_client.multiprocess import MultiProcessCollector

from engine.decision import Decision, Reason

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # in a worker's environment: where the files are; read by prometheus_client
DRAINING = "the server is stopping"  # why it is not healthy
CLOSED = "the store is closed until somebody runs `tact acknowledge`: nothing that needs state is sent"
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

    def serve(self, host: str, port: int, unfit: Callable[[], str]) -> str:
        """Serves /metrics and /healthz from a thread; returns HOST:PORT as bound. Raises OSError where it cannot bind.

        `unfit`: why the server is not healthy, "" where it is; asked in that thread.
        """
        return _serve(self.registry, host, port, unfit)


class Summed:
    """The supervisor's figures, beside the sums over its workers', which are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.registry = CollectorRegistry()
        MultiProcessCollector(self.registry, str(directory))  # type: ignore[no-untyped-call]
        self.workers = Gauge("tact_workers", "Workers that serve.", registry=self.registry)
        about = "Workers that ended and were started again."
        self.restarts = Counter("tact_worker_restarts", about, registry=self.registry)
        self.draining = False

    def serve(self, host: str, port: int) -> str:
        """As `Metrics.serve`; healthy are workers that serve, with an open store."""
        return _serve(self.registry, host, port, self._unfit)

    def _unfit(self) -> str:
        if self.draining:
            return DRAINING
        if not self.registry.get_sample_value("tact_workers"):
            return "no worker serves"
        return CLOSED if self.registry.get_sample_value("tact_store_closed") else ""


def _serve(registry: CollectorRegistry, host: str, port: int, unfit: Callable[[], str]) -> str:
    server, _ = start_http_server(port, host, registry)
    server.set_app(_pages(make_wsgi_app(registry), unfit))  # its own has the metrics under any path
    return f"{host}:{server.server_port}"


def _pages(metrics: WSGIApplication, unfit: Callable[[], str]) -> WSGIApplication:
    """/metrics, which is / as well; /healthz: 200, or 503 with why; 404 for anything else."""

    def page(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in ("/", "/metrics"):
            return metrics(environ, start)
        if path != "/healthz":
            status, text = "404 Not Found", "there are /metrics and /healthz"
        elif why := unfit():
            status, text = "503 Service Unavailable", why
        else:
            status, text = "200 OK", "ok"
        start(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    return page
