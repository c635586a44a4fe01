"""Six months of a simulated wallet: what learning and manners are worth, among people whose likings nobody knows.

The same people (`bench.people`), days and rules (`bench/wallet`) again and again: as they are; with wordings at random;
with the wording that is best everywhere, and with the best one of each region, both known beforehand; and without caps.
Everything but the people is the product (`bench.months`).

`python -m bench.population LOG` runs the rules as they are once and leaves the decision log there, for `tact report`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from bench.months import SECRET, Course, run_months
from bench.people import OFFERS, Population, population
from bench.rows import FULL, QUICK, TINY, Effort, Row
from engine.compiler.model import RuleSet
from engine.compiler.ruleset import load, read_directory
from engine.kernels.warm import warm
from engine.readout.verdict import Verdict
from engine.readout.verify import verify

RULES = Path(__file__).parent / "wallet"
LEARNING, RANDOM, FIXED, KNOWING, UNCAPPED = "learning", "random words", "best words", "regions known", "no caps"
ARMS = (LEARNING, RANDOM, FIXED, KNOWING, UNCAPPED)
HARMS = (0.0, 0.5)  # besides 1
_MORE_REPLIES, _MORE_STAYED, _MORE_REACHED = 1.1, 1.02, 1.2  # bounds, on medians over the seeds
_TURNED_DAYS = 150  # after so long a month with caps is to be worth more than one without
_MONTH = 30  # days


@dataclass(frozen=True, slots=True)
class Size:
    """How many people, for how many days, and how many seeds, each with people and likings of its own."""

    people: int
    days: int
    seeds: int


SIZES = {FULL: Size(800, 180, 3), QUICK: Size(300, 90, 1), TINY: Size(30, 15, 1)}


@dataclass(frozen=True, slots=True)
class Job:
    """One course of one arm."""

    arm: str
    size: Size
    seed: int
    harm: float = 1.0
    log: Path | None = None


def rules() -> tuple[dict[str, bytes], RuleSet]:
    """The wallet's rule files, and what they say."""
    files = read_directory(RULES)
    return files, load(files)


def people_of(job: Job, ruleset: RuleSet) -> Population:
    """The job's people; the same for every arm of a seed."""
    wordings = {name: list(ruleset.messages[name].variants) for name in OFFERS}
    return population(job.size.people, job.size.days, job.seed, wordings)


def files_of(arm: str, files: Mapping[str, bytes], ruleset: RuleSet, of: Population) -> dict[str, bytes]:
    """The rule files of an arm: others differ from ours in one file."""
    if arm == UNCAPPED:
        return {path: content for path, content in files.items() if path != "caps.yaml"}
    if arm == LEARNING:
        return dict(files)
    lines = ["policies:"]
    for name in OFFERS:
        message = ruleset.messages[name]
        best = of.best_everywhere(name)
        weights = ", ".join(f"{v}: {int(arm != FIXED or v == best)}" for v in message.variants)
        lines.append(f"  {message.policy}: {{kind: fixed, weights: {{{weights}}}, control: control}}")
    return {**files, "policies.yaml": "\n".join(lines).encode()}


def course(job: Job) -> Course:
    """Runs a job."""
    files, ruleset = rules()
    of = people_of(job, ruleset)
    return run_months(files_of(job.arm, files, ruleset, of), of, job.harm, job.arm == KNOWING, job.log)


def run(effort: Effort) -> list[Row]:
    """All arms for every seed; and caps against none where people mind less."""
    warm()  # before there are several processes: they read what one compiled
    with tempfile.TemporaryDirectory(prefix="tact-bench-") as directory:
        log = Path(directory)
        jobs = jobs_of(effort, log)
        if effort is TINY:
            found = [course(job) for job in jobs]
        else:
            with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
                found = list(pool.map(course, jobs))
        verdict = verify(log, SECRET, rules()[1])
    return [*compared(jobs, found), logged(verdict)]


def jobs_of(effort: Effort, log: Path) -> list[Job]:
    """What is to be run; the decision log of the first is archived under `log`."""
    size = SIZES[effort]
    jobs = [Job(arm, size, seed) for seed in range(1, size.seeds + 1) for arm in ARMS]
    jobs[0] = replace(jobs[0], log=log)
    mild = HARMS if effort is FULL else ()
    return jobs + [Job(arm, size, 1, harm) for harm in mild for arm in (LEARNING, UNCAPPED)]


