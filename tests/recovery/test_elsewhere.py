"""What was learnt elsewhere: enters once, can be limited, replaced and taken back, and survives a rebuild."""

from __future__ import annotations

import asyncio
import csv
import random
from pathlib import Path

import numpy as np
import pytest

from engine.decision import OutcomeKind
from engine.errors import TactError
from engine.learning.learner import refresh
from engine.learning.linear import REWARD_UNIT, X_UNIT, context_of, moments_of
from engine.learning.posteriors import ArmKey, ArmState
from engine.learning.stored import read_stored
from engine.learning.sums import arms_of
from engine.readout.trials import read_trials
from engine.readout.verify import verify
from engine.recovery.elsewhere import Given, Table, give, limited, take_back
from engine.replay.manual_store import ManualStore
from engine.state.redis import RedisStore
from tests.learning.test_objectors import put
from tests.recovery.test_rebuild import DAY_MS, RULES, Installation


@pytest.fixture
def here(store: RedisStore, store_url: str, key_prefix: str, tmp_path: Path) -> Installation:
    (tmp_path / "here").mkdir()
    return Installation(store, store_url, key_prefix, tmp_path / "here")


async def arms(at: Installation) -> dict[ArmKey, ArmState]:
    return arms_of((await read_stored(at.store)).sums)


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return path


