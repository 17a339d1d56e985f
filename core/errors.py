"""Every error the pack raises, and what each one tells a playbook.

    PackError
    ├── ParameterError           exit 2   the parameters do not fit; every problem has a JSON pointer
    ├── ConnectionSettingsError  exit 2   base URL, account ID or another setting can't be used
    ├── GuardrailRefusal         exit 3   refused before anything was sent
    │   ├── BroadSearchRefused            the search has no narrowing criterion
    │   ├── TooManyMessages               the search finds more than max_messages
    │   ├── TooManyRecipients             the search finds more than max_recipients
    │   ├── UncountableSearch             a count is needed, and the search can't be counted
    │   ├── MaliciousRelease              messages with a malicious verdict would come into users' Inbox
    │   ├── PlanNeeded                    the destination or the policy wants a plan first
    │   ├── PlanRefused                   the plan was edited, has no seal, is too old, or is for something else
    │   │   └── PlanDrifted               the search finds another number by now
    │   ├── NotRestorable                 what was purged can't be brought back
    │   ├── ReadOnlyMode                  CFES_READ_ONLY is set
    │   ├── ObserveMode                   the policy only observes: the change would have been made
    │   ├── PolicyRefused                 the organisation's policy does not allow it
    │   │   ├── PolicyUnusable            the policy can't be read: no write is made without it
    │   │   └── ProtectedRefused          protected recipients or senders would be touched
    │   ├── ApprovalRefused               approvals are missing, or one can't be accepted
    │   ├── EvidenceRefused               the evidence has been changed, or is of another job
    │   ├── CheckRefused                  a playbook's own check said no
    │   ├── InlineTooLarge                the rows don't fit into the result, and are never cut
    │   └── TimeLimitTooShort             one call has less time than the end of an export takes
    ├── AuthenticationFailed     exit 4   no credentials, or none that the API knows
    │   └── PermissionDenied              known, but not allowed to do this
    ├── ApiRefusal               exit 5   the API said no (4xx, or success: false)
    │   ├── NotFound
    │   └── Conflict                      the thing's state forbids it
    │       ├── IdempotencyConflict       the key was used for another request
    │       ├── PlanUsed                  the plan has made its job already, under another key
    │       └── JobStillRunning           only an ended job can be deleted
    ├── UnusableAnswer           exit 5   the API's answer can't be used, and running it again gives the same
    │   ├── ListingRepeats                a listing brings nothing new and names no end
    │   └── ListingTooLong                a listing has more pages than one pass may cost
    ├── TemporaryFailure         exit 6   nothing was changed, safe to run again
    │   ├── RateLimited                   with retry_after_seconds
    │   ├── NetworkFailure                reset, timed out
    │   │   └── NotReceived               the request surely never reached the service
    │   ├── ServiceUnavailable            5xx
    │   ├── ExportIncomplete              rows and counters don't agree; `resume` reads again for what is missing
    │   ├── UnexpectedAnswer              an answer that is not what the contract says; names the field
    │   ├── DeadlineExceeded              the time allowed is used up
    │   └── OutputError                   a file can't be written
    ├── OutcomeUnknown           exit 7   a change may have been made; says what to look at
    │   └── PartlyApplied                 a part was done, the rest was not; `resume` says which
    └── InternalError            exit 1   a defect of this pack

`type` in the error document is the class's name, so that a state machine can match it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypedDict

from core.clock import whole_seconds

# Sentences of a help that speak of what the action changed, and of nothing else.
NOTHING_CHANGED = re.compile(
    r"(?:Nothing was (?:changed|sent|run|cut and nothing was changed)[^.]*|No job was created)\.\s*"
)

# How another job is made where one exists for the same key: a playbook's user gives no key.
ANOTHER_JOB = "another idempotency_key or a new plan (in a playbook: a higher attempt)"

Applied = Literal["no", "unknown", "yes"]


class Problem(TypedDict):
    """One thing that is wrong with a document: where (RFC 6901 JSON pointer) and what."""

    pointer: str
    message: str


# A message may quote what a server or a file said: it is shown on terminals, and read by people.
LONGEST_TEXT = 4000


def printable(text: str) -> str:
    """The text without control, bidi and other unprintable characters (line breaks are kept), and not endless."""
    if len(text) <= LONGEST_TEXT and text.isprintable():
        return text
    shown = "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text[: LONGEST_TEXT + 1]
    )
    return shown if len(text) <= LONGEST_TEXT else shown[:LONGEST_TEXT] + "\N{HORIZONTAL ELLIPSIS}"


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, printable, and how many more there are: `a, b and 7 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(printable(name)[:200] for name in names[:most]) + more


def _printable_problem(problem: Problem) -> Problem:
    """Pointers hold names that came from outside, and stand on one line."""
    pointer = printable(problem["pointer"])[:500].replace("\n", " ")
    return Problem(pointer=pointer, message=printable(problem["message"]))


class PackError(Exception):
    """An error that a playbook can branch on.

    `message` says what happened, `help` what to do next, `applied` whether anything was changed at the remote side,
    `retryable` whether the same call may succeed later, `retry_after_seconds` in how many whole seconds; `resume`,
    where there is one, is what the same call takes to go on from what was reached. None of them ever holds a secret.
    """

    exit_code: int = 1
    retryable: bool = False
    applied: Applied = "no"
    default_help: str = ""

    def __init__(
        self,
        message: str,
        *,
        help: str | None = None,  # noqa: A002 -- the error document's own field name
        applied: Applied | None = None,
        retryable: bool | None = None,
        http_status: int | None = None,
        api_errors: Sequence[Mapping[str, Any]] = (),
        ray_id: str | None = None,
        job_id: str | None = None,
        retry_after_seconds: float | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(printable(message))
        self.message = printable(message)
        self.help = printable(self.default_help if help is None else help)
        self.applied = type(self).applied if applied is None else applied
        self.retryable = type(self).retryable if retryable is None else retryable
        self.http_status = http_status
        self.api_errors = [dict(e) for e in api_errors]
        self.ray_id = ray_id
        self.job_id = job_id
        self.retry_after_seconds = None if retry_after_seconds is None else whole_seconds(retry_after_seconds)
        self.problems = [_printable_problem(problem) for problem in problems]
        self.resume: dict[str, Any] | None = None

    def retold(self, message: str, *, help: str | None = None, job_id: str | None = None) -> Self:  # noqa: A002
        """The same failure in the words of a caller who knows what it means there."""
        self.message = printable(message)
        self.args = (self.message,)
        self.help = self.help if help is None else printable(help)
        self.job_id = job_id or self.job_id
        return self

    @property
    def surely_not_applied(self) -> bool:
        """Whether a write that ended in this changed nothing.

        success: false inside a 2xx says one thing with its status, another with its body: it has to be looked up.
        """
        contradicts_itself = isinstance(self, ApiRefusal) and 200 <= (self.http_status or 0) < 300
        return self.applied == "no" and not contradicts_itself

    def document(self) -> dict[str, Any]:
        """The failure as one JSON document, in the shape every door prints."""
        error: dict[str, Any] = {
            "type": type(self).__name__,
            "message": self.message,
            "help": self.help,
            "retryable": self.retryable,
            "applied": self.applied,
            "http_status": self.http_status,
            "api_errors": self.api_errors,
            "ray_id": self.ray_id,
            "job_id": self.job_id,
            "retry_after_seconds": self.retry_after_seconds,
        }
        if self.problems:
            error["problems"] = self.problems
        if self.resume is not None:
            error["resume"] = self.resume
        return {"error": error}


class ParameterError(PackError):
    """The parameters do not fit. Nothing was sent."""

    exit_code = 2
    default_help = "Nothing was sent. Correct the parameters named in `problems` and run it again."

    def __init__(self, message: str | None = None, *, problems: Sequence[Problem] = (), **details: Any) -> None:
        if message is None:
            message = "; ".join(f"{p['pointer'] or '/'}: {p['message']}" for p in problems)
        super().__init__(message, problems=problems, **details)


class ConnectionSettingsError(PackError):
    """A connection setting can't be used. Nothing was sent."""

    exit_code = 2
    default_help = "Nothing was sent. Correct the environment variable that is named."


