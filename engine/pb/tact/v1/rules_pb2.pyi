import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RuleFile(_message.Message):
    __slots__ = ("path", "content")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    path: str
    content: bytes
    def __init__(self, path: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("code", "severity", "path", "line", "column", "length", "text", "found", "expected", "hint")
    class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SEVERITY_UNSPECIFIED: _ClassVar[Finding.Severity]
        ERROR: _ClassVar[Finding.Severity]
        WARNING: _ClassVar[Finding.Severity]
    SEVERITY_UNSPECIFIED: Finding.Severity
    ERROR: Finding.Severity
    WARNING: Finding.Severity
    CODE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    code: str
    severity: Finding.Severity
    path: str
    line: int
    column: int
    length: int
    text: str
    found: str
    expected: str
    hint: str
    def __init__(self, code: _Optional[str] = ..., severity: _Optional[_Union[Finding.Severity, str]] = ..., path: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., length: _Optional[int] = ..., text: _Optional[str] = ..., found: _Optional[str] = ..., expected: _Optional[str] = ..., hint: _Optional[str] = ...) -> None: ...

class Revision(_message.Message):
    __slots__ = ("revision", "deployed_at", "activated_at", "active", "note", "file_count", "message_count")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DEPLOYED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTIVATED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    revision: str
    deployed_at: _timestamp_pb2.Timestamp
    activated_at: _timestamp_pb2.Timestamp
    active: bool
    note: str
    file_count: int
    message_count: int
    def __init__(self, revision: _Optional[str] = ..., deployed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., activated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., active: _Optional[bool] = ..., note: _Optional[str] = ..., file_count: _Optional[int] = ..., message_count: _Optional[int] = ...) -> None: ...

class ValidateRequest(_message.Message):
    __slots__ = ("files",)
    FILES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[RuleFile]
    def __init__(self, files: _Optional[_Iterable[_Union[RuleFile, _Mapping]]] = ...) -> None: ...

class ValidateResponse(_message.Message):
    __slots__ = ("revision", "findings")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    revision: str
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, revision: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class DeployRequest(_message.Message):
    __slots__ = ("files", "note", "stage_only", "expected_active_revision")
    FILES_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    STAGE_ONLY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ACTIVE_REVISION_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[RuleFile]
    note: str
    stage_only: bool
    expected_active_revision: str
    def __init__(self, files: _Optional[_Iterable[_Union[RuleFile, _Mapping]]] = ..., note: _Optional[str] = ..., stage_only: _Optional[bool] = ..., expected_active_revision: _Optional[str] = ...) -> None: ...

class DeployResponse(_message.Message):
    __slots__ = ("revision", "findings")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    revision: Revision
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, revision: _Optional[_Union[Revision, _Mapping]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class ActivateRequest(_message.Message):
    __slots__ = ("revision", "expected_active_revision")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ACTIVE_REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: str
    expected_active_revision: str
    def __init__(self, revision: _Optional[str] = ..., expected_active_revision: _Optional[str] = ...) -> None: ...

class ActivateResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: Revision
    def __init__(self, revision: _Optional[_Union[Revision, _Mapping]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("expected_active_revision",)
    EXPECTED_ACTIVE_REVISION_FIELD_NUMBER: _ClassVar[int]
    expected_active_revision: str
    def __init__(self, expected_active_revision: _Optional[str] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: Revision
    def __init__(self, revision: _Optional[_Union[Revision, _Mapping]] = ...) -> None: ...

class ListRevisionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRevisionsResponse(_message.Message):
    __slots__ = ("revisions", "next_page_token")
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedCompositeFieldContainer[Revision]
    next_page_token: str
    def __init__(self, revisions: _Optional[_Iterable[_Union[Revision, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetRevisionRequest(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: str
    def __init__(self, revision: _Optional[str] = ...) -> None: ...

class GetRevisionResponse(_message.Message):
    __slots__ = ("revision", "files")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    revision: Revision
    files: _containers.RepeatedCompositeFieldContainer[RuleFile]
    def __init__(self, revision: _Optional[_Union[Revision, _Mapping]] = ..., files: _Optional[_Iterable[_Union[RuleFile, _Mapping]]] = ...) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ("message", "purpose", "all", "resume", "reason")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    message: str
    purpose: str
    all: bool
    resume: bool
    reason: str
    def __init__(self, message: _Optional[str] = ..., purpose: _Optional[str] = ..., all: _Optional[bool] = ..., resume: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class PauseResponse(_message.Message):
    __slots__ = ("paused_messages", "paused_purposes", "all_paused")
    PAUSED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PAUSED_PURPOSES_FIELD_NUMBER: _ClassVar[int]
    ALL_PAUSED_FIELD_NUMBER: _ClassVar[int]
    paused_messages: _containers.RepeatedScalarFieldContainer[str]
    paused_purposes: _containers.RepeatedScalarFieldContainer[str]
    all_paused: bool
    def __init__(self, paused_messages: _Optional[_Iterable[str]] = ..., paused_purposes: _Optional[_Iterable[str]] = ..., all_paused: _Optional[bool] = ...) -> None: ...
