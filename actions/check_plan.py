"""Check that a plan fits the alert that it is for: that it finds the campaign, and little else.

Works on its parameters alone: no connection, no remote operation. A plan that was edited is refused.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from actions.contract.action import Action, ActionParams, ActionResult
from actions.contract.process import main
from actions.shapes.example_meaning import EXAMPLE_MEANING
from connectors.objects.job import ActionType, Destination
from core.errors import ParameterError
from core.quantity import counted
from core.validation_text import problems_of
from remediation.alerts.meaning import AlertMeaning, AlertSearch
from remediation.alerts.pivots import described
from remediation.alerts.plan_rules import NOTHING, PlanLimits, first_finding, too_many
from remediation.guardrails.plans.plan import read_plan


class Params(ActionParams):
    quoted = frozenset({"alert"})

    plan: dict[str, Any] | None = Field(
        description="The result of preview-job. Null if it found more messages than its `limit`."
    )
    alert: dict[str, Any] = Field(description="The result of read-alert.")
    criteria: dict[str, str] | None = Field(
        None,
        min_length=1,
        max_length=10,
        description="The criteria that the plan's search must have, instead of those of the alert's own search. Clean "
        "messages of proved senders then count against a plan even if the alert's sender is proved.",
    )
    action: ActionType = Field("MOVE", description="The action that the plan must have.")
    destination: Destination | None = Field(None, description="The folder that the plan must have; null for RELEASE.")
    max_messages: int = Field(ge=1, le=1_000_000, description="Refuse more messages than this, one for each mailbox.")
    counted_up_to: int | None = Field(
        None, ge=1, description="The `limit` of preview-job, for the text without a plan."
    )
    max_clean_percent: int = Field(
        50,
        ge=0,
        le=100,
        description="For MOVE: refuse a plan with a larger percentage of clean verdicts. Below 100, also refuse clean "
        "messages of proved senders if nothing proves the alert's sender.",
    )
    own_domains_given: bool = Field(False, description="For MOVE: whether read-alert was given your own domains.")
    allow_own_senders: bool = Field(False, description="For MOVE: allow senders that may be your own.")
    allow_malicious: bool = Field(False, description="For RELEASE: allow the verdicts MALICIOUS and MALICIOUS-BEC.")
    allow_unproved: bool = Field(False, description="For RELEASE: allow senders that DMARC and SPF do not prove.")


class Result(ActionResult):
    fits: bool = Field(description="Whether the plan fits the alert, so that its job may be created.")
    nothing_found: bool = Field(description="Whether the plan has no message to change. This is not an error.")
    rule: str | None = Field(description="The rule that the plan breaks; null if it fits.")
    reason: str | None = Field(description="The reason, as sentences; null if the plan fits.")


def check_plan(p: Params) -> Result:
    limits = PlanLimits(
        max_messages=p.max_messages,
        max_clean_percent=p.max_clean_percent,
        own_domains_given=p.own_domains_given,
        allow_own_senders=p.allow_own_senders,
        allow_malicious=p.allow_malicious,
        allow_unproved=p.allow_unproved,
    )
    if p.plan is None:
        more = (
            "more messages than could be counted"
            if p.counted_up_to is None
            else "more than " + counted(p.counted_up_to, "message")
        )
        found = too_many(more, p.max_messages)
    else:
        finding = first_finding(read_plan(p.plan), _alert(p), p.action, p.destination, limits)
        if finding is None:
            return Result(fits=True, nothing_found=False, rule=None, reason=None)
        found = finding
    return Result(fits=False, nothing_found=found.rule == NOTHING, rule=found.rule, reason=found.reason)


def _alert(p: Params) -> AlertMeaning:
    known = {name: value for name, value in p.alert.items() if name in AlertMeaning.model_fields}
    try:
        alert = AlertMeaning.model_validate(known)
    except ValidationError as error:
        raise ParameterError(problems=problems_of(error, "/alert")) from None
    if p.criteria is None:
        return alert
    own = AlertSearch(by=None, criteria=p.criteria, search_params=p.criteria, description=described(p.criteria))
    return alert.model_copy(update={"search": own})


ACTION = Action(
    id="check-plan",
    title="Check that a plan fits its alert",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[],
    connection=False,
    function=check_plan,
    example_params={
        "plan": None,
        "counted_up_to": 3000,
        "alert": EXAMPLE_MEANING,
        "destination": "JunkEmail",
        "max_messages": 1000,
    },
    example_result={
        "fits": False,
        "nothing_found": False,
        "rule": "within_limit",
        "reason": "The search finds more than 3,000 messages, one for each mailbox, and max_messages is 1000. Nothing "
        "was changed. If you expect that many, run the playbook again with a higher max_messages.",
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
