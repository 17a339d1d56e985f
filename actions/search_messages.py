"""Search the messages that a bulk job with the same criteria would find, as far as the message search shows them.

Remote operation: GET /accounts/{account_id}/email-security/investigate.
A job runs its search again: mail that arrives in between is not in this count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from actions.contract.action import READ, Action, BoundedParams, BoundedResult
from actions.contract.process import main
from actions.shapes.example_job import EXAMPLE_SEARCH
from connectors.email_security import EmailSecurity
from connectors.objects.end_of_life import ACTION_LOG, EndedParameter
from connectors.objects.search import SearchParams
from core.errors import ParameterError
from core.quantity import counted
from remediation.guardrails.change import mailboxes_of
from remediation.guardrails.search_scope import scope_of


class Params(BoundedParams):
    ended: ClassVar[Sequence[EndedParameter]] = (ACTION_LOG,)

    search_params: SearchParams = Field(description="Which messages are meant; all criteria given must hold.")
    limit: int = Field(1000, ge=1, le=100_000, description="How many messages to count at most.")
    sample: int = Field(20, ge=0, le=1000, description="How many of the messages found to show in the result.")


class Result(BoundedResult):
    cut_order = ("messages", "counts_by_disposition", "warnings")

    count: int = Field(description="Messages found, at most `limit`.")
    mailbox_copies: int = Field(description="Messages times mailboxes that hold them: a job has one row for each.")
    recipients: int = Field(description="Distinct recipients.")
    limit_reached: bool = Field(
        description="True if there are more messages than `limit`. The counts are then a minimum."
    )
    counts_by_disposition: dict[str, int] = Field(description="Messages by verdict.")
    messages: list[dict[str, Any]] = Field(description="The first `sample` messages as the API describes them.")
    warnings: list[str] = Field(description="Reasons why a job may find more or fewer messages.")


def search_messages(p: Params, api: EmailSecurity) -> Result:
    scope = scope_of(p.search_params)
    if scope.uncountable:
        raise ParameterError.at("/search_params/submissions", scope.uncountable)
    found: list[dict[str, Any]] = []
    count = copies = 0
    limit_reached = False
    recipients: set[str] = set()
    dispositions: Counter[str] = Counter()
    for message in api.search_messages(scope.query, per_page=min(1000, p.limit + 1)):
        if not scope.holds(message):
            continue
        if count == p.limit:
            limit_reached = True
            break
        count += 1
        copies += message.copies
        recipients.update(mailboxes_of(message.client_recipients))
        dispositions[message.final_disposition or "NONE"] += 1
        if len(found) < p.sample:
            found.append(message.document())
    return Result(
        count=count,
        mailbox_copies=copies,
        recipients=len(recipients),
        limit_reached=limit_reached,
        counts_by_disposition=dict(dispositions.most_common()),
        messages=found,
        warnings=scope.notes + _warnings(p, limit_reached=limit_reached),
    )


def _warnings(p: Params, *, limit_reached: bool) -> list[str]:
    warnings = []
    if limit_reached:
        warnings.append(
            f"more than {counted(p.limit, 'message was', 'messages were')} found: raise `limit` to count them all"
        )
    if p.search_params.detections_only is None:
        warnings.append(
            "detections_only is not given, and the API's default is true: mail with a clean verdict is not found"
        )
    if p.search_params.start is None:
        warnings.append("`start` is not given: the message search looks back 30 days, a job may look back further")
    return warnings


ACTION = Action(
    id="search-messages",
    title="Search the messages that a job would find",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[READ],
    function=search_messages,
    example_params={
        "search_params": EXAMPLE_SEARCH,
        "limit": 1000,
        "sample": 1,
    },
    example_result={
        "count": 409,
        "mailbox_copies": 420,
        "recipients": 418,
        "limit_reached": False,
        "counts_by_disposition": {"MALICIOUS": 380, "NONE": 29},
        "messages": [
            {
                "id": "4WtWkr6nlBz9sNH-2026-11-20T15:32:35-12345678",
                "subject": "Overdue invoice for Dana",
                "from": "billing@invoice-portal.example",
                "client_recipients": ["dana@corp.example"],
                "final_disposition": "MALICIOUS",
            }
        ],
        "warnings": [],
        "truncated": {},
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
