"""A plan: a request with its window pinned, the numbers that its search found, and a hash over both.

The hash names the plan: approvals and the job refer to it. A plan is plain JSON without secrets. Anybody can edit a
plan and compute a matching hash, so the hash proves no origin. The seal does (remediation.guardrails.plans.seal), and
remediation.guardrails.plans.check recomputes what follows from the search.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from connectors.objects.folders import recovery_from
from connectors.objects.job import IRREVERSIBLE_DESTINATIONS, ActionType, BulkJobRequest, Destination, delivers
from connectors.objects.search import SearchParams
from core.clock import CLOCK_SKEW
from core.errors import ParameterError, PlanRefused, Problem
from core.instants import format_instant, instant_or_none
from core.json_values import below
from core.validation_text import plain_message
from remediation.guardrails.change import Numbers
from remediation.guardrails.limits import OLDEST_PLAN

# By how many percent a count may differ from the plan's, unless something smaller is set.
DEFAULT_DRIFT_PERCENT = 10.0

Parity = Literal["exact", "approximate", "unknown"]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Reversibility(Part):
    """Whether the change can be undone, and how."""

    reversible: bool = Field(description="Whether users or this pack can undo it.")
    how: str = Field(description="How to undo it, or why that is not possible.")


class Refusal(Part):
    """A guardrail that would refuse a create with this plan now."""

    type: str = Field(description="The error's type.")
    message: str = Field(description="Why the guardrail would refuse.")


class Plan(Part):
    """The result of preview-job, which create-move-job, release-job and wait-for-job take."""

    version: Literal[1] = Field(1, description="The version of this format.")
    plan_hash: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 over everything in the plan except its seal."
    )
    seal: str | None = Field(
        None,
        pattern=r"^hmac-sha256:[0-9a-f]{64}$",
        description="HMAC under CFES_PLAN_KEY over plan_hash: proves that preview-job made it. Null without a key.",
    )
    account_id: str = Field(description="The account of the search.")
    previewed_at: str = Field(description="When the preview was made, RFC 3339.")
    requested_by: str | None = Field(description="The requester; null if not stated.")
    requester_proved: bool = Field(
        description="Whether a setting or the platform names the requester, not a parameter."
    )
    action: ActionType = Field(description="MOVE or RELEASE.")
    destination: Destination | None = Field(description="The folder; null for RELEASE.")
    search_params: dict[str, Any] = Field(description="The search as the job gets it, with its window pinned.")
    asked_search_params: dict[str, Any] = Field(description="The search as requested.")
    messages: int | None = Field(
        ge=0, description="Messages found, one for each mailbox, as a job counts; null if they can't be counted."
    )
    distinct_messages: int | None = Field(ge=0, description="Messages found, each counted once.")
    recipients: int | None = Field(ge=0, description="Distinct recipients.")
    malicious: int | None = Field(ge=0, description="Messages with the verdict MALICIOUS or MALICIOUS-BEC.")
    by_recipient_domain: dict[str, int] = Field(description="Messages by the recipient's domain, most first.")
    by_disposition: dict[str, int] = Field(description="Messages by verdict.")
    by_delivery_status: dict[str, int] = Field(description="Messages by delivery status; one may have several.")
    by_sender: dict[str, int] = Field(description="Messages by sender, the most frequent first.")
    unproved: int | None = Field(
        ge=0, description="Messages whose sender neither DMARC nor an aligned SPF proves: it may be forged."
    )
    proved_clean: dict[str, int] = Field(
        description="Messages with a clean verdict, by sender that DMARC or an aligned SPF proves."
    )
    sample: list[dict[str, Any]] = Field(description="Some of the messages found, each verdict in turn.")
    protected: list[str] = Field(description="Recipients and senders found that the policy protects, at most 100.")
    own_senders: list[str] = Field(
        description="Senders found that may be the organization's own, at most 10: their From or envelope sender is in "
        "a domain of the recipients or in one of the policy's own domains."
    )
    parity: Parity = Field(
        description="Whether a job with this search finds the messages that were counted. approximate: the message "
        "search can't express a criterion, which was checked on each message found. unknown: they could not be counted."
    )
    parity_notes: list[str] = Field(
        description="Criteria that the message search can't express, and how they were checked."
    )
    reversibility: Reversibility
    max_drift: float = Field(ge=0, le=1000, description="Percent by which a count may differ before the create.")
    cancel_if_discovered_over: int | None = Field(ge=0, description="wait-for-job cancels a job that discovers more.")
    approvals_needed: int = Field(ge=0, description="How many approvals the policy requires.")
    refusals: list[Refusal] = Field(description="The refusals that a create with this plan would meet now.")
    warnings: list[str] = Field(description="Warnings for a person.")

    @model_validator(mode="after")
    def _is_one_that_preview_makes(self) -> Self:
        if (self.action == "MOVE") != (self.destination is not None):
            raise ValueError("a MOVE has a destination, a RELEASE has none")
        if not {"start", "end"} <= self.search_params.keys():
            raise ValueError("the window is not pinned: search_params has no start or no end")
        return self

    @property
    def numbers(self) -> Numbers | None:
        return None if self.messages is None or self.recipients is None else Numbers(self.messages, self.recipients)

    def request(self) -> BulkJobRequest:
        """Return the request that the job is created with. Raises: PlanRefused if the search is not valid."""
        return self._request(self.search_params)

    def asked(self) -> BulkJobRequest:
        """Return the request as the caller asked for it, before the window was pinned. Raises: PlanRefused."""
        return self._request(self.asked_search_params)

    def _request(self, search_params: dict[str, Any]) -> BulkJobRequest:
        try:
            return BulkJobRequest(
                action=self.action,
                destination=self.destination,
                search_params=SearchParams.model_validate(search_params),
            )
        except ValidationError:
            raise PlanRefused("the plan's search_params are not valid for a job") from None

    def most_messages(self, percent: float) -> int | None:
        """Return the most messages that there may be now; None if they could not be counted."""
        return None if self.messages is None else allowed_over(self.messages, percent)

    def has_drifted(self, now: Numbers, percent: float) -> bool:
        """Return whether messages or recipients differ from the plan's by more than this percentage."""
        if self.numbers is None:
            return False
        pairs = zip(self.numbers, now, strict=True)
        return any(abs(after - before) > allowed_over(before, percent) - before for before, after in pairs)

    def made_at(self) -> datetime:
        """Return when the plan was made. Raises: PlanRefused."""
        if (made := instant_or_none(self.previewed_at)) is None:
            raise PlanRefused("the plan's previewed_at is not a valid date-time")
        return made

    def check_age(self, now: datetime) -> None:
        """Check that the plan is neither too old nor from the future. Raises: PlanRefused."""
        made = self.made_at()
        if made - now > CLOCK_SKEW:
            raise PlanRefused(
                f"the plan was made at {self.previewed_at}, which is in the future: it is {format_instant(now)} here",
                help="Nothing was changed. The clock of one of the two machines is wrong: set it, and make a new plan.",
            )
        if now - made > OLDEST_PLAN:
            raise PlanRefused(
                f"the plan is older than {OLDEST_PLAN.total_seconds() / 3600:.0f} h: it was made at {self.previewed_at}"
            )


