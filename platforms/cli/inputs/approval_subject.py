"""Read the document that an approver signs: a plan of preview-job, or a dry run of named messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.connection import PERSON
from connectors.objects.job import ActionType, Destination
from core.errors import ParameterError, PlanRefused
from core.validation_text import problems_of
from remediation.guardrails.change import Change, plan_hash
from remediation.guardrails.plans.plan import Plan, read_plan

UNCHECKABLE = "the file is not a plan of preview-job and has no ids, so it can't be checked against its plan_hash"


class DryRun(BaseModel):
    """The result of a dry run on named messages. Other keys are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)

    plan_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    account_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    action: ActionType
    destination: Destination | None = None
    messages: int | None = Field(None, ge=0)
    recipients: int | None = Field(None, ge=0)
    requested_by: str | None = Field(None, pattern=PERSON)
    requester_proved: bool = False
    ids: list[str] | None = None
    by_sender: dict[str, int] = {}
    by_recipient_domain: dict[str, int] = {}
    by_disposition: dict[str, int] = {}
    sample: list[dict[str, Any]] = []
    warnings: list[str] = []


def read_subject(document: Mapping[str, Any], now: datetime) -> Plan | DryRun:
    """Return the plan or the dry run in a document, after checking its hash.

    Raises: PlanRefused for a plan that was edited or is too old; ParameterError for any other document.
    """
    # A document with a search must be a plan with a valid hash. Otherwise its other fields would be trusted.
    if "search_params" in document or "previewed_at" in document:
        plan = read_plan(document)
        plan.check_age(now)
        return plan
    try:
        found = DryRun.model_validate(dict(document))
    except ValidationError as error:
        problems = problems_of(error)
        raise ParameterError(
            f"PLAN is not a valid plan or dry run: {'; '.join(p['pointer'] + ': ' + p['message'] for p in problems)}",
            problems=problems,
            help="Nothing was signed. Give the whole, unchanged result of preview-job or of a dry run.",
        ) from None
    _check_ids(found)
    return found


def _check_ids(found: DryRun) -> None:
    """Check that the IDs of a dry run match its hash. Raises: PlanRefused."""
    if found.ids is None:
        raise PlanRefused(
            UNCHECKABLE, help="Nothing was signed. Give the whole result of a dry run of at most 10,000 messages."
        )
    change = Change(found.action, found.destination)
    if plan_hash(found.account_id, change, found.ids) != found.plan_hash or found.messages != len(set(found.ids)):
        raise PlanRefused("the file was edited: its plan_hash does not match its content")
