"""DecisionService: decide, confirm, report outcomes, explain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

from engine.answer import to_bytes
from engine.bundle import Active
from engine.columns.bodies import varint
from engine.columns.lane import Lane
from engine.decider import Decider
from engine.decision import DecideRequest, Decision, Outcomes
from engine.errors import InvalidInput, TactError, Unavailable, Violation
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.revisions import Revisions
from engine.service.backfill import backfill
from engine.service.codec import check_decision_id, content_fingerprint, decode_outcome, decode_request, parse, split
from engine.service.encode import encode_confirmation, encode_explanation, encode_response
from engine.service.guard import Guard
from engine.service.limiter import Limiter, Waiting
from engine.service.room import Room
from engine.service.status import item_status, rpc_error
from engine.service.values import Violations
from engine.transport import Awaited, Call, Method, Reply, cancelled

STREAM_IN_FLIGHT = 256
STREAM_BYTES = 64 << 20  # of requests that came by streams: with more under way no stream is read
_PATH = "/tact.v1.DecisionService/"
Submit = Callable[[Sequence["_Item | _One"]], None]
_GOING_AWAY = "the server is going away; requests without an answer may be sent again"


class DecisionService:
    """The methods of tact.v1.DecisionService over one decider."""

    def __init__(
        self, decider: Decider, active: Active, revisions: Revisions, limiter: Limiter, lane: Lane | None = None
    ) -> None:
        """`lane`: takes what is plain, in columns; without one everything goes the ordinary way."""
        self._decider = decider
        self._active = active
        self._revisions = revisions
        self._limiter = limiter
        self._lane = lane
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: set[_Stream] = set()
        self._room = Room(STREAM_BYTES)
        self._draining = False

    def methods(self, guard: Guard) -> list[Method]:
        """The service's part of the method table."""
        return [
            guard.direct(_PATH + "Decide", self.decide),
            guard.direct(_PATH + "DecideBatch", self.decide_batch),
            guard.bidi(_PATH + "DecideStream", self.decide_stream),
            guard.unary(_PATH + "ConfirmSend", self.confirm_send),
            guard.unary(_PATH + "RecordOutcomes", self.record_outcomes),
            guard.unary(_PATH + "Explain", self.explain),
            guard.unary(_PATH + "Backfill", self.backfill),
        ]

    def drain(self) -> None:
        """Streams take nothing more, answer what they took, and end."""
        self._draining = True
        for stream in self._streams:
            stream.stop()

    def decide(self, payload: bytes, call: Call, reply: Reply) -> None:
        """One event."""
        one = _One(self, payload, 0, self._limiter, call, reply)
        one.enter(self._submit, (one,))

    def decide_batch(self, payload: bytes, call: Call, reply: Reply) -> None:
        """Up to 1,000 events; what is wrong with one costs that one."""
        items = split(payload, "requests")
        if not items:
            reply.answer(b"")
            return
        answers = _Answers(self._limiter, call, reply, len(items))
        answers.enter(self._submit, [_Item(self, item, i, answers) for i, item in enumerate(items)])

    def _submit(self, items: Sequence[_Item | _One]) -> None:
        if self._lane is not None:
            self._lane.submit(items)
        else:
            for item in items:
                item.handed_back(False)

    async def decide_stream(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """Answers as they come. At most 256 are under way: a caller that does not read is not read from.

        Of all streams together at most 64 MiB of requests are.
        """
        if self._draining:
            raise Unavailable(_GOING_AWAY)
        stream = _Stream(requests, partial(self._decide_streamed, call), self._room)
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

    async def _decide_streamed(self, call: Call, payload: bytes, index: int) -> bytes:
        reply = Awaited()
        one = _One(self, payload, index, self._limiter, call, reply)
        try:
            one.enter(self._submit, (one,), patient=True)
            return await reply.future
        except Exception as error:  # whatever it is: a stream has a place for each answer
            return to_bytes(_failed(error, _event_id(payload), index))
        finally:
            del reply, one  # an error knows this frame: else its request would stay until cycles are collected

    # ---- the ordinary way -------------------------------------------------------------------------

    def begin(self, item: _Item | _One, ahead: bool) -> None:
        """Decodes a request, and decides by the step in Python. What is wrong is told at once, unforeseen errors too:
        who is not told keeps a place."""
        message = pb.DecideRequest()
        try:
            message = parse(pb.DecideRequest, item.payload)
            request = decode_request(message, self._active.bundle.ruleset)
            future = self._decider.submit(request, ahead)
        except InvalidInput as error:
            self._tasks.add(task := asyncio.ensure_future(self._repeat(item, message, error)))
            task.add_done_callback(self._tasks.discard)
            return
        except Exception as error:
            item.failed(error, message.event.event_id)
            return
        future.add_done_callback(partial(self._decided, item, request))

    def _decided(self, item: _Item | _One, request: DecideRequest, future: asyncio.Future[object]) -> None:
        try:
            result = cast("list[Decision] | TactError", future.result())
            if isinstance(result, TactError):
                raise result
            response = to_bytes(encode_response(result, request.event.event_id, item.index))
        except Exception as error:
            item.failed(error, request.event.event_id)
        else:
            item.told(response)

    async def _repeat(self, item: _Item | _One, message: pb.DecideRequest, error: InvalidInput) -> None:
        """What was answered before to an event that no longer fits the schema; `error` where nothing was.

        A retry gets its answer also when a deploy changed the schema in between.
        """
        event, known = message.event, None
        try:
            if not message.dry_run and event.event_id and event.customer_id:
                with suppress(TactError):
                    known = await self._decider.repeat(event.customer_id, event.event_id, content_fingerprint(message))
            response = None if known is None else to_bytes(encode_response(known, event.event_id, item.index))
        except Exception as unforeseen:
            item.failed(unforeseen, event.event_id)
            return
        if response is None:
            item.failed(error, event.event_id)
        else:
            item.told(response)

    async def confirm_send(self, payload: bytes, call: Call) -> bytes:
        """Whether a deferred message may still be sent."""
        request = parse(pb.ConfirmSendRequest, payload)
        into = Violations()
        check_decision_id(request.decision_id, "decision_id", into)
        into.check()
        async with self._limiter.turn(call):
            return to_bytes(encode_confirmation(await self._decider.confirm_send(request.decision_id)))

    async def record_outcomes(self, payload: bytes, call: Call) -> bytes:
        """Up to 1,000 reports, each with its own result."""
        items = split(payload, "outcomes")
        results = [pb.OutcomeResult() for _ in items]
        reports: list[Outcomes] = []
        places: list[int] = []
        rules = self._active.bundle.ruleset
        for i, item in enumerate(items):
            try:
                message = parse(pb.OutcomeReport, item)
                results[i].decision_id = message.decision_id
                reports.append(decode_outcome(message, rules))
                places.append(i)
            except InvalidInput as error:
                results[i].error.CopyFrom(item_status(error))
        async with self._limiter.turn(call, len(items)):
            outcomes = await self._decider.record_outcomes(reports) if reports else []
        for place, outcome in zip(places, outcomes, strict=True):
            if isinstance(outcome, TactError):
                results[place].error.CopyFrom(item_status(outcome))
            else:
                results[place].repeated = outcome.repeated
                results[place].cancelled_decision_ids.extend(outcome.cancelled_decision_ids)
                results[place].exceeded = outcome.exceeded
                results[place].credited_decision_ids.extend(outcome.credited_decision_ids)
        return to_bytes(pb.RecordOutcomesResponse(results=results))

    async def backfill(self, payload: bytes, call: Call) -> bytes:
        """Past events for the windows of up to 1,000 customers."""
        return await backfill(self._decider, self._active, self._limiter, payload, call)

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
        async with self._limiter.turn(call):
            told = await self._decider.explain(subject, bundle, request.locale, request.conditions_of)
            return to_bytes(encode_explanation(told))


class _Stream:
    """One caller's stream: places bound what is under way, answers queue up for the writer."""

    def __init__(
        self, requests: AsyncIterator[bytes], decide: Callable[[bytes, int], Awaitable[bytes]], room: Room
    ) -> None:
        self.places = asyncio.Semaphore(STREAM_IN_FLIGHT)
        self.answers: asyncio.Queue[bytes | None] = asyncio.Queue()  # bounded by the places; None ends it
        self._decide = decide
        self._room = room
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
            size = await self._room.take(len(item))
            task = asyncio.ensure_future(self._put(item, index))
            self._tasks.add(task)
            task.add_done_callback(partial(self._done, size))
            index += 1

    def _done(self, size: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.give(size)

    async def _put(self, item: bytes, index: int) -> None:
        self.answers.put_nowait(await self._decide(item, index))

    async def _close(self) -> None:
        await asyncio.wait((self._reader,))
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self.answers.put_nowait(None)


class _Turn:
    """A call's place among others, and whom its end is told."""

    __slots__ = ("_call", "_limiter", "_reply", "_size", "_waiting")

    def __init__(self, limiter: Limiter, call: Call, reply: Reply, size: int) -> None:
        self._limiter = limiter
        self._call = call
        self._reply = reply
        self._size = size
        self._waiting: Waiting | None = None

    def enter(self, submit: Submit, items: Sequence[_Item | _One], patient: bool = False) -> None:
        """Hands the call's items over when it is their turn. Raises Overloaded."""
        self._waiting = waiting = self._limiter.enter(self._call, self._size, patient)
        if waiting is None:
            submit(items)
        else:
            waiting.add_done_callback(partial(self._begun, submit, items))

    def _begun(self, submit: Submit, items: Sequence[_Item | _One], turn: Waiting) -> None:
        error = None if turn.cancelled() else turn.exception()
        if error is None and not self._reply.ended:
            submit(items)
            return
        self.leave()  # too late, or nobody waits any more
        self._reply.fail(rpc_error(error) if error is not None else cancelled())

    def leave(self) -> None:
        """Gives the place back."""
        self._limiter.leave(self._call, self._size, self._waiting)


class _Answers(_Turn):
    """The answers of a call's items, in order, as entries of a DecideBatchResponse."""

    __slots__ = ("_left", "_parts")

    def __init__(self, limiter: Limiter, call: Call, reply: Reply, items: int) -> None:
        super().__init__(limiter, call, reply, items)
        self._left = items
        self._parts = [b""] * items

    def put(self, index: int, response: bytes) -> None:
        """The response of one item."""
        self._parts[index] = b"\x0a" + varint(len(response)) + response
        self._left -= 1
        if not self._left:
            self.leave()
            self._reply.answer(b"".join(self._parts))


class _Item:
    """A request of a call of many, as the lane takes it."""

    __slots__ = ("_answers", "_service", "index", "payload")

    def __init__(self, service: DecisionService, payload: bytes, index: int, answers: _Answers) -> None:
        self._service = service
        self._answers = answers
        self.payload = payload
        self.index = index

    def answered(self, answer: bytes | TactError) -> None:
        """By the lane: a response without its index."""
        if isinstance(answer, TactError):
            self.failed(answer, _event_id(self.payload))
        else:
            self.told(answer + b"\x20" + varint(self.index) if self.index else answer)

    def handed_back(self, ahead: bool) -> None:
        """The lane did nothing."""
        self._service.begin(self, ahead)

    def told(self, response: bytes) -> None:
        """The item's DecideResponse."""
        self._answers.put(self.index, response)

    def failed(self, error: Exception, event_id: str) -> None:
        """The item's error."""
        self._answers.put(self.index, to_bytes(_failed(error, event_id, self.index)))


class _One(_Turn):
    """A call with one request, or a stream's: its error is the call's own."""

    __slots__ = ("_service", "index", "payload")

    def __init__(
        self, service: DecisionService, payload: bytes, index: int, limiter: Limiter, call: Call, reply: Reply
    ) -> None:
        super().__init__(limiter, call, reply, 1)
        self._service = service
        self.payload = payload
        self.index = index

    def answered(self, answer: bytes | TactError) -> None:
        """By the lane: a response without its index."""
        if isinstance(answer, TactError):
            self.failed(answer, "")
        else:
            self.told(answer + b"\x20" + varint(self.index) if self.index else answer)

    def handed_back(self, ahead: bool) -> None:
        """The lane did nothing."""
        self._service.begin(self, ahead)

    def told(self, response: bytes) -> None:
        """The request's DecideResponse."""
        self.leave()
        self._reply.answer(response)

    def failed(self, error: Exception, event_id: str) -> None:
        """The request's error."""
        self.leave()
        self._reply.fail(rpc_error(error))


def _event_id(payload: bytes) -> str:
    """Of a DecideRequest; "" where it is none."""
    with suppress(InvalidInput):
        return parse(pb.DecideRequest, payload).event.event_id
    return ""


def _failed(error: BaseException, event_id: str, index: int) -> pb.DecideResponse:
    return pb.DecideResponse(error=item_status(error), event_id=event_id, request_index=index)
