"""Read an alert: who sent the message, whether it is your own mail, and which searches find the campaign.

Works on its parameters alone: no connection, no remote operation.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from actions.contract.action import Action, BoundedParams, BoundedResult
from actions.contract.process import main
from actions.shapes.example_meaning import EXAMPLE_MEANING
from core.errors import ParameterError, Problem
from remediation.alerts.meaning import AlertMeaning, read_meaning
from remediation.alerts.pivots import SearchBy

MOST_ALERTS = 1000


def _objects(value: object) -> object:
    if not all(isinstance(entry, dict) for entry in (value if isinstance(value, list) else [value])):
        raise ValueError("must be an object, or a list of objects")
    return value


class Params(BoundedParams):
    quoted = frozenset({"alert"})

    alert: Annotated[dict[str, Any] | list[dict[str, Any]], BeforeValidator(_objects)] = Field(
        description="A record of the Logpush dataset email_security_alerts, or an object of search parameters. Or a "
        f"list of either, at most {MOST_ALERTS}.",
        max_length=MOST_ALERTS,
    )
    own_domains: list[str] = Field(
        default_factory=list,
        max_length=1000,
        description="Your organization's domains, in addition to those in the alert's SMTPEnvelopeTo.",
    )
    lookback_days: int = Field(7, ge=0, le=30, description="How many days before the alert a search begins.")
    search_by: SearchBy = Field(
        "auto",
        description="How to search for the campaign. auto uses the sender only if DMARC or SPF proves it, else the "
        "first of attachment, link_domain and subject that the alert has.",
    )
    search_value: str | None = Field(
        None,
        min_length=1,
        max_length=320,
        description="The attachment's SHA-256 or the link domain to search by, if the alert has several.",
    )


class Result(AlertMeaning, BoundedResult):
    cut_order = ("alerts",)

    alerts: list[AlertMeaning] = Field(
        default_factory=list,
        description="For a list of alerts: the meaning of each, in order. The other fields are those of the first.",
    )


def read_alert(p: Params) -> Result:
    is_list = isinstance(p.alert, list)
    if is_list and not p.alert:
        raise ParameterError(problems=[Problem(pointer="/alert", message="the list has no alert")])
    found = [
        read_meaning(
            entry,
            own_domains=p.own_domains,
            lookback_days=p.lookback_days,
            search_by=p.search_by,
            search_value=p.search_value,
            pointer=f"/alert/{number}" if is_list else "/alert",
            domains_pointer="/own_domains",
        )
        for number, entry in enumerate(p.alert if isinstance(p.alert, list) else [p.alert])
    ]
    return Result(**dict(found[0]), alerts=found if is_list else [])


ACTION = Action(
    id="read-alert",
    title="Read an alert and list searches for its campaign",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[],
    connection=False,
    function=read_alert,
    example_params={
        "alert": {
            "AlertID": "4WtWkr6nlBz9sNH-2026-11-20T15:32:35",
            "From": "billing@invoice-portal.example",
            "Timestamp": "2026-11-20T15:32:35Z",
            "FinalDisposition": "malicious",
            "SMTPEnvelopeTo": ["dana@corp.example"],
            "DMARCResult": "pass",
        }
    },
    example_result=EXAMPLE_MEANING,
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
