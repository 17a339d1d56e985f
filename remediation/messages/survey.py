"""Counts named messages by domain, verdict and sender, as a plan does for a search."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from connectors.email_security import EmailSecurity
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.survey import Survey

if TYPE_CHECKING:
    from connectors.objects.message import MessageDetails
    from remediation.guardrails.policy.policy import Policy

SAMPLE_SIZE = 10


def survey_messages(api: EmailSecurity, found: Collection[MessageDetails], policy: Policy | None = None) -> Survey:
    """Return the counts of messages that the service found. policy: as in remediation.guardrails.survey."""
    survey = Survey(policy=policy_of(api) if policy is None else policy, sample_size=SAMPLE_SIZE)
    for message in found:
        survey.take(message)
    return survey


def survey_fields(survey: Survey | None) -> Mapping[str, Any]:
    """Return the fields of a result that show the counts; empty ones where there are none."""
    if survey is None:
        empty: dict[str, Any] = {name: {} for name in ("by_recipient_domain", "by_disposition", "by_sender")}
        return {"found": None, **empty, "sample": []}
    return {
        "found": survey.distinct_messages,
        "by_recipient_domain": survey.by_recipient_domain.shown(),
        "by_disposition": survey.by_disposition.shown(),
        "by_sender": survey.by_sender.shown(),
        "sample": survey.sample,
    }
