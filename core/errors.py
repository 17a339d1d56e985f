"""Every error that the pack raises, with the exit code of each.

    PackError
    ├── ParameterError, ConnectionSettingsError                       exit 2: nothing was sent
    ├── GuardrailRefusal                                              exit 3: refused before anything was changed
    │   ├── BroadSearchRefused, TooManyMessages, TooManyRecipients, UncountableSearch, MaliciousRelease
    │   ├── PlanNeeded, PlanRefused (PlanDrifted), NotRestorable, ReadOnlyMode, ObserveMode
    │   ├── PolicyRefused (PolicyUnusable, ProtectedRefused), ApprovalRefused, EvidenceRefused
    │   └── CheckRefused, InlineTooLarge, TimeLimitTooShort
    ├── AuthenticationFailed (PermissionDenied)                       exit 4
    ├── ApiRefusal                                                    exit 5: a 4xx, or success: false
    │   └── NotFound, Conflict (IdempotencyConflict, PlanUsed, JobStillRunning)
    ├── UnusableAnswer (ListingRepeats, ListingTooLong)               exit 5: running it again returns the same
    ├── TemporaryFailure                                              exit 6: nothing was changed, safe to run again
    │   ├── RateLimited, NetworkFailure (NotReceived), ServiceUnavailable, UnexpectedAnswer
    │   └── ExportIncomplete, DeadlineExceeded, OutputError
    ├── OutcomeUnknown (PartlyApplied)                                exit 7: a change may have been made
    └── InternalError                                                 exit 1: a defect of this pack

`type` in the error document is the class name, so that a state machine can match it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypedDict

from core.clock import whole_seconds

# How the first sentence of a help begins where the call changed nothing. The sentence is true of that call alone.
_UNCHANGED = ("Nothing was ", "No job was created")

# How to create a second job for one key. A playbook has `attempt` instead of a key.
ANOTHER_JOB = "another idempotency_key or a new plan (in a playbook: a higher attempt)"

Applied = Literal["no", "unknown", "yes"]


class Problem(TypedDict):
    """A problem in a document: its place (RFC 6901 JSON pointer) and a message."""

    pointer: str
    message: str


# The message of a problem with a parameter that is required and was not given.
MISSING = "is required"

# A message may quote a server or a file. People read it on a terminal.
LONGEST_TEXT = 4000


def printable(text: str) -> str:
    """Return the text cut to LONGEST_TEXT, with unprintable characters replaced by U+FFFD. Line breaks are kept."""
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


class PackError(Exception):
    """An error that a playbook can branch on. No field holds a secret.

    - `message`: what happened
    - `help`: what to do next
    - `applied`: whether anything was changed in Cloudflare
    - `retryable`: whether the same call may succeed later, after `retry_after_seconds` (whole seconds) if set
    - `resume`: if set, the parameter with which the same call continues
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
        self.problems = [
            Problem(pointer=printable(p["pointer"])[:500].replace("\n", " "), message=printable(p["message"]))
            for p in problems
        ]
        self.resume: dict[str, Any] | None = None

    def restate(self, message: str, *, help: str | None = None, job_id: str | None = None) -> Self:  # noqa: A002
        """Replace the message (and help, job ID), where a caller knows more about the failure. Return this error."""
        self.message = printable(message)
        self.args = (self.message,)
        self.help = self.help if help is None else printable(help)
        self.job_id = job_id or self.job_id
        return self

    @property
    def advice(self) -> str:
        """What to do next: `help` without its first sentence, where that only reports that this call changed nothing.

        A caller who changed something before this call repeats the advice, and reports the changes itself.
        """
        first, _, rest = self.help.partition(". ")
        return rest if self.applied == "no" and first.startswith(_UNCHANGED) else self.help

    @property
    def certainly_not_applied(self) -> bool:
        """Return whether a write that ended in this error certainly changed nothing.

        `success: false` inside a 2xx contradicts itself, so the caller has to look the outcome up.
        """
        contradicts_itself = isinstance(self, ApiRefusal) and 200 <= (self.http_status or 0) < 300
        return self.applied == "no" and not contradicts_itself

    def document(self) -> dict[str, Any]:
        """Return the failure as one JSON document, in the shape that every platform prints."""
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
    """The parameters are invalid. Nothing was sent."""

    exit_code = 2
    default_help = "Nothing was sent. Correct the parameters named in `problems` and run it again."

    def __init__(self, message: str | None = None, *, problems: Sequence[Problem] = (), **details: Any) -> None:
        if message is None:
            message = "; ".join(f"{p['pointer'] or '/'}: {p['message']}" for p in problems)
        super().__init__(message, problems=problems, **details)

    @classmethod
    def at(cls, pointer: str, message: str, **details: Any) -> Self:
        """Return the error for the parameter at this JSON pointer."""
        return cls(problems=[Problem(pointer=pointer, message=message)], **details)


