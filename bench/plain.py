"""The peer of `pipeline`: the same work written plainly with redis-py pipelines, as an honest service
would have it. Two round trips a batch; conditions compiled to Python functions, grouped by event type.

    c:<customer>          hash: features and consent, as text with a type letter
    w:<customer>          hash: <window>:<day> -> count or sum
    t:<customer>          sorted set of touches: <event id>|<topic> by ms
    a:<customer>:<event>  the answer, for a day: the idempotency key
    log                   stream of decisions

What it leaves out, to its advantage: quiet hours, holdout, learning, explanations, propensities,
months in the customer's own calendar, and a commit that also holds while a profile changes.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from bench.generate import COUNTED, SUMMED, Customer, Happening, Rule, as_python

CAP_WEEK, CAP_DAY = 60, 30
_DAY_MS = 86_400_000
_SPAN_DAYS = {"events_30d": 30, "deposited_7d": 7, "deposit_months": 365}
_VARIANTS = {"control": "There is something new in your app.", "amount": "You moved {amount} today."}

# KEYS: touches, answer, log. ARGV: now, touch, topic, cap of 7 days, cap of a day, entry, answer, refusal's
# entry and answer. Times in ms. Books the touch where the caps allow it; logs and answers either way.
_RESERVE = """
if ARGV[2] ~= '' then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1] - 7 * 86400000)
  local free = redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[4])
  if free then
    local day, suffix = 0, '|' .. ARGV[3]
    for _, touch in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1] - ARGV[1] % 86400000, '+inf')) do
      if string.sub(touch, -#suffix) == suffix then day = day + 1 end
    end
    free = day < tonumber(ARGV[5])
  end
  if free then
    redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2] .. '|' .. ARGV[3])
    redis.call('XADD', KEYS[3], '*', 'd', ARGV[6])
    redis.call('SET', KEYS[2], ARGV[7], 'PX', 86400000)
    return 1
  end
