"""Between messages: how they rank, below which rank they are not said, and how one of the best tier is taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.compiler.model import Arbitration, Message, Policy, Purpose, Reserve
from engine.compiler.nodes import Const, Fact
from engine.compiler.reading import Fields, Reading
from engine.compiler.sections_learning import LEARNS
from engine.compiler.tree import MapNode, Node, Scalar

LEARNED = ("learned",)  # what `rank` can be
ARBITRATIONS = ("best", "softmax", "thompson")
_ONLY = {"floor": ("softmax", "thompson"), "temperature": ("softmax",)}
_LEAST_TEMPERATURE = 1e-6
_FLOOR_MAX = 0.5  # of two messages: more is no floor


def read_arbitration(reading: Reading, node: Node) -> Arbitration:
    """`{kind: softmax, temperature: 2, floor: 1%}`; the default where it cannot be read."""
    what = "'arbitration'"
    fields = reading.fields(node, what, ("kind", "floor", "temperature"), ("kind",))
    kind = reading.choice(fields["kind"][1], "'kind'", ARBITRATIONS) if fields and "kind" in fields else None
    if fields is None or kind is None:
        return Arbitration()
    for name, kinds in _ONLY.items():
        if name in fields and kind not in kinds:
            reading.add("unknown-key", fields[name][0], f"'{name}' is for arbitration of kind {' or '.join(kinds)}")
    floor = reading.share(fields["floor"][1], "'floor'") if "floor" in fields else None
    if floor is not None and floor > _FLOOR_MAX:
        reading.add("bad-value", fields["floor"][1], "'floor' is out of range", expected="at most 50%")
    temperature = None
    if "temperature" in fields:
        temperature = reading.number(fields["temperature"][1], "'temperature'", _LEAST_TEMPERATURE)
    elif kind == "softmax":
        expected = "`temperature: 0.1`, in the unit of `value`: so much more rank is 2.7 times as likely"
        reading.add("missing-key", fields["kind"][0], f"{what} of kind softmax needs a temperature", expected=expected)
    return Arbitration(kind, floor or 0.0, temperature or 0.0)


def read_rank(reading: Reading, fields: Fields) -> tuple[bool, Reserve | None]:
    """`rank: learned` and `reserve: 2` of a message."""
    learned = "rank" in fields and reading.choice(fields["rank"][1], "'rank'", LEARNED) is not None
    reserve = None
    if "reserve" in fields:
        least = reading.number(fields["reserve"][1], "'reserve'")
        reserve = Reserve(least, fields["reserve"][0].position) if least is not None else None
    return learned, reserve


def check_ranks(
    reading: Reading,
    arbitration: Arbitration,
    messages: Mapping[str, Message],
    maps: Mapping[str, tuple[Scalar, MapNode]],
    policies: Mapping[str, Policy],
    purposes: Mapping[str, Purpose],
    events: Iterable[str],
) -> None:
    """Whether ranks can be worked out, and compared: `messages` are those that could be read, `maps` as written."""
    learned = []
    for name, message in messages.items():
        _check_reserve(reading, message, maps[name][1])
        policy = policies.get(message.policy or "")
        if not message.learned or (policy is None and message.policy is not None):
            continue  # or its policy has a finding of its own
        if policy is None or policy.kind == "fixed":
            found = f"the policy '{policy.name}' of kind fixed" if policy is not None else "no policy"
            reading.add(
                "rank-not-learned",
                _key(maps[name][1], "rank"),
                f"the message '{name}' ranks by what it learns, and has nothing that learns",
                found=found,
                expected=f"`policy:` of kind {', '.join(LEARNS)}",
            )
        elif arbitration.kind == "thompson" and policy.pool:
            told = (
                f"'{name}' learns together with other messages, so its chance to be the best cannot be told from theirs"
            )
            expected = f"the policy '{policy.name}' without `pool: true`, or another arbitration"
            reading.add("ranks-not-comparable", _key(maps[name][1], "rank"), told, expected=expected)
        elif message.purpose in purposes:
            learned.append(message)
    tiers = {m.name: purposes[m.purpose].tier for m in learned}
    _check_pairs(reading, learned, maps, tiers, events)


def _check_pairs(
    reading: Reading,
    learned: list[Message],
    maps: Mapping[str, tuple[Scalar, MapNode]],
    tiers: Mapping[str, int],
    events: Iterable[str],
) -> None:
    """What different policies have learnt is never compared: the first such rival of each message is told."""
    every = tuple(events)
    first: dict[tuple[int, str], Message] = {}  # by tier and event type
    for message in learned:
        heard = [(tiers[message.name], e) for e in (every if message.on is None else message.on)]
        rivals = (first.setdefault(place, message) for place in heard)
        rival = next((r for r in list(rivals) if r.policy != message.policy), None)
        if rival is None:
            continue
        name, other = message.name, rival.name
        reading.add(
            "ranks-not-comparable",
            _key(maps[name][1], "rank"),
            f"'{name}' and '{other}' compete for the same events, ranked by what different policies learnt",
            found=f"the policies '{message.policy}' and '{rival.policy}'",
            expected="one policy for both: each message still learns for itself",
            also=_key(maps[other][1], "rank").position,
        )


def _check_reserve(reading: Reading, message: Message, written: MapNode) -> None:
    node = message.value.node
    while isinstance(node, Fact):
        node = node.node
    if message.learned or message.reserve is None or not isinstance(node, Const):
        return
    value = node.value
    if isinstance(value, int | float) and value < message.reserve.least:
        told = f"the message '{message.name}' can never be said: its rank is below its reserve"
        found, least = f"the value {value:g}", f"{message.reserve.least:g}"
        reading.add(
            "bad-value",
            _key(written, "reserve"),
            told,
            found=found,
            expected=f"a value of at least {least}, or a lower reserve",
        )


def _key(written: MapNode, name: str) -> Scalar:
    return written.entries[name][0]
