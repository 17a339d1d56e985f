"""The client of the Email Security API: a typed method for each operation, with streams for paged lists."""

from __future__ import annotations

import copy
import functools
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Self

from connectors import call_log
from connectors.call_record import CallRecord
from connectors.connection import Connection
from connectors.http.client import httpx
from connectors.objects.api_object import uuid_of
from connectors.objects.job import ActionType, BulkJob, BulkJobRequest, Destination, JobStatus
from connectors.objects.message_action import FIXED_PATHS, MOST_LOG_PAGES, MessageAction, is_last_page
from connectors.objects.message_change import MoveRow, ReleaseRow, check_ids, read_rows
from connectors.objects.search import SearchParams
from connectors.paging import slow_search
from connectors.paging.job_pages import pages_backwards, pages_forwards
from connectors.paging.pages import BOUNDS, LARGEST_PAGE, Page, Position, follow, sweep
from connectors.paging.read_ahead import ReadAhead
from connectors.paging.row_ids import RowIds
from connectors.transport import Answer, Call, Parse, Patience, Transport
from connectors.write_gate import WriteGate
from core.clock import Clock, Deadline, ReservedDeadline, SystemClock
from core.errors import (
    ApiRefusal,
    AuthenticationFailed,
    ConnectionSettingsError,
    DeadlineExceeded,
    NotFound,
    ObserveMode,
    OutcomeUnknown,
    OutputError,
    PackError,
    PolicyUnusable,
    ReadOnlyMode,
    ServiceUnavailable,
    UnexpectedAnswer,
    UnusableAnswer,
)
from core.quantity import counted

if TYPE_CHECKING:
    # Loaded by the methods that read rows or messages: creating a job needs none, and its process must start fast.
    from connectors.objects.found_message import FoundMessage
    from connectors.objects.message import MessageDetails, MessageStatus
    from connectors.paging.raw_rows import RawRows


