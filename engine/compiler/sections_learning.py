"""How a policy learns: what was thought before, what is forgotten, how much is tried out."""

from __future__ import annotations

from engine.compiler.model import Expression, Learning
from engine.compiler.nodes import Type
from engine.compiler.reading import Fields, Reading
from engine.compiler.scopes import Expressions, On
from engine.compiler.tree import ListNode

LINEAR = ("linear_thompson", "linucb")
LEARNS = ("thompson", "epsilon_greedy", "softmax", "ucb1", "kl_ucb", *LINEAR)
MODELS = ("beta", "gaussian")
_MEANS = ("thompson", "epsilon_greedy", "softmax")  # kinds that have a prior: bounds begin with trials
ONLY = {  # keys, and the kinds that have them
    **dict.fromkeys(("reward", "attribution", "floor", "by", "pool", "forget", "values"), LEARNS),
    "prior": (*_MEANS, *LINEAR),
    "shrink": _MEANS,
    **dict.fromkeys(("context", "explore", "hybrid"), LINEAR),
    **dict.fromkeys(("weights", "sticky"), ("fixed",)),
    "model": ("thompson",),
    "epsilon": ("epsilon_greedy",),
    "temperature": ("softmax",),
}
_LEAST_TEMPERATURE = 1e-3  # below it weights are all or nothing
_LEAST_WEIGHT = 1e-3
CONTEXT_MAX = 40


def read_learning(reading: Reading, fields: Fields) -> Learning:
    """The part of a policy that learns; defaults where something cannot be read."""
    rate, weight = _prior(reading, fields)
    half_life_s, window_s = _forget(reading, fields)
    default = Learning()
    model = reading.choice(fields["model"][1], "'model'", MODELS) if "model" in fields else None
    epsilon = reading.share(fields["epsilon"][1], "'epsilon'") if "epsilon" in fields else None
    temperature = None
    if "temperature" in fields:
        temperature = reading.number(fields["temperature"][1], "'temperature'", _LEAST_TEMPERATURE)
    explore = reading.number(fields["explore"][1], "'explore'", 0.0) if "explore" in fields else None
    shrink = reading.number(fields["shrink"][1], "'shrink'", 0.0) if "shrink" in fields else None
    if shrink and "by" not in fields:
        reading.add(
            "missing-key", fields["shrink"][0], "'shrink' draws segments together, and there are none",
            expected="`by:` beside it",
        )  # fmt: skip
    return Learning(
        model or default.model,
        default.epsilon if epsilon is None else epsilon,
        default.temperature if temperature is None else temperature,
        rate,
        weight,
        shrink or 0.0,
        half_life_s,
        window_s,
        _values(reading, fields),
        default.explore if explore is None else explore,
        "hybrid" in fields and bool(reading.flag(fields["hybrid"][1], "'hybrid'")),
    )


def read_context(reading: Reading, fields: Fields, expressions: Expressions, on: On) -> tuple[Expression, ...]:
    """What a linear policy looks at: numbers, and flags as 0 or 1."""
    if "context" not in fields:
        return ()
    node = fields["context"][1]
    items = reading.list(node, "'context'")
    if isinstance(node, ListNode) and not items:
        reading.add("bad-value", node, "'context' is empty", expected="`context: [features.age / 50.0]`")
    if len(items) > CONTEXT_MAX:
        reading.add(
            "bad-value", fields["context"][0], "'context' is too long", found=str(len(items)),
            expected=f"at most {CONTEXT_MAX}",
        )  # fmt: skip
        return ()
    found = []
    for item in items:
        scalar = reading.scalar(item, "an entry of 'context'")
        expression = expressions.expression(scalar, on, None) if scalar is not None else None
        if expression is None:
            continue
        if expression.node.type in (Type.NUMBER, Type.INTEGER, Type.BOOL):
            found.append(expression)
        else:
            expected = 'number, integer or bool; a text as `features.region == "north"`'
            reading.add("wrong-type", item, f"'context' cannot be a {expression.node.type}", expected=expected)
    return tuple(found)


def _prior(reading: Reading, fields: Fields) -> tuple[float, float]:
    """`{rate: 5%, weight: 20}`: what is thought before anything was seen."""
    default = Learning()
    prior = reading.fields(fields["prior"][1], "'prior'", ("rate", "weight"), ("rate",)) if "prior" in fields else None
    if prior is None or "rate" not in prior:
        return default.prior_rate, default.prior_weight
    rate = reading.share(prior["rate"][1], "'rate'")
    if rate is not None and not 0.0 < rate < 1.0:
        reading.add("bad-value", prior["rate"][1], "'rate' is out of range", expected="more than 0% and less than 100%")
        rate = None
    weight = reading.number(prior["weight"][1], "'weight'", _LEAST_WEIGHT) if "weight" in prior else None
    return (default.prior_rate if rate is None else rate), weight or default.prior_weight


def _forget(reading: Reading, fields: Fields) -> tuple[int, int]:
    """`{half_life: 14 days}` or `{window: 60 days}`, in seconds."""
    what = "'forget'"
    found = reading.fields(fields["forget"][1], what, ("half_life", "window")) if "forget" in fields else None
    if found is None:
        return 0, 0
    if len(found) != 1:
        reading.add("bad-value", fields["forget"][0], f"{what} needs one of half_life and window")
        return 0, 0
    [(name, (_, node))] = found.items()
    period = reading.period(node, f"'{name}'")
    if period is None:
        return 0, 0
    if period.span_s < 3600:
        reading.add("bad-value", node, f"'{name}' is too short", found=f"{period}", expected="at least 1 hour")
        return 0, 0
    return (period.span_s, 0) if name == "half_life" else (0, period.span_s)


def _values(reading: Reading, fields: Fields) -> dict[str, float]:
    """What a variant's reward is multiplied by."""
    mapping = reading.map(fields["values"][1], "'values'") if "values" in fields else None
    result: dict[str, float] = {}
    for name, (_, node) in (mapping.entries if mapping else {}).items():
        value = reading.number(node, f"'{name}'", 0.0)
        if value == 0.0:
            reading.add("bad-value", node, f"'{name}' is out of range", found="0", expected="a number above zero")
        elif value is not None:
            result[name] = value
    return result
