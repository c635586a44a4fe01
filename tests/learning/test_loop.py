"""The whole loop on a real store: decisions with a context, outcomes, the fold, and what is then drawn."""

from __future__ import annotations

import asyncio

from engine.bundle import Active, compile_bundle
from engine.decider import create_decider
from engine.decision import SHARE_UNIT, DecideRequest, Event, OutcomeKind, Outcomes
from engine.learning.learner import Learner, refresh
from engine.learning.linear import X_UNIT
from engine.learning.snapshot import Learnt
from engine.state.log import DecisionEntry, decode
from engine.state.redis import RedisStore

RULES = b"""
events: {e: {young: number}}
purposes: {p: {consent: not_required}}
policies:
  bandit: {kind: linear_thompson, reward: {replied: 1.0}, attribution: 1 day, floor: 1%, context: [event.young]}
messages:
  m: {purpose: p, on: [e], channels: [sms], policy: bandit, variants: {x: {en: One}, y: {en: Two}}}
"""
DAY_MS = 86_400_000


def test_who_likes_what_is_learnt_from_the_log(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        active, learnt = Active(compile_bundle({"a.yaml": RULES})), Learnt()
        decider = create_decider(active, store, learnt=learnt)

        async def shares(young: float, event_id: str) -> dict[str, float]:
            request = DecideRequest(Event(event_id, event_id, "e", None, {"young": young}), 1, True)
            [[decision]] = await decider.decide([request])  # type: ignore[misc]
            taken = decision.variant_share / SHARE_UNIT
            return {decision.variant: taken, "xy".replace(decision.variant, ""): 1 - taken}

        assert (await shares(1.0, "dry"))["x"] == 0.5
        requests = [DecideRequest(Event(f"e{k}", f"c{k}", "e", None, {"young": float(k % 2)})) for k in range(300)]
        decided = await decider.decide(requests)
        reports = []
        for k, answer in enumerate(decided):
            [decision] = answer  # type: ignore[misc]
            liked = decision.variant == ("x" if k % 2 else "y")
            kind = OutcomeKind.REPLIED if liked else OutcomeKind.DELIVERED
            reports.append(Outcomes(decision.decision_id, kind, None, 0.0, "", ""))
        assert all(r is None or not isinstance(r, Exception) for r in await decider.record_outcomes(reports))
        learner = Learner(store, active)
        now_ms = (await store.read([])).now_ms
        assert await learner.run_once(now_ms) == 0  # the day is not over
        assert await learner.run_once(now_ms + DAY_MS + 5000) == 300
        assert await refresh(store, learnt)
        assert (await shares(1.0, "dry"))["x"] > 0.95
        assert (await shares(0.0, "dry"))["y"] > 0.95
        assert await learner.forget() == 0
        await learner.close()
        keys = [key async for key in store.admin.scan_iter(match=f"{store.prefix}*log")]
        rows = [row for key in keys for _, row in await store.admin.xrange(key)]
        entries = [e for e in (decode(row[b"d"]) for row in rows) if isinstance(e, DecisionEntry)]
        assert sorted({tuple(e.context) for e in entries}) == [(X_UNIT, 0), (X_UNIT, X_UNIT)]

    runner.run(scenario())