class GuardrailRefusal(PackError):
    """A guardrail refused before anything was changed."""

    exit_code = 3


class BroadSearchRefused(GuardrailRefusal):
    default_help = (
        "Nothing was sent. Add a sender, a recipient's address, subject, exact_subject, query, message_id, alert_id, "
        "smtp_helo_ip or another organisation's domain to search_params, with at least three letters or digits."
    )


class TooManyMessages(GuardrailRefusal):
    default_help = "No job was created. Narrow the search, or raise max_messages if the number is what you expect."


class TooManyRecipients(GuardrailRefusal):
    default_help = "No job was created. Narrow the search, or raise max_recipients if the number is what you expect."


class UncountableSearch(GuardrailRefusal):
    default_help = "No job was created. Leave out what needs a count, or use criteria that the message search knows."


class MaliciousRelease(GuardrailRefusal):
    default_help = "Nothing was delivered. Narrow the search to the messages that were wrongly held."


class PlanNeeded(GuardrailRefusal):
    default_help = "Nothing was changed. Make a plan with preview-job, check its numbers, and pass it as `plan`."


class PlanRefused(GuardrailRefusal):
    """The plan does not bind this call."""

    default_help = "Nothing was changed. Make a new plan with preview-job and look at its numbers."


class PlanDrifted(PlanRefused):
    default_help = (
        "Nothing was changed. Make a new plan with preview-job and check its numbers. max_drift can only lower the "
        "drift that the plan and the policy allow."
    )


