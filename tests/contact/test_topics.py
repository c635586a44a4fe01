"""Topics: which are misspelt, which are merely not known."""

from __future__ import annotations

import pytest

from engine.bundle import compile_bundle
from engine.contact.topics import Topics

RULES = b"""
events: {ping: {}}
purposes: {service: {consent: not_required, if_state_unknown: silent}}
channels: {push: {}}
messages:
  loan: {purpose: service, topic: car_loans, on: [ping], channels: [push], variants: {plain: {en: "A loan."}}}
  fund: {purpose: service, topic: fund_a, on: [ping], channels: [push], variants: {plain: {en: "A fund."}}}
  card: {purpose: service, topic: card, on: [ping], channels: [push], variants: {plain: {en: "A card."}}}
  year: {purpose: service, topic: plan2026, on: [ping], channels: [push], variants: {plain: {en: "A plan."}}}
  none: {purpose: service, on: [ping], channels: [push], variants: {plain: {en: "Nothing."}}}
topics: {card: {was: [plastic]}}
"""
TOPICS = Topics(compile_bundle({"a.yaml": RULES}).ruleset)


def test_present_and_former_names_are_known() -> None:
    assert TOPICS.known == {"car_loans", "fund_a", "card", "plastic", "plan2026"}
    assert not any(map(TOPICS.meant, TOPICS.known))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("car_loan", "car_loans"),
        ("car_laons", "car_loans"),
        ("car_liaons", ""),
        ("Car Loans", "car_loans"),
        ("carloans", "car_loans"),
        ("cards", "card"),
        ("crd", "card"),
        ("cord", "card"),
        ("plastics", "plastic"),
        ("fnd_a", "fund_a"),
        ("fund_b", ""),
        ("fund", ""),
        ("plan2027", ""),
        ("plna2026", "plan2026"),
        ("insurance", ""),
        ("car", "card"),
        ("ca", ""),
        ("_", ""),
    ],
)
def test_what_is_misspelt(name: str, meant: str) -> None:
    assert TOPICS.meant(name) == meant
