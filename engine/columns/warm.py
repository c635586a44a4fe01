"""Fills numba's cache and loads every kernel: done before workers start, so that none of them compiles."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from engine.bundle import Bundle, Pauses, compile_bundle
from engine.columns import batch as columns
from engine.columns.batch import ColumnBatch, Draw
from engine.columns.puts import PutBatch, PutColumns
from engine.columns.rules import RuleColumns
from engine.columns.shares import ShareTable
from engine.kernels import CACHE
from engine.kernels.encode_puts import Heads, Rows, encode_puts
from engine.kernels.puts import find_items
from engine.kernels.shred import gather
from engine.kernels.warm import warm as warm_kernels
from engine.learning.posteriors import Posteriors
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import profile_pb2 as pb_profile
from engine.state.log import DecisionEntry, encode
from engine.state.shredded import shredded
from engine.step.take import World

_RULES = b"""
events: {happened: {amount: number, channel: text}}
features: {language: {type: text, default: en}, timezone: {type: text, default: UTC}}
windows:
  often: {count: happened, over: 7 days, where: event.amount > 0.0, since_start: zero}
  ways: {distinct: happened.channel, over: 7 days, since_start: zero}
messages:
  hello:
    purpose: service
    on: [happened]
    when: windows.often > 0 && windows.ways > 0
    channels: [push]
    slots: {amount: {is: event.amount, as: integer}}
    variants: {one: {en: "Hello {amount}"}, two: {en: "Hello"}}
purposes: {service: {consent: not_required, quiet_hours: night, if_state_unknown: silent, holdout: true}}
quiet_hours: {night: {from: "20:00", to: "08:00", zone: customer, then: defer}}
caps: [{at_most: 1, per: [customer], in: 7 days}, {at_most: 1, per: [customer, channel], in: calendar day}]
gaps: [{at_least: 1 hours, per: [customer]}]
holdout: {share: 0.5, salt: warm}
"""
_NOW_MS = 1_790_000_000_000
_BEFORE_WRITING = (
    "_read_requests", "_read_command", "_open_records", "_open_profiles", "_ensure_windows", "_text_hashes",
    "_count_events", "_read_windows", "_fill", "_held_out", "_choose",
)  # fmt: skip
# ends with the process that wanted help
_HELP = """\
import ctypes, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)
from engine.columns.warm import help_to_warm
help_to_warm()
"""


def warm() -> None:
    """Calls every kernel once on tiny inputs: what it compiles is kept in numba's cache.

    Where nothing is kept yet a second process compiles half of it meanwhile.
    """
    with _helped():
        bundle = compile_bundle({"warm.yaml": _RULES})
        _warm_puts(bundle)
        _warm_decisions(bundle)
        warm_kernels()
        _warm_log()


def help_to_warm() -> None:
    """The other half, in a process of its own: what writes decisions, to which `warm` comes last."""
    for kernel in _BEFORE_WRITING:
        setattr(columns, kernel, lambda *_: 0)
    _warm_decisions(compile_bundle({"warm.yaml": _RULES}))
    warm_kernels()
    _warm_log()


@contextmanager
def _helped() -> Iterator[None]:
    """If the cache was never filled: says so, as it takes long, and has help where there is a core for it."""
    filled = CACHE / f"filled-{sys.implementation.cache_tag}"
    if filled.exists():
        yield
        return
    sys.stderr.write("compiling kernels, once: one to three minutes\n")
    with _helper() if (os.cpu_count() or 1) > 1 else nullcontext():
        yield
    filled.touch()


@contextmanager
def _helper() -> Iterator[None]:
    """`help_to_warm` in another process, which is waited for."""
    with subprocess.Popen([sys.executable, "-c", _HELP], cwd=Path(__file__).parents[2]) as helper:
        try:
            yield
        except BaseException:
            helper.terminate()
            raise


def _warm_decisions(bundle: Bundle) -> None:
    rules = RuleColumns(bundle, b"")
    request = pb.DecideRequest()
    request.event.event_id, request.event.customer_id, request.event.type = "e", "c", "happened"
    request.event.attributes["amount"].number = 1.0
    request.event.attributes["channel"].text = "app"
    batch = ColumnBatch(rules, [request.SerializeToString()])
    events, prefix = np.zeros(1, np.int64), np.frombuffer(b"tact:", np.uint8)
    batch.read_command(events, prefix)
    batch.open(events, _NOW_MS, [None, None, None])
    steps = bundle.steps.messages
    batch.step(World(bundle, Pauses(), Posteriors(), b""), Draw(1, 2), ShareTable(Posteriors(), steps))
    done = batch.answer()
    batch.commit(done, prefix)
    batch.answers(done)


def _warm_log() -> None:
    data = encode(DecisionEntry(0, b"c" * 16, 1, 1, b"", b"", "happened", "r", 2, 11))
    shredded([data])
    span = np.zeros(1, np.int64)
    gather(np.frombuffer(data, np.uint8), span, span, np.zeros(2, np.int32), np.zeros(0, np.uint8))


def _warm_puts(bundle: Bundle) -> None:
    profile = pb_profile.Profile(customer_id="c")
    profile.features["language"].text = "en"
    payload = pb_profile.PutProfilesRequest(profiles=[profile]).SerializeToString()
    spans = np.zeros((1, 2), np.int64)
    find_items(np.frombuffer(payload, np.uint8), spans)
    puts = PutBatch(PutColumns(bundle, b""), payload, spans)
    rows, prefix = puts.rows(), np.frombuffer(b"tact:", np.uint8)
    puts.read_command(rows, prefix)
    puts.commit(rows, [None, None], _NOW_MS, prefix)
    puts.results(rows)
    none, span = np.zeros((0, 2), np.int64), np.zeros((1, 2), np.int64)
    texts = np.frombuffer(b"c", np.uint8)
    heads = Heads(np.zeros(0, np.int8), texts, none, none)
    columns = Rows(texts, span, np.zeros((1, 0), np.uint8), np.zeros((1, 0, 2), np.int64), span, np.ones(1, np.uint8))
    encode_puts(columns, heads, np.zeros(64, np.uint8), np.zeros(1, np.int64))
