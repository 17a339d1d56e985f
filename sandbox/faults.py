"""Faults of the API and the network, each for an operation, a number of calls, and after a number of normal calls.

Faults of the network (at most one per call):

| kind | what the caller sees | fields |
| --- | --- | --- |
| drop_before | the connection closes, and the call has no effect | reset |
| drop_after | the connection closes, but the call has its effect | reset |
| delay | the response arrives after `seconds` of real time | seconds, applied |
| status | an error in the API's envelope | status, code, message, applied, retry_after |
| html | an error page of a proxy | status, applied |
| truncate | the correct content-length, a part of the body, and a closed connection | keep |
| cut_json | a complete response with truncated JSON | keep |
| rate_limit | 429; with `block`, for every call with this token until `retry_after` | retry_after, block |
| success_false | 200 with `success: false` | code, message, applied |
| address_denied | 403 with code 9109 | |

`applied` means that the call has its effect nevertheless. Faults of the response (several are possible per call):

| kind | what the caller sees | fields |
| --- | --- | --- |
| empty_page | an empty page in the middle of a list | page |
| shift_rows | page 2 and later start `by` rows too early, or too late if negative | by |
| repeat_page | the first page for every page number and every cursor | |
| cursor | `result_info.next` in lists that have none | |
| slow_search | 202 and a Location, which has the result after `seconds` of the clock | seconds, location |
| notice | a successful response with this code in `messages` | code, message |
| rewrite | each result with fields set or removed, by their dotted names | set, remove |
| fail_job | a job that ends as FAILED after `rows` rows | rows |
| lag | a list of jobs without those created in the last `seconds` of the clock | seconds |

`cursor`, `lag` and `repeat_page` remain until they are cleared, unless `times` is given.
"""

import threading
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sandbox import envelope
from sandbox.operations import OPERATION_IDS, UNKNOWN

_BrokenKind = Literal["drop_before", "drop_after", "delay", "truncate", "cut_json"]
_ReplacedKind = Literal["status", "html", "rate_limit", "success_false", "address_denied"]
_ShapedKind = Literal[
    "empty_page", "shift_rows", "repeat_page", "cursor", "slow_search", "notice", "rewrite", "fail_job", "lag"
]
Kind = _BrokenKind | _ReplacedKind | _ShapedKind

# The fields of each kind in addition to operation, kind, times and after, with their defaults.
_DEFAULTS: Final[dict[Kind, dict[str, Any]]] = {
    "drop_before": {"reset": False},
    "drop_after": {"reset": False},
    "delay": {"seconds": 1.0, "applied": False},
    "status": {
        "status": 500,
        "code": envelope.BAD_REQUEST,
        "message": "Internal error",
        "applied": False,
        "retry_after": None,
    },
    "html": {"status": 502, "applied": False},
    "truncate": {"keep": None},
    "cut_json": {"keep": None},
    "rate_limit": {"retry_after": 30, "block": False},
    "success_false": {"code": envelope.BAD_REQUEST, "message": "The request could not be processed", "applied": False},
    "address_denied": {},
    "empty_page": {"page": None},
    "shift_rows": {"by": 1},
    "repeat_page": {},
    "cursor": {},
    "slow_search": {"seconds": 5.0, "location": None},
    "notice": {"code": envelope.AUTHENTICATION, "message": "The request was authenticated"},
    "rewrite": {"set": {}, "remove": []},
    "fail_job": {"rows": 0},
    "lag": {"seconds": 30.0},
}
_WIRE: Final = frozenset((*get_args(_BrokenKind), *get_args(_ReplacedKind)))
_LASTING: Final[frozenset[Kind]] = frozenset({"cursor", "lag", "repeat_page"})
_ONLY_FOR: Final[dict[Kind, frozenset[str]]] = {
    "slow_search": frozenset({"searchMessages"}),
    "fail_job": frozenset({"createBulkJob"}),
    "empty_page": frozenset({"searchMessages", "listBulkJobs", "listBulkJobMessages", "listMessageActions"}),
    "shift_rows": frozenset({"listBulkJobs", "listBulkJobMessages"}),
    "repeat_page": frozenset({"searchMessages", "listBulkJobs", "listBulkJobMessages"}),
    "cursor": frozenset({"listBulkJobs", "listBulkJobMessages"}),
    "lag": frozenset({"listBulkJobs"}),
}