class NotRestorable(GuardrailRefusal):
    default_help = (
        "Nothing was changed. This pack can't restore purged messages: on Microsoft 365 an administrator can, while "
        "they are kept. Restore the other messages from a file of them."
    )


class ReadOnlyMode(GuardrailRefusal):
    default_help = "Nothing was changed. CFES_READ_ONLY is set; unset it where changes are meant to be made."


class ObserveMode(GuardrailRefusal):
    """Every check let the change pass, and the policy says `observe`."""

    default_help = "Nothing was changed: the policy (CFES_POLICY) only observes. Remove `observe` from it to act."


class PolicyRefused(GuardrailRefusal):
    """The organisation's policy does not allow it; parameters can't override it."""

    default_help = "Nothing was changed. Only a change of the policy (CFES_POLICY) allows it."


class PolicyUnusable(PolicyRefused):
    default_help = "Nothing was changed: without a policy that can be read nothing is written. Run `cfes policy check`."


class ProtectedRefused(PolicyRefused):
    default_help = "Nothing was changed. Narrow the search so that it leaves out what the policy protects."


class ApprovalRefused(GuardrailRefusal):
    default_help = (
        "Nothing was changed. Let a person whom the policy names, and who did not ask for it, approve the plan: "
        "`cfes approve PLAN --key FILE`; pass the result in `approvals`."
    )


class EvidenceRefused(GuardrailRefusal):
    default_help = (
        "Nothing was deleted. Look at the bundle with `cfes verify`, or make a new one: export-job-messages with "
        "evidence: bundle, to another path."
    )


class CheckRefused(GuardrailRefusal):
    # The check's own text says what to do.
    default_help = "Nothing was changed."


class InlineTooLarge(GuardrailRefusal):
    default_help = (
        "Nothing was cut and nothing was changed. Give a file path as destination, or raise inline_limit_bytes."
    )


class TimeLimitTooShort(GuardrailRefusal):
    """The end of an export takes longer than one call may run: no number of calls would finish it."""

    default_help = (
        "Nothing was changed. Give a call more time (time_budget_seconds, or the function's own limit), export as "
        "ndjson, or export fewer rows (status)."
    )


class AuthenticationFailed(PackError):
    """No credentials, or the API does not accept them."""

    exit_code = 4
    default_help = (
        "Nothing was changed. Set CLOUDFLARE_API_TOKEN (or CLOUDFLARE_API_TOKEN_FILE) to a valid API token and "
        "CLOUDFLARE_ACCOUNT_ID to the account it is for."
    )


