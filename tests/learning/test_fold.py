"""The fold of the log: trial and reward enter together, once, when the window closes."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from engine.bundle import Active, Bundle, compile_bundle
from engine.compiler.model import Learning, Policy, Position
from engine.decision import Outcome, OutcomeKind, Reason
from engine.learning import learner as learner_module
from engine.learning.fold import BucketFold, Increments, part_of, parts_of
from engine.learning.learner import Learner, keep_learning, refresh
from engine.learning.linear import REWARD_UNIT, moments_of
from engine.learning.policies import scaled_reward, variant_shares
from engine.learning.posteriors import ArmKey, ArmState
from engine.learning.snapshot import Learnt
from engine.learning.terms import Terms, read, terms_of, written
from engine.state.connection import Part
from engine.state.link import Link
from engine.state.log import DecisionEntry, Entry, OutcomeEntry, encode
from engine.state.redis import RedisStore

HERE = Position("x.yaml", 1, 1)
POLICY = Policy(
    "bandit", "thompson", {"replied": 1.0, "converted": 3.0}, 100, 0.0, None, (), {}, False, False, "drop", HERE
)
ANA = b"a" * 16


def sent(at_ms: int, event: int, variant: str = "x", **changes: object) -> DecisionEntry:
    entry = DecisionEntry(
        at_ms, ANA, event, 0, b"", b"", "e", "r", int(Outcome.SEND), int(Reason.SELECTED),
        message="m", variant=variant, policy="bandit", segment="", send_at_ms=at_ms, attribution_s=100,
    )  # fmt: skip
    return dataclasses.replace(entry, **changes)  # type: ignore[arg-type]


def came(at_ms: int, event: int, kind: OutcomeKind) -> OutcomeEntry:
    return OutcomeEntry(at_ms, at_ms, ANA, event, 0, 0.0, int(kind))


def folded(entries: list[Entry], now_ms: int) -> tuple[dict[ArmKey, ArmState], str]:
    fold, increments = BucketFold(), Increments()
    fold.extend((f"{i + 1}-0", part_of(e)) for i, e in enumerate(entries))
    upto = fold.settle(now_ms, {"bandit": POLICY}, increments)
    return increments.arms, upto


FULL = REWARD_UNIT
X = ArmKey("bandit", "m", "", "x")


@pytest.mark.parametrize(
    ("entries", "now_ms", "sums"),
    [
        ([sent(0, 1), came(5, 1, OutcomeKind.DELIVERED)], 99_999, None),  # still open
        ([sent(0, 1), came(5, 1, OutcomeKind.DELIVERED)], 100_000, (1, 0, 0)),
        ([sent(0, 1), came(5, 1, OutcomeKind.REPLIED)], 100_000, (1, FULL // 4, FULL // 16)),
        (
            [sent(0, 1), came(5, 1, OutcomeKind.REPLIED), came(6, 1, OutcomeKind.CONVERTED)],
            100_000,
            (1, REWARD_UNIT, REWARD_UNIT),
        ),
        ([sent(0, 1), came(100_001, 1, OutcomeKind.REPLIED)], 200_000, None),  # too late to count, and unreported
        ([sent(0, 1), came(5, 2, OutcomeKind.REPLIED)], 200_000, None),  # of another decision
        ([sent(0, 1), came(5, 1, OutcomeKind.NOT_DELIVERED)], 200_000, None),
        ([sent(0, 1)], 200_000, None),  # nobody reported that it arrived
        ([sent(0, 1, withheld=True), came(5, 1, OutcomeKind.DELIVERED)], 200_000, None),
        ([sent(0, 1, sticky=True), came(5, 1, OutcomeKind.DELIVERED)], 200_000, None),
        ([sent(0, 1, policy="gone"), came(5, 1, OutcomeKind.DELIVERED)], 200_000, None),
    ],
)
def test_what_is_learnt_from(entries: list[Entry], now_ms: int, sums: tuple[int, int, int] | None) -> None:
    assert folded(entries, now_ms)[0] == ({X: ArmState(*sums)} if sums else {})


TERMS = '{"reward":{"replied":1.0}}'


@pytest.mark.parametrize(
    ("terms", "arm"),
    [
        (TERMS, (X, ArmState(1, FULL, FULL))),
        ('{"reward":{"replied":1.0,"converted":1.0}}', (X, ArmState(1, FULL // 2, FULL // 4))),
        ("{}", (X, ArmState(1, 0, 0))),  # no reward at all
        ('{"reward":{"replied":1.0},"pool":true}', (X._replace(message=""), ArmState(1, FULL, FULL))),
        ('{"reward":{"replied":1.0},"hours":24}', (X._replace(hour=48), ArmState(1, FULL, FULL))),
        ("fixed", None),
        ("{later", None),
    ],
)
def test_a_trial_is_learnt_on_the_terms_that_the_log_has(terms: str, arm: tuple[ArmKey, ArmState] | None) -> None:
    at_ms = 50 * 3_600_000
    for policy in ("bandit", "gone"):  # whatever the rule set in use says
        trial = sent(at_ms, 1, terms=terms, policy=policy)
        arms, upto = folded([trial, came(at_ms, 1, OutcomeKind.REPLIED)], at_ms + 100_000)
        assert arms == ({arm[0]._replace(policy=policy): arm[1]} if arm else {})
        assert upto == "2-0"


def test_the_terms_of_a_policy_are_read_as_they_were_written() -> None:
    linear = dataclasses.replace(
        POLICY, kind="linucb", pool=True, context_key=2**64 - 1, learning=Learning(half_life_s=32 * 3600)
    )
    for policy in (POLICY, linear):
        assert read(written(policy)) == terms_of(policy)
    assert terms_of(linear) == Terms(linear.reward, True, 2, 2**64 - 1)
    fixed = dataclasses.replace(POLICY, kind="fixed")
    assert terms_of(fixed) is read(written(fixed)) is None


def test_contexts_of_another_meaning_are_summed_apart() -> None:
    """Two lists of equal length: the log says which one was looked at."""
    entries: list[Entry] = []
    for event, key in enumerate((7, 7, 8), 1):
        terms = f'{{"reward":{{"replied":1.0}},"context":{key}}}'
        entries += [sent(event, event, terms=terms, context=[1024, event]), came(9, event, OutcomeKind.REPLIED)]
    [state] = folded(entries, 200_000)[0].values()
    once = {key: [0] * 5 for key in (7, 8)}
    for event, key in enumerate((7, 7, 8), 1):
        once[key] = [a + b for a, b in zip(once[key], moments_of([1024, event], FULL), strict=True)]
    assert state == ArmState(3, 3 * FULL, 3 * FULL, {key: tuple(sums) for key, sums in once.items()})


def test_the_fold_stops_at_the_first_open_trial() -> None:
    entries: list[Entry] = [sent(0, 1), came(5, 1, OutcomeKind.DELIVERED), sent(50_000, 2), sent(60_000, 3, policy="")]
    arms, upto = folded(entries, 120_000)
    assert arms == {X: ArmState(1, 0, 0)}
    assert upto == "2-0"


def test_one_decision_that_the_log_has_twice() -> None:
    """As after an erasure: a report counts for all that were open, and each closes for itself."""
    entries: list[Entry] = [sent(0, 1), came(5, 1, OutcomeKind.DELIVERED), sent(10, 1, "y"), sent(20, 1, "z")]
    entries += [came(30, 1, OutcomeKind.CONVERTED), came(100_005, 1, OutcomeKind.REPLIED)]
    fold = BucketFold()
    fold.extend((f"{i + 1}-0", part_of(e)) for i, e in enumerate(entries))
    found: dict[ArmKey, ArmState] = {}
    for now_ms, upto in ((100_000, "2-0"), (100_010, "3-0"), (100_019, ""), (300_000, "6-0")):
        increments = Increments()
        assert fold.settle(now_ms, {"bandit": POLICY}, increments) == upto
        assert fold.settle(now_ms, {"bandit": POLICY}, Increments()) == upto  # a commit that failed
        if upto:
            fold.settled(upto)
        found |= increments.arms
    most = REWARD_UNIT * 3 // 4
    both = ArmState(1, REWARD_UNIT, REWARD_UNIT)
    once = ArmState(1, most, most * most // REWARD_UNIT)
    assert found == {X: once, X._replace(variant="y"): both, X._replace(variant="z"): both}
    assert not fold.behind


@pytest.mark.parametrize(
    "changes",
    [
        {"send_at_ms": None},
        {"attribution_s": 2**63},  # beyond its column
        {"slot": "a"},
        {"slot": 2**63},
        {"assignment": "a"},
        {"withheld": None},
        {"policy": ["bandit"]},
        {"message": None},
        {"terms": 7},
        {"terms": ["{}"]},
        {"context": None},
        {"context": ["a"]},
    ],
)
def test_a_damaged_entry_is_not_learnt_from_and_harms_no_neighbour(changes: dict[str, object]) -> None:
    whole = sent(0, 1, terms=TERMS)
    odd = encode(dataclasses.replace(whole, **changes))  # type: ignore[arg-type]
    found = parts_of([encode(whole), odd, encode(whole)])
    assert found == [part_of(whole), None, part_of(whole)] != [None] * 3


def test_a_damaged_report_counts_for_nothing() -> None:
    whole = came(5, 1, OutcomeKind.REPLIED)
    odd = encode(dataclasses.replace(whole, slot=[1]))  # type: ignore[arg-type]
    assert parts_of([odd, encode(whole)]) == [None, part_of(whole)]


def test_a_reward_is_a_part_of_the_best_possible_one() -> None:
    assert scaled_reward(POLICY, {OutcomeKind.CONVERTED}) == REWARD_UNIT * 3 // 4
    angry = dataclasses.replace(POLICY, reward={"replied": 1.0, "opted_out": -0.5})
    assert scaled_reward(angry, {OutcomeKind.REPLIED, OutcomeKind.OPTED_OUT}) == REWARD_UNIT // 2
    assert scaled_reward(angry, {OutcomeKind.DELIVERED, OutcomeKind.OPTED_OUT}) == -REWARD_UNIT // 2
    furious = dataclasses.replace(POLICY, reward={"replied": 1.0, "opted_out": -5.0})
    assert scaled_reward(furious, {OutcomeKind.OPTED_OUT}) == -REWARD_UNIT  # no more than the best one earns
    only = dataclasses.replace(POLICY, reward={"opted_out": -2.0, "complained": -2.0})
    assert scaled_reward(only, {OutcomeKind.OPTED_OUT}) == -REWARD_UNIT // 2


def test_an_opt_out_undoes_the_success_of_another_trial() -> None:
    terms = '{"reward":{"replied":1.0,"opted_out":-1.0}}'
    entries: list[Entry] = [sent(0, 1, terms=terms), sent(0, 2, terms=terms)]
    entries += [came(5, 1, OutcomeKind.REPLIED), came(5, 2, OutcomeKind.OPTED_OUT)]
    assert folded(entries, 100_000)[0] == {X: ArmState(2, 0, 2 * FULL)}


RULES = {
    "a.yaml": b"""
