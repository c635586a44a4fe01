import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.type import money_pb2 as _money_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Value(_message.Message):
    __slots__ = ("flag", "integer", "number", "text", "time", "money", "texts")
    FLAG_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    MONEY_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    flag: bool
    integer: int
    number: float
    text: str
    time: _timestamp_pb2.Timestamp
    money: _money_pb2.Money
    texts: TextList
    def __init__(self, flag: _Optional[bool] = ..., integer: _Optional[int] = ..., number: _Optional[float] = ..., text: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., money: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., texts: _Optional[_Union[TextList, _Mapping]] = ...) -> None: ...

class TextList(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("event_id", "customer_id", "type", "occurred_at", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    customer_id: str
    type: str
    occurred_at: _timestamp_pb2.Timestamp
    attributes: _containers.MessageMap[str, Value]
    def __init__(self, event_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., type: _Optional[str] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attributes: _Optional[_Mapping[str, Value]] = ...) -> None: ...

class DecideRequest(_message.Message):
    __slots__ = ("event", "max_messages", "dry_run")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    event: Event
    max_messages: int
    dry_run: bool
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ..., max_messages: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class DecideResponse(_message.Message):
    __slots__ = ("decisions", "error", "event_id", "request_index")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_INDEX_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    error: _status_pb2.Status
    event_id: str
    request_index: int
    def __init__(self, decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., event_id: _Optional[str] = ..., request_index: _Optional[int] = ...) -> None: ...

class DecideBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[DecideRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[DecideRequest, _Mapping]]] = ...) -> None: ...

class DecideBatchResponse(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[DecideResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[DecideResponse, _Mapping]]] = ...) -> None: ...

