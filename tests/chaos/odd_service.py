"""Plays a case's oddities between the sandbox and its workers: one for all of them."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from typing import Any, cast

import httpx

from sandbox.account import Account
from sandbox.clock import as_datetime, iso
from sandbox.jobs import Job, JobOrder
from sandbox.operations import route
from sandbox.search import Criteria
from tests.chaos.made_up import made_up
from tests.chaos.oddities import ENDLESS_BODIES, ENDLESS_HEADS, OddAnswer, Oddities, Place
from tests.chaos.workers import Actor

# What a body that never ends sends before its connection breaks: far longer than anybody may wait for it.
ENDLESS_SECONDS = 700
PIECES = 5

# Where a job, or a list of jobs, is shown.
SHOWN: dict[str, Place] = {
    "listBulkJobs": "list",
    "createBulkJob": "create",
    "getBulkJob": "get",
    "cancelBulkJob": "get",
}

ODDITY = "oddity"
OTHERS = "somebody else"

Send = Callable[[httpx.Request], httpx.Response | httpx.TransportError]
Answered = httpx.Response | httpx.TransportError


class Body(httpx.SyncByteStream):
    """What came of a body, and what broke it off. pause: what passes before each piece."""

    def __init__(
        self,
        chunks: Sequence[bytes],
        broken: httpx.TransportError | None,
        pause: Callable[[], object] = lambda: None,
        *,
        endless: bool = False,
    ) -> None:
        self._chunks = chunks
        self._broken = broken
        self._pause = pause
        self._endless = endless

    @property
    def whole(self) -> bytes:
        return b"" if self._broken is not None or self._endless else b"".join(self._chunks)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._pause()
            yield chunk
        if self._broken is not None:
            raise self._broken


def new_foreign_job(account: Account, comment: str | None, *, ended: bool = False) -> Job:
    """Have somebody else make a job, which finds nothing."""
    nobody = Criteria(sender="nobody@elsewhere.example")
    order = JobOrder(
        action="MOVE",
        destination="Inbox",
        expected_disposition=None,
        comment=comment,
        criteria=nobody,
        search_params={"sender": nobody.sender},
    )
    with account.present() as now:
        job = account.jobs.create(order, now, OTHERS)
        if ended:
            job.end("COMPLETED", now)
        return job


@dataclass
class _Script:
    odd: OddAnswer
    passed: int = 0
    used: int = 0


class OddService:
    """met: how often each kind was met. gone: others' jobs that others deleted."""

    def __init__(self, oddities: Oddities, account: Account, chance: random.Random, *, page_limit: int | None) -> None:
        self.oddities = oddities
        self.met: Counter[str] = Counter()
        self.gone: set[str] = set()
        self._account = account
        self._chance = chance
        self._page_size = page_limit
        self._churn = oddities.churn
        self._contradictions = [_Script(odd) for odd in oddities.contradictions]
        self._slow = [_Script(odd) for odd in oddities.slow]

    def calm(self) -> None:
        """From now on no answer is odd. What the service shows stays as it is, and others still work beside."""
        self._contradictions, self._slow, self._churn = [], [], min(1, self.oddities.churn)

    def listed(self, jobs: Sequence[Job]) -> list[Job]:
        """The list in this service's order. jobs: the latest first."""
        order = self.oddities.order
        if order != "latest first" and len(jobs) > 1:
            self.met[f"list, {order}"] += 1
        if order == "by job ID":
            return sorted(jobs, key=lambda job: job.job_id)
        return list(reversed(jobs)) if order == "earliest first" else list(jobs)

    def answer(self, request: httpx.Request, send: Send, actor: Actor) -> tuple[Answered, float]:
        """The answer, and the seconds until it is there."""
        operation = route(request.method, request.url.path).operation_id
        if operation == "listBulkJobs":
            self._let_others_work(int(request.url.params.get("page", "1")))
        slow = self._meets(self._slow, operation)
        contradiction = self._meets(self._contradictions, operation)
        if slow is not None and slow.form in (*ENDLESS_HEADS, *ENDLESS_BODIES) and not slow.applied:
            response: Answered = httpx.Response(200, stream=Body([], None))
        elif contradiction is not None:
            response = self._contradicted(contradiction, request, operation, send)
        else:
            response = send(request)
        if isinstance(response, httpx.TransportError):
            return response, 0.0
        self._show(response, operation)
        self._date(response)
        return (response, 0.0) if slow is None else self._slowed(slow, request, response, actor)

    def _meets(self, scripts: Sequence[_Script], operation: str) -> OddAnswer | None:
        for script in scripts:
            if script.odd.operation != operation or script.used >= script.odd.times:
                continue
            if script.passed < script.odd.after:
                script.passed += 1
                continue
            script.used += 1
            return script.odd
        return None

    # Lists that change while they are read

    def _let_others_work(self, page: int) -> None:
        """Somebody else makes a job; or deletes so many as move the first job of a worker to the page before."""
        if not self._churn or page < 2 or self._page_size is None:
            return
        jobs, start = self._account.jobs.list_jobs(), (page - 1) * self._page_size
        places = [place for place, job in enumerate(jobs) if job.requested_by != OTHERS]
        rows = places[0] - start + 1 if places else 0
        ended = [job for job in jobs[:start] if job.ended]
        if 0 < rows <= min(self._page_size, len(ended)):
            for gone in self._chance.sample(ended, rows):
                self._account.jobs.delete(gone)
                self.gone.add(gone.job_id)
            self.met["list, a row hidden between two pages"] += 1
            self._churn -= 1
        elif self._chance.random() < 0.1:
            new_foreign_job(self._account, None, ended=True)
            self.met["list, a row added between two pages"] += 1

    # What is shown

    def _show(self, response: httpx.Response, operation: str) -> None:
        place = SHOWN.get(operation)
        envelope = _envelope(response)
        if place is None or envelope is None or not 200 <= response.status_code < 300:
            return
        result = envelope.get("result")
        if isinstance(result, list):
            rows = [self._shown(row, place) for row in result]
            if self.oddities.repeats_rows and rows:
                self.met["list, a row twice on a page"] += 1
                rows.insert(self._chance.randrange(len(rows) + 1), self._chance.choice(rows))
            envelope["result"] = rows
        elif isinstance(result, dict):
            envelope["result"] = self._shown(result, place)
        _set_body(response, envelope)

    def _shown(self, row: dict[str, Any], place: Place) -> dict[str, Any]:
        oddities, row = self.oddities, dict(row)
        # Another fault may have taken a field out.
        if place in oddities.odd_case and isinstance(row.get("job_id"), str):
            row["job_id"] = self._chance.choice((row["job_id"].upper(), row["job_id"].title()))
            self.met[f"job ID in another case, {place}"] += 1
        if oddities.whole_seconds and isinstance(row.get("created_at"), str):
            row["created_at"] = re.sub(r"\.\d+Z$", "Z", row["created_at"])
            self.met["created_at in whole seconds"] += 1
        stamp, comment = oddities.stamp, row.get("comment")
        if stamp is not None and place in stamp.places and isinstance(comment, str) and comment.startswith("[cfes:"):
            row["comment"] = _as_shown(comment, stamp.form)
            self.met[f"stamp shown {stamp.form}, {place}"] += 1
        return row

    def _date(self, response: httpx.Response) -> None:
        told = response.headers.get("retry-after", "")
        if not told:
            return
        if not told.isdigit():
            self.met["Retry-After that can't be read"] += 1
        elif self.oddities.dates == "no":
            self.met["Retry-After: 0"] += told == "0"
        else:
            now = as_datetime(self._account.clock.now())
            at = now + timedelta(seconds=int(told))
            response.headers["retry-after"] = format_datetime(at, usegmt=True)
            response.headers.pop("date", None)
            if self.oddities.dates == "with date":
                response.headers["date"] = format_datetime(now, usegmt=True)
            self.met["Retry-After as a date"] += 1

    # Answers that contradict themselves

    def _contradicted(self, odd: OddAnswer, request: httpx.Request, operation: str, send: Send) -> Answered:
        result = made_up(request, operation, iso(self._account.clock.now()), self._chance)
        if odd.applied:
            response = send(request)
            envelope = None if isinstance(response, httpx.TransportError) else _envelope(response)
            if isinstance(response, httpx.TransportError) or envelope is None or envelope.get("success") is not True:
                return response
            result = envelope["result"]
        headers = {"location": f"{request.url.copy_with(path='/elsewhere')}"} if odd.form == "redirect" else {}
        envelope = {"success": True, "errors": [], "messages": [], "result": result}
        if odd.form == "2xx with a failure":
            notice = {"code": 10400, "message": "The request could not be processed"}
            envelope |= {"success": False, "errors": [notice]}
        if odd.form == "success without a result":
            envelope["result"] = None
        response = httpx.Response(odd.status, headers=headers, stream=Body([], None))
        response.extensions[ODDITY] = f"{odd.form}, {'applied' if odd.applied else 'not applied'}"
        _set_body(response, envelope)
        self.met[f"{operation}: {response.extensions[ODDITY]}"] += 1
        return response

    # Answers that take their time

    def _slowed(
        self, odd: OddAnswer, request: httpx.Request, response: httpx.Response, actor: Actor
    ) -> tuple[Answered, float]:
        self.met[
            odd.form if odd.form not in ENDLESS_HEADS + ENDLESS_BODIES or odd.applied else f"{odd.form}, not applied"
        ] += 1
        silence = float(request.extensions["timeout"]["read"])
        if odd.form in ENDLESS_HEADS or (odd.form == "late head" and odd.seconds > silence):
            # What a client that bounds the whole head sees: it was never silent, and never there.
            return httpx.ReadTimeout(odd.form, request=request), silence
        if odd.form == "late head":
            return response, odd.seconds
        body = cast("Body", response.stream).whole
        if odd.form == "trickled body":
            size = max(1, len(body) // PIECES)
            pieces = [body[start : start + size] for start in range(0, len(body), size)]
            pause = odd.seconds / max(1, len(pieces))
            response.stream = Body(pieces, None, lambda: actor.rest(pause))
            return response, 0.0
        before = [body] if odd.form == "trailers without end" else [body[:7]]
        piece = b" " if odd.form == "body without end" else b""
        broken = httpx.RemoteProtocolError("broken off", request=request)
        response.stream = Body([*before, *[piece] * ENDLESS_SECONDS], broken, lambda: actor.rest(1.0), endless=True)
        response.headers.pop("content-length", None)
        response.extensions[ODDITY] = odd.form
        return response, 0.0


def _as_shown(comment: str, form: str) -> str | None:
    match form:
        case "null":
            return None
        case "cut":
            return comment[:30]
        case "padded":
            return f"  {comment}"
        case "upper case":
            return comment.upper()
        case "full width":
            return comment.replace("[", "\N{FULLWIDTH LEFT SQUARE BRACKET}").replace(":", "\N{FULLWIDTH COLON}")
        case "padded behind":
            return f"{comment}   "
    return comment.partition("]")[0] + "]"


def _envelope(response: httpx.Response) -> dict[str, Any] | None:
    try:
        parsed = json.loads(cast("Body", response.stream).whole)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _set_body(response: httpx.Response, envelope: object) -> None:
    body = json.dumps(envelope, separators=(",", ":")).encode("ascii")
    response.stream = Body([body], None)
    response.headers["content-length"] = str(len(body))
    response.headers["content-type"] = "application/json"
