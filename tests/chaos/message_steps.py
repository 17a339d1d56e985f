"""What a call saw of messages and sent about them by their IDs, step by step, as the wire shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from sandbox.account import Account
from sandbox.delivery import Done
from tests.chaos.odd_service import ODDITY

_SEARCH = re.compile(r"/investigate$")
_MESSAGE = re.compile(r"/investigate/([^/]+?)(/action_log)?$")
_CHANGE = re.compile(r"/investigate/(move|release)$")


@dataclass(frozen=True)
class Look:
    """A search, or a call for one message or its log, that was answered. shown: investigate IDs. seen: how many changes
    the account had made by then.

    One that was refused shows nothing: nobody can look there.
    """

    start: datetime | None
    end: datetime | None
    shown: frozenset[str]
    seen: int
    asked: str | None = None

    def covers(self, investigate_id: str, at: datetime) -> bool:
        if self.start is None or self.end is None:
            return self.asked == investigate_id
        return self.start <= at <= self.end


@dataclass(frozen=True)
class Sent:
    """A POST of these IDs. lost: its answer does not say what was done. changed: what the sandbox says was done.

    nameless: a row of the answer does not say which message it speaks of.
    """

    ids: tuple[str, ...]
    lost: bool
    nameless: bool
    changed: tuple[Done, ...]


def step_of(
    request: httpx.Request,
    response: httpx.Response | httpx.TransportError,
    envelope: Mapping[str, Any] | None,
    account: Account,
    before: int,
) -> Look | Sent | None:
    """The step that a request was, if it was one. before: how many changes the account had made until then."""
    status = response.status_code if isinstance(response, httpx.Response) else None
    odd = isinstance(response, httpx.Response) and ODDITY in response.extensions
    good = status is not None and 200 <= status < 300 and envelope is not None and envelope.get("success") is True
    good = good and not odd
    # That nothing was done stands in its head, whatever became of its body.
    refused_for_now = status == 429 and envelope is None
    rows = envelope["result"] if good and envelope is not None else []
    if request.method == "GET" and _SEARCH.search(request.url.path) and (status == 400 or (good and status == 200)):
        start, end = (request.url.params.get(name) for name in ("start", "end"))
        # A preview's search may be open at its end: it looks for no message by its ID.
        if start is None or end is None:
            return None
        shown = frozenset(row["id"] for row in rows)
        return Look(datetime.fromisoformat(start), datetime.fromisoformat(end), shown, len(account.delivery.done))
    named = _MESSAGE.search(request.url.path)
    if request.method == "GET" and named and named[1] != "bulk" and (status in (400, 404) or (good and status == 200)):
        one = named[1]
        return Look(None, None, frozenset([one] if good else []), len(account.delivery.done), one)
    if request.method == "POST" and _CHANGE.search(request.url.path):
        return Sent(
            ids=tuple(json.loads(request.content)["ids"]),
            lost=not refused_for_now
            and (odd or (not good and (status is None or status < 400 or status == 408 or status >= 500))),
            nameless=any((row.get("message_id") or row.get("id")) is None for row in rows),
            # Those of jobs are not of this call.
            changed=tuple(done for done in account.delivery.done[before:] if done.job_id is None),
        )
    return None
