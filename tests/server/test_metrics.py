"""The page of metrics and what is beside it."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from prometheus_client import Gauge

from engine.metrics import CLOSED, DRAINING, Metrics, Summed


def read(address: str, path: str) -> tuple[int, str]:
    """Status and text of a page."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_and_health_have_paths_of_their_own() -> None:
    why = ""
    address = Metrics().serve("127.0.0.1", 0, lambda: why)
    for path in ("/metrics", "/", "/metrics?name[]=tact_store_closed"):
        status, text = read(address, path)
        assert (status, "tact_store_closed 0.0" in text) == (200, True)
    assert read(address, "/healthz") == (200, "ok\n")
    why = "the store is away"
    assert read(address, "/healthz") == (503, "the store is away\n")
    for path in ("/health", "/metrics/", "/favicon.ico"):
        assert read(address, path) == (404, "there are /metrics and /healthz\n")


def test_the_health_of_workers(tmp_path: Path) -> None:
    summed = Summed(tmp_path)
    address = summed.serve("127.0.0.1", 0)
    assert read(address, "/healthz") == (503, "no worker serves\n")
    summed.workers.inc()
    assert read(address, "/healthz") == (200, "ok\n")
    Gauge("tact_store_closed", "As of a worker.", registry=summed.registry).set(1)
    assert read(address, "/healthz") == (503, f"{CLOSED}\n")
    summed.draining = True
    assert read(address, "/healthz") == (503, f"{DRAINING}\n")
