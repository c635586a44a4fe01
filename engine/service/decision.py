"""DecisionService: decide, confirm, report outcomes, explain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from engine.answer import to_bytes
from engine.bundle import Active
from engine.decider import Decider
from engine.decision import DecideRequest, Decision, Outcomes
from engine.errors import InvalidInput, TactError, Unavailable, Violation
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.revisions import Revisions
from engine.service.codec import check_decision_id, content_fingerprint, decode_outcome, decode_request, parse, split
from engine.service.encode import encode_confirmation, encode_explanation, encode_response
from engine.service.guard import Guard
from engine.service.limiter import Limiter
from engine.service.status import item_status
from engine.service.values import Violations
from engine.transport import Call, Method

STREAM_IN_FLIGHT = 256
_PATH = "/tact.v1.DecisionService/"
_GOING_AWAY = "the server is going away; requests without an answer may be sent again"


class DecisionService:
    """The methods of tact.v1.DecisionService over one decider."""

    def __init__(self, decider: Decider, active: Active, revisions: Revisions, limiter: Limiter) -> None:
        self._decider = decider
        self._active = active
        self._revisions = revisions
        self._limiter = limiter
        self._streams: set[_Stream] = set()
        self._draining = False

    def methods(self, guard: Guard) -> list[Method]:
        """The service's part of the method table."""
        return [
            guard.unary(_PATH + "Decide", self.decide),
            guard.unary(_PATH + "DecideBatch", self.decide_batch),
            guard.bidi(_PATH + "DecideStream", self.decide_stream),
            guard.unary(_PATH + "ConfirmSend", self.confirm_send),
            guard.unary(_PATH + "RecordOutcomes", self.record_outcomes),
            guard.unary(_PATH + "Explain", self.explain),
        ]

    def drain(self) -> None:
        """Streams take nothing more, answer what they took, and end."""
        self._draining = True
        for stream in self._streams:
            stream.stop()

    async def decide(self, payload: bytes, call: Call) -> bytes:
        """One event."""
        message = parse(pb.DecideRequest, payload)
        with self._limiter.take():
            try:
                request = decode_request(message, self._active.bundle.ruleset)
            except InvalidInput as error:
                return to_bytes(encode_response(await self._repeated(message, error), message.event.event_id, 0))
            return to_bytes(_answer(request, (await self._decider.decide([request]))[0], 0))

    async def _repeated(self, message: pb.DecideRequest, error: InvalidInput) -> list[Decision]:
        """What was answered before to an event that no longer fits the schema. Raises `error` where nothing was.

        A retry gets its answer also when a deploy changed the schema in between.
        """
        event = message.event
        if message.dry_run or not event.event_id or not event.customer_id:
            raise error
        try:
            known = await self._decider.repeat(event.customer_id, event.event_id, content_fingerprint(message))
        except TactError:
            raise error from None
        if known is None:
            raise error
        return known

    async def decide_batch(self, payload: bytes, call: Call) -> bytes:
        """Up to 1,000 events; what is wrong with one costs that one."""
        items = split(payload, "requests")
        with self._limiter.take(len(items)):
            return to_bytes(pb.DecideBatchResponse(responses=await self._decide_items(items, 0)))

    async def _decide_items(self, items: Sequence[bytes], first_index: int) -> list[pb.DecideResponse]:
        """The answers, in order, each with its error where it has one."""
        responses: list[pb.DecideResponse | None] = [None] * len(items)
        requests: list[DecideRequest] = []
        places: list[int] = []
        refused: dict[int, Awaitable[pb.DecideResponse]] = {}
        rules = self._active.bundle.ruleset
        for i, item in enumerate(items):
            message = pb.DecideRequest()
            try:
                message = parse(pb.DecideRequest, item)
                requests.append(decode_request(message, rules))
                places.append(i)
            except InvalidInput as error:
                refused[i] = self._repeated_or_failed(message, error, first_index + i)
        for i, response in zip(refused, await asyncio.gather(*refused.values()), strict=True):
            responses[i] = response
        for place, request, result in zip(places, requests, await self._decide(requests), strict=True):
            index = first_index + place
            try:
                responses[place] = _answer(request, result, index)
            except TactError as error:
                responses[place] = _failed(error, request.event.event_id, index)
        return [r for r in responses if r is not None]

    async def _repeated_or_failed(
        self, message: pb.DecideRequest, error: InvalidInput, index: int
    ) -> pb.DecideResponse:
        try:
            return encode_response(await self._repeated(message, error), message.event.event_id, index)
        except InvalidInput:
            return _failed(error, message.event.event_id, index)

    async def _decide(self, requests: Sequence[DecideRequest]) -> list[list[Decision] | TactError]:
        return await self._decider.decide(requests) if requests else []

    async def decide_stream(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """Answers as they come. At most 256 are under way: a caller that does not read is not read from."""
        if self._draining:
            raise Unavailable(_GOING_AWAY)
        stream = _Stream(requests, self._decide_streamed)
        self._streams.add(stream)
        try:
            while (answer := await stream.answers.get()) is not None:
                yield answer
                stream.places.release()
            if stream.cut():
                raise Unavailable(_GOING_AWAY)
        finally:
            self._streams.discard(stream)
            stream.stop()

    async def _decide_streamed(self, item: bytes, index: int) -> bytes:
        try:
            with self._limiter.take():
                return to_bytes((await self._decide_items([item], index))[0])
        except Exception as error:
            return to_bytes(_failed(error, "", index))

    async def confirm_send(self, payload: bytes, call: Call) -> bytes:
        """Whether a deferred message may still be sent."""
        request = parse(pb.ConfirmSendRequest, payload)
        into = Violations()
        check_decision_id(request.decision_id, "decision_id", into)
        into.check()
        with self._limiter.take():
            return to_bytes(encode_confirmation(await self._decider.confirm_send(request.decision_id)))

    async def record_outcomes(self, payload: bytes, call: Call) -> bytes:
        """Up to 1,000 reports, each with its own result."""
        items = split(payload, "outcomes")
        results = [pb.OutcomeResult() for _ in items]
        reports: list[Outcomes] = []
        places: list[int] = []
        for i, item in enumerate(items):
            try:
                message = parse(pb.OutcomeReport, item)
                results[i].decision_id = message.decision_id
                reports.append(decode_outcome(message))
                places.append(i)
            except InvalidInput as error:
                results[i].error.CopyFrom(item_status(error))
        with self._limiter.take(len(items)):
            outcomes = await self._decider.record_outcomes(reports) if reports else []
        for place, outcome in zip(places, outcomes, strict=True):
            if isinstance(outcome, TactError):
                results[place].error.CopyFrom(item_status(outcome))
            else:
                results[place].repeated = outcome.repeated
                results[place].cancelled_decision_ids.extend(outcome.cancelled_decision_ids)
                results[place].exceeded = outcome.exceeded
        return to_bytes(pb.RecordOutcomesResponse(results=results))

    async def explain(self, payload: bytes, call: Call) -> bytes:
        """Why each message was or was not chosen."""
        request = parse(pb.ExplainRequest, payload)
        bundle = await self._revisions.bundle(request.revision) if request.revision else self._active.bundle
        subject: str | DecideRequest
        kind = request.WhichOneof("subject")
        if kind == "what_if":
            subject = decode_request(request.what_if, bundle.ruleset, "what_if.")
        elif kind == "decision_id":
            into = Violations()
            check_decision_id(request.decision_id, "decision_id", into)
            into.check()
            subject = request.decision_id
        else:
            raise InvalidInput([Violation("subject", "is missing: expected a decision_id or a what_if")])
        with self._limiter.take():
            told = await self._decider.explain(subject, bundle, request.locale, request.conditions_of)
            return to_bytes(encode_explanation(told))


class _Stream:
    """One caller's stream: places bound what is under way, answers queue up for the writer."""

    def __init__(self, requests: AsyncIterator[bytes], decide: Callable[[bytes, int], Awaitable[bytes]]) -> None:
        self.places = asyncio.Semaphore(STREAM_IN_FLIGHT)
        self.answers: asyncio.Queue[bytes | None] = asyncio.Queue()  # bounded by the places; None ends it
        self._decide = decide
        self._tasks: set[asyncio.Task[None]] = set()
        self._reader = asyncio.ensure_future(self._read(requests))
        self._closer = asyncio.ensure_future(self._close())

    def stop(self) -> None:
        """Reads no more; what was taken is still answered."""
        self._reader.cancel()

    def cut(self) -> bool:
        """Whether the server stopped reading before the caller had ended. Raises what reading raised."""
        if self._reader.cancelled():
            return True
        self._reader.result()
        return False

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        index = 0
        async for item in requests:
            await self.places.acquire()
            task = asyncio.ensure_future(self._put(item, index))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            index += 1

    async def _put(self, item: bytes, index: int) -> None:
        self.answers.put_nowait(await self._decide(item, index))

    async def _close(self) -> None:
        await asyncio.wait((self._reader,))
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self.answers.put_nowait(None)


def _failed(error: BaseException, event_id: str, index: int) -> pb.DecideResponse:
    return pb.DecideResponse(error=item_status(error), event_id=event_id, request_index=index)


def _answer(request: DecideRequest, result: list[Decision] | TactError, index: int) -> pb.DecideResponse:
    if isinstance(result, TactError):
        raise result
    return encode_response(result, request.event.event_id, index)
