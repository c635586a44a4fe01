"""What a decision of a policy costs in columns, 10 variants x 20 features: linear ones beside Thompson's.

    .venv/bin/python -m bench.linear

Processor time of one event in a batch, from the request's bytes to the bytes of commit and answer, in process and
without the store; and of the shares alone as the step in Python asks for them. Least of several rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from engine.bundle import Bundle, Pauses, compile_bundle
from engine.columns.batch import ColumnBatch, Draw
from engine.columns.rules import RuleColumns
from engine.columns.shares import ShareTable
from engine.learning.fold import Increments
from engine.learning.linear import REWARD_UNIT, context_of
from engine.learning.policies import variant_shares
from engine.learning.posteriors import ArmKey, Posteriors
from engine.learning.shares import salt_keys
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.model import Cell, Profile
from engine.state.profile import encode, new_version
from engine.step.take import World

VARIANTS, FEATURES, TRIALS = 10, 20, 3000
NOW_MS = 1_790_000_000_000
KINDS = ("thompson", "linear_thompson", "linucb")


def rules(kind: str) -> Bundle:
    """One message with a policy of this kind."""
    features = [f"f{n}" for n in range(FEATURES)]
    context = f", context: [{', '.join(f'features.{f}' for f in features)}]" if kind.startswith("lin") else ""
    return compile_bundle({"a.yaml": f"""
events: {{visit: {{}}}}
features: {{{", ".join(f"{f}: number" for f in features)}}}
purposes: {{service: {{consent: not_required}}}}
policies: {{bandit: {{kind: {kind}, reward: {{replied: 1.0}}, floor: 1%{context}}}}}
messages:
  hello:
    {{purpose: service, on: [visit], channels: [push], policy: bandit,
     variants: {{{", ".join(f'v{n}: {{en: "Hello."}}' for n in range(VARIANTS))}}}}}
""".encode()})  # fmt: skip


def learnt(bundle: Bundle) -> Posteriors:
    """What some trials have left."""
    rng, closed = np.random.default_rng(1), Increments()
    policy = bundle.ruleset.policies["bandit"]
    for trial in range(TRIALS):
        arm = ArmKey("bandit", "hello", "", f"v{trial % VARIANTS}")
        context = context_of(rng.normal(size=FEATURES).tolist()) if policy.context else ()
        closed.add(arm, REWARD_UNIT * int(rng.random() < 0.1), policy.context_key, context)
    return Posteriors(1, closed.arms)


def least_us(call: Callable[[], object], rounds: int, of: int) -> float:
    """Processor time of a call's parts, of which it has so many."""
    found = []
    for _ in range(rounds):
        start = time.thread_time()
        call()
        found.append(time.thread_time() - start)
    return min(found) / of * 1e6


def in_columns(bundle: Bundle, posteriors: Posteriors, events: int) -> float:
    """Time of one event in a batch of so many."""
    rng = np.random.default_rng(2)
    requests, blobs = [], []
    for n in range(events):
        event = pb.Event(event_id=f"e{n}", customer_id=f"c{n}", type="visit")
        requests.append(pb.DecideRequest(event=event).SerializeToString())
        cells = {f"f{f}": Cell("number", float(x), NOW_MS) for f, x in enumerate(rng.normal(size=FEATURES))}
        blobs += [encode(Profile(new_version(), cells)), None, None]
    tables, steps = RuleColumns(bundle, b""), bundle.steps.messages
    world, draw = World(bundle, Pauses(), posteriors, b""), Draw(*salt_keys(b""))
    shares, prefix, order = ShareTable(posteriors, steps), np.frombuffer(b"t:", np.uint8), np.arange(events)

    def decide() -> None:
        batch = ColumnBatch(tables, requests)
        batch.read_command(order, prefix)
        batch.open(order, NOW_MS, blobs)
        batch.step(world, draw, shares)
        done = batch.answer()
        assert len(done) == events
        batch.commit(done, prefix)
        batch.answers(done)
        tables.give_back(batch.records)

    decide()
    return least_us(decide, max(20, 5000 // events), events)


def main() -> None:
    """Prints the figures, in microseconds."""
    print(f"{'us':16}{'batch of 256':>14}{'alone':>10}{'shares in Python':>18}")
    for kind in KINDS:
        bundle = rules(kind)
        posteriors, policy = learnt(bundle), bundle.ruleset.policies["bandit"]
        rng, names = np.random.default_rng(3), [f"v{n}" for n in range(VARIANTS)]
        contexts = [context_of(rng.normal(size=FEATURES).tolist()) for _ in range(256)]

        def ask(bandit=policy, known=posteriors, looked_at=contexts, names=names) -> None:  # type: ignore[no-untyped-def]
            for context in looked_at:
                variant_shares(bandit, "hello", "", names, known, context)

        ask()
        figures = [in_columns(bundle, posteriors, 256), in_columns(bundle, posteriors, 1), least_us(ask, 20, 256)]
        print(f"{kind:16}{figures[0]:14.2f}{figures[1]:10.1f}{figures[2]:18.1f}")


if __name__ == "__main__":
    main()