class Details(_message.Message):
    __slots__ = ("message", "feature", "window", "attribute", "condition", "cap", "gap", "slot", "channel", "purpose", "topic", "count", "limit", "frees_at", "cause")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    CAP_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    FREES_AT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    message: str
    feature: str
    window: str
    attribute: str
    condition: str
    cap: str
    gap: str
    slot: str
    channel: str
    purpose: str
    topic: str
    count: int
    limit: int
    frees_at: _timestamp_pb2.Timestamp
    cause: str
    def __init__(self, message: _Optional[str] = ..., feature: _Optional[str] = ..., window: _Optional[str] = ..., attribute: _Optional[str] = ..., condition: _Optional[str] = ..., cap: _Optional[str] = ..., gap: _Optional[str] = ..., slot: _Optional[str] = ..., channel: _Optional[str] = ..., purpose: _Optional[str] = ..., topic: _Optional[str] = ..., count: _Optional[int] = ..., limit: _Optional[int] = ..., frees_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cause: _Optional[str] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("decision_id", "event_id", "customer_id", "outcome", "reason", "details", "reason_text", "message", "variant", "channel", "locale", "text", "slots", "suggested_replies", "sender", "purpose", "topic", "stage", "product", "send_after", "send_before", "report_by", "confirm_before_sending", "provisional", "slot", "score", "propensity", "message_share", "variant_share", "policy", "policy_version", "revision")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Decision.Outcome]
        SEND: _ClassVar[Decision.Outcome]
        NO_MESSAGE: _ClassVar[Decision.Outcome]
    OUTCOME_UNSPECIFIED: Decision.Outcome
    SEND: Decision.Outcome
    NO_MESSAGE: Decision.Outcome
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Decision.Reason]
        SELECTED: _ClassVar[Decision.Reason]
        NO_RULE_FOR_EVENT: _ClassVar[Decision.Reason]
        NOT_IN_AUDIENCE: _ClassVar[Decision.Reason]
        NOT_ELIGIBLE: _ClassVar[Decision.Reason]
        DATA_MISSING: _ClassVar[Decision.Reason]
        DATA_STALE: _ClassVar[Decision.Reason]
        WINDOW_INCOMPLETE: _ClassVar[Decision.Reason]
        LEFT_ALONE: _ClassVar[Decision.Reason]
        NO_CONSENT: _ClassVar[Decision.Reason]
        OPTED_OUT: _ClassVar[Decision.Reason]
        TOPIC_BLOCKED: _ClassVar[Decision.Reason]
        CHANNEL_BLOCKED: _ClassVar[Decision.Reason]
        OUTSIDE_PREFERRED_HOURS: _ClassVar[Decision.Reason]
        QUIET_HOURS: _ClassVar[Decision.Reason]
        CAP_REACHED: _ClassVar[Decision.Reason]
        GAP_NOT_ELAPSED: _ClassVar[Decision.Reason]
        VOLUME_REACHED: _ClassVar[Decision.Reason]
        ALREADY_CONVERTED: _ClassVar[Decision.Reason]
        ALREADY_DECLINED: _ClassVar[Decision.Reason]
        REPEATEDLY_IGNORED: _ClassVar[Decision.Reason]
        NO_CHANNEL: _ClassVar[Decision.Reason]
        HOLDOUT: _ClassVar[Decision.Reason]
        VARIANT_UNAVAILABLE: _ClassVar[Decision.Reason]
        NOT_IN_TRIAL: _ClassVar[Decision.Reason]
        BELOW_RESERVE: _ClassVar[Decision.Reason]
        OUTRANKED: _ClassVar[Decision.Reason]
        TEXT_UNAVAILABLE: _ClassVar[Decision.Reason]
        EVENT_TOO_OLD: _ClassVar[Decision.Reason]
        SEND_BY_PASSED: _ClassVar[Decision.Reason]
        STATE_UNKNOWN: _ClassVar[Decision.Reason]
        PAUSED: _ClassVar[Decision.Reason]
        LOG_FULL: _ClassVar[Decision.Reason]
    REASON_UNSPECIFIED: Decision.Reason
    SELECTED: Decision.Reason
    NO_RULE_FOR_EVENT: Decision.Reason
    NOT_IN_AUDIENCE: Decision.Reason
    NOT_ELIGIBLE: Decision.Reason
    DATA_MISSING: Decision.Reason
    DATA_STALE: Decision.Reason
    WINDOW_INCOMPLETE: Decision.Reason
    LEFT_ALONE: Decision.Reason
    NO_CONSENT: Decision.Reason
    OPTED_OUT: Decision.Reason
    TOPIC_BLOCKED: Decision.Reason
    CHANNEL_BLOCKED: Decision.Reason
    OUTSIDE_PREFERRED_HOURS: Decision.Reason
    QUIET_HOURS: Decision.Reason
    CAP_REACHED: Decision.Reason
    GAP_NOT_ELAPSED: Decision.Reason
    VOLUME_REACHED: Decision.Reason
    ALREADY_CONVERTED: Decision.Reason
    ALREADY_DECLINED: Decision.Reason
    REPEATEDLY_IGNORED: Decision.Reason
    NO_CHANNEL: Decision.Reason
    HOLDOUT: Decision.Reason
    VARIANT_UNAVAILABLE: Decision.Reason
    NOT_IN_TRIAL: Decision.Reason
    BELOW_RESERVE: Decision.Reason
    OUTRANKED: Decision.Reason
    TEXT_UNAVAILABLE: Decision.Reason
    EVENT_TOO_OLD: Decision.Reason
    SEND_BY_PASSED: Decision.Reason
    STATE_UNKNOWN: Decision.Reason
    PAUSED: Decision.Reason
    LOG_FULL: Decision.Reason
    class SlotsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    REASON_TEXT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SUGGESTED_REPLIES_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    SEND_AFTER_FIELD_NUMBER: _ClassVar[int]
    SEND_BEFORE_FIELD_NUMBER: _ClassVar[int]
    REPORT_BY_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_BEFORE_SENDING_FIELD_NUMBER: _ClassVar[int]
    PROVISIONAL_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_SHARE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_SHARE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    event_id: str
    customer_id: str
    outcome: Decision.Outcome
    reason: Decision.Reason
    details: Details
    reason_text: str
    message: str
    variant: str
    channel: str
    locale: str
    text: str
    slots: _containers.ScalarMap[str, str]
    suggested_replies: _containers.RepeatedScalarFieldContainer[str]
    sender: str
    purpose: str
    topic: str
    stage: str
    product: str
    send_after: _timestamp_pb2.Timestamp
    send_before: _timestamp_pb2.Timestamp
    report_by: _timestamp_pb2.Timestamp
    confirm_before_sending: bool
    provisional: bool
    slot: int
    score: float
    propensity: float
    message_share: int
    variant_share: int
    policy: str
    policy_version: int
    revision: str
    def __init__(self, decision_id: _Optional[str] = ..., event_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., outcome: _Optional[_Union[Decision.Outcome, str]] = ..., reason: _Optional[_Union[Decision.Reason, str]] = ..., details: _Optional[_Union[Details, _Mapping]] = ..., reason_text: _Optional[str] = ..., message: _Optional[str] = ..., variant: _Optional[str] = ..., channel: _Optional[str] = ..., locale: _Optional[str] = ..., text: _Optional[str] = ..., slots: _Optional[_Mapping[str, str]] = ..., suggested_replies: _Optional[_Iterable[str]] = ..., sender: _Optional[str] = ..., purpose: _Optional[str] = ..., topic: _Optional[str] = ..., stage: _Optional[str] = ..., product: _Optional[str] = ..., send_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., send_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., report_by: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., confirm_before_sending: _Optional[bool] = ..., provisional: _Optional[bool] = ..., slot: _Optional[int] = ..., score: _Optional[float] = ..., propensity: _Optional[float] = ..., message_share: _Optional[int] = ..., variant_share: _Optional[int] = ..., policy: _Optional[str] = ..., policy_version: _Optional[int] = ..., revision: _Optional[str] = ...) -> None: ...

