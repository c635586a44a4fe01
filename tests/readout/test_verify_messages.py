"""`tact verify` between messages: learned ranks, reserves, softmax and thompson, written by the real pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.compiler.ruleset import load
from engine.decision import SHARE_UNIT
from engine.readout.judged import from_trials
from engine.readout.trials import read_trials
from engine.readout.verdict import Verdict
from engine.readout.verify import verify
from tests.readout.written import Edit, Row, altered, write_log

RULES = """
events: {visit: {}, ask: {}, look: {}}
features:
  region: text
  age: {type: integer, at_least: 0}
purposes:
  marketing: {consent: not_required, if_state_unknown: silent, holdout: true}
  advice: {consent: not_required, if_state_unknown: silent, tier: 3}
channels: {sms: {}}
holdout: {share: 0.1, salt: s}
ARBITRATION
policies:
  words:
    kind: thompson
    reward: {converted: 1}
    attribution: 4 hours
    floor: 0.1
    by: [features.region]
    prior: {rate: 20%, weight: 4}
    values: {b: 1.5}
    trial: {share: 20%}
    outside: a
    MODEL
  line:
    kind: linear_thompson
    reward: {converted: 1}
    attribution: 4 hours
    context: ["ratio(double(features.age), 50.0)"]
layers:
  autumn: {salt: "2026", slices: {words: 80%}}
messages:
  offer:
    purpose: marketing
    on: [visit]
    channels: [sms]
    policy: words
    rank: learned
    value: 2
    variants: {a: {en: "A."}, b: {en: "B."}}
  deal: {like: offer, value: "double(features.age) / 20.0", reserve: 0.3, variants: {a: {en: "A."}, c: {en: "C."}}}
  news: {purpose: marketing, on: [visit], channels: [sms], value: 0.55, variants: {plain: {en: "N."}}}
  fact: {like: news}
  story: {like: news, value: 0.4}
  hint:
    purpose: advice
    on: [ask]
    channels: [sms]
    policy: line
    rank: learned
    variants: {a: {en: "A."}, b: {en: "B."}}
  tip: {like: hint, variants: {a: {en: "A."}}}
  rest: {purpose: advice, on: [visit, ask], channels: [sms], variants: {plain: {en: "R."}}}