def test_a_log_of_elsewhere_is_learnt_once(
    here: Installation, store_url: str, tmp_path: Path, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        (tmp_path / "there").mkdir()
        away = ManualStore(store_url, here.prefix + "away:")
        there = Installation(away, store_url, here.prefix + "away:", tmp_path / "there")
        rules = RULES.replace("plain", "old").replace("converted: 3.0", "converted: 9.0")
        await there.start(rules)
        now_ms = await there.learner.now_ms()
        away.at_ms = now_ms - 20 * DAY_MS
        await there.live(300)
        await put(there.decider, ["c3"], False)
        away.at_ms = now_ms - 5 * DAY_MS  # the log goes on until all of these have closed
        await there.live(10)
        await there.archiver.run_once()
        await there.close()
        await away.close()

        await here.start()
        await here.live(100)
        await here.learn(3.0)
        own = await arms(here)

        async def given(**options: object) -> Given:
            return await give(store_url, there.archive, prefix=here.prefix, **options)  # type: ignore[arg-type]

        told = await given(policy="plain", of="old")
        both = await arms(here)
        more = {arm: state for arm, state in both.items() if state != own[arm]}
        assert {arm[:2] for arm in more} == {("plain", "m")}
        assert told.trials == sum(both[arm].trials - own[arm].trials for arm in more) > 40
        trials = read_trials(there.archive)
        mine = (trials.policy == trials.names.code("old")) & (trials.at_ms < now_ms - 9 * DAY_MS)
        came = np.stack([trials.rewards(1, int(kind)) for kind in (OutcomeKind.REPLIED, OutcomeKind.CONVERTED)])
        earned = float((came[0] + 3.0 * came[1])[mine].sum()) / 4.0  # as `plain` has it, and not as `old` had
        assert sum(both[a].reward - own[a].reward for a in more) == pytest.approx(earned * REWARD_UNIT)
        assert (await given(policy="plain", of="old")).known
        told = await given(policy="linear", worth=30, name="linear one")
        assert told.arms == 4
        assert {s.trials - own[a].trials for a, s in (await arms(here)).items() if a.policy == "linear"} <= set(
            range(31)
        )
        assert (await here.rebuild()).elsewhere == 2
        assert (await here.rebuild()).same
        with pytest.raises(TactError, match="older than what the policy 'forgets' remembers"):
            await given(policy="forgets")
        with pytest.raises(TactError, match="no decision by a policy 'plain'; there are: forgets, linear, old, trial"):
            await given(policy="plain")
        await here.close()

    runner.run(scenario())


def test_a_table_is_learnt_once_and_stays(here: Installation, tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        chance = random.Random(5)
        rows: list[dict[str, object]] = [
            {"action": chance.choice("xy"), "reward": chance.choice((0, 0, 4, -2)), "propensity": 0.5}
            for _ in range(500)
        ]
        rows += [{"action": "gone", "reward": 1, "propensity": 0.5}] * 7
        path = written(tmp_path / "past.csv", rows)
        await here.start()
        await here.live(100)
        await here.learn(1.5)
        before = await arms(here)

        async def given(**options: object) -> Given:
            return await give(here.url, path, "plain", table=Table(best=4.0), prefix=here.prefix, **options)  # type: ignore[arg-type]

        told = await given()
        assert told == Given("plain from past.csv", "plain", 2, 500, 7)
        after = await arms(here)
        for variant in "xy":
            arm = ArmKey("plain", "m", "", variant)
            seen = [int(str(r["reward"])) * REWARD_UNIT // 4 for r in rows if r["action"] == variant]
            assert after[arm].trials == before[arm].trials + len(seen)
            assert after[arm].reward == before[arm].reward + sum(seen)
            assert after[arm].squares == before[arm].squares + sum(r * r // REWARD_UNIT for r in seen)
        assert {a: s for a, s in after.items() if a.policy != "plain"} == {
            a: s for a, s in before.items() if a.policy != "plain"
        }
        assert (await given()).known
        assert await arms(here) == after
        assert (await here.rebuild()).same
        hashes = await here.hashes()
        await here.store.admin.delete(here.store.key("learn:sums"))
        assert (await here.rebuild(write=True)).written
        assert await here.hashes() == hashes

        told = await given(worth=20)
        assert (told.trials, told.replaced) == (40, True)
        less = await arms(here)
        assert {less[a].trials - before[a].trials for a in before if a.policy == "plain"} == {20}
        assert (await here.rebuild()).same
        await here.live(100)
        await here.learn(3.0)
        assert (await here.rebuild()).same
        await here.archiver.run_once()
        assert not verify(here.archive, b"", here.active.bundle.ruleset).differences

        await take_back(here.url, "plain from past.csv", here.prefix)
        report = await here.rebuild()
        assert report.same
        assert not report.elsewhere
        with pytest.raises(TactError, match=r"nothing was given as 'plain from past.csv'; there is nothing"):
            await take_back(here.url, "plain from past.csv", here.prefix)
        await here.close()

    runner.run(scenario())


def test_a_table_with_a_context_and_segments(here: Installation, tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        rows: list[dict[str, object]] = [
            {"what": "xy"[k % 2], "won": k % 3 == 0, "young": k / 7, "side": "lr"[k % 5 == 0]} for k in range(60)
        ]
        for row in rows:
            row["won"] = int(bool(row["won"]))
        path = written(tmp_path / "past.csv", rows)
        await here.start()
        table = Table("what", "won", ("young",), "side")
        await give(here.url, path, "linear", table=table, prefix=here.prefix)
        key = here.active.bundle.ruleset.policies["linear"].context_key
        for arm, state in (await arms(here)).items():
            mine = [r for r in rows if (r["what"], r["side"]) == (arm.variant, arm.segment)]
            assert arm[:2] == ("linear", "n")
            each = [moments_of(context_of([r["young"]]), int(str(r["won"])) * REWARD_UNIT) for r in mine]
            assert state.trials == len(mine)
            assert state.moments[key] == tuple(map(sum, zip(*each, strict=True)))
            assert state.moments[key][0] == len(mine) * X_UNIT**2
        with pytest.raises(TactError, match="looks at 1 values, and 0 columns were said"):
            await give(here.url, path, "linear", table=Table("what", "won"), prefix=here.prefix)
        with pytest.raises(TactError, match=r"row 1: the reward 1 is out of range; expected at most .* 0.5"):
            await give(here.url, path, "plain", table=Table("what", "won", best=0.5), prefix=here.prefix)
        with pytest.raises(TactError, match="the policy 'trial' is fixed"):
            await give(here.url, path, "trial", table=Table("what", "won"), prefix=here.prefix)
        with pytest.raises(TactError, match="no policy 'plan'; did you mean 'plain'"):
            await give(here.url, path, "plan", table=Table("what", "won"), prefix=here.prefix)
        await here.close()

    runner.run(scenario())


def test_what_is_limited_keeps_its_proportions() -> None:
    arm = ArmKey("p", "m", "", "x")
    states = {
        arm._replace(hour=h): ArmState(n, 10 * n, 100 * n, {7: (n, -3 * n)}) for h, n in ((0, 50), (4, 7), (8, 1))
    }
    states[arm._replace(variant="y")] = ArmState(3, 5, 6)
    less = limited(states, 20)
    mine = [s for a, s in less.items() if a.variant == "x"]
    assert sum(s.trials for s in mine) == 20
    assert all(s.reward == 10 * s.trials and s.moments[7] == (s.trials, -3 * s.trials) for s in mine)
    assert less[arm._replace(variant="y")] == ArmState(3, 5, 6)
    assert limited(states, 0) == limited(states, 58) == states


def test_it_is_not_taken_for_a_lie_and_what_is_forgotten_is_not_missed(
    here: Installation, store_url: str, key_prefix: str, tmp_path: Path, runner: asyncio.Runner
) -> None:
    """Months of a log: policies draw by what they learnt, also elsewhere, and `tact verify` finds nothing false."""

    async def scenario() -> None:
        store = ManualStore(store_url, key_prefix)
        here.store = store
        await here.start()
        now_ms = await here.learner.now_ms()
        path = written(tmp_path / "past.csv", [{"action": "xy"[k % 2], "reward": k % 2} for k in range(400)])
        for days_ago in (60, 57, 30, 27):
            if days_ago == 30:
                await give(store_url, path, "plain", table=Table(), prefix=key_prefix)
            await refresh(store, here.learnt)
            store.at_ms = now_ms - days_ago * DAY_MS
            await here.live(200)
            await here.learner.run_once(store.at_ms + 2 * DAY_MS + 1)
        assert await here.learner.forget() > 0
        report = await here.rebuild()
        assert report.same
        assert not report.unknown
        await here.archiver.run_once()
        rules = here.active.bundle.ruleset
        assert not verify(here.archive, b"", rules).differences
        for path in here.archive.rglob("elsewhere.parquet"):
            path.unlink()
        assert verify(here.archive, b"", rules).counts["learnt_shares"] > 10
        await here.close()
        await store.close()

    runner.run(scenario())
