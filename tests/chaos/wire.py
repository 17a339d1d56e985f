"""The way to the sandbox, with an eye on it: whose turn it is, what each request did, what each answer showed.

One request is under way at a time, so what the sandbox did between its beginning and its end was done by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from sandbox.account import Account, Effect
from sandbox.clock import SECOND, Instant
from sandbox.delivery import Done
from sandbox.jobs import Job
from tests.chaos.message_steps import Look, Sent, step_of
from tests.chaos.odd_service import ODDITY, Body, OddService
from tests.chaos.schedule import Kill
from tests.chaos.workers import Actor, ActorClock, Killed

# What a client may see of a connection that was dropped; a silent one is told as a timeout instead of waited for.
DROPPED: tuple[type[httpx.TransportError], ...] = (httpx.RemoteProtocolError, httpx.ReadError, httpx.ReadTimeout)

_BULK = re.compile(r"/investigate/bulk(?:/([0-9A-Fa-f-]{36}))?(/cancel|/messages)?$")


@dataclass(frozen=True)
class Made:
    """A job that a call's POST made.

    created_at: as the service shows it. shown: what the call's last look at the list had shown, None if it had no look.
    """

    job: Job
    created_at: Instant
    call: Call
    at: float
    shown: Mapping[str, str] | None
    looked_at: float | None


@dataclass
class Call:
    """One call of an action: what it asked for, what it did by the sandbox's word, how it ended.

    asked: the parameters as the worker was given them, before a plan took the place of some. code: the exit code, None
    where the worker was killed. shown: job to status, in the last good look at the list. changes_before: how many
    changes the account had made when it began. steps: what it saw of messages and sent about them by their IDs.
    troubled: an answer was not as it should be. forged: its plan is. requests: how many it made. silence: the longest
    time from one request to the next, or to its end. told_to_wait: the longest that the service asked for.
    """

    worker: str
    action: str
    params: Mapping[str, Any]
    asked: Mapping[str, Any]
    began: float
    changes_before: int = 0
    forged: bool = False
    steps: list[Look | Sent] = field(default_factory=list)
    troubled: bool = False
    effects: list[Effect] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    refused: bool = False
    shown: dict[str, str] | None = None
    looked_at: float | None = None
    last_page: int | None = None
    last_step: int = 0
    asked_to_cancel: set[str] = field(default_factory=set)
    code: int | None = None
    document: dict[str, Any] = field(default_factory=dict)
    ended: float = 0.0
    requests: int = 0
    silence: float = 0.0
    told_to_wait: float = 0.0
    deadline_seconds: float | None = None
    heard_at: float | None = None

    def moves_on(self, now: float) -> None:
        """Note a sign of life."""
        self.silence = max(self.silence, now - (self.began if self.heard_at is None else self.heard_at))
        self.heard_at = now

    def look_at(self, page: int | None, rows: Mapping[str, str], now: float) -> None:
        """Take in a page of the list; None for one that a cursor leads to.

        A look goes through the list in one direction, and may begin behind the last page.
        """
        if page is None:
            page = (self.last_page or 0) + 1
        step = 0 if self.last_page is None else page - self.last_page
        if step == 0 or abs(step) > 2:
            self.shown, self.looked_at, step = {}, now, 0
        elif step * self.last_step < 0:
            self.looked_at, step = now, 0
        self.last_page, self.last_step = page, step
        self.shown = {**(self.shown or {}), **rows}

    @property
    def plan(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.params.get("plan")
        return found

    @property
    def sent(self) -> list[Sent]:
        return [step for step in self.steps if isinstance(step, Sent)]

    @property
    def changed(self) -> list[Done]:
        """The copies of messages that it changed by their IDs."""
        return [done for sent in self.sent for done in sent.changed]

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.document.get("error") or {})


class Story:
    """What happened, line by line, for whoever has to understand it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[str, str] = {}

    def name(self, job_id: str) -> str:
        return self._names.setdefault(job_id, f"job{len(self._names) + 1}")

    def tell(self, at: float, who: str, what: str) -> None:
        for job_id, name in self._names.items():
            what = what.replace(job_id, name)
        self.lines.append(f"{at:9.3f}  {who:<4} {what}")