"""
HOW = {
    "best": "",
    "softmax": "arbitration: {kind: softmax, temperature: 0.2, floor: 2%}",
    "thompson": "arbitration: {kind: thompson, floor: 5%}",
    "gaussian": "arbitration: {kind: thompson}",
}


def rules_of(how: str) -> dict[str, bytes]:
    text = RULES.replace("ARBITRATION", HOW[how]).replace("MODEL", "model: gaussian" if how == "gaussian" else "")
    if how == "best":  # or what learns would never be said
        text = text.replace("value: 0.55", "value: 0.45")
    return {"rules.yaml": text.encode()}


@pytest.fixture(scope="module", params=HOW)
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def log(how: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp(how)
    write_log(directory, customers=120, events=8, rules=rules_of(how), kinds=("visit", "visit", "ask"), apart_min=90)
    return directory


def rows_of(log: Path) -> list[Row]:
    return [r for p in sorted(log.rglob("decision.parquet")) for r in pq.read_table(p).to_pylist()]


def judged(how: str, log: Path) -> Verdict:
    return verify(log, ruleset=load(rules_of(how)))


def test_the_pipelines_own_log_holds(how: str, log: Path) -> None:
    verdict = judged(how, log)
    assert verdict.good, verdict.differences
    rows = rows_of(log)
    assert verdict.ranks == sum(len(r["ranks"]) for r in rows) > 500
    assert verdict.open_ranks == verdict.open_shares == verdict.near == 0
    assert {rank["assignment"] for r in rows for rank in r["ranks"]} == {0, 1, 2}
    assert len({rank["version"] for r in rows for rank in r["ranks"]}) > 3
    assert verdict.between == (0 if how == "best" else verdict.drawn)
    bare = verify(log)  # the shares follow from the log alone
    assert bare.good
    assert bare.between == verdict.between
    assert bare.open_ranks == verdict.ranks


def test_what_is_logged_is_drawn_from(how: str, log: Path) -> None:
    """Shares sum up, floors hold, ranks are value x rate, and messages come as often as their shares say."""
    floor = {"softmax": 0.02, "thompson": 0.05}.get(how, 0.0)
    expected: dict[str, float] = {}
    variance: dict[str, float] = {}
    drawn: dict[str, int] = {}
    seen = set()
    for row in rows_of(log):
        fits = [c for c in row["candidates"] if c["stopped_by"] == 0]
        seen |= {c["stopped_by"] for c in row["candidates"]}
        for rank in row["ranks"]:
            assert row["candidates"][rank["candidate"]]["rank"] == rank["value"] * rank["rate"]
        if not fits:
            continue
        assert sum(c["share"] for c in fits) == SHARE_UNIT
        assert min(c["share"] for c in fits if c["share"]) >= int(floor * SHARE_UNIT)
        drawn[row["message"]] = drawn.get(row["message"], 0) + 1
        for c in fits:
            p = c["share"] / SHARE_UNIT
            expected[c["message"]] = expected.get(c["message"], 0.0) + p
            variance[c["message"]] = variance.get(c["message"], 0.0) + p * (1 - p)
    assert 43 in seen  # below its reserve
    assert len(drawn) >= (3 if how == "best" else 5)
    for name, mean in expected.items():
        assert abs(drawn.get(name, 0) - mean) <= 4.5 * np.sqrt(variance[name]) + 1e-6, name


def test_reports_and_evaluations_take_the_variants_share_alone(how: str, log: Path) -> None:
    """Whoever compares variants of a message compares those for whom it was drawn: the message's share is no part."""
    trials = read_trials(log)
    ready = from_trials(trials, "words", {"converted": 1.0}, 0.2, [], "offer").log
    rows = [
        next(v["share"] for v in r["variants"] if v["variant"] == r["variant"])
        for r in rows_of(log)
        if r["message"] == "offer" and r["outcome"] == 1
    ]
    found = sorted(ready.propensity.tolist())
    assert 20 < len(found) <= len(rows)
    assert set(found) <= {share / SHARE_UNIT for share in rows}


# One thing altered


def _learnt(row: Row) -> bool:
    """Something learnt, of a candidate that has part of the draw: several do."""
    shared = [c["share"] for c in row["candidates"] if c["share"]]
    ranks = [r for r in row["ranks"] if r["version"] > 0 and row["candidates"][r["candidate"]]["stopped_by"] == 0]
    return len(ranks) > 1 and len(shared) >= 1


def _rank(row: Row) -> None:
    row["candidates"][row["ranks"][0]["candidate"]]["rank"] += 0.001


def _consistently(by: float) -> Edit:
    def edit(row: Row) -> None:
        rank = row["ranks"][-1]
        rank["rate"] *= by
        row["candidates"][rank["candidate"]]["rank"] = rank["value"] * rank["rate"]

    return edit


def _value(row: Row) -> None:
    rank = next(r for r in row["ranks"] if row["candidates"][r["candidate"]]["message"] == "offer")
    rank["value"] *= 1.01
    row["candidates"][rank["candidate"]]["rank"] = rank["value"] * rank["rate"]


def _constant(row: Row) -> None:
    next(c for c in row["candidates"] if c["message"] == "news")["rank"] += 0.001


def _moved(row: Row) -> None:
    first, second = [c for c in row["candidates"] if c["stopped_by"] == 0][:2]
    moved = SHARE_UNIT // 1000 if first["share"] > SHARE_UNIT // 2 else -(SHARE_UNIT // 1000)
    first["share"], second["share"] = first["share"] - moved, second["share"] + moved