def compared(jobs: Sequence[Job], found: Sequence[Course]) -> list[Row]:
    """The rows of these courses."""
    by_arm: dict[tuple[str, float], list[Course]] = {}
    for job, one in zip(jobs, found, strict=True):
        by_arm.setdefault((job.arm, job.harm), []).append(one)
    harms = sorted({job.harm for job in jobs} - {1.0})
    return [*_learning(by_arm), *_manners(by_arm), *_minded(by_arm, harms), *_courses(by_arm, jobs[0].size)]


def logged(verdict: Verdict) -> Row:
    """Whether a course's log is true."""
    note = f"tact verify: {verdict.decisions:,} decisions, {verdict.recomputed:,} variant shares worked out anew."
    return Row("differences in the log of one", "", [len(verdict.counts)], bound=0.0, better="lower", note=note)


ByArm = Mapping[tuple[str, float], Sequence[Course]]
Measure = Callable[[Course], float]


def _learning(of: ByArm) -> Iterator[Row]:
    late = 2 * _MONTH
    yield _against(of, "replies, against random words", "", _replies, RANDOM, _MORE_REPLIES)
    yield _against(of, "replies, against the words best everywhere", "", _replies, FIXED)
    yield _against(of, "the same in the last two months", "", lambda c: float(c.days["replies"][-late:].sum()), FIXED)
    yield _against(of, "replies, against each region's best words", "", _replies, KNOWING)
    yield _against(of, "EUR of conversions, against random words", "EUR", lambda c: c.total("earned"), RANDOM)


def _manners(of: ByArm) -> Iterator[Row]:
    stayed, reached = (lambda c, name=name: float(c.days[name][-1]) for name in ("stayed", "reached"))
    turned = 1.0 if len(of[LEARNING, 1.0][0].value) > _TURNED_DAYS else None
    yield _against(of, "people who stayed, against no caps", "", stayed, UNCAPPED, _MORE_STAYED)
    yield _against(of, "people who stayed and may be written to", "", reached, UNCAPPED, _MORE_REACHED)
    yield _against(of, "value of the last month", "EUR", lambda c: float(c.value[-_MONTH:].sum()), UNCAPPED, turned)
    yield _against(of, "value of all months", "EUR", _value, UNCAPPED)
    yield _against(of, "EUR of conversions, by message", "EUR", lambda c: c.total("earned") / c.total("sent"), UNCAPPED)
    yield _against(of, "messages", "", lambda c: c.total("sent"), UNCAPPED)


def _minded(of: ByArm, harms: Sequence[float]) -> Iterator[Row]:
    for harm in harms:
        yield _against(
            of, f"value of all months, messages doing {harm:g} times the harm", "EUR", _value, UNCAPPED, harm=harm
        )


def _courses(of: ByArm, size: Size) -> Iterator[Row]:
    """A row for each arm, with what the picture is drawn from."""
    for arm in ARMS:
        courses = of[arm, 1.0]
        days = {name: [c.days[name].round(2).tolist() for c in courses] for name in courses[0].days}
        facts = {"arm": arm, "people": size.people, "by_day": {**days, "value": [c.value.tolist() for c in courses]}}
        yield Row(f"value, {arm}", "EUR", [_value(c) for c in courses], facts=facts)


def _against(
    of: ByArm, name: str, unit: str, measure: Measure, peer: str, bound: float | None = None, harm: float = 1.0
) -> Row:
    ours, theirs = ([measure(c) for c in of[arm, harm]] for arm in (LEARNING, peer))
    return Row(name, unit, ours, theirs, bound)


def _replies(c: Course) -> float:
    return c.total("replies")


def _value(c: Course) -> float:
    return float(c.value.sum())


def main() -> int:
    """One run of the rules as they are, for its log."""
    parser = argparse.ArgumentParser(prog="bench.population", description=__doc__)
    parser.add_argument("log", type=Path, help="where the decision log is archived; a new directory")
    parser.add_argument("--people", type=int, default=SIZES[QUICK].people)
    parser.add_argument("--days", type=int, default=SIZES[QUICK].days)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    made = course(Job(LEARNING, Size(given.people, given.days, 1), given.seed, log=given.log))
    sys.stdout.write(
        f"{made.decisions:,} decisions, {made.total('sent'):,.0f} messages, {made.total('replies'):,.0f} replies\n"
        f"tact verify {given.log} --rules {RULES} --secret {SECRET.decode()}\ntact report {given.log} --rules {RULES}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