class ConnectionSettingsError(PackError):
    """A connection setting can't be used. Nothing was sent."""

    exit_code = 2
    default_help = "Nothing was sent. Correct the environment variable named in the message."


class GuardrailRefusal(PackError):
    """A guardrail refused before anything was changed."""

    exit_code = 3


class BroadSearchRefused(GuardrailRefusal):
    """The search has no criterion that narrows it."""

    default_help = (
        "Nothing was sent. Narrow the search: add a sender, a recipient's address, a subject, a query, a message ID, "
        "an alert ID, a HELO address or another organization's domain, with at least three letters or digits."
    )


class TooManyMessages(GuardrailRefusal):
    """The search finds more messages than max_messages or the policy allows."""

    default_help = "No job was created. Narrow the search, or raise max_messages if you expect this number."


class TooManyRecipients(GuardrailRefusal):
    """The search finds more recipients than max_recipients or the policy allows."""

    default_help = "No job was created. Narrow the search, or raise max_recipients if you expect this number."


class UncountableSearch(GuardrailRefusal):
    """A check needs a count, and the message search can't count this search."""

    default_help = "No job was created. Remove parameters that need a count, or use criteria of search-messages."


class MaliciousRelease(GuardrailRefusal):
    """Messages with a malicious verdict would be delivered."""

    default_help = "Nothing was changed. Narrow the search to the messages that were held by mistake."


class PlanNeeded(GuardrailRefusal):
    """The change needs a plan."""

    default_help = "Nothing was changed. Create a plan with preview-job, check its numbers, and pass it as `plan`."


class PlanRefused(GuardrailRefusal):
    """The plan is not valid for this call."""

    default_help = "Nothing was changed. Create a new plan with preview-job and check its numbers."


class PlanDrifted(PlanRefused):
    """The search now finds more or fewer messages or recipients than the plan allows."""

    default_help = (
        "Nothing was changed. Create a new plan with preview-job and check its numbers. max_drift can only lower the "
        "drift that the plan and the policy allow."
    )


class NotRestorable(GuardrailRefusal):
    """Some of the messages were purged, and the API can't restore them."""

    default_help = (
        "Nothing was changed. The API can't restore purged messages. On Microsoft 365, an administrator can restore "
        "them within the retention period. To restore the other messages, pass a file that lists only those."
    )


class ReadOnlyMode(GuardrailRefusal):
    """CFES_READ_ONLY is set."""

    default_help = "Nothing was changed. Unset CFES_READ_ONLY to allow changes."


class ObserveMode(GuardrailRefusal):
    """Every check passed, but the policy sets `observe`."""

    default_help = "Nothing was changed. Remove `observe` from the policy (CFES_POLICY) to allow changes."


class PolicyRefused(GuardrailRefusal):
    """The organization's policy does not allow it. No parameter overrides the policy."""

    default_help = "Nothing was changed. To allow it, change the policy (CFES_POLICY)."


class PolicyUnusable(PolicyRefused):
    """The policy can't be read, has errors, or can be changed by others."""

    default_help = "Nothing was changed. Changes need a readable policy. Run `cfes policy check` to find the problem."


class ProtectedRefused(PolicyRefused):
    """The change would affect recipients or senders that the policy protects."""

    default_help = "Nothing was changed. Narrow the search to exclude the people and domains that the policy protects."


class ApprovalRefused(GuardrailRefusal):
    """Approvals are missing, invalid, expired or already used."""

    default_help = (
        "Nothing was changed. Ask an approver from the policy, other than the requester, to run "
        "`cfes approve PLAN --key FILE`. Pass the output in `approvals`."
    )


class EvidenceRefused(GuardrailRefusal):
    """The evidence does not prove every row of the job."""

    default_help = (
        "Nothing was deleted. Check the bundle with `cfes verify`, or create a new one at another path: "
        "export-job-messages with evidence: bundle."
    )


class CheckRefused(GuardrailRefusal):
    """A check of the playbook ended the run."""

    # The text of the check says what to do.
    default_help = "Nothing was changed."


class InlineTooLarge(GuardrailRefusal):
    """The result is too large to return inline."""

    default_help = "Nothing was changed. Export to a file path, or raise inline_limit_bytes."


class TimeLimitTooShort(GuardrailRefusal):
    """The last step of an export takes longer than one call may run, so that no number of calls finishes it."""

    default_help = (
        "Nothing was changed. Raise time_budget_seconds (or the time limit of your function), export as ndjson, or "
        "export fewer rows (status)."
    )


class AuthenticationFailed(PackError):
    """Credentials are missing, or the API does not accept them."""

    exit_code = 4
    default_help = (
        "Nothing was changed. Set CLOUDFLARE_API_TOKEN (or CLOUDFLARE_API_TOKEN_FILE) to a valid API token, and "
        "CLOUDFLARE_ACCOUNT_ID to the account that the token is for."
    )