events: {e: {}}
purposes: {p: {consent: not_required}}
policies: {bandit: {kind: thompson, reward: {replied: 1.0}, attribution: 100 seconds}}
messages:
  m: {purpose: p, on: [e], channels: [sms], policy: bandit, variants: {x: {en: One}, y: {en: Two}}}
"""
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle(RULES)


async def write(store: RedisStore, bucket: int, entries: list[Entry]) -> None:
    for entry in entries:
        await store.admin.xadd(store.bucket_key(bucket, "log"), {"d": encode(entry)})


def test_exactly_once_over_restarts_and_rivals(store: RedisStore, runner: asyncio.Runner, bundle: Bundle) -> None:
    async def scenario() -> None:
        active = Active(bundle)
        one, two, learnt = Learner(store, active), Learner(store, active), Learnt()
        for bucket in (3, 77):
            entries: list[Entry] = []
            for event in range(1, 11):
                entries += [sent(event, event), came(event + 1, event, OutcomeKind.REPLIED)]
            await write(store, bucket, entries)
        assert await one.run_once(50) == 0
        assert one.safe_id(3) == "0-0"
        learned = await asyncio.gather(one.run_once(200_000), two.run_once(200_000))
        assert sorted(learned) == [0, 20]
        restarted = Learner(store, active)
        assert await restarted.run_once(200_000) == 0  # nothing is learnt again
        assert await refresh(store, learnt)
        assert learnt.posteriors.arms == {X: ArmState(20, 20 * REWARD_UNIT, 20 * REWARD_UNIT)}
        assert not await refresh(store, learnt)
        await write(store, 3, [sent(300, 99, "y"), came(301, 99, OutcomeKind.DELIVERED)])
        assert sum(await asyncio.gather(one.run_once(900_000), two.run_once(900_000))) == 1
        await refresh(store, learnt)
        shares = variant_shares(bundle.ruleset.policies["bandit"], "m", "", ["x", "y"], learnt.posteriors)
        assert shares.version == 2
        assert shares.shares[0] > shares.shares[1] > 0
        for learner in (one, two, restarted):
            await learner.close()

    runner.run(scenario())


def test_a_version_names_one_state_also_where_it_moves_meanwhile(
    store: RedisStore, runner: asyncio.Runner, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another learner commits between the look at the version and the sums: both are of its commit then."""

    async def scenario() -> None:
        learner, learnt = Learner(store, Active(bundle)), Learnt()
        await write(store, 5, [sent(1, 1), came(2, 1, OutcomeKind.REPLIED)])
        assert await learner.run_once(150_000) == 1
        reply_of = learner_module.reply_of
        moved = False

        async def late(link: Link, *command: Part) -> object:
            nonlocal moved
            found = await reply_of(link, *command)
            if not moved:
                moved = True
                await write(store, 5, [sent(200_000, 2), came(200_001, 2, OutcomeKind.REPLIED)])
                assert await learner.run_once(900_000) == 1
            return found

        monkeypatch.setattr(learner_module, "reply_of", late)
        assert await refresh(store, learnt)
        assert (learnt.posteriors.version, learnt.posteriors.arms[X].trials) == (2, 2)
        await learner.close()

    runner.run(scenario())


