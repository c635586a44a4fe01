"""Steps that bring what a store holds from an older layout to the present one, while servers go on.

A step looks at everything and writes again only what is of an older layout, each customer's part by
compare-and-set; taken again after a crash it goes on with what is left. The store's format is written last, so that
a store says a layout only when nothing older is in it. What a step cannot read it leaves, and then the format
stays as it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from engine.errors import Conflict, StoreUnavailable
from engine.identity import CustomerKey
from engine.state import format as formats
from engine.state import profile as profiles
from engine.state.contents import Contents, customer_of
from engine.state.model import Commit, ReadRequest
from engine.state.packing import CorruptBlob
from engine.state.redis import RedisStore

_TURNS_MAX = 5  # customers that were written meanwhile are looked at again


@dataclass(slots=True)
class StepReport:
    """What one step found and did; `unreadable` are customers' digests in hex."""

    layout: int
    about: str
    looked_at: int = 0
    older: int = 0
    rewritten: int = 0
    unreadable: list[str] = field(default_factory=list)


@dataclass(slots=True)
class MigrationReport:
    """From which layout to which; `done`: the store says the new one."""

    layout: int
    target: int
    steps: list[StepReport] = field(default_factory=list)
    done: bool = False


async def migrate(store: RedisStore, commit: bool) -> MigrationReport:
    """Takes the steps that the store lacks, or with `commit` False tells what they would do.

    Raises Conflict where the store is of a newer format or closed, StoreUnavailable.
    """
    contents = Contents(store.url, store.prefix)
    try:
        blob = await contents.ask("GET", store.key("format"))
        if refused := formats.refusal(blob):
            raise Conflict(refused)
        found = formats.decode(blob)
        report = MigrationReport(found.layout, formats.LAYOUT, done=found.layout >= formats.LAYOUT)
        for layout, about, step in _STEPS:
            if layout > found.layout:
                one = StepReport(layout, about)
                report.steps.append(one)
                await step(store, contents, commit, one)
        if report.steps and commit and not any(one.unreadable for one in report.steps):
            await contents.ask("SET", store.key("format"), formats.encode(formats.Format()))
            report.done = True
        return report
    finally:
        await contents.close()


async def _profiles_to_2(store: RedisStore, contents: Contents, commit: bool, report: StepReport) -> None:
    """Profiles of layout 1 are written again; their contact section is no JSON then, and kernels read them."""
    for turn in range(_TURNS_MAX):
        report.looked_at, report.older, report.unreadable = 0, report.older if turn else 0, []
        moved = 0
        async for customers in _customers_of_layout(contents, 1, report):
            if not turn:
                report.older += len(customers)
            if commit:
                moved += await _rewrite(store, customers, report)
        if not moved:
            return
    raise StoreUnavailable("profiles kept moving; run it again")


async def _customers_of_layout(contents: Contents, layout: int, report: StepReport) -> AsyncIterator[list[CustomerKey]]:
    at = profiles.VERSION_SIZE
    async for names in contents.names("{*}p:*"):
        pairs = [(name, customer) for name in dict.fromkeys(names) if (customer := customer_of(name)) is not None]
        layouts = await contents.run([("GETRANGE", contents.key(name), at, at) for name, _ in pairs])
        report.looked_at += len(pairs)
        older = [customer for (_, customer), byte in zip(pairs, layouts, strict=True) if byte == bytes((layout,))]
        if older:
            yield older


async def _rewrite(store: RedisStore, customers: list[CustomerKey], report: StepReport) -> int:
    """Writes these customers' profiles in the present layout; how many were written by others meanwhile."""
    read = await store.read([ReadRequest(customer, ()) for customer in customers])
    commits: list[Commit] = []
    for customer, entry in zip(customers, read.entries, strict=True):
        try:
            profile = profiles.decode(entry.profile)
        except CorruptBlob:
            report.unreadable.append(customer.hex)
            continue
        if profile.version:
            profile.version = profiles.new_version()
            blob = profiles.encode(profile)
            commits.append(Commit(customer, entry.record[:8], entry.profile[:8], None, blob))
    statuses = [s.status for s in await store.commit(commits, read.now_ms + store.commit_budget_ms)]
    for status in statuses:
        if status not in ("done", "moved", "late", "unknown"):
            raise Conflict(f"the store refuses to be written: {store.closed or status}")
    report.rewritten += statuses.count("done")
    return len(statuses) - statuses.count("done")


_Step = Callable[[RedisStore, Contents, bool, StepReport], Awaitable[None]]
_STEPS: tuple[tuple[int, str, _Step], ...] = (  # the layout a step leads to, what it does, the step
    (2, "profiles of layout 1 are written again as layout 2", _profiles_to_2),
)
