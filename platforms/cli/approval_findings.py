"""Compare the document that an approver signs with the service and the approver's policy."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from pydantic import SecretStr

from connectors.connection import environment_variables
from connectors.email_security import EmailSecurity
from connectors.objects.job import Reach
from core.settings import read_setting
from platforms.cli.inputs.approval_subject import DryRun
from remediation.guardrails.approvals.needed import Need, need_of
from remediation.guardrails.plans.check import recompute_plan
from remediation.guardrails.plans.plan import Plan
from remediation.guardrails.plans.seal import SealState, check_seal, seal_state
from remediation.guardrails.policy.people import named_among
from remediation.guardrails.policy.policy import NO_POLICY, Policy
from remediation.guardrails.survey import Survey
from remediation.messages.live_check import find_differences, find_drift, find_false_claims, survey_ids, survey_plan


@dataclass(frozen=True)
class Findings:
    """The result of the comparison.

    service: its base URL; None if it was not asked. found: the count of now; None if the service was not asked or can't
    count. facts: the plan, recomputed. seal: the state of the plan's seal; None for a dry run. need: the approvals that
    the approver's policy requires; None without a policy. differences: facts that contradict the file.
    """

    approver: str
    service: str | None
    found: Survey | None = None
    facts: Plan | None = None
    seal: SealState | None = None
    service_account: bool = False
    need: Need | None = None
    differences: list[str] = field(default_factory=list)


def check_subject(subject: Plan | DryRun, approver: str, policy: Policy, api: EmailSecurity | None) -> Findings:
    """Ask the service, if given, and recompute the claims of the file.

    Raises: PlanRefused for a plan that preview-job did not make, and the errors of a search.
    """
    service = None if api is None else api.connection.base_url
    by_account = subject.requested_by is not None and named_among(subject.requested_by, policy.service_accounts)
    if isinstance(subject, DryRun):
        ids = subject.ids or []
        found = None if api is None else survey_ids(api, ids, policy)
        differences = [] if found is None else find_differences(ids, subject.recipients, found)
        need = _need(subject, policy, found)
        return Findings(approver, service, found, service_account=by_account, need=need, differences=differences)
    seal, unsealed = _check_seal(subject)
    facts = recompute_plan(subject, policy)
    found = None if api is None else survey_plan(api, subject, policy)
    differences = [*unsealed, *find_false_claims(subject, facts), *find_drift(subject, found, facts.max_drift)]
    return Findings(approver, service, found, facts, seal, by_account, _need(subject, policy, found), differences)


def _need(subject: Plan | DryRun, policy: Policy, found: Survey | None) -> Need | None:
    """Return the approvals that the policy requires for the larger of the file's and the current numbers, or None."""
    if policy is NO_POLICY:
        return None
    pairs = [(subject.messages, subject.recipients)] + ([found.numbers] if found is not None else [])
    messages, recipients = (
        max((one for one in each if one is not None), default=None) for each in zip(*pairs, strict=True)
    )
    requesters = [] if subject.requested_by is None else [subject.requested_by]
    return need_of(policy, Reach(subject.action, subject.destination, messages, recipients), requesters)


def _check_seal(plan: Plan) -> tuple[SealState, list[str]]:
    """Return the state of the plan's seal, and a difference if the seal is missing and the approver has the key.

    Raises: PlanRefused for a broken seal.
    """
    secret = read_setting(os.environ, environment_variables()["plan_key"], guard=True)
    key = None if secret is None else SecretStr(secret)
    check_seal(plan, key, required=False)
    state = seal_state(plan, key)
    if state == "unsealed" and key is not None:
        return state, ["preview-job did not seal the plan, and CFES_PLAN_KEY is set here"]
    return state, []