class ConfirmSendRequest(_message.Message):
    __slots__ = ("decision_id",)
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    def __init__(self, decision_id: _Optional[str] = ...) -> None: ...

class ConfirmSendResponse(_message.Message):
    __slots__ = ("outcome", "reason", "details", "reason_text")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    REASON_TEXT_FIELD_NUMBER: _ClassVar[int]
    outcome: Decision.Outcome
    reason: Decision.Reason
    details: Details
    reason_text: str
    def __init__(self, outcome: _Optional[_Union[Decision.Outcome, str]] = ..., reason: _Optional[_Union[Decision.Reason, str]] = ..., details: _Optional[_Union[Details, _Mapping]] = ..., reason_text: _Optional[str] = ...) -> None: ...

class OutcomeReport(_message.Message):
    __slots__ = ("decision_id", "kind", "occurred_at", "value", "outcome_id", "failure", "category", "customer_id", "product", "channel")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[OutcomeReport.Kind]
        DELIVERED: _ClassVar[OutcomeReport.Kind]
        NOT_DELIVERED: _ClassVar[OutcomeReport.Kind]
        OPENED: _ClassVar[OutcomeReport.Kind]
        CLICKED: _ClassVar[OutcomeReport.Kind]
        REPLIED: _ClassVar[OutcomeReport.Kind]
        CONVERTED: _ClassVar[OutcomeReport.Kind]
        OPTED_OUT: _ClassVar[OutcomeReport.Kind]
        DECLINED: _ClassVar[OutcomeReport.Kind]
        COMPLAINED: _ClassVar[OutcomeReport.Kind]
    KIND_UNSPECIFIED: OutcomeReport.Kind
    DELIVERED: OutcomeReport.Kind
    NOT_DELIVERED: OutcomeReport.Kind
    OPENED: OutcomeReport.Kind
    CLICKED: OutcomeReport.Kind
    REPLIED: OutcomeReport.Kind
    CONVERTED: OutcomeReport.Kind
    OPTED_OUT: OutcomeReport.Kind
    DECLINED: OutcomeReport.Kind
    COMPLAINED: OutcomeReport.Kind
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_ID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    kind: OutcomeReport.Kind
    occurred_at: _timestamp_pb2.Timestamp
    value: float
    outcome_id: str
    failure: str
    category: str
    customer_id: str
    product: str
    channel: str
    def __init__(self, decision_id: _Optional[str] = ..., kind: _Optional[_Union[OutcomeReport.Kind, str]] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., value: _Optional[float] = ..., outcome_id: _Optional[str] = ..., failure: _Optional[str] = ..., category: _Optional[str] = ..., customer_id: _Optional[str] = ..., product: _Optional[str] = ..., channel: _Optional[str] = ...) -> None: ...

class RecordOutcomesRequest(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[OutcomeReport]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[OutcomeReport, _Mapping]]] = ...) -> None: ...