class Fault(BaseModel):
    """A fault. `times`: the number of calls, None until cleared. `after`: the number of normal calls before."""

    model_config = ConfigDict(extra="forbid", strict=True)

    operation: str = Field(description="An operationId of the API, or * for every call.")
    kind: Kind
    times: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(1, description="Number of calls with the fault.")
    after: int = Field(0, ge=0, le=1_000_000, description="Number of matching calls without the fault before.")
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    code: Annotated[int, Field(ge=1000, le=999_999)] | None = None
    message: Annotated[str, Field(max_length=10_000)] | None = None
    retry_after: Annotated[int, Field(ge=0, le=86_400)] | Annotated[str, Field(pattern=r"^[ -~]{1,60}$")] | None = None
    applied: bool | None = None
    block: bool | None = None
    reset: bool | None = None
    page: Annotated[int, Field(ge=1)] | None = None
    by: Annotated[int, Field(ge=-1000, le=1000)] | None = None
    keep: Annotated[int, Field(ge=0)] | None = Field(None, description="Bytes of the body to keep; default: half.")
    rows: Annotated[int, Field(ge=0)] | None = None
    location: Annotated[str, Field(pattern=r"^[!-~]{1,2000}$")] | None = None
    set: dict[str, Any] | None = None
    remove: list[str] | None = None

    @field_validator("operation")
    @classmethod
    def _check_operation(cls, operation: str) -> str:
        if operation not in OPERATION_IDS | {"*", UNKNOWN}:
            raise ValueError(f"unknown operation; known: *, {', '.join(sorted(OPERATION_IDS))}")
        return operation

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        defaults = _DEFAULTS[self.kind]
        unknown = self.model_fields_set - {"operation", "kind", "times", "after"} - defaults.keys()
        if unknown:
            known = ", ".join(sorted(defaults)) or "none"
            raise ValueError(f"{', '.join(sorted(unknown))}: not a field of kind {self.kind}; its fields: {known}")
        operations = _ONLY_FOR.get(self.kind)
        if operations is not None and self.operation not in operations | {"*"}:
            raise ValueError(f"kind {self.kind} is only for {', '.join(sorted(operations))}")
        if self.kind == "delay" and (self.seconds or 0) > 60:
            raise ValueError("a delay takes real time, so it can be at most 60 seconds")
        if self.kind == "rate_limit" and self.block and isinstance(self.retry_after, str):
            raise ValueError("a block needs retry_after as a number of seconds")
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.kind in _LASTING and "times" not in self.model_fields_set:
            object.__setattr__(self, "times", None)
        return self

    def matches(self, operation_id: str, query: Mapping[str, str]) -> bool:
        if self.operation not in ("*", operation_id):
            return False
        operations = _ONLY_FOR.get(self.kind)
        if operations is not None and operation_id not in operations:
            return False
        return self.kind != "empty_page" or self.page is None or query.get("page", "1") == str(self.page)


class Met:
    """The faults of one call: at most one of the network, any number of the response."""

    def __init__(self) -> None:
        self.wire: Fault | None = None
        self.shaping: dict[Kind, Fault] = {}


class _Script:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.passed = 0
        self.used = 0

    @property
    def over(self) -> bool:
        return self.fault.times is not None and self.used >= self.fault.times


class FaultList:
    """The list of faults, in the order in which they were added."""

    def __init__(self) -> None:
        self._scripts: list[_Script] = []
        self._lock = threading.Lock()

    def add(self, operation: str, kind: Kind, **fields: Any) -> Fault:
        """Add a fault. Raises pydantic.ValidationError for a field that this kind does not have."""
        return self.enter(Fault.model_validate({"operation": operation, "kind": kind, **fields}))

    def enter(self, fault: Fault) -> Fault:
        with self._lock:
            self._scripts.append(_Script(fault))
        return fault

    def remove(self, fault: Fault) -> None:
        """Remove this fault, used up or not. Does nothing if it is not in the list."""
        with self._lock:
            self._scripts = [script for script in self._scripts if script.fault is not fault]

    def met(self, fault: Fault) -> int:
        """Return the number of calls that met this fault."""
        with self._lock:
            return sum(script.used for script in self._scripts if script.fault is fault)

    def clear(self) -> int:
        """Remove all faults. Return their number."""
        with self._lock:
            count = len(self._scripts)
            self._scripts.clear()
            return count

    def meet(self, operation_id: str, query: Mapping[str, str]) -> Met:
        """Return the faults of a call, and count the call for each of them."""
        met = Met()
        with self._lock:
            for script in self._scripts:
                fault = script.fault
                if script.over or not fault.matches(operation_id, query):
                    continue
                if script.passed < fault.after:
                    script.passed += 1
                    continue
                if fault.kind in _WIRE and met.wire is None:
                    met.wire = fault
                elif fault.kind not in _WIRE and fault.kind not in met.shaping:
                    met.shaping[fault.kind] = fault
                else:
                    continue
                script.used += 1
        return met

    def view(self) -> list[dict[str, Any]]:
        """Return all faults since the last clear, with the number of calls that met each."""
        with self._lock:
            return [
                {
                    "operation": script.fault.operation,
                    "kind": script.fault.kind,
                    "times": script.fault.times,
                    "met": script.used,
                }
                for script in self._scripts
            ]