class PermissionDenied(AuthenticationFailed):
    """The token lacks a permission."""

    default_help = (
        "Nothing was changed. Give the token 'Cloud Email Security: Read' on this account to read, and "
        "'Cloud Email Security: Write' to change anything. Deleting a job probably needs Write too; Cloudflare does "
        "not document it."
    )


class ApiRefusal(PackError):
    """The API refused the request. Nothing was changed."""

    exit_code = 5
    default_help = "Nothing was changed. See api_errors for the reason that the API gave."


class NotFound(ApiRefusal):
    """The job or message does not exist in this account."""

    default_help = "Nothing was changed. Check the ID and the account. A deleted job can't be restored."


class Conflict(ApiRefusal):
    """The current state of the job does not allow the request."""

    default_help = "Nothing was changed. Check the job with get-job: its current state does not allow this."


class IdempotencyConflict(Conflict):
    """A job with this idempotency key exists and does something else."""

    default_help = f"Nothing was sent. Check the existing job. If this is a new request, use {ANOTHER_JOB}."


class PlanUsed(Conflict):
    """The plan already created a job, under another idempotency key."""

    default_help = "Nothing was changed. A plan creates one job: wait for the existing job, or create a new plan."


class JobStillRunning(Conflict):
    """The job is still running."""

    default_help = "Nothing was changed. Wait for the job or cancel it, then delete it."


class UnusableAnswer(PackError):
    """A complete response that can't be used. The same call returns the same response."""

    exit_code = 5
    default_help = "Nothing was changed. Do not retry. Report the message and the ray_id to Cloudflare."


class ListingRepeats(UnusableAnswer):
    """A listing repeats pages, so it can't be read to its end."""

    default_help = (
        "Nothing was changed. Check that CLOUDFLARE_BASE_URL and every proxy forward the query parameters page, "
        "per_page and cursor. If they do, report the problem to Cloudflare."
    )


class ListingTooLong(UnusableAnswer):
    """A listing has more pages than one call reads."""

    default_help = "Nothing was changed. Narrow the search criteria or the filters of the list."


class TemporaryFailure(PackError):
    """A failure that may be temporary. Nothing was changed, and the same call is safe to run again."""

    exit_code = 6
    retryable = True
    default_help = "Nothing was changed. Run the same call again."


class ExportIncomplete(TemporaryFailure):
    """The number of rows does not match the job's counters. `resume` continues the export."""

    default_help = (
        "Nothing was changed; the rows that were read are kept next to the destination. Run the same export with "
        "`resume` from this error to read the missing rows, or set require_complete to false to accept an incomplete "
        "export."
    )


class RateLimited(TemporaryFailure):
    """The rate limit is used up."""

    default_help = "Nothing was changed. Run it again after retry_after_seconds, when the rate limit resets."


class NetworkFailure(TemporaryFailure):
    """The API can't be reached, or the connection broke."""

    default_help = "Nothing was changed. Check the network, HTTPS_PROXY and SSL_CERT_FILE, then run it again."


class NotReceived(NetworkFailure):
    """The request never reached the API, so that even a write may be repeated."""

    default_help = "Nothing was sent. Check the network, HTTPS_PROXY and SSL_CERT_FILE, then run it again."


class ServiceUnavailable(TemporaryFailure):
    """The API answered with a server error after all retries."""

    default_help = "Nothing was changed. Run it again later. If it keeps failing, check cloudflarestatus.com."


class UnexpectedAnswer(TemporaryFailure):
    """The response does not have the documented form."""

    default_help = "Nothing was changed. Run it again. If it fails again, the API has changed: report the named field."


class DeadlineExceeded(TemporaryFailure):
    """The time limit of the call is used up."""

    default_help = "Nothing was changed. Run it again. If it happens twice, raise the time limit."


class OutputError(TemporaryFailure):
    """A file could not be written. Nothing was changed in Cloudflare."""

    default_help = "Nothing was changed in Cloudflare. Free disk space or choose another path, then run it again."

    def __init__(self, message: str, *, path: str | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.path = path


class OutcomeUnknown(PackError):
    """A change may have been made, and a check could not find out whether it was."""

    exit_code = 7
    applied: Applied = "unknown"
    default_help = "The change may have been made. Check before you run it again."


class PartlyApplied(OutcomeUnknown):
    """A part of the change was made, and the rest was not."""

    applied: Applied = "yes"
    default_help = "Run the same call again to finish: it is safe, and skips the finished part."


class InternalError(PackError):
    """A defect of this pack."""

    exit_code = 1
    applied: Applied = "unknown"
    default_help = (
        "A change may have been made: check before you run it again. This is a defect of the pack: report it with this "
        "message."
    )

    @classmethod
    def of(cls, error: BaseException) -> InternalError:
        """Return the error for an unexpected exception. It has its type and place only: its text may quote secrets."""
        place, frame = "", error.__traceback__
        while frame is not None:
            place = f"{frame.tb_frame.f_code.co_qualname} line {frame.tb_lineno}"
            frame = frame.tb_next
        return cls(f"{type(error).__name__} in {place}")