class PermissionDenied(AuthenticationFailed):
    default_help = (
        "Nothing was changed. Reading needs the permission 'Cloud Email Security: Read', changing anything needs "
        "'Cloud Email Security: Write', on this account. For deleting a job the API names no permission: that Write is "
        "enough is an assumption."
    )


class ApiRefusal(PackError):
    """The API refused the request. Nothing was changed."""

    exit_code = 5
    default_help = "Nothing was changed. The API's own reason is in api_errors."


class NotFound(ApiRefusal):
    default_help = "Nothing was changed. Check the ID and the account; a deleted job can't be brought back."


class Conflict(ApiRefusal):
    default_help = "Nothing was changed. The present state of the job does not allow it."


class IdempotencyConflict(Conflict):
    default_help = f"Nothing was sent. Look at the job that is named; if this is a new intent, use {ANOTHER_JOB}."


class PlanUsed(Conflict):
    default_help = "Nothing was changed. One plan makes one job: follow the job that is named, or make a new plan."


class JobStillRunning(Conflict):
    default_help = "Nothing was changed. Wait for the job or cancel it, then delete it."


class UnusableAnswer(PackError):
    """An answer that was not damaged on the way and can't be used: the same call gets the same answer."""

    exit_code = 5
    default_help = (
        "Nothing was changed. To run it again gives the same: report to Cloudflare what the message names, with the "
        "ray_id."
    )


class ListingRepeats(UnusableAnswer):
    default_help = (
        "Nothing was changed. The service does not page this listing as its contract says. Check that "
        "CLOUDFLARE_BASE_URL and every proxy pass the query (page, per_page, cursor) on, then report it to Cloudflare."
    )


class ListingTooLong(UnusableAnswer):
    default_help = "Nothing was changed. Narrow what is asked for: a search by its criteria, a list by its filters."


class TemporaryFailure(PackError):
    """Something that may pass. Nothing was changed; the same call is safe to run again."""

    exit_code = 6
    retryable = True
    default_help = "Nothing was changed. Run the same call again."


class ExportIncomplete(TemporaryFailure):
    """The rows that were read and the job's own counters do not agree. `resume` goes on with what was written."""

    default_help = (
        "Nothing was changed, and what was written is kept beside the destination. Run the same export with `resume` "
        "of this error: it reads the listing again for what is missing. Or set require_complete to false, and take "
        "what there is."
    )


class RateLimited(TemporaryFailure):
    default_help = (
        "Nothing was changed. Every call is refused until the window ends: run it again after retry_after_seconds."
    )


class NetworkFailure(TemporaryFailure):
    default_help = "Nothing was changed. Check the network, HTTPS_PROXY and SSL_CERT_FILE, then run it again."


class NotReceived(NetworkFailure):
    """The request surely never reached the service: a write may be repeated after it."""

    default_help = "Nothing was sent. Check the network, HTTPS_PROXY and SSL_CERT_FILE, then run it again."


class ServiceUnavailable(TemporaryFailure):
    default_help = "Nothing was changed. The service did not answer as it should; run it again later."


class UnexpectedAnswer(TemporaryFailure):
    default_help = "Nothing was changed. If it stays, the API has changed: report the field that is named."


class DeadlineExceeded(TemporaryFailure):
    default_help = "Nothing was changed. Run it again, with more time if it happens twice."


class OutputError(TemporaryFailure):
    """A file could not be written. At the remote side nothing was changed."""

    default_help = "Nothing was changed at the remote side. Make room or choose another path, then run it again."

    def __init__(self, message: str, *, path: str | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.path = path


class OutcomeUnknown(PackError):
    """A change may have been made, and it could not be found out whether it was."""

    exit_code = 7
    applied: Applied = "unknown"
    default_help = "Look before you run it again: the change may have been made."


class PartlyApplied(OutcomeUnknown):
    """A part was done and the rest was not."""

    applied: Applied = "yes"
    default_help = "To run the same call again is safe: what is done already is left as it is."


class InternalError(PackError):
    """A defect of this pack."""

    exit_code = 1
    applied = "unknown"
    default_help = (
        "This is a defect of the pack: please report it with the message above. Look before you run it again."
    )
