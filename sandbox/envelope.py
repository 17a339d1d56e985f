"""The envelope of every response of the API: `{success, errors, messages, result, result_info?}`.

Observed codes: 1000 and 10000 (authentication), 6003, 7001, 7003, 9103, 9106, 9109. Codes from 10400 are the sandbox's
own, named after their HTTP status: the API only documents that codes are 1000 or more.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

INVALID_TOKEN: Final = 1000
INVALID_HEADERS: Final = 6003
NO_SUCH_METHOD: Final = 7001
NO_SUCH_ROUTE: Final = 7003
UNKNOWN_KEY: Final = 9103
MISSING_HEADERS: Final = 9106
ADDRESS_NOT_ALLOWED: Final = 9109
AUTHENTICATION: Final = 10000
BAD_REQUEST: Final = 10400
NOT_FOUND: Final = 10404
CONFLICT: Final = 10409
TOO_MANY_REQUESTS: Final = 10429


@dataclass(frozen=True, slots=True)
class Notice:
    """An entry of `errors` or `messages`. `pointer` is a JSON pointer into the body, or `/` and a parameter's name."""

    code: int
    message: str
    pointer: str | None = None

    def view(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.pointer is not None:
            shown["source"] = {"pointer": self.pointer}
        return shown


class ApiError(Exception):
    """A refused request, with the API's errors."""

    def __init__(self, status: int, *notices: Notice, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, notices)
        self.status = status
        self.notices = notices
        self.headers = headers or {}


def success(result: object, result_info: dict[str, Any] | None = None, messages: Sequence[Notice] = ()) -> bytes:
    """Return the body of a successful response."""
    body: dict[str, Any] = {
        "success": True,
        "errors": [],
        "messages": [notice.view() for notice in messages],
        "result": result,
    }
    if result_info is not None:
        body["result_info"] = result_info
    return encode(body)


def failure(*notices: Notice) -> bytes:
    """Return the body of a refusal."""
    return encode({"success": False, "errors": [n.view() for n in notices], "messages": [], "result": None})


def encode(body: object) -> bytes:
    """Return JSON in ASCII, because mail can contain lone surrogates, which UTF-8 can't encode."""
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def page_info(count: int, per_page: int, next_cursor: str | None = None) -> dict[str, Any]:
    """Return result_info of the search and of bulk jobs. `page` and `total_count` are deprecated, required, and 0."""
    return {
        "count": count,
        "page": 0,
        "per_page": per_page,
        "total_count": 0,
        "next": next_cursor,
        "previous": None,
    }


def numbered_page_info(count: int, per_page: int, page: int, total_count: int) -> dict[str, Any]:
    """Return result_info of a list with page numbers, with all fields correct."""
    return {"count": count, "page": page, "per_page": per_page, "total_count": total_count}
