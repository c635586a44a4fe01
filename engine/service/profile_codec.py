"""Profiles, checked against the schema, to and from protobuf."""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.answer import timestamp
from engine.compiler.model import LEARNING, RuleSet
from engine.contact.topics import Topics
from engine.pb.tact.v1 import profile_pb2 as pb
from engine.service.values import (
    MAX_LISTED,
    Violations,
    check_id,
    check_text,
    decode_value,
    encode_value,
    quote,
    timestamp_ms,
)
from engine.state.model import ConsentEntry, Contact, Profile
from engine.step.operations import ProfileChange
from engine.zones import zone as find_zone

_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z")
_MAX_NAME_BYTES = 256


def decode_profile(message: pb.Profile, rules: RuleSet, topics: Topics | None = None) -> ProfileChange:
    """A change that fits the schema. Raises InvalidInput with all violations.

    `topics`: those of the rules, where the caller has them already.
    """
    into = Violations()
    check_id(message.customer_id, "customer_id", into)
    features = _decode_features(message, rules, into)
    clear = list(message.clear_features)
    if _few(len(clear), "clear_features", into):
        for i, name in enumerate(clear):
            if name not in rules.features:
                into.unknown(f"clear_features[{i}]", "feature", name, rules.features)
            elif name in features:
                into.add(f"clear_features[{i}]", f"found {quote(name)}, which features sets: expected one of the two")
    contact = None
    if message.HasField("contact"):
        contact = _decode_contact(message.contact, rules, topics or Topics(rules), into)
    into.check()
    return ProfileChange(message.customer_id, features, clear, contact)


def _decode_features(message: pb.Profile, rules: RuleSet, into: Violations) -> dict[str, object]:
    decoded: dict[str, object] = {}
    if len(message.features) > 4 * MAX_LISTED:
        into.add("features", f"found {len(message.features)} features: expected at most {4 * MAX_LISTED}")
        return decoded
    for name in sorted(message.features):
        declared = rules.features.get(name)
        if declared is None:
            into.unknown(f"features[{quote(name)}]", "feature", name, rules.features)
        else:
            value, field = message.features[name], f'features["{name}"]'
            decoded[name] = decode_value(value, declared.type, declared.unit, field, into)
    zone = decoded.get("timezone")
    if isinstance(zone, str) and find_zone(zone) is None:  # nothing could be said to them in quiet hours' purposes
        into.add('features["timezone"]', f"found {quote(zone)}: expected an IANA time zone such as Europe/Madrid")
    return decoded


def _decode_contact(message: pb.ContactPreferences, rules: RuleSet, topics: Topics, into: Violations) -> Contact:
    contact = Contact(blocked_topics=list(message.blocked_topics), blocked_channels=list(message.blocked_channels))
    if _few(len(message.consents), "contact.consents", into):
        for i, consent in enumerate(message.consents):
            contact.consents.append(_decode_consent(consent, rules, topics, f"contact.consents[{i}]", into))
    if _few(len(contact.blocked_topics), "contact.blocked_topics", into):
        for i, topic in enumerate(contact.blocked_topics):
            _check_topic(topic, topics, f"contact.blocked_topics[{i}]", into)
    if _few(len(contact.blocked_channels), "contact.blocked_channels", into):
        known = _channels(rules)
        for i, channel in enumerate(contact.blocked_channels):
            if channel not in known:  # a misspelt block would be a message to somebody who refused it
                into.unknown(f"contact.blocked_channels[{i}]", "channel", channel, known)
    if message.HasField("preferred_hours"):
        hours = message.preferred_hours
        field = "contact.preferred_hours"
        contact.preferred_from_minute = _minute(getattr(hours, "from"), f"{field}.from", into)
        contact.preferred_to_minute = _minute(hours.to, f"{field}.to", into)
    return contact


def _channels(rules: RuleSet) -> set[str]:
    return {*rules.channels, *(choice.channel for m in rules.messages.values() for choice in m.channels)}


