"""What can be taken up: products with their eligibility."""

from __future__ import annotations

from collections.abc import Mapping

from engine.compiler.model import Condition, Expression, Product
from engine.compiler.nodes import Type
from engine.compiler.reading import Reading
from engine.compiler.scopes import Expressions, On
from engine.compiler.sections_schema import Section
from engine.compiler.tree import Scalar


def read_products(
    reading: Reading, section: Section, expressions: Expressions, served: Mapping[str, On]
) -> dict[str, Product]:
    """Products. `served` says for which event types a product's messages ask for its eligibility."""
    products: dict[str, Product] = {}
    for name, (key, node) in section.items():
        what = f"the product '{name}'"
        fields = reading.fields(node, what, ("eligible", "otherwise")) if reading.named(key, "a product") else None
        if fields is None:
            continue
        on = served.get(name)
        conditions: list[Condition] = []
        if "eligible" in fields:
            eligible = fields["eligible"][1]
            if isinstance(eligible, Scalar):
                expression = _expression(reading, eligible, expressions, on)
                if expression is not None:
                    conditions.append(Condition("", expression, {}))
            else:
                mapping = reading.map(eligible, f"'eligible' of {what}")
                for condition_key, condition in (mapping.entries if mapping else {}).values():
                    parts = reading.fields(
                        condition, f"the condition '{condition_key.value}'", ("is", "because"), ("is",)
                    )
                    reading.named(condition_key, "a condition")
                    if parts is None or "is" not in parts:
                        continue
                    because = reading.texts(parts["because"][1], "'because'") if "because" in parts else {}
                    scalar = reading.scalar(parts["is"][1], "'is'")
                    expression = _expression(reading, scalar, expressions, on) if scalar is not None else None
                    if expression is not None:
                        conditions.append(Condition(condition_key.value, expression, because))
        otherwise = reading.texts(fields["otherwise"][1], "'otherwise'") if "otherwise" in fields else {}
        products[name] = Product(name, tuple(conditions), otherwise, key.position)
    return products


def _expression(reading: Reading, scalar: Scalar, expressions: Expressions, on: On) -> Expression | None:
    if not scalar.value.strip():
        reading.add("missing-value", scalar, "'eligible' is empty")
        return None
    return expressions.expression(scalar, on, Type.BOOL)
