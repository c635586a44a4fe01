"""Who takes part in a trial, and when: layers, whose trials exclude each other, dates, fixed slices beside bandits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time

from engine.compiler.model import Enrolment, FixedSlice, Layer, Slice
from engine.compiler.nodes import Type
from engine.compiler.reading import Fields, Reading
from engine.compiler.sections_learning import LEARNS
from engine.compiler.sections_schema import Section
from engine.compiler.tree import Scalar
from engine.compiler.values import typed_value
from engine.zones import zone as zone_of

LEAVE_OUT = "leave_out"
WHOLE = 1 << 64
_NEARLY = 1e-9  # shares that miss the whole by rounding fill it
_DAY_0 = date(1970, 1, 1).toordinal()
TRIAL_KEYS = ("from", "until", "outside", "then", "trial")


def read_layers(reading: Reading, section: Section, policies: Iterable[str]) -> dict[str, Layer]:
    """Layers. Slices lie one behind another in the order written, so a new one belongs at the end."""
    layers: dict[str, Layer] = {}
    taken: dict[str, Scalar] = {}
    for name, (key, node) in section.items():
        what = f"the layer '{name}'"
        fields = reading.fields(node, what, ("salt", "slices"), ("salt", "slices"))
        if fields is None or not reading.named(key, "a layer") or len(fields) < 2:
            continue
        before = len(reading.findings)
        salt = reading.text(fields["salt"][1], "'salt'")
        slices = _slices(reading, fields, what, frozenset(policies), taken)
        if salt is not None and len(reading.findings) == before:
            layers[name] = Layer(name, salt, {p: Slice(name, salt, *part) for p, part in slices.items()}, key.position)
    return layers


def _slices(
    reading: Reading, fields: Fields, what: str, policies: frozenset[str], taken: dict[str, Scalar]
) -> dict[str, tuple[int, int]]:
    """Each policy's part of the layer, [low, high) of 2^64."""
    parts: dict[str, tuple[int, int]] = {}
    mapping = reading.map(fields["slices"][1], "'slices'")
    total = 0.0
    for name, (key, node) in (mapping.entries if mapping else {}).items():
        if name not in policies:
            reading.unknown("unknown-policy", key, f"no policy is called '{name[:60]}'", policies)
        elif name in taken:
            message = f"the policy '{name}' has a slice already: a trial is in one layer"
            reading.add("duplicate-name", key, message, also=taken[name].position)
        taken.setdefault(name, key)
        share = reading.share(node, f"the slice of '{name}'")
        low, total = total, math.fsum((total, share or 0.0))
        if total > 1.0 + _NEARLY:
            found = f"{total:.6g} with the slice of '{name}'"
            reading.add(
                "bad-value", node, f"the slices of {what} are more than the whole", found=found, expected="100%"
            )
            break
        parts[name] = _edge(low), _edge(total)
    if mapping is not None and not mapping.entries:
        reading.add("missing-value", fields["slices"][0], f"{what} has no slice")
    return parts


def _edge(share: float) -> int:
    return WHOLE if share > 1.0 - _NEARLY else math.ceil(share * 2.0**64)


def read_enrolment(reading: Reading, fields: Fields, what: str, part: Slice | None, zone: str) -> Enrolment | None:
    """`from`, `until` (days of `zone`, both belong to the trial), and what is said to who is not in it."""
    asked = [fields[k][0] for k in ("from", "until") if k in fields]
    from_ms, until_ms = (_day_ms(reading, fields, k, zone, k == "until") for k in ("from", "until"))
    if from_ms is not None and until_ms is not None and until_ms <= from_ms:
        reading.add("bad-value", fields["until"][1], "'until' is before 'from': the trial would never run")
    if "then" in fields and "until" not in fields:
        expected = "`until: 2026-11-30` beside it"
        reading.add("missing-key", fields["then"][0], "'then' is for when a trial is over, and this one has no end",
                    expected=expected)  # fmt: skip
    if not asked and part is None:
        if "outside" in fields:
            expected = "a slice in `layers:`, or `from:` or `until:`"
            reading.add("missing-key", fields["outside"][0], f"everybody is in the trial of {what}", expected=expected)
        return None
    control = reading.name(fields["control"][1], "'control'") if "control" in fields else None
    outside = reading.name(fields["outside"][1], "'outside'") if "outside" in fields else control
    then = reading.name(fields["then"][1], "'then'") if "then" in fields else outside
    only_end = part is None and "from" not in fields
    if (outside is None and not only_end) or then is None:
        expected = "`control: NAME`, `outside: NAME`, or `outside: leave_out` for no message"
        where = asked[0] if asked else fields["kind"][0]
        reading.add("missing-key", where, f"{what} does not say what customers get who are not in its trial",
                    expected=expected)  # fmt: skip
        return None
    return Enrolment(from_ms, until_ms, part, _variant(outside), _variant(then))


def _variant(name: str | None) -> str:
    return "" if name is None or name == LEAVE_OUT else name


def _day_ms(reading: Reading, fields: Fields, name: str, zone: str, end: bool) -> int | None:
    """When a day begins in a zone, or has ended; ms since 1970."""
    day = typed_value(reading, fields[name][1], Type.DATE, f"'{name}'") if name in fields else None
    if not isinstance(day, int):
        return None
    midnight = datetime.combine(date.fromordinal(day + _DAY_0 + end), time.min, zone_of(zone))
    return int(midnight.timestamp()) * 1000


def read_fixed_slice(reading: Reading, fields: Fields, policy: str, kind: str) -> FixedSlice | None:
    """`trial: {share: 10%, weights: {..}}`: customers who are drawn by weights that nothing learns away."""
    if "trial" not in fields:
        return None
    if kind not in LEARNS:
        text = "'trial' is a slice beside a policy that learns: a fixed policy is a trial as it is"
        reading.add("unknown-key", fields["trial"][0], text)
        return None
    parts = reading.fields(fields["trial"][1], "'trial'", ("share", "weights", "salt"), ("share",))
    if parts is None or "share" not in parts:
        return None
    share = reading.share(parts["share"][1], "'share'")
    if share is not None and not 0.0 < share < 1.0:
        told = "more than 0% and less than 100%"
        reading.add("bad-value", parts["share"][1], "nobody, or nobody else, would be drawn so", expected=told)
        return None
    weights: dict[str, float] = {}
    mapping = reading.map(parts["weights"][1], "'weights'") if "weights" in parts else None
    for name, (_, node) in (mapping.entries if mapping else {}).items():
        weight = reading.number(node, f"'{name}'", 0.0)
        weights[name] = weight or 0.0
    if weights and sum(w > 0.0 for w in weights.values()) < 2:
        reading.add("bad-value", parts["weights"][1], "fewer than two weights are above zero: nothing is compared")
    salt = reading.text(parts["salt"][1], "'salt'") if "salt" in parts else None
    if share is None:
        return None
    # no name has a colon: a layer of the policy's name, on the same salt, must have another hash
    return FixedSlice(Slice(f"trial:{policy}", salt or "", 0, _edge(share)), weights)


def slices_of(layers: Mapping[str, Layer]) -> dict[str, Slice]:
    """By policy its slice, where it has one."""
    return {policy: part for layer in layers.values() for policy, part in layer.slices.items()}
