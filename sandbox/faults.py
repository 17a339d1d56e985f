"""Bad days on demand: faults scripted per operation, for so many calls, after so many that pass.

Those of the wire (a call meets at most one of them):

| kind | what the caller sees | fields |
| --- | --- | --- |
| drop_before | the connection closed, nothing took effect | reset |
| drop_after | the connection closed, but it took effect | reset |
| delay | the answer after so many real seconds | seconds, applied |
| status | an error in the API's envelope | status, code, message, applied, retry_after |
| html | an error page of the edge | status, applied |
| truncate | the right content-length, a part of the body, and the connection closed | keep |
| cut_json | a whole answer whose JSON stops in the middle | keep |
| rate_limit | 429; with `block`, every call with this token until then | retry_after, block |
| success_false | 200 with `success: false` | code, message, applied |
| address_denied | 403 with code 9109 | |

`applied` says that the call took effect all the same. Those of the answer (a call can meet several):

| kind | what the caller sees | fields |
| --- | --- | --- |
| empty_page | an empty page in the middle of a list | page |
| shift_rows | page 2 and later start `by` rows too early, or too late if negative | by |
| repeat_page | the first page for every page number and every cursor | |
| cursor | `result_info.next` on lists that have none | |
| slow_search | 202 and a Location that has the result so many seconds (of the clock) later | seconds, location |
| notice | a good answer with this code in `messages` | code, message |
| rewrite | fields of each result set or removed, by their dotted names | set, remove |
| fail_job | a job that ends as FAILED after so many rows | rows |
| lag | a list of jobs without those created less than so many seconds (of the clock) ago | seconds |

`cursor`, `lag` and `repeat_page` last until they are cleared, unless `times` is given.
"""

import threading
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sandbox import envelope
from sandbox.operations import OPERATION_IDS, UNKNOWN

Kind = Literal[
    "drop_before",
    "drop_after",
    "delay",
    "status",
    "html",
    "truncate",
    "cut_json",
    "rate_limit",
    "success_false",
    "address_denied",
    "empty_page",
    "shift_rows",
    "repeat_page",
    "cursor",
    "slow_search",
    "notice",
    "rewrite",
    "fail_job",
    "lag",
]

# What each kind takes beyond operation, kind, times and after, with the value it has when not given.
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
_WIRE: Final[frozenset[Kind]] = frozenset(
    {
        "drop_before",
        "drop_after",
        "delay",
        "status",
        "html",
        "truncate",
        "cut_json",
        "rate_limit",
        "success_false",
        "address_denied",
    }
)
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
    """One scripted fault. `times` is None for as long as it isn't cleared; `after` calls pass before it begins."""

    model_config = ConfigDict(extra="forbid", strict=True)

    operation: str = Field(description="An operationId of the API, or * for every call.")
    kind: Kind
    times: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(1, description="How many calls it meets.")
    after: int = Field(0, ge=0, le=1_000_000, description="How many matching calls pass before it begins.")
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
    keep: Annotated[int, Field(ge=0)] | None = Field(None, description="Bytes of the body; half of it if not given.")
    rows: Annotated[int, Field(ge=0)] | None = None
    location: Annotated[str, Field(pattern=r"^[!-~]{1,2000}$")] | None = None
    set: dict[str, Any] | None = None
    remove: list[str] | None = None

    @field_validator("operation")
    @classmethod
    def _known(cls, operation: str) -> str:
        if operation not in OPERATION_IDS | {"*", UNKNOWN}:
            raise ValueError(f"no such operation; there are *, {', '.join(sorted(OPERATION_IDS))}")
        return operation

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        mine = _DEFAULTS[self.kind]
        strange = self.model_fields_set - {"operation", "kind", "times", "after"} - mine.keys()
        if strange:
            takes = ", ".join(sorted(mine)) or "nothing"
            raise ValueError(f"{', '.join(sorted(strange))}: not for kind {self.kind}, which takes {takes}")
        operations = _ONLY_FOR.get(self.kind)
        if operations is not None and self.operation not in operations | {"*"}:
            raise ValueError(f"kind {self.kind} is only for {', '.join(sorted(operations))}")
        if self.kind == "delay" and (self.seconds or 0) > 60:
            raise ValueError("a delay is real time: at most 60 seconds")
        if self.kind == "rate_limit" and self.block and isinstance(self.retry_after, str):
            raise ValueError("a block needs its retry_after as a number of seconds")
        for name, value in mine.items():
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
    """The faults that one call meets: at most one of the wire, any number of the answer."""

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
    """The faults still to come, in the order in which they were scripted."""

    def __init__(self) -> None:
        self._scripts: list[_Script] = []
        self._lock = threading.Lock()

    def add(self, operation: str, kind: Kind, **fields: Any) -> Fault:
        """Script one. Raises pydantic.ValidationError for a field that this kind doesn't have."""
        return self.enter(Fault.model_validate({"operation": operation, "kind": kind, **fields}))

    def enter(self, fault: Fault) -> Fault:
        with self._lock:
            self._scripts.append(_Script(fault))
        return fault

    def clear(self) -> int:
        """Forget all, and say how many there were."""
        with self._lock:
            count = len(self._scripts)
            self._scripts.clear()
            return count

    def meet(self, operation_id: str, query: Mapping[str, str]) -> Met:
        """What happens to this call. Counts it: a fault for two calls is over after two."""
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
        """All that were scripted since the last clearing, with how often each was met."""
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