def _of_offer(row: Row) -> bool:
    return _learnt(row) and any(row["candidates"][r["candidate"]]["message"] == "offer" for r in row["ranks"])


def _beside_news(row: Row) -> bool:
    return any(c["message"] == "news" and c["stopped_by"] in (0, 44) for c in row["candidates"])


def _stopped(row: Row) -> bool:
    return any(c["stopped_by"] == 43 for c in row["candidates"])


def _above(row: Row) -> None:
    place = next(k for k, c in enumerate(row["candidates"]) if c["stopped_by"] == 43)
    rank = next(r for r in row["ranks"] if r["candidate"] == place)
    rank["value"], rank["rate"] = 3.0, 0.3
    row["candidates"][place]["rank"] = rank["value"] * rank["rate"]


MADE_UP = {"rank", "learnt_rank", "same_state", "message_shares", "message"}
ALTERED: list[tuple[str, Callable[[Row], bool], Edit, set[str], set[str]]] = [
    ("rank", _learnt, _rank, {"rank"}, MADE_UP),
    ("rate", _learnt, _consistently(1.01), {"learnt_rank", "same_state"}, MADE_UP),
    ("segment", _of_offer, lambda r: r["ranks"][0].update(segment="x"), {"learnt_rank"}, MADE_UP),
    ("version", _learnt, lambda r: r["ranks"][0].update(version=0), {"learnt_rank", "same_state"}, MADE_UP),
    ("normal", _learnt, lambda r: r["ranks"][0].update(normal=not r["ranks"][0]["normal"]), {"rank"}, MADE_UP),
    ("deviation", _learnt, lambda r: r["ranks"][0].update(deviation=0.4), {"learnt_rank", "same_state"}, MADE_UP),
    ("value", _of_offer, _value, {"rank"}, MADE_UP),
    ("constant", _beside_news, _constant, {"rank"}, MADE_UP),
    ("message's share", _learnt, _moved, {"message_shares"}, {"message_shares", "message", "uniform"}),
    ("reserve", _stopped, _above, {"rank"}, MADE_UP),
    ("assignment", _of_offer, lambda r: r["ranks"][0].update(assignment=3), {"assignment"}, MADE_UP | {"assignment"}),
    ("place", _learnt, lambda r: r["ranks"][0].update(candidate=30), {"rank"}, MADE_UP),
    ("entry gone", _learnt, lambda r: r["ranks"].pop(), {"rank"}, MADE_UP),
    ("arbitration", _learnt, lambda r: r.update(arbitration="softmax temperature=9.0"), {"message_shares"}, MADE_UP),
    ("no arbitration", _learnt, lambda r: r.update(arbitration="by hand"), {"message_shares"}, MADE_UP),
]


def test_a_share_of_softmax_is_worked_out_anew(tmp_path: Path) -> None:
    write_log(tmp_path / "log", customers=20, events=3, rules=rules_of("softmax"), kinds=("visit",))
    verdict = judged("softmax", altered(tmp_path / "log", tmp_path / "copy", lambda r: len(r["ranks"]) > 1, _moved))
    assert verdict.counts["message_shares"] == 1
    assert verdict.differences[0].found != verdict.differences[0].expected


@pytest.mark.parametrize("how", ["best", "thompson"], indirect=True)
@pytest.mark.parametrize(("what", "which", "edit", "some", "within"), ALTERED, ids=[a[0] for a in ALTERED])
def test_one_altered_decision_is_found(
    how: str,
    log: Path,
    tmp_path: Path,
    what: str,
    which: Callable[[Row], bool],
    edit: Edit,
    some: set[str],
    within: set[str],
) -> None:
    verdict = judged(how, altered(log, tmp_path / "log", which, edit))
    assert set(verdict.counts) & some, (what, verdict.counts)
    assert set(verdict.counts) <= within, verdict.differences
    assert verdict.differences[0].log_id
