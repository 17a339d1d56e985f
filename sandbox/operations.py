"""The operations of the remote API by the names of its contract, with what each needs."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

BASE_PATH: Final = "/client/v4"
CONTROL_PATH: Final = "/_sandbox"

Permission = Literal["none", "read", "write"]
UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Operation:
    """One operation. `permission` is what a token must at least have; write includes read."""

    id: str
    method: str
    path: str
    permission: Permission

    @property
    def token_groups(self) -> list[str] | None:
        """The permissions that the contract names, one of them is enough; None where it names none."""
        if self.permission == "none" or self.id in _PERMISSION_NOT_NAMED:
            return None
        write = ["Cloud Email Security: Write"]
        return write if self.permission == "write" else [*write, "Cloud Email Security: Read"]

    @property
    def extensions(self) -> dict[str, object]:
        """The fields that the contract has beyond OpenAPI's own."""
        confirmed = {"x-forge-require-confirmation": True} if self.id in _CONFIRMED else {}
        return {"x-stability": "beta", "x-api-token-group": self.token_groups, **confirmed}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", BASE_PATH + self.path))


# The sandbox asks for Write, as an assumption.
_PERMISSION_NOT_NAMED: Final = frozenset({"deleteBulkJob"})

# The vendor marks them for a confirmation by the user of a client that is generated from the contract.
_CONFIRMED: Final = frozenset({"deleteBulkJob"})

_INVESTIGATE: Final = "/accounts/{account_id}/email-security/investigate"

VERIFY_USER_TOKEN: Final = Operation("verifyUserToken", "GET", "/user/tokens/verify", "none")
VERIFY_ACCOUNT_TOKEN: Final = Operation("verifyAccountToken", "GET", "/accounts/{account_id}/tokens/verify", "none")
SEARCH_MESSAGES: Final = Operation("searchMessages", "GET", _INVESTIGATE, "read")
LIST_JOBS: Final = Operation("listBulkJobs", "GET", _INVESTIGATE + "/bulk", "read")
CREATE_JOB: Final = Operation("createBulkJob", "POST", _INVESTIGATE + "/bulk", "write")
GET_JOB: Final = Operation("getBulkJob", "GET", _INVESTIGATE + "/bulk/{job_id}", "read")
DELETE_JOB: Final = Operation("deleteBulkJob", "DELETE", _INVESTIGATE + "/bulk/{job_id}", "write")
CANCEL_JOB: Final = Operation("cancelBulkJob", "POST", _INVESTIGATE + "/bulk/{job_id}/cancel", "write")
LIST_JOB_MESSAGES: Final = Operation("listBulkJobMessages", "GET", _INVESTIGATE + "/bulk/{job_id}/messages", "read")
MOVE_MESSAGES: Final = Operation("moveMessages", "POST", _INVESTIGATE + "/move", "write")
RELEASE_MESSAGES: Final = Operation("releaseMessages", "POST", _INVESTIGATE + "/release", "write")
GET_MESSAGE: Final = Operation("getMessage", "GET", _INVESTIGATE + "/{investigate_id}", "read")
LIST_MESSAGE_ACTIONS: Final = Operation(
    "listMessageActions", "GET", _INVESTIGATE + "/{investigate_id}/action_log", "read"
)
GET_MESSAGE_PREVIEW: Final = Operation("getMessagePreview", "GET", _INVESTIGATE + "/{investigate_id}/preview", "read")
MOVE_MESSAGE: Final = Operation("moveMessage", "POST", _INVESTIGATE + "/{investigate_id}/move", "write")

OPERATIONS: Final = (
    VERIFY_USER_TOKEN,
    VERIFY_ACCOUNT_TOKEN,
    SEARCH_MESSAGES,
    LIST_JOBS,
    CREATE_JOB,
    GET_JOB,
    DELETE_JOB,
    CANCEL_JOB,
    LIST_JOB_MESSAGES,
    MOVE_MESSAGES,
    RELEASE_MESSAGES,
    MOVE_MESSAGE,
    # After the paths that have a fixed name in the place of the ID.
    GET_MESSAGE,
    LIST_MESSAGE_ACTIONS,
    GET_MESSAGE_PREVIEW,
)
OPERATION_IDS: Final = frozenset(operation.id for operation in OPERATIONS)


@dataclass(frozen=True, slots=True)
class Route:
    """What a request line means. `operation` is None if there is no such path, or no such method for it."""

    operation: Operation | None
    known_path: bool
    account_id: str | None = None

    @property
    def operation_id(self) -> str:
        return self.operation.id if self.operation else UNKNOWN


def route(method: str, path: str) -> Route:
    """Find the operation of a request."""
    known_path = False
    for operation in OPERATIONS:
        match = operation.pattern.fullmatch(path)
        if match is None:
            continue
        if operation.method == method:
            return Route(operation, known_path=True, account_id=match.groupdict().get("account_id"))
        known_path = True
    return Route(None, known_path=known_path)
