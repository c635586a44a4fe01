"""Consent, objection, topics: may this customer be told anything for this purpose and topic?

A withdrawal stands until an explicit grant of a later time; absence of a grant is no consent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from engine.compiler.model import LEARNING, Message, Purpose
from engine.decision import Details, Reason
from engine.identity import name_hash
from engine.state.model import ConsentEntry, Contact, Record

EVERYTHING = 0  # the key of an opt-out from all purposes
_LEARNING_KEY = name_hash(LEARNING)


def stopped_by_consent(
    message: Message, purpose: Purpose, contact: Contact | None, record: Record, channels: Sequence[str] = ()
) -> tuple[Reason, Details] | None:
    """Why consent forbids the message, or None where it does not.

    It is forbidden where it is on all of the `channels`; none: no channel is asked about.
    """
    said = contact.consents if contact is not None else []
    consents = list({c.scope: c for c in reversed(said) if c.purpose == purpose.name}.values())  # the first counts
    stopped_ms = max(record.opt_outs.get(name_hash(purpose.name), -1), record.opt_outs.get(EVERYTHING, -1))
    asked: Sequence[str] = channels if any(c.channel for c in consents) else ()
    refused = None
    for channel in asked or ("",):
        found = _refused(purpose, consents, stopped_ms, message.topics, channel)
        if found is None:
            refused = None
            break
        refused = found if refused is None or (refused[1].channel and not found[1].channel) else refused
    if refused is not None:
        return refused
    blocked = contact.blocked_topics if contact is not None else []
    if any(topic in blocked for topic in message.topics):
        return Reason.TOPIC_BLOCKED, Details(topic=message.topic or "", cause="the customer blocked the topic")
    return None


def objects_to_learning(contact: Contact | None, record: Record) -> bool:
    """Whether the customer is not to be learnt from: consent for LEARNING was withdrawn, or everything stopped."""
    said = contact.consents if contact is not None else ()
    own = next((c for c in said if c.scope == (LEARNING, "", "")), None)
    stopped_ms = max(record.opt_outs.get(_LEARNING_KEY, -1), record.opt_outs.get(EVERYTHING, -1))
    granted_ms = own.changed_at_ms if own is not None and own.granted else -1
    return (stopped_ms >= 0 and granted_ms <= stopped_ms) or (own is not None and not own.granted)


def permits(message: Message, purpose: Purpose, contact: Contact | None, record: Record, channel: str) -> bool:
    """Whether what the customer said of this channel alone permits it; what was said of all was asked before."""
    if contact is None or not any(c.channel and c.purpose == purpose.name for c in contact.consents):
        return True
    return stopped_by_consent(message, purpose, contact, record, (channel,)) is None


def _refused(
    purpose: Purpose, consents: Sequence[ConsentEntry], stopped_ms: int, topics: Sequence[str], channel: str
) -> tuple[Reason, Details] | None:
    """Why a purpose may not be spoken of on a topic and channel, or None where it may.

    A withdrawal holds for all that it covers until a later grant that covers the same and names as much.
    """
    covering = [c for c in consents if (not c.topic or c.topic in topics) and c.channel in ("", channel)]
    granted = [c for c in covering if c.granted and c.changed_at_ms >= 0]
    if stopped_ms >= 0 and all(g.changed_at_ms <= stopped_ms for g in granted):
        return Reason.OPTED_OUT, Details(purpose=purpose.name, cause="the customer said stop")
    for c in sorted(covering, key=lambda c: (bool(c.channel), bool(c.topic))):  # the widest tells most
        if c.granted or any(
            g.changed_at_ms > c.changed_at_ms and c.topic in ("", g.topic) and c.channel in ("", g.channel)
            for g in granted
            if g is not c
        ):
            continue
        details = Details(purpose=purpose.name, topic=c.topic, channel=c.channel, cause="consent was withdrawn")
        return Reason.OPTED_OUT, details
    if purpose.consent_required and not granted:
        return Reason.NO_CONSENT, Details(purpose=purpose.name, cause=f"no consent for '{purpose.name}' was given")
    return None


def merge_contact(old: Contact | None, new: Contact, opt_outs: Mapping[int, int], now_ms: int) -> Contact:
    """What is stored when the bank writes `new`: it replaces what the bank owns, but a withdrawal stays,
    the old one's and the customer's own stop (`opt_outs`), unless `new` grants the purpose at a later time.

    A grant without a time (0) says what stands, not that something changed: it keeps the time of the
    one before, and clears nothing. So a nightly upsert of everybody never brings back who said stop.
    A withdrawal without a time is of now; no time lies ahead.
    """
    before = {c.scope: c for c in old.consents} if old is not None else {}
    consents = {}
    for c in new.consents:
        at_ms = min(c.changed_at_ms, now_ms)
        if not at_ms and not c.granted:
            at_ms = now_ms
        elif not at_ms:
            last = before.get(c.scope)
            stopped = [t for key in (name_hash(c.purpose), EVERYTHING) if (t := opt_outs.get(key)) is not None]
            said = (*new.consents, *(old.consents if old is not None else ()))
            stopped += [w.changed_at_ms or now_ms for w in said if w.purpose == c.purpose and not w.granted]
            at_ms = last.changed_at_ms if last is not None else min([now_ms, *stopped])
        consents[c.scope] = c._replace(changed_at_ms=at_ms)
    for c in old.consents if old is not None else ():
        if not c.granted:
            later = consents.get(c.scope)
            if later is None or later.changed_at_ms <= c.changed_at_ms:
                consents[c.scope] = c
    return Contact(
        list(consents.values()),
        list(new.blocked_topics),
        list(new.blocked_channels),
        new.preferred_from_minute,
        new.preferred_to_minute,
    )


def with_stops(contact: Contact | None, opt_outs: Mapping[int, int], purposes: Iterable[str]) -> Contact | None:
    """The preferences as they hold: a stop that no later grant cleared reads as a withdrawal."""
    if not opt_outs:
        return contact
    held = contact or Contact()
    entries = {c.scope: c for c in held.consents}
    for purpose in purposes:
        stopped_ms = max(opt_outs.get(name_hash(purpose), -1), opt_outs.get(EVERYTHING, -1))
        if stopped_ms < 0:
            continue
        for scope in dict.fromkeys(((purpose, "", ""), *(c.scope for c in held.consents if c.purpose == purpose))):
            entry = entries.get(scope)
            if entry is None or entry.changed_at_ms <= stopped_ms:
                stop = ConsentEntry(purpose, False, stopped_ms, "stop", "", *scope[1:])
                entries[scope] = stop
    return replace(held, consents=list(entries.values()))