end
redis.call('XADD', KEYS[3], '*', 'd', ARGV[8])
redis.call('SET', KEYS[2], ARGV[9], 'PX', 86400000)
return 0
"""

Condition = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Ask:
    """One event to decide."""

    event_id: str
    customer_id: str
    event: Happening


class Plain:
    """Decides for batches of events; one process, one connection."""

    def __init__(self, url: str, rules: Sequence[Rule]) -> None:
        self._redis = redis.Redis.from_url(url, protocol=2)
        self._reserve_sha = self._redis.script_load(_RESERVE)
        by_value = sorted(rules, key=lambda r: -r.value)
        compiled: list[tuple[Rule, Condition]] = [
            (r, eval(f"lambda features, windows, event: {as_python(r.condition)}")) for r in by_value
        ]
        self._any = [(r, c) for r, c in compiled if r.on is None]
        self._by_type: dict[str, list[tuple[Rule, Condition]]] = defaultdict(lambda: self._any)
        for kind in {r.on for r in rules if r.on is not None}:
            self._by_type[kind] = [(r, c) for r, c in compiled if r.on is None or r.on == kind]

    def put(self, customers: Sequence[Customer]) -> None:
        """Writes the customers' features."""
        for start in range(0, len(customers), 500):
            with self._redis.pipeline(transaction=False) as pipe:
                for c in customers[start : start + 500]:
                    cells: dict[Any, Any] = {name: _cell(value) for name, value in c.features.items()}
                    cells["consent"] = _cell(c.consent)
                    pipe.hset(f"c:{c.customer_id}", mapping=cells)
                pipe.execute()

    def decide(self, asked: Sequence[Ask]) -> list[dict[str, Any]]:
        """A decision for each event, in order."""
        now_ms = int(time.time() * 1000)
        today = now_ms // _DAY_MS
        with self._redis.pipeline(transaction=False) as pipe:
            for a in asked:
                attributes: dict[str, Any] = a.event.attributes
                pipe.get(f"a:{a.customer_id}:{a.event_id}")
                if a.event.type == COUNTED:
                    pipe.hincrby(f"w:{a.customer_id}", f"events_30d:{today}", 1)
                elif a.event.type == SUMMED:
                    pipe.hincrbyfloat(f"w:{a.customer_id}", f"deposited_7d:{today}", attributes["amount"])
                    pipe.hset(f"w:{a.customer_id}", f"deposit_months:{today - today % 30}", "1")
                pipe.hgetall(f"c:{a.customer_id}")
                pipe.hgetall(f"w:{a.customer_id}")
            replies = iter(pipe.execute())
        answers: list[dict[str, Any] | None] = []
        booked: list[tuple[dict[str, Any], dict[str, Any]]] = []
        with self._redis.pipeline(transaction=False) as pipe:
            for a in asked:
                known = next(replies)
                for _ in range({COUNTED: 1, SUMMED: 2}.get(a.event.type, 0)):
                    next(replies)
                stored, kept = next(replies), next(replies)
                if known is not None:
                    answers.append(orjson.loads(known))
                    continue
                answers.append(None)
                send, refusal, topic = self._choose(a, _features(stored), _windows(kept, today))
                booked.append((send, refusal))
                pipe.evalsha(
                    self._reserve_sha, 3, f"t:{a.customer_id}", f"a:{a.customer_id}:{a.event_id}", "log",
                    now_ms, a.event_id if send else "", topic, CAP_WEEK, CAP_DAY,
                    orjson.dumps({**send, "customer": a.customer_id}), orjson.dumps(send),
                    orjson.dumps({**refusal, "customer": a.customer_id}), orjson.dumps(refusal),
                )  # fmt: skip
            outcomes = pipe.execute()
        taken = iter([send if done else refusal for done, (send, refusal) in zip(outcomes, booked, strict=True)])
        return [answer if answer is not None else next(taken) for answer in answers]

    def _choose(
        self, a: Ask, features: dict[str, Any], windows: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], str]:
        """The message to send if the caps allow it (or {}), what to answer if they do not, its topic."""
        consent = features.pop("consent", False)
        channel = "push" if features.get("b0") else "sms" if "phone" in features else None
        event: dict[str, Any] = a.event.attributes
        reason = "NOT_IN_AUDIENCE"
        for rule, holds in self._by_type[a.event.type]:
            try:
                if not holds(features, windows, event):
                    continue
            except KeyError:  # a missing value: the rule does not hold
                continue
            if rule.purpose == "marketing" and not consent:
                reason = "NO_CONSENT"
            elif channel is None:
                reason = "NO_CHANNEL"
            else:
                variant = random.choice(("control", "amount"))
                text = _VARIANTS[variant].format(amount=round(event["amount"]))
                base = {"event": a.event_id, "message": rule.name}
                send = {**base, "outcome": "SEND", "variant": variant, "channel": channel, "text": text}
                return send, {**base, "outcome": "NO_MESSAGE", "reason": "CAP_REACHED"}, rule.topic
        return {}, {"event": a.event_id, "outcome": "NO_MESSAGE", "reason": reason}, ""

    def close(self) -> None:
        """Closes the connection."""
        self._redis.close()


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "b1" if value else "b0"
    if isinstance(value, int):
        return f"i{value}"
    return f"n{value!r}" if isinstance(value, float) else f"s{value}"


_READ: dict[int, Callable[[bytes], Any]] = {
    ord("b"): lambda b: b == b"1",
    ord("i"): int,
    ord("n"): float,
    ord("s"): bytes.decode,
}


def _features(stored: dict[bytes, bytes]) -> dict[str, Any]:
    features = {name.decode(): _READ[cell[0]](cell[1:]) for name, cell in stored.items()}
    features.setdefault("b0", False)
    features.setdefault("b1", False)
    return features


def _windows(kept: dict[bytes, bytes], today: int) -> dict[str, Any]:
    values: dict[str, Any] = {"events_30d": 0, "deposited_7d": 0.0, "deposit_months": 0}
    for field, value in kept.items():
        name, _, day = field.decode().partition(":")
        if int(day) > today - _SPAN_DAYS[name]:
            values[name] += float(value) if name == "deposited_7d" else int(value)
    return values
