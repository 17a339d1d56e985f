"""The operations of the API by their operation IDs, with their paths and permissions."""

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
    """An operation. `permission` is the minimum that a token needs; write includes read."""

    id: str
    method: str
    path: str
    permission: Permission

    @property
    def token_groups(self) -> list[str] | None:
        """Return the documented permissions, of which a token needs one, or None if none is documented."""
        if self.permission == "none" or self.id in _PERMISSION_NOT_NAMED:
            return None
        write = ["Cloud Email Security: Write"]
        return write if self.permission == "write" else [*write, "Cloud Email Security: Read"]

    @property
    def extensions(self) -> dict[str, object]:
        """Return the extension fields of the API's OpenAPI document."""
        confirmed = {"x-forge-require-confirmation": True} if self.id in _CONFIRMED else {}
        return {"x-stability": "beta", "x-api-token-group": self.token_groups, **confirmed}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", BASE_PATH + self.path))


# The sandbox requires Write, as an assumption.
_PERMISSION_NOT_NAMED: Final = frozenset({"deleteBulkJob"})

# Operations for which a generated client must ask its user for confirmation.
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
    # After the paths with a fixed name in place of the ID.
    GET_MESSAGE,
    LIST_MESSAGE_ACTIONS,
    GET_MESSAGE_PREVIEW,
)
OPERATION_IDS: Final = frozenset(operation.id for operation in OPERATIONS)


@dataclass(frozen=True, slots=True)
class Route:
    """The route of a request. `operation` is None if the path, or the method for it, does not exist."""

    operation: Operation | None
    known_path: bool
    account_id: str | None = None

    @property
    def operation_id(self) -> str:
        return self.operation.id if self.operation else UNKNOWN


def route(method: str, path: str) -> Route:
    """Return the route of a request."""
    known_path = False
    for operation in OPERATIONS:
        match = operation.pattern.fullmatch(path)
        if match is None:
            continue
        if operation.method == method:
            return Route(operation, known_path=True, account_id=match.groupdict().get("account_id"))
        known_path = True
    return Route(None, known_path=known_path)
