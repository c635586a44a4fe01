"""Rule sets over their life: compiled, kept in the store, activated by one swap, rolled back, paused.

Every worker polls which revision is active, so a change reaches all of them within a third of a
second. Whatever cannot be read or compiled leaves the old revision serving, and the log says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.apart import SMALL_BYTES, compile_apart
from engine.bundle import Active, Bundle, Pauses, compile_bundle
from engine.compiler.ruleset import read_directory, revision_of
from engine.compiler.source import render
from engine.errors import Conflict, NotFound, RulesInvalid, StoreUnavailable
from engine.revision_store import RevisionStore, Stored, pack, unpack

if TYPE_CHECKING:
    from engine.state.link import Link

logger = logging.getLogger(__name__)

POLL_S = 0.3
_CACHED_BUNDLES = 4


class Revisions:
    """The rule sets of one deployment, seen from one worker.

    `link` and `key` are the store's; `last_good` is the file that keeps the last revision served,
    for a start without a store. `active` exists once `start` has returned.
    """

    active: Active

    def __init__(self, link: Link, key: Callable[[str], bytes], last_good: Path | None = None) -> None:
        self._store = RevisionStore(link, key)
        self._last_good = last_good
        self._bundles: OrderedDict[str, Bundle] = OrderedDict()
        self._changing = asyncio.Lock()  # what the store says and what is served change together
        self._serving = ""  # the store's name of what is served
        self._refused = ""  # a stored revision that did not load; not tried again
        self._directory: Path | None = None  # to be taken over once the store is back
        self._follower = False
        self.connected = False

    # Start

    async def start(self, directory: Path) -> Active:
        """What to serve: a directory that changed since it was last taken over, else the active revision.

        A broken directory gives way to the active revision, and that to the last one served from
        here. Without a store the directory serves, and is taken over when the store is back.
        Raises RulesInvalid where nothing can serve.
        """
        try:
            await self._take_over(directory)
            self.connected = True
        except StoreUnavailable as error:
            logger.error("starting without the store: %s", error)
            self._directory = directory
            await self._first_that_loads([partial(self._serve_directory, directory), self._serve_last_good])
        return self.active

    async def follow(self, directory: Path) -> Active:
        """The same for who leaves no trace, such as the log's keeper: a changed directory is its server's to deploy.

        What is active, or was served last from here, else the directory. Raises RulesInvalid.
        """
        self._follower = True
        choices: list[Callable[[], Awaitable[None]]] = [
            self._serve_last_good,
            partial(self._serve_directory, directory),
        ]
        try:
            control = await self._store.control()
        except StoreUnavailable as error:
            logger.error("starting without the store: %s", error)
            await self._first_that_loads(choices)
            return self.active
        self.connected = True
        if control.active:
            choices.insert(0, partial(self._serve_stored, control.active))
        await self._first_that_loads(choices)
        self.active.pauses = control.pauses
        return self.active

    async def _take_over(self, directory: Path) -> None:
        control = await self._store.control()
        choices: list[Callable[[], Awaitable[None]]] = [
            partial(self._deploy_directory, directory),
            self._serve_last_good,
        ]
        if control.active:
            held = await asyncio.to_thread(_content_hash, directory)
            choices.insert(0 if held == control.directory else 1, partial(self._serve_stored, control.active))
        await self._first_that_loads(choices)
        self.active.pauses = control.pauses

    async def _first_that_loads(self, choices: Sequence[Callable[[], Awaitable[None]]]) -> None:
        invalid: list[RulesInvalid] = []
        for choice in choices:
            try:
                await choice()
            except RulesInvalid as error:
                invalid.append(error)
            except (NotFound, ValueError, OSError) as error:
                logger.warning("a rule set cannot be loaded: %s", error)
            else:
                for refused in invalid:
                    _log_findings(f"serving revision {self._serving} instead of a rule set with findings", refused)
                return
        raise invalid[0] if invalid else RulesInvalid([])

    async def _deploy_directory(self, directory: Path) -> None:
        files = await asyncio.to_thread(read_directory, directory)
        bundle = await self._compile(files)
        described = _describe(bundle, "from the rules directory")
        await self._store.keep(described, files, "", activate=True, directory=revision_of(files))
        await self._serve(bundle.revision, bundle)

    async def _serve_directory(self, directory: Path) -> None:
        bundle = await self._compile(await asyncio.to_thread(read_directory, directory))
        await self._serve(bundle.revision, bundle)

    async def _serve_stored(self, revision: str) -> None:
        await self._serve(revision, await self.bundle(revision))

    async def _serve_last_good(self) -> None:
        if self._last_good is None or not self._last_good.exists():
            raise NotFound("no revision was served from here before")
        bundle = await self._compile(unpack(self._last_good.read_bytes()))
        await self._serve(bundle.revision, bundle)

    # Serving

    async def _serve(self, revision: str, bundle: Bundle) -> None:
        """The swap: one assignment. Whoever began with the old bundle ends with it."""
        changed = revision != self._serving
        if not self._serving:
            self.active = Active(bundle)
        else:
            self.active.bundle = bundle
        self._serving, self._refused = revision, ""
        if changed:
            logger.info("serving revision %s", revision)
            if bundle.ruleset.warnings and not self._follower:  # the servers say it
                count = len(bundle.ruleset.warnings)
                logger.warning("revision %s has %d warning(s): `tact check` shows them", revision, count)
            await asyncio.to_thread(self._remember, bundle)

    def _remember(self, bundle: Bundle) -> None:
        if self._last_good is None or self._follower:
            return
        try:
            self._last_good.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._last_good.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_bytes(pack(bundle.ruleset.files))
            os.replace(temporary, self._last_good)
        except OSError as error:
            logger.warning("the revision served could not be saved to %s: %s", self._last_good, error)

    async def _compile(self, files: Mapping[str, bytes]) -> Bundle:
        bundle = await self._compiled(files)
        self._cache(bundle.revision, bundle)
        return bundle

    async def _compiled(self, files: Mapping[str, bytes]) -> Bundle:
        """Apart from traffic, unless there is none yet, or it takes less time than to start a process."""
        if self._serving and sum(map(len, files.values())) > SMALL_BYTES:
            return await compile_apart(files)
        return await asyncio.to_thread(compile_bundle, files)

    def _cache(self, revision: str, bundle: Bundle) -> None:
        self._bundles[revision] = bundle
        self._bundles.move_to_end(revision)
        while len(self._bundles) > _CACHED_BUNDLES:
            self._bundles.popitem(last=False)

    async def bundle(self, revision: str) -> Bundle:
        """A revision, compiled. Raises NotFound, RulesInvalid, StoreUnavailable, ValueError."""
        if revision == self._serving:
            return self.active.bundle
        if revision not in self._bundles:
            # Cached under the name it is kept by: another version of the engine may name it anew.
            self._cache(revision, await self._compiled(await self._store.files(revision)))
        return self._bundles[revision]

    async def watch(self) -> None:
        """Follows the store until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.refresh()
            except StoreUnavailable as error:
                if self.connected:
                    logger.error("revisions and pauses are not followed meanwhile: %s", error)
                self.connected = False
            except Exception:
                logger.exception("the active revision could not be followed")

    async def refresh(self) -> None:
        """Serves what the store says is active now, and holds what it says is paused."""
        async with self._changing:
            if self._directory is not None:
                await self._take_over(self._directory)
                self._directory = None
            control = await self._store.control()
            if not self.connected:
                logger.info("the store is back")
                self.connected = True
            if not control.active:
                if not self._follower:
                    await self._restore()
                return
            self._hold(control.pauses)
            if control.active and control.active not in (self._serving, self._refused):
                await self._follow(control.active)

    async def _restore(self) -> None:
        """The store lost its data: what is served and what is paused is written there again from memory."""
        logger.error(
            "the store has lost its data: revision %s and its pauses are written there again; customers' state is "
            "gone, and nothing that needs it is sent until somebody runs `tact acknowledge`",
            self._serving,
        )
        bundle = self.active.bundle
        described = _describe(bundle, "restored after the store lost its data")
        await self._store.keep(described, bundle.ruleset.files, "", activate=True)
        for target in self.active.pauses.targets():
            await self._store.pause(target, "restored after the store lost its data")

    def _hold(self, pauses: Pauses) -> None:
        if pauses != self.active.pauses:
            self.active.pauses = pauses
            logger.info("paused: %s", ", ".join(pauses.targets()) or "nothing")

    async def _follow(self, revision: str) -> None:
        try:
            await self._serve_stored(revision)
        except (RulesInvalid, NotFound, ValueError) as error:
            self._refused = revision
            logger.error("revision %s is active but cannot be used; still serving %s", revision, self._serving)
            if isinstance(error, RulesInvalid):
                _log_findings(f"revision {revision} has findings", error)
            else:
                logger.error("%s", error)

    # What RuleService asks for

    async def validate(self, files: Mapping[str, bytes]) -> Bundle:
        """These files, compiled. Raises RulesInvalid."""
        return await self._compile(files)

    async def deploy(self, files: Mapping[str, bytes], note: str, expected: str, *, stage_only: bool) -> Stored:
        """Keeps a rule set and serves it, unless it is only to be staged. Raises RulesInvalid and Conflict.

        Without a note, one that was kept before keeps its own.
        """
        bundle = await self._compile(files)
        note = note or next((s.note for s in await self.list() if s.revision == bundle.revision), "")
        async with self._changing:
            await self._store.keep(_describe(bundle, note), files, expected, activate=not stage_only)
            if not stage_only:
                await self._serve(bundle.revision, bundle)
        await self._store.prune()
        return await self.get(bundle.revision)

    async def activate(self, revision: str, expected: str) -> Stored:
        """Serves a revision kept before. Raises NotFound, Conflict, RulesInvalid."""
        bundle = await self._usable(revision)
        async with self._changing:
            await self._store.activate(revision, expected)
            await self._serve(revision, bundle)
        return await self.get(revision)

    async def rollback(self, expected: str) -> Stored:
        """Serves what was active before; again and again walks further back. Raises Conflict."""
        active = (await self._store.control()).active
        if expected and expected != active:
            raise Conflict(f"the active revision is {active or 'none'}, not {expected}")
        revision = await self._store.before()
        if not revision:
            raise Conflict("no revision was active before the active one")
        bundle = await self._usable(revision)
        async with self._changing:
            await self._store.rollback(revision, active)
            await self._serve(revision, bundle)
        return await self.get(revision)

    async def _usable(self, revision: str) -> Bundle:
        try:
            return await self.bundle(revision)
        except ValueError as error:
            raise NotFound(f"revision {revision} cannot be used: {error}") from error

    async def list(self) -> list[Stored]:
        """Every revision kept, newest activation first."""
        return await self._store.all()

    async def get(self, revision: str) -> Stored:
        """What is known of a revision. Raises NotFound."""
        for stored in await self._store.all():
            if stored.revision == revision:
                return stored
        raise NotFound(f"no revision {revision} is kept")

    async def files(self, revision: str) -> dict[str, bytes]:
        """The files of a revision. Raises NotFound."""
        try:
            return await self._store.files(revision)
        except ValueError as error:
            raise NotFound(f"revision {revision} cannot be read: {error}") from error

    @property
    def serving(self) -> str:
        """The revision this worker serves, by the name it is kept under."""
        return self._serving

    async def pause(self, target: str, reason: str, *, resume: bool) -> Pauses:
        """Holds or lets go `message:<name>`, `purpose:<name>` or `all`; here at once, elsewhere within 0.3 s."""
        async with self._changing:
            await (self._store.resume(target) if resume else self._store.pause(target, reason))
            self._hold((await self._store.control()).pauses)
        return self.active.pauses


def _content_hash(directory: Path) -> str:
    """What the directory holds, whether it compiles or not; "" where there is nothing to read."""
    try:
        return revision_of(read_directory(directory))
    except RulesInvalid:
        return ""


def _describe(bundle: Bundle, note: str) -> Stored:
    rules = bundle.ruleset
    return Stored(bundle.revision, note=note, file_count=len(rules.files), message_count=len(rules.messages))


def _log_findings(title: str, error: RulesInvalid) -> None:
    logger.error("%s:\n%s", title, "\n".join(render(f) for f in error.errors))
