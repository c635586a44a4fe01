import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from engine.pb.tact.v1 import decision_pb2 as _decision_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Consent(_message.Message):
    __slots__ = ("purpose", "state", "changed_at", "source", "wording_version", "topic", "channel")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Consent.State]
        GRANTED: _ClassVar[Consent.State]
        WITHDRAWN: _ClassVar[Consent.State]
    STATE_UNSPECIFIED: Consent.State
    GRANTED: Consent.State
    WITHDRAWN: Consent.State
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    WORDING_VERSION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    state: Consent.State
    changed_at: _timestamp_pb2.Timestamp
    source: str
    wording_version: str
    topic: str
    channel: str
    def __init__(self, purpose: _Optional[str] = ..., state: _Optional[_Union[Consent.State, str]] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., wording_version: _Optional[str] = ..., topic: _Optional[str] = ..., channel: _Optional[str] = ...) -> None: ...

class PreferredHours(_message.Message):
    __slots__ = ("to",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    to: str
    def __init__(self, to: _Optional[str] = ..., **kwargs) -> None: ...

class ContactPreferences(_message.Message):
    __slots__ = ("consents", "blocked_topics", "blocked_channels", "preferred_hours")
    CONSENTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_TOPICS_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    PREFERRED_HOURS_FIELD_NUMBER: _ClassVar[int]
    consents: _containers.RepeatedCompositeFieldContainer[Consent]
    blocked_topics: _containers.RepeatedScalarFieldContainer[str]
    blocked_channels: _containers.RepeatedScalarFieldContainer[str]
    preferred_hours: PreferredHours
    def __init__(self, consents: _Optional[_Iterable[_Union[Consent, _Mapping]]] = ..., blocked_topics: _Optional[_Iterable[str]] = ..., blocked_channels: _Optional[_Iterable[str]] = ..., preferred_hours: _Optional[_Union[PreferredHours, _Mapping]] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("customer_id", "features", "clear_features", "contact")
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _decision_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_decision_pb2.Value, _Mapping]] = ...) -> None: ...
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FEATURES_FIELD_NUMBER: _ClassVar[int]
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    features: _containers.MessageMap[str, _decision_pb2.Value]
    clear_features: _containers.RepeatedScalarFieldContainer[str]
    contact: ContactPreferences
    def __init__(self, customer_id: _Optional[str] = ..., features: _Optional[_Mapping[str, _decision_pb2.Value]] = ..., clear_features: _Optional[_Iterable[str]] = ..., contact: _Optional[_Union[ContactPreferences, _Mapping]] = ...) -> None: ...

class PutProfilesRequest(_message.Message):
    __slots__ = ("profiles",)
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    profiles: _containers.RepeatedCompositeFieldContainer[Profile]
    def __init__(self, profiles: _Optional[_Iterable[_Union[Profile, _Mapping]]] = ...) -> None: ...

class PutProfileResult(_message.Message):
    __slots__ = ("customer_id", "error")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    error: _status_pb2.Status
    def __init__(self, customer_id: _Optional[str] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class PutProfilesResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[PutProfileResult]
    def __init__(self, results: _Optional[_Iterable[_Union[PutProfileResult, _Mapping]]] = ...) -> None: ...

class GetProfileRequest(_message.Message):
    __slots__ = ("customer_id",)
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    def __init__(self, customer_id: _Optional[str] = ...) -> None: ...

class GetProfileResponse(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: Profile
    def __init__(self, profile: _Optional[_Union[Profile, _Mapping]] = ...) -> None: ...

class EraseCustomerRequest(_message.Message):
    __slots__ = ("customer_id",)
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    def __init__(self, customer_id: _Optional[str] = ...) -> None: ...

class EraseCustomerResponse(_message.Message):
    __slots__ = ("existed",)
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    existed: bool
    def __init__(self, existed: _Optional[bool] = ...) -> None: ...
