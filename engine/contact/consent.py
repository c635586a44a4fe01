"""Consent, objection, topics: may this customer be told anything for this purpose and topic?

A withdrawal stands until an explicit grant of a later time; absence of a grant is no consent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from engine.compiler.model import Message, Purpose
from engine.decision import Details, Reason
from engine.identity import name_hash
from engine.state.model import ConsentEntry, Contact, Record

EVERYTHING = 0  # the key of an opt-out from all purposes


def stopped_by_consent(
    message: Message, purpose: Purpose, contact: Contact | None, record: Record
) -> tuple[Reason, Details] | None:
    """Why consent forbids the message, or None where it does not."""
    opted_out_ms = max(record.opt_outs.get(name_hash(purpose.name), -1), record.opt_outs.get(EVERYTHING, -1))
    entry = None
    if contact is not None:
        entry = next((c for c in contact.consents if c.purpose == purpose.name), None)
    granted_ms = entry.changed_at_ms if entry is not None and entry.granted else -1
    if opted_out_ms >= 0 and granted_ms <= opted_out_ms:
        return Reason.OPTED_OUT, Details(purpose=purpose.name, cause="the customer said stop")
    if entry is not None and not entry.granted:
        return Reason.OPTED_OUT, Details(purpose=purpose.name, cause="consent was withdrawn")
    if purpose.consent_required and granted_ms < 0:
        return Reason.NO_CONSENT, Details(purpose=purpose.name, cause=f"no consent for '{purpose.name}' was given")
    if contact is not None and message.topic is not None and message.topic in contact.blocked_topics:
        return Reason.TOPIC_BLOCKED, Details(topic=message.topic, cause="the customer blocked the topic")
    return None


def merge_contact(old: Contact | None, new: Contact, opt_outs: Mapping[int, int], now_ms: int) -> Contact:
    """What is stored when the bank writes `new`: it replaces what the bank owns, but a withdrawal stays,
    the old one's and the customer's own stop (`opt_outs`), unless `new` grants the purpose at a later time.

    A grant without a time (0) says what stands, not that something changed: it keeps the time of the
    one before, and clears nothing. So a nightly upsert of everybody never brings back who said stop.
    A withdrawal without a time is of now; no time lies ahead.
    """
    before = {c.purpose: c for c in old.consents} if old is not None else {}
    consents = {}
    for c in new.consents:
        at_ms = min(c.changed_at_ms, now_ms)
        if not at_ms and not c.granted:
            at_ms = now_ms
        elif not at_ms:
            last = before.get(c.purpose)
            stopped = [t for key in (name_hash(c.purpose), EVERYTHING) if (t := opt_outs.get(key)) is not None]
            at_ms = last.changed_at_ms if last is not None else min([now_ms, *stopped])
        consents[c.purpose] = c._replace(changed_at_ms=at_ms)
    for c in old.consents if old is not None else ():
        if not c.granted:
            later = consents.get(c.purpose)
            if later is None or later.changed_at_ms <= c.changed_at_ms:
                consents[c.purpose] = c
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
    entries = {c.purpose: c for c in held.consents}
    for purpose in purposes:
        stopped_ms = max(opt_outs.get(name_hash(purpose), -1), opt_outs.get(EVERYTHING, -1))
        entry = entries.get(purpose)
        if stopped_ms >= 0 and not (entry is not None and entry.changed_at_ms > stopped_ms):
            entries[purpose] = ConsentEntry(purpose, False, stopped_ms, "stop", "")
    return replace(held, consents=list(entries.values()))