def _check_topic(topic: str, topics: Topics, field: str, into: Violations) -> None:
    """A topic that the rule set knows, or one of another rule set."""
    check_id(topic, field, into)
    if meant := topics.meant(topic):
        into.add(field, f"topic {quote(topic)} is not in the rule set; did you mean '{meant}'?")


def _decode_consent(consent: pb.Consent, rules: RuleSet, topics: Topics, field: str, into: Violations) -> ConsentEntry:
    if not consent.purpose:
        into.add(f"{field}.purpose", "is missing: expected a purpose of the rule set")
    elif consent.purpose not in rules.purposes and consent.purpose != LEARNING:
        into.unknown(f"{field}.purpose", "purpose", consent.purpose, {*rules.purposes, LEARNING})
    if consent.state not in (pb.Consent.GRANTED, pb.Consent.WITHDRAWN):
        into.add(f"{field}.state", f"found {consent.state}: expected GRANTED or WITHDRAWN")
    changed_at_ms = 0
    if consent.HasField("changed_at"):
        changed_at_ms = timestamp_ms(consent.changed_at, f"{field}.changed_at", into) or 0
        if changed_at_ms < 0 or consent.changed_at.seconds == 0:
            into.add(f"{field}.changed_at", "found a time before 1970: expected when the customer said so")
    check_text(consent.source, f"{field}.source", into, _MAX_NAME_BYTES)
    check_text(consent.wording_version, f"{field}.wording_version", into, _MAX_NAME_BYTES)
    if consent.topic:
        _check_topic(consent.topic, topics, f"{field}.topic", into)
    if consent.channel and consent.channel not in _channels(rules):
        into.unknown(f"{field}.channel", "channel", consent.channel, _channels(rules))
    granted = consent.state == pb.Consent.GRANTED
    return ConsentEntry(
        consent.purpose, granted, changed_at_ms, consent.source, consent.wording_version, consent.topic, consent.channel
    )


def _minute(text: str, field: str, into: Violations) -> int:
    found = _TIME_OF_DAY.match(text)
    if found is None:
        into.add(field, f'found {quote(text)}: expected a time of day as "HH:MM", "00:00" to "23:59"')
        return -1
    return int(found[1]) * 60 + int(found[2])


def _few(count: int, field: str, into: Violations) -> bool:
    if count > MAX_LISTED:
        into.add(field, f"found {count} entries: expected at most {MAX_LISTED}")
    return count <= MAX_LISTED


def encode_profile(customer_id: str, profile: Profile) -> pb.Profile:
    """A stored profile as the bank wrote it."""
    message = pb.Profile(customer_id=customer_id)
    for name, cell in profile.cells.items():
        message.features[name].CopyFrom(encode_value(cell.type, cell.value, cell.unit))
    if profile.contact is not None:
        message.contact.CopyFrom(_encode_contact(profile.contact))
    return message


def _encode_contact(contact: Contact) -> pb.ContactPreferences:
    message = pb.ContactPreferences(
        consents=_encode_consents(contact.consents),
        blocked_topics=contact.blocked_topics,
        blocked_channels=contact.blocked_channels,
    )
    if contact.preferred_from_minute >= 0:
        setattr(message.preferred_hours, "from", _time_of_day(contact.preferred_from_minute))
        message.preferred_hours.to = _time_of_day(contact.preferred_to_minute)
    return message


def _encode_consents(consents: Iterable[ConsentEntry]) -> list[pb.Consent]:
    return [
        pb.Consent(
            purpose=c.purpose,
            state=pb.Consent.GRANTED if c.granted else pb.Consent.WITHDRAWN,
            changed_at=timestamp(c.changed_at_ms),
            source=c.source,
            wording_version=c.wording_version,
            topic=c.topic,
            channel=c.channel,
        )
        for c in consents
    ]


def _time_of_day(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