def new_plan(facts: Mapping[str, Any]) -> Plan:
    """Return the plan with these fields and their hash. remediation.guardrails.plans.seal adds the seal."""
    unsigned = Plan.model_validate({**facts, "plan_hash": "0" * 64, "seal": None})
    return unsigned.model_copy(update={"plan_hash": hash_of(unsigned)})


def hash_of(plan: Plan) -> str:
    """Return SHA-256 over the plan's canonical JSON: keys sorted, no white space, everything but hash and seal."""
    content = plan.model_dump(mode="json", exclude={"plan_hash", "seal"})
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"cfes plan\0{canonical}".encode()).hexdigest()


# A document that lacks so many fields of a plan is something else.
_ANOTHER_DOCUMENT = 5


def read_plan(document: Mapping[str, Any]) -> Plan:
    """Return the plan in a JSON object. Raises: ParameterError, PlanRefused if it was edited."""
    try:
        plan = Plan.model_validate(dict(document))
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)[:20]
        problems = [Problem(pointer=below("/plan", *one["loc"]), message=plain_message(one)) for one in found]
        listed = "; ".join(f"{problem['pointer']}: {problem['message']}" for problem in problems)
        missing = [below("", *one["loc"])[1:] for one in found if one["type"] == "missing"]
        if len(missing) >= _ANOTHER_DOCUMENT:
            listed = f"it is not a result of preview-job: {', '.join(missing[:3])} and others are missing"
        raise ParameterError(
            f"the plan can't be read: {listed}",
            problems=problems,
            help="Nothing was sent. Pass the whole result of preview-job. A plan of another version of the pack is not "
            "accepted: make a new one.",
        ) from None
    if hash_of(plan) != plan.plan_hash:
        raise PlanRefused("the plan was changed after it was made: its plan_hash does not match its content")
    return plan


def reversibility_of(action: ActionType, destination: Destination | None) -> Reversibility:
    """Return whether this one call can be undone, and how."""
    if action == "RELEASE":
        return Reversibility(
            reversible=False,
            how="A released message is delivered. A job can move it out of the mailbox, but not hold it again.",
        )
    if delivers(action, destination):
        return Reversibility(
            reversible=False,
            how="A message in Inbox is delivered. A job can move it out of the mailbox, but its user may have read it.",
        )
    if (recovery := recovery_from(destination)) is not None:
        return Reversibility(reversible=False, how=f"This pack can't undo it. {recovery}")
    return Reversibility(
        reversible=True,
        how="restore-messages moves them back to Inbox; the folder that each came from is not known.",
    )


def default_drift(destination: Destination | None) -> float:
    """Return the drift in percent: 0 where this pack can't undo the move."""
    return 0.0 if destination in IRREVERSIBLE_DESTINATIONS else DEFAULT_DRIFT_PERCENT


def allowed_over(count: int, percent: float) -> int:
    """Return the most that `count` may be now: never rounded up."""
    return count + int(count * percent / 100)