class Wire(httpx.BaseTransport):
    """One worker's transport. `call` is the one under way."""

    def __init__(
        self,
        actor: Actor,
        account: Account,
        story: Story,
        *,
        clock: ActorClock | None = None,
        kills: tuple[Kill, ...] = (),
        jump: tuple[int, float] | None = None,
        page_limit: int | None = None,
        service: OddService,
        connect: Callable[[], httpx.BaseTransport],
    ) -> None:
        self.call: Call | None = None
        self.requests = 0
        self._actor = actor
        self._account = account
        self._story = story
        self._clock = clock
        self._kills = {kill.at: kill for kill in kills}
        self._jump = jump
        self._page_limit = page_limit
        self._service = service
        self._connect = connect
        self._inner = connect()

    def close(self) -> None:
        """A process has ended: the next one brings its own connections."""
        self._inner.close()
        self._inner = self._connect()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._actor.give_way()
        self._time_passes(request)
        number, self.requests = self.requests, self.requests + 1
        kill = self._kills.get(number)
        if self._jump is not None and self._jump[0] == number and self._clock is not None:
            self._clock.set_by += self._jump[1]
        if kill is not None and not kill.sent:
            self._tell(f"killed before {_words(request)}")
            raise Killed
        effects, changes = len(self._account.effects), len(self._account.delivery.done)
        self._about_to(request)
        response, pause = self._service.answer(request, self.typed_answer, self._actor)
        self._note(request, response, self._account.effects[effects:], changes)
        if kill is not None:
            self._tell("killed before it saw the answer")
            raise Killed
        if pause:
            self._wait_for_answer(pause)
        if isinstance(response, httpx.TransportError):
            raise response
        return response

    def _wait_for_answer(self, seconds: float) -> None:
        """What the service takes for a look's first page is no delay of the client's own: it can't know it sooner."""
        self._actor.rest(seconds)
        if self.call is not None and self.call.looked_at is not None and self.call.last_step == 0:
            self.call.looked_at += seconds

    def _time_passes(self, request: httpx.Request) -> None:
        """Now and then none between two creates: their jobs are then of one instant. Other requests take time."""
        chance = self._actor.stage.chance
        instant = request.method == "POST" and chance.random() < 0.3
        self._actor.stage.let_pass(0.0 if instant else chance.uniform(0.001, 0.2))

    def _about_to(self, request: httpx.Request) -> None:
        found = _BULK.search(request.url.path)
        if self.call is not None:
            self.call.requests += 1
            self.call.moves_on(self._actor.stage.now)
        if self.call is None or found is None:
            return
        if found[2] == "/cancel":
            self.call.asked_to_cancel.add(found[1].lower())
        if self._page_limit is not None and "per_page" in request.url.params:
            limited = min(self._page_limit, int(request.url.params["per_page"]))
            request.url = request.url.copy_set_param("per_page", str(limited))

    def typed_answer(self, request: httpx.Request) -> httpx.Response | httpx.TransportError:
        """The answer, or what breaks off: where the head of it came, the body breaks."""
        try:
            response = self._inner.handle_request(request)
        except httpx.TransportError:
            return self._actor.stage.chance.choice(DROPPED)("dropped", request=request)
        chunks: list[bytes] = []
        broken: httpx.TransportError | None = None
        try:
            # Iterated, not read: what came before the break is passed on.
            chunks.extend(cast("httpx.SyncByteStream", response.stream))
        except httpx.TransportError:
            broken = self._actor.stage.chance.choice(DROPPED)("broken off", request=request)
        finally:
            response.close()
        body = Body(chunks, broken)
        return httpx.Response(response.status_code, headers=response.headers, stream=body)

    def _note(
        self,
        request: httpx.Request,
        response: httpx.Response | httpx.TransportError,
        effects: list[Effect],
        changes_before: int,
    ) -> None:
        body = b"" if isinstance(response, httpx.TransportError) else cast("Body", response.stream).whole
        envelope = _envelope(body)
        told = type(response).__name__ if isinstance(response, httpx.TransportError) else str(response.status_code)
        if isinstance(response, httpx.Response) and envelope is None:
            told += ", no envelope"
        elif envelope is not None and envelope.get("success") is not True:
            told += ", success: false"
        odd = response.extensions.get(ODDITY) if isinstance(response, httpx.Response) else None
        told += f" ({odd})" if odd else ""
        listed = self._listed(request, response, envelope)
        for effect in effects:
            if effect.operation == "createBulkJob":
                self._story.name(effect.touched[0])
        if listed:
            told += " " + ", ".join(f"{self._story.name(job_id)} {status}" for job_id, status in listed.items())
        step = step_of(request, response, envelope, self._account, changes_before)
        for effect in effects:
            touched = ", ".join(effect.touched)
            if isinstance(step, Sent):
                touched = f"{len(effect.touched)} messages, {len(step.changed)} copies changed"
            told += f"   [{effect.operation}: {touched}]"
        self._tell(f"{_words(request)} -> {told}")
        call = self.call
        if call is None:
            return
        call.effects += effects
        call.steps += [] if step is None else [step]
        call.troubled |= envelope is None or envelope.get("success") is not True or odd is not None
        for effect in effects:
            if effect.operation == "createBulkJob":
                job = self._account.jobs.all[effect.touched[0]]
                shown = None if call.shown is None else dict(call.shown)
                whole = self._service.oddities.whole_seconds
                created_at = job.created_at // SECOND * SECOND if whole else job.created_at
                call.made.append(Made(job, created_at, call, self._actor.stage.now, shown, call.looked_at))
        if isinstance(response, httpx.Response):
            wait = response.headers.get("retry-after", "")
            call.told_to_wait = max(call.told_to_wait, float(wait) if wait.isdigit() else 300.0 if wait else 0.0)
        # An answer that contradicts itself is no refusal.
        if isinstance(response, httpx.Response) and odd is None:
            call.statuses.add(response.status_code)
            said_no = envelope is not None and envelope.get("success") is False
            call.refused |= said_no and response.status_code not in (429, 408) and response.status_code < 500
            # A 404 without a body is one of another address.
            call.refused |= response.status_code == 404

    def _listed(
        self, request: httpx.Request, response: httpx.Response | httpx.TransportError, envelope: dict[str, Any] | None
    ) -> dict[str, str]:
        """The jobs that this page of the list shows; those of the account's other users left out."""
        found = _BULK.search(request.url.path)
        good = isinstance(response, httpx.Response) and response.status_code == 200 and envelope is not None
        if self.call is not None and (found is None or request.method != "GET" or found[1] or found[2]):
            self.call.last_page = None
        if not good or found is None or request.method != "GET" or found[1] or found[2] or envelope is None:
            return {}
        if envelope.get("success") is not True:
            return {}
        known = {effect.touched[0] for effect in self._account.effects if effect.operation == "createBulkJob"}
        rows = {row["job_id"].lower(): str(row["status"]) for row in envelope["result"]}
        rows = {job_id: status for job_id, status in rows.items() if job_id in known}
        if self.call is not None:
            page = request.url.params.get("page")
            self.call.look_at(None if page is None else int(page), rows, self._actor.stage.now)
        return rows

    def _tell(self, what: str) -> None:
        self._story.tell(self._actor.stage.now, self._actor.name, what)


def _envelope(body: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(body)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _words(request: httpx.Request) -> str:
    path = request.url.path.partition("/investigate")[2]
    page = request.url.params.get("page", "")
    cursor = " by cursor" if "cursor" in request.url.params else ""
    return f"{request.method} investigate{path}" + (f" page {page}" if page else cursor)
