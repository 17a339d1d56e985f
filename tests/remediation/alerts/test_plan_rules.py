"""A plan fits its alert only if it finds the campaign, and little else."""

from __future__ import annotations

from typing import Any

import pytest

from actions import check_plan
from actions.shapes.example_meaning import EXAMPLE_MEANING
from actions.shapes.example_plan import EXAMPLE_PLAN
from core.errors import ParameterError, PlanRefused
from remediation.alerts.meaning import AlertMeaning
from remediation.alerts.plan_rules import PlanLimits, first_finding
from remediation.guardrails.plans.plan import Plan, new_plan

PLAN: dict[str, Any] = {
    **EXAMPLE_PLAN,
    "messages": 40,
    "recipients": 30,
    "malicious": 0,
    "unproved": 0,
    "by_disposition": {"MALICIOUS": 30, "NONE": 10},
    "by_recipient_domain": {"corp.example": 40},
    "own_senders": [],
    "proved_clean": {},
    "search_params": {
        "sender": "billing@invoice-portal.example",
        "start": "2026-11-13T15:32:35Z",
        "end": "2026-11-20T16:02:35Z",
    },
}
MOVE = {"action": "MOVE", "destination": "JunkEmail"}
RELEASE = {"action": "RELEASE", "destination": None}


def rule(plan: dict[str, Any], alert: dict[str, Any] | None = None, **limits: Any) -> str | None:
    """Return the rule that a plan breaks."""
    given = {
        "max_messages": 1000,
        "max_clean_percent": 50,
        "own_domains_given": False,
        "allow_own_senders": False,
        "allow_malicious": False,
        "allow_unproved": False,
        **limits,
    }
    made = Plan.model_validate({**PLAN, **plan})
    meaning = AlertMeaning.model_validate(
        {key: value for key, value in {**EXAMPLE_MEANING, **(alert or {})}.items() if key in AlertMeaning.model_fields}
    )
    asked = RELEASE if made.action == "RELEASE" else MOVE
    found = first_finding(made, meaning, asked["action"], asked["destination"], PlanLimits(**given))  # type: ignore[arg-type]  # literals
    return None if found is None else found.rule


def test_a_plan_of_the_campaign_fits() -> None:
    assert rule(MOVE) is None
    assert rule(RELEASE) is None


@pytest.mark.parametrize(
    ("plan", "alert", "broken", "allowed_by"),
    [
        ({"messages": 1001}, {}, "within_limit", {"max_messages": 1001}),
        ({"messages": None}, {}, "within_limit", None),
        ({"destination": "DeletedItems"}, {}, "of_this_alert", None),
        ({"search_params": {**PLAN["search_params"], "sender": "other@shop.example"}}, {}, "of_this_alert", None),
        ({"search_params": {**PLAN["search_params"], "sender": "BILLING@Invoice-Portal.example "}}, {}, None, None),
        ({}, {"search": None}, "of_this_alert", None),
        ({"messages": 0}, {}, "nothing_found", None),
        ({"messages": 0}, {"search": {**EXAMPLE_MEANING["search"], "by": "subject"}}, "found", None),
        ({"own_senders": ["ceo@corp.example"]}, {}, "external_only", {"allow_own_senders": True}),
        ({"by_recipient_domain": {"mail.invoice-portal.example": 1}}, {}, "external_only", {"allow_own_senders": True}),
        ({"recipients": 0}, {}, "external_only", {"own_domains_given": True}),
        ({"by_recipient_domain": {"[bad": 1}}, {}, None, None),
        ({"by_disposition": {"NONE": 21, "SPAM": 19}}, {}, "mostly_harmful", {"max_clean_percent": 53}),
        ({"proved_clean": {"a@b.example": 1}}, {"sender_proved": "no"}, "real_senders", {"max_clean_percent": 100}),
        ({"proved_clean": {"a@b.example": 1}}, {"sender_proved": "yes"}, None, None),
    ],
)
def test_each_rule_of_a_move_is_broken_and_allowed(
    plan: dict[str, Any], alert: dict[str, Any], broken: str | None, allowed_by: dict[str, Any] | None
) -> None:
    assert rule({**MOVE, **plan}, alert) == broken
    if allowed_by is not None:
        assert rule({**MOVE, **plan}, alert, **allowed_by) is None


@pytest.mark.parametrize(
    ("plan", "broken", "allowed_by"),
    [
        ({"messages": 0}, "nothing_found", None),
        ({"malicious": 1}, "harmless", {"allow_malicious": True}),
        ({"malicious": None}, "harmless", {"allow_malicious": True}),
        ({"by_disposition": {"SPOOF": 1, "NONE": 39}}, "not_imitated", {"allow_unproved": True}),
        ({"unproved": 1}, "not_imitated", {"allow_unproved": True}),
        ({"unproved": None}, "not_imitated", {"allow_unproved": True}),
    ],
)
def test_each_rule_of_a_release_is_broken_and_allowed(
    plan: dict[str, Any], broken: str, allowed_by: dict[str, Any] | None
) -> None:
    assert rule({**RELEASE, **plan}) == broken
    if allowed_by is not None:
        assert rule({**RELEASE, **plan}, **allowed_by) is None


def test_an_edited_plan_is_refused() -> None:
    with pytest.raises(PlanRefused):
        check_plan.run({"plan": {**EXAMPLE_PLAN, "messages": 1}, "alert": EXAMPLE_MEANING, "max_messages": 9})


def test_an_alert_that_read_alert_did_not_read_is_refused() -> None:
    with pytest.raises(ParameterError) as caught:
        check_plan.run({"plan": EXAMPLE_PLAN, "alert": {"From": "x"}, "max_messages": 9})
    assert "/alert/sender" in {problem["pointer"] for problem in caught.value.problems}


def checked(plan: dict[str, Any], **params: Any) -> dict[str, Any]:
    """Return the result of check-plan for a plan of the real form, whose sender is proved."""
    made = new_plan({name: value for name, value in {**PLAN, **plan}.items() if name not in ("plan_hash", "seal")})
    alert = {**EXAMPLE_MEANING, "sender_proved": "yes"}
    given = {"plan": made.model_dump(mode="json"), "alert": alert, "destination": "JunkEmail", "max_messages": 100}
    return check_plan.run({**given, **params})


CONTENT = {"query": "0" * 64, "start": "2026-11-13T15:32:35Z", "end": "2026-11-20T16:02:35Z"}


def test_a_plan_may_have_given_criteria_instead_of_the_alerts_own() -> None:
    plan = {**MOVE, "search_params": CONTENT}
    assert checked(plan)["rule"] == "of_this_alert"
    assert checked(plan, criteria={"query": "0" * 64})["fits"] is True
    assert checked(plan, criteria={"query": "1" * 64})["rule"] == "of_this_alert"


def test_a_search_by_given_criteria_is_not_proved_by_the_alerts_sender() -> None:
    plan = {**MOVE, "search_params": CONTENT, "proved_clean": {"news@real.example": 1}}
    found = checked(plan, criteria={"query": "0" * 64})
    assert (found["rule"], "search_by" in found["reason"]) == ("real_senders", False)
    assert "1 news@real.example" in found["reason"]
    assert checked(plan, criteria={"query": "0" * 64}, max_clean_percent=100)["fits"] is True
    assert checked({**MOVE, "proved_clean": {"news@real.example": 1}})["fits"] is True