class EmailSecurity:
    """Client for the bulk jobs and messages of one Cloudflare account.

    Every method raises the classes that core.errors lists below AuthenticationFailed, ApiRefusal and TemporaryFailure.
    Methods that change something also raise OutcomeUnknown, and never repeat the change by themselves.

    clock, rng, http: injected by tests.
    deadline: the time limit of the caller over all calls, such as that of a serverless function. Each call also has its
    own limit, `connection.call_allowance_seconds`. A call that starts late may exceed both by a second.
    ends: a deadline that no call exceeds.
    write_timeout_seconds: the read timeout of writes, if it differs from that of reads.
    gate: the check before each write. Required if a policy is configured.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        http: httpx.BaseTransport | None = None,
        deadline: Deadline | None = None,
        ends: Deadline | None = None,
        write_timeout_seconds: float | None = None,
        gate: WriteGate | None = None,
    ) -> None:
        self.connection = connection
        self.clock = clock or SystemClock()
        self.rng = rng or random.SystemRandom()
        self.deadline = deadline
        self.call_allowance_seconds = connection.call_allowance_seconds
        self.bounds = BOUNDS
        self.gate = gate
        self.call_record = _call_record(connection)
        self.write_timeout_seconds = write_timeout_seconds or connection.request_timeout_seconds
        self._transport = Transport(
            connection, clock=self.clock, rng=self.rng, http=http, ends=ends, write_timeout=self.write_timeout_seconds
        )
        self._account = f"/accounts/{connection.account_id}"
        self._investigate = f"{self._account}/email-security/investigate"
        self._bulk = f"{self._investigate}/bulk"

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, *, deadline: Callable[[Clock], Deadline] | None = None
    ) -> EmailSecurity:
        """Return a client for the settings in the environment; see connectors.connection."""
        clock = SystemClock()
        return cls(
            Connection.from_environment(environment), clock=clock, deadline=deadline(clock) if deadline else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()
        if self.call_record is not None:
            self.call_record.close()

    @property
    def has_policy(self) -> bool:
        """Return whether a policy is configured. If not, its models need not be imported."""
        return self.connection.policy_file is not None

    def _gate(self) -> WriteGate | None:
        """Return the write gate, or None if no policy is configured. Raises: PolicyUnusable."""
        if self.has_policy and self.gate is None:
            raise PolicyUnusable(
                f"the policy {str(self.connection.policy_file)[:200]!r} is configured, but this client has no write "
                "gate to apply it",
                help="Nothing was changed. Call an action, or call "
                "remediation.guardrails.policy.gate.attach_policy(connector) before a write.",
            )
        return self.gate

    def check_writable(self) -> None:
        """Check that changes are possible at all, before each write and at the start of an action.

        Raises: ReadOnlyMode, PolicyUnusable.
        """
        if self.connection.read_only:
            raise ReadOnlyMode("read-only mode is on (CFES_READ_ONLY)")
        gate = self._gate()
        if gate is not None:
            gate.check_usable()

    def time_left(self) -> float | None:
        """Return the seconds until the caller's deadline, or None without a deadline."""
        return None if self.deadline is None else self.deadline.remaining()

    def with_allowance(self, seconds: float) -> EmailSecurity:
        """Return a copy of this client whose calls may each take `seconds`, including all retries and waits."""
        other = copy.copy(self)
        other.call_allowance_seconds = seconds
        return other

    def with_deadline(self, deadline: Deadline) -> EmailSecurity:
        """Return a copy of this client with the earlier of `deadline` and its present deadline."""
        other = copy.copy(self)
        if self.deadline is None or deadline.remaining() < self.deadline.remaining():
            other.deadline = deadline
        return other

    def with_reserve(self, seconds: Callable[[], float]) -> EmailSecurity:
        """Return a copy of this client whose calls leave `seconds` before the caller's deadline, if there is one."""
        other = copy.copy(self)
        if self.deadline is not None:
            other.deadline = ReservedDeadline(self.deadline, seconds)
        return other

    def with_requester(self, name: str) -> EmailSecurity:
        """Return a copy of this client for another requester (`connection.requested_by`)."""
        other = copy.copy(self)
        other.connection = self.connection.model_copy(update={"requested_by": name})
        return other

    @contextmanager
    def record_calls(self, path: str | os.PathLike[str]) -> Iterator[EmailSecurity]:
        """Yield a copy of this client that appends its calls to a file: that of the settings, else `path`.

        Raises: OutputError if the file can't be opened.
        """
        if self.call_record is not None:
            yield self
            return
        other = copy.copy(self)
        with closing(CallRecord(path)) as other.call_record:
            yield other

    # Jobs

    def list_jobs(self, *, action_type: ActionType | None = None, status: JobStatus | None = None) -> Iterator[BulkJob]:
        """Yield every job once, in the order of the API, which is not documented."""
        seen: set[str] = set()
        for item in self.list_job_items(action_type=action_type, status=status):
            job = BulkJob.read(item, "a job in the list")
            if job.job_id not in seen:
                seen.add(job.job_id)
                yield job

    def list_job_items(
        self, *, action_type: ActionType | None = None, status: JobStatus | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the jobs as the API sent them, for callers who need a few of many. A job may come twice."""
        for page in self.job_pages(action_type=action_type, status=status):
            yield from page.items

    def job_pages(
        self,
        *,
        action_type: ActionType | None = None,
        status: JobStatus | None = None,
        first: int = 1,
        last_page: int | None = None,
        per_page: int = LARGEST_PAGE,
        backwards: bool = False,
        full_page: int = LARGEST_PAGE,
    ) -> Iterator[Page]:
        """Yield the list of jobs page by page from page `first`, including empty pages at the end.

        last_page: the last page to prefetch. If it is unknown, fewer pages are prefetched.
        backwards: read from the end of the list (or `last_page`, if later) to page `first`. A job that is deleted
        meanwhile moves other jobs to pages that are still to be read; a forward pass would miss them.
        full_page: the number of jobs on a page after which another page may follow.
        """
        filters = {
            name: value for name, value in (("action_type", action_type), ("status", status)) if value is not None
        }

        def fetch(position: Position, *, once: bool = False) -> Page:
            query = {**filters, **_page_query(position), "per_page": per_page}
            page = Page.read(self._get(self._bulk, "the list of jobs", query, once=once).envelope, "the list of jobs")
            if not all(isinstance(item, dict) for item in page.items):
                raise UnexpectedAnswer("the list of jobs: field result: has an entry that is not a job")
            return page

        width = self.connection.pages_ahead
        if backwards:
            last = max(last_page or 1, first)
            return pages_backwards(fetch, first, last, full_page=full_page, width=width, bounds=self.bounds)
        return pages_forwards(fetch, first, last_page, width=width, bounds=self.bounds)

    def create_job(self, request: BulkJobRequest) -> BulkJob:
        """Create a job with one POST, without retries. For one job per request see remediation.jobs.creation.

        Raises: OutcomeUnknown if the response was lost or is not a job; PolicyRefused.
        """
        self.check_destination(request.destination)
        answer = self._call(Call("POST", self._bulk, "write", body=request.body(), once=True))
        return _read_job(answer, "the created job")

    def patience(self) -> Patience:
        """Return the pauses for a caller who repeats a write, within the time limit of one call."""
        return Patience(self.clock, self.rng, self._call_deadline())

    def check_destination(self, destination: Destination | None) -> None:
        """Check that the policy allows moves to a folder. Raises: PolicyRefused."""
        gate = self._gate()
        if destination is not None and gate is not None:
            gate.check_destination(destination)

    def get_job(self, job_id: str) -> BulkJob:
        """Return a job. Raises: NotFound."""
        job = BulkJob.read(self._get(self._path(job_id), "the job").result, "the job")
        if job.job_id != uuid_of(job_id):
            raise UnexpectedAnswer(f"the job: field job_id: requested {job_id}, received {job.job_id}")
        return job

    def cancel_job(self, job_id: str) -> BulkJob:
        """Cancel a job and return it. Pending messages are not processed; the job is kept.

        Raises: NotFound, ApiRefusal, OutcomeUnknown.
        """
        job = _read_job(self._call(Call("POST", f"{self._path(job_id)}/cancel", "write")), "the cancelled job")
        if job.job_id != uuid_of(job_id):
            raise OutcomeUnknown(f"the response to the cancel request names another job, {job.job_id}", job_id=job_id)
        return job

    def check_deletable(self) -> None:
        """Check that jobs may be deleted. Raises: PolicyRefused, and what check_writable raises."""
        self.check_writable()
        gate = self._gate()
        if gate is not None:
            gate.check_deletion()

    def delete_job(self, job_id: str) -> None:
        """Delete an ended job permanently. Raises: NotFound, PolicyRefused; ApiRefusal if it still runs."""
        self.check_deletable()
        answer = self._call(Call("DELETE", self._path(job_id), "write"))
        deleted = _field(answer.result, "id")
        if isinstance(deleted, str) and uuid_of(deleted) != uuid_of(job_id):
            raise OutcomeUnknown(f"the response to the delete request names another job, {deleted}", job_id=job_id)
        if deleted is None:
            self._check_deleted(job_id)

    def _check_deleted(self, job_id: str) -> None:
        """Check a job whose delete response had no ID. Raises: OutcomeUnknown if the job still exists."""
        try:
            self.get_job(job_id)
        except NotFound:
            return
        except PackError as failure:
            raise OutcomeUnknown(
                f"the response to the delete request has no job ID, and the check of job {job_id} failed: "
                f"{failure.message}",
                job_id=job_id,
            ) from None
        raise OutcomeUnknown(
            f"the response to the delete request has no job ID, and job {job_id} still exists", job_id=job_id
        )

    def job_message_pages(
        self,
        job_id: str,
        *,
        status: MessageStatus | None = None,
        start: Position | None = None,
        enough: Callable[[], bool] = lambda: False,
        expected: Callable[[], int | None] = lambda: None,
        most: Callable[[], int | None] | None = None,
        taken: RowIds | None = None,
    ) -> Iterator[tuple[RawRows, Position]]:
        """Yield the message rows of a job page by page, as the API sent them, with the position after each page.

        Each row has its ID and a status; connectors.objects.message.JobMessage describes the rest. Rows may come twice,
        and rows that move between two pages may be missing: compare with the job's counters.

        expected: returns the number of rows, if known. Pages are then prefetched.
        most: the pass ends after the page with which there are more rows (default: `expected`). Without this limit,
        rows beyond the counters could come without end.
        taken: the row IDs that the caller keeps. The caller adds the IDs of a page before it requests the next page.
        Raises: ListingRepeats if pages bring no new rows and `enough` is False; ListingTooLong.
        """
        from connectors.paging.raw_rows import raw_rows, rows_envelope  # noqa: PLC0415

        filters = {} if status is None else {"status": status}
        path = f"{self._path(job_id)}/messages"

        def fetch(position: Position, *, once: bool = False) -> Page:
            query = {**filters, **_page_query(position)}
            try:
                answer = self._get(path, "the job's messages", query, once=once, parse=rows_envelope)
                return Page.read(answer.envelope, "the job's messages", raw_rows)
            except UnusableAnswer as error:
                raise error.restate(f"the job's messages: page {position.page:,}: {error.message}") from None

        attempt, width = functools.partial(fetch, once=True), self.connection.pages_ahead
        with ReadAhead(fetch, attempt, last_page=lambda: -(-(expected() or 0) // LARGEST_PAGE), width=width) as ahead:
            for page, follows in sweep(
                ahead,
                enough=enough,
                identities=lambda rows: rows.ids,
                start=start,
                most=most or expected,
                judged=ahead.judge,
                taken=taken,
                what="the job's messages",
                bounds=self.bounds,
            ):
                yield page.items, follows
                del page

    # Messages

    def search_messages(self, search: SearchParams, *, per_page: int = LARGEST_PAGE) -> Iterator[MessageDetails]:
        """Yield each message that the search finds, once. Remove unsupported criteria before.

        The messages are streamed; memory grows by a few bytes per message. A slow search (202) is polled within the
        time limit of the call.
        Raises: ListingRepeats, ListingTooLong.
        """
        from connectors.objects.message import details_of  # noqa: PLC0415

        return self._find(search, per_page, None, details_of)

    def found_messages(self, search: SearchParams) -> Iterator[FoundMessage | MessageDetails]:
        """Yield each message that the search finds, with only the fields for a count. Raises: as search_messages."""
        from connectors.objects.found_message import found_envelope, messages_of  # noqa: PLC0415

        return self._find(search, LARGEST_PAGE, found_envelope, messages_of)

    def _find(
        self, search: SearchParams, per_page: int, parse: Parse | None, items_of: Callable[[Any], Sequence[Any] | None]
    ) -> Iterator[Any]:
        query: dict[str, str | int] = {
            name: (str(value).lower() if isinstance(value, bool) else value) for name, value in search.request().items()
        }

        def fetch(cursor: str | None) -> Page:
            place = {} if cursor is None else {"cursor": cursor}
            answer = self._finish_search({**query, "per_page": per_page, **place}, parse)
            return Page.read(answer.envelope, "the message search", items_of)

        return follow(fetch, identity=lambda message: message.id, what="the message search", bounds=self.bounds)

    def get_message(self, investigate_id: str, *, submission: bool = False) -> MessageDetails:
        """Return one message by its investigate ID. submission: search users' submissions instead of mail.

        Raises: NotFound; ValueError if the ID is not a valid investigate ID.
        """
        from connectors.objects.message import MessageDetails  # noqa: PLC0415

        query = {"submission": "true"} if submission else None
        message = MessageDetails.read(
            self._get(self._message_path(investigate_id), "the message", query).result, "the message"
        )
        if message.id != investigate_id:
            raise UnexpectedAnswer(f"the message: field id: requested {investigate_id}, received {message.id[:200]}")
        return message

    def message_actions(self, investigate_id: str) -> list[MessageAction]:
        """Return the action log of a message: every attempt after delivery. The order is not documented.

        Raises: NotFound; UnexpectedAnswer for a log without an end; ValueError as get_message.
        """
        path, found = f"{self._message_path(investigate_id)}/action_log", list[MessageAction]()
        before: Any = None
        for page in range(1, MOST_LOG_PAGES + 1):
            envelope = self._get(path, "the action log", {"page": page, "per_page": LARGEST_PAGE}).envelope
            items = Page.read(envelope, "the action log").items
            # A server that ignores the page number returns the same page again.
            if page > 1 and items == before:
                return found
            found += [MessageAction.read(item, "an entry of the action log") for item in items]
            if is_last_page(envelope.get("result_info"), len(items), len(found), LARGEST_PAGE):
                return found
            before = items
        raise UnexpectedAnswer(f"the action log did not end after {MOST_LOG_PAGES} pages")

    def move_messages(self, ids: Sequence[str], destination: Destination) -> list[MoveRow]:
        """Move 1 to 1,000 messages by investigate ID. Return one row for each message and recipient.

        Raises: OutcomeUnknown if the response was lost or has no rows; PolicyRefused.
        """
        self.check_destination(destination)
        body = {"destination": destination, "ids": check_ids(ids)}
        answer = self._call(Call("POST", f"{self._investigate}/move", "write", body=body))
        return read_rows(MoveRow, answer.result, answer.ray_id)

    def release_messages(self, ids: Sequence[str]) -> list[ReleaseRow]:
        """Release 1 to 1,000 quarantined messages by investigate ID, for all recipients. Return one row per message.

        Raises: OutcomeUnknown if the response was lost or has no rows.
        """
        answer = self._call(Call("POST", f"{self._investigate}/release", "write", body={"ids": check_ids(ids)}))
        return read_rows(ReleaseRow, answer.result, answer.ray_id)

    # The token

    def verify_token(self) -> str:
        """Return the status of the token, such as "active". Only for bearer tokens.

        The token is checked first as a user's token, then as an account's token. Raises: AuthenticationFailed.
        """
        try:
            answer = self._get("/user/tokens/verify", "the token")
        except (AuthenticationFailed, ApiRefusal):
            answer = self._get(f"{self._account}/tokens/verify", "the token")
        status = _field(answer.result, "status")
        if not isinstance(status, str):
            raise UnexpectedAnswer("the token: field status: is missing")
        return status

    # How a call is made

    def _path(self, job_id: str) -> str:
        uuid = uuid_of(job_id)
        if uuid is None:
            raise ValueError("job_id is not a valid UUID")
        return f"{self._bulk}/{uuid}"

    def _message_path(self, investigate_id: str) -> str:
        if investigate_id in FIXED_PATHS:
            raise ValueError(f"{investigate_id} is not a valid investigate ID")
        return f"{self._investigate}/{check_ids([investigate_id])[0]}"

    def _get(
        self,
        path: str,
        what: str,
        query: Mapping[str, str | int] | None = None,
        *,
        once: bool = False,
        parse: Parse | None = None,
    ) -> Answer:
        answer = self._call(Call("GET", path, "read", query=query, once=once, parse=parse))
        if "result" not in answer.envelope:
            raise UnexpectedAnswer(f"{what}: field result: is missing", ray_id=answer.ray_id)
        return answer

    def _call(self, call: Call, deadline: Deadline | None = None) -> Answer:
        if call.effect == "write":
            self.check_writable()
            self._refuse_to_observe(call)
        left = self.time_left()
        if call.effect == "write" and left is not None and left < self.write_timeout_seconds:
            raise DeadlineExceeded(
                f"only {max(left, 0):.0f} s are left, and the response to a change may take "
                f"{self.write_timeout_seconds:.0f} s: the change was not sent"
            )
        return self._transport.call(call, deadline or self._call_deadline(), self.call_record)

    def _refuse_to_observe(self, call: Call) -> None:
        """Log a write and refuse it if the policy sets `observe`. Raises: ObserveMode."""
        gate = self._gate()
        if gate is None or not gate.observes:
            return
        no_answer = {"status": None, "ray_id": None, "milliseconds": 0, "attempt": 0}
        facts = {"method": call.method, "path": call.path, **no_answer}
        call_log.call({**facts, "problem": "not sent: the policy only observes"})
        sent = call.body or {}
        named = [str(sent[name]) for name in ("action", "destination") if name in sent]
        if "ids" in sent:
            named.append(counted(len(sent["ids"]), "message"))
        what = f"{call.method} {call.path}" + (f" ({', '.join(named)})" if named else "")
        raise ObserveMode(f"the policy only observes: {what} passed every check but was not sent")

    def _call_deadline(self) -> Deadline:
        allowance = self.call_allowance_seconds
        if self.deadline is not None:
            allowance = min(allowance, self.deadline.remaining())
        return Deadline(self.clock, allowance)

    def _finish_search(self, query: Mapping[str, str | int], parse: Parse | None) -> Answer:
        deadline = self._call_deadline()
        answer = self._call(Call("GET", self._investigate, "read", query=query, parse=parse), deadline)
        for pause in slow_search.pauses():
            if answer.status != 202:
                return answer
            if deadline.remaining() < pause:
                break
            path, poll_query = slow_search.place_of(
                answer.location, base_url=self.connection.base_url, search=self._investigate
            )
            self.clock.sleep(pause)
            answer = self._call(Call("GET", path, "read", query=poll_query, parse=parse), deadline)
        if answer.status != 202:
            return answer
        raise ServiceUnavailable("the message search did not finish within the time limit", http_status=202)


def _call_record(connection: Connection) -> CallRecord | None:
    """Open the call record of the settings, if there is one. Raises: ConnectionSettingsError."""
    if connection.call_record is None:
        return None
    try:
        return CallRecord(connection.call_record)
    except OutputError as error:
        raise ConnectionSettingsError(f"CFES_CALL_RECORD: {error.message}") from None


def _page_query(position: Position) -> dict[str, str | int]:
    if position.cursor is not None:
        return {"cursor": position.cursor, "per_page": LARGEST_PAGE}
    return {"page": position.page, "per_page": LARGEST_PAGE}


def _field(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else None


def _read_job(answer: Answer, what: str) -> BulkJob:
    """Return the job in the response to a write. Raises: OutcomeUnknown for an unreadable response."""
    try:
        return BulkJob.read(answer.result, what)
    except UnexpectedAnswer as error:
        raise OutcomeUnknown(error.message, http_status=answer.status, ray_id=answer.ray_id) from None