class OutcomeResult(_message.Message):
    __slots__ = ("decision_id", "repeated", "cancelled_decision_ids", "error", "exceeded", "credited_decision_ids")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_DECISION_IDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    EXCEEDED_FIELD_NUMBER: _ClassVar[int]
    CREDITED_DECISION_IDS_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    repeated: bool
    cancelled_decision_ids: _containers.RepeatedScalarFieldContainer[str]
    error: _status_pb2.Status
    exceeded: str
    credited_decision_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, decision_id: _Optional[str] = ..., repeated: _Optional[bool] = ..., cancelled_decision_ids: _Optional[_Iterable[str]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., exceeded: _Optional[str] = ..., credited_decision_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RecordOutcomesResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[OutcomeResult]
    def __init__(self, results: _Optional[_Iterable[_Union[OutcomeResult, _Mapping]]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("decision_id", "what_if", "revision", "locale", "conditions_of")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LOCALE_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_OF_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    what_if: DecideRequest
    revision: str
    locale: str
    conditions_of: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, decision_id: _Optional[str] = ..., what_if: _Optional[_Union[DecideRequest, _Mapping]] = ..., revision: _Optional[str] = ..., locale: _Optional[str] = ..., conditions_of: _Optional[_Iterable[str]] = ...) -> None: ...

class SourcePosition(_message.Message):
    __slots__ = ("path", "line", "column")
    PATH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    path: str
    line: int
    column: int
    def __init__(self, path: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("message", "stopped_by", "details", "reason_text", "position", "values_read", "rank", "message_share", "variants", "channel", "send_after", "expression", "conditions")
    class ValuesReadEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STOPPED_BY_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    REASON_TEXT_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    VALUES_READ_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_SHARE_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    SEND_AFTER_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    message: str
    stopped_by: Decision.Reason
    details: Details
    reason_text: str
    position: SourcePosition
    values_read: _containers.ScalarMap[str, str]
    rank: float
    message_share: int
    variants: _containers.RepeatedCompositeFieldContainer[VariantShare]
    channel: str
    send_after: _timestamp_pb2.Timestamp
    expression: str
    conditions: _containers.RepeatedCompositeFieldContainer[ConditionTrace]
    def __init__(self, message: _Optional[str] = ..., stopped_by: _Optional[_Union[Decision.Reason, str]] = ..., details: _Optional[_Union[Details, _Mapping]] = ..., reason_text: _Optional[str] = ..., position: _Optional[_Union[SourcePosition, _Mapping]] = ..., values_read: _Optional[_Mapping[str, str]] = ..., rank: _Optional[float] = ..., message_share: _Optional[int] = ..., variants: _Optional[_Iterable[_Union[VariantShare, _Mapping]]] = ..., channel: _Optional[str] = ..., send_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expression: _Optional[str] = ..., conditions: _Optional[_Iterable[_Union[ConditionTrace, _Mapping]]] = ...) -> None: ...

class ConditionTrace(_message.Message):
    __slots__ = ("role", "name", "expression", "position", "value", "failed", "steps", "truncated")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    role: str
    name: str
    expression: str
    position: SourcePosition
    value: str
    failed: bool
    steps: _containers.RepeatedCompositeFieldContainer[TraceStep]
    truncated: bool
    def __init__(self, role: _Optional[str] = ..., name: _Optional[str] = ..., expression: _Optional[str] = ..., position: _Optional[_Union[SourcePosition, _Mapping]] = ..., value: _Optional[str] = ..., failed: _Optional[bool] = ..., steps: _Optional[_Iterable[_Union[TraceStep, _Mapping]]] = ..., truncated: _Optional[bool] = ...) -> None: ...

class TraceStep(_message.Message):
    __slots__ = ("text", "value", "failed", "position", "depth", "fact")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    FACT_FIELD_NUMBER: _ClassVar[int]
    text: str
    value: str
    failed: bool
    position: SourcePosition
    depth: int
    fact: str
    def __init__(self, text: _Optional[str] = ..., value: _Optional[str] = ..., failed: _Optional[bool] = ..., position: _Optional[_Union[SourcePosition, _Mapping]] = ..., depth: _Optional[int] = ..., fact: _Optional[str] = ...) -> None: ...

class VariantShare(_message.Message):
    __slots__ = ("variant", "share", "unfit")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    UNFIT_FIELD_NUMBER: _ClassVar[int]
    variant: str
    share: int
    unfit: str
    def __init__(self, variant: _Optional[str] = ..., share: _Optional[int] = ..., unfit: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("decision", "candidates")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("customer_id", "events", "since", "until")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    events: _containers.RepeatedCompositeFieldContainer[Event]
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    def __init__(self, customer_id: _Optional[str] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BackfillRequest(_message.Message):
    __slots__ = ("histories",)
    HISTORIES_FIELD_NUMBER: _ClassVar[int]
    histories: _containers.RepeatedCompositeFieldContainer[History]
    def __init__(self, histories: _Optional[_Iterable[_Union[History, _Mapping]]] = ...) -> None: ...

class BackfillResult(_message.Message):
    __slots__ = ("customer_id", "error", "counted", "known", "late", "apart")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    APART_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    error: _status_pb2.Status
    counted: int
    known: int
    late: int
    apart: int
    def __init__(self, customer_id: _Optional[str] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., counted: _Optional[int] = ..., known: _Optional[int] = ..., late: _Optional[int] = ..., apart: _Optional[int] = ...) -> None: ...

class BackfillResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BackfillResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BackfillResult, _Mapping]]] = ...) -> None: ...
