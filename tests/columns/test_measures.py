"""What events add to KPIs, by columns and by the step: many of them, and some that are missing."""

from __future__ import annotations

import pytest

from engine.bundle import compile_bundle
from engine.columns.rules import RuleColumns
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.log import DecisionEntry
from tests.columns.twin import by_columns, by_step, compare, world

NOW_MS = 1_790_000_000_000


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17])
def test_so_many_sums_of_an_event(count: int) -> None:
    kinds = ("number", "integer", "{type: money, currency: EUR}")
    attributes = ", ".join(f"a{k}: {kinds[k % 3]}" for k in range(count))
    sums = ", ".join(f"{'s' * (1 + 5 * k)}: pay.a{k}" for k in range(count))
    text = f"""
events: {{pay: {{{attributes}}}, other: {{}}}}
purposes: {{p: {{consent: not_required}}}}
kpis: {{{sums}}}
messages:
  m: {{purpose: p, on: [pay], channels: [push], variants: {{a: {{en: "A."}}, b: {{en: "B."}}}}}}
"""
    bundle = compile_bundle({"r.yaml": text.encode()})
    requests = []
    for n in range(9):
        request = pb.DecideRequest()
        event = request.event
        event.event_id, event.customer_id, event.type = f"e{n}", f"c{n}", "other" if n % 4 == 3 else "pay"
        for k in range(count if event.type == "pay" else 0):
            if n % 4 == 2 and k % 2 == 0:
                continue
            value = event.attributes[f"a{k}"]
            if k % 3 == 0:
                value.number = n + 0.1 * k
            elif k % 3 == 1:
                value.integer = 2**53 + n + k
            else:
                value.money.currency_code, value.money.units, value.money.nanos = "EUR", 10**n, 999_999_999
        requests.append(request)
    w = world(bundle)
    columns = by_columns(RuleColumns(bundle, b""), w, requests, {}, NOW_MS)
    assert compare(columns, by_step(w, requests, {}, NOW_MS)) == len(requests)
    found = [one.entry for one in columns if one is not None]
    assert all(isinstance(entry, DecisionEntry) for entry in found)
    sizes = [len(entry.measured) for entry in found if isinstance(entry, DecisionEntry)]
    assert sizes == [0 if n % 4 == 3 else count // 2 if n % 4 == 2 else count for n in range(9)]