def test_learning_goes_on_whatever_fails(store: RedisStore, runner: asyncio.Runner, bundle: Bundle) -> None:
    class Stumbles(Learner):
        turns: list[int]
        twice: asyncio.Event

        async def run_once(self, now_ms: int) -> int:
            if not self.turns:
                self.turns.append(0)
                raise OverflowError("an entry nobody thought of")
            self.turns.append(await super().run_once(now_ms))
            self.twice.set()
            return self.turns[-1]

    async def scenario() -> None:
        learner = Stumbles(store, Active(bundle))
        learner.turns, learner.twice = [], asyncio.Event()
        closed_ms = await learner.now_ms() - 30_000
        await write(store, 5, [sent(closed_ms - 100_000, 1), came(closed_ms - 50_000, 1, OutcomeKind.REPLIED)])
        task = asyncio.ensure_future(keep_learning(learner, 0.0, 0))
        await asyncio.wait((task, asyncio.ensure_future(learner.twice.wait())), return_when=asyncio.FIRST_COMPLETED)
        assert learner.turns[:2] == [0, 1]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await learner.close()

    runner.run(scenario())


def test_a_trial_is_folded_once_no_outcome_of_before_can_be_on_its_way(
    store: RedisStore, runner: asyncio.Runner, bundle: Bundle
) -> None:
    """By the store's clock: `keep_learning` stays that far behind it."""

    class Watched(Learner):
        turns: list[int]
        twice: asyncio.Event

        async def run_once(self, now_ms: int) -> int:
            found = await super().run_once(now_ms)
            self.turns.append(found)
            if len(self.turns) == 2:
                self.twice.set()
            return found

    async def scenario() -> None:
        learner = Watched(store, Active(bundle))
        closed_ms = await learner.now_ms() - 30_000
        await write(store, 5, [sent(closed_ms - 100_000, 1), came(closed_ms - 50_000, 1, OutcomeKind.REPLIED)])
        for settled_ms, learnt in ((60_000, [0, 0]), (10_000, [1, 0])):
            learner.turns, learner.twice = [], asyncio.Event()
            task = asyncio.ensure_future(keep_learning(learner, 0.0, settled_ms))
            await learner.twice.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert learner.turns[:2] == learnt
        await learner.close()

    runner.run(scenario())
