"""Send a notification about a run: to Slack, Microsoft Teams, a signed webhook, a ticket system or a case of TheHive.

The environment sets the channels with their URLs and secrets (CFES_NOTIFY_CHANNELS). No remote operation of Cloudflare.
A channel that fails is a warning, never an error, so that no run fails for it. Each channel gets at most three attempts
within 30 seconds. A notification that may have arrived is sent again, so it can arrive twice.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from actions.contract.action import Action, ActionParams, ActionResult
from actions.contract.process import main
from core.clock import SystemClock
from remediation.notifications.channels import MOST_CHANNELS, NAME, Kind
from remediation.notifications.delivery import WebhookClient
from remediation.notifications.notification import LONGEST_MESSAGE, LONGEST_TITLE, MOST_FACTS, Draft, Event, Fact
from remediation.notifications.sending import Outcome, send
from remediation.notifications.thehive import CASE_ID

# The name of a pause; before it the steps of sub-playbooks, such as "sweeps[0]/job/".
SIGNAL = r"^(?:[a-z][a-z0-9_-]{0,63}(?:\[[0-9]+\])?/)*[a-z][a-z0-9_]{0,63}$"

_NAME = {"type": "string", "pattern": NAME}

ChannelNames = Annotated[
    list[Annotated[str, Field(pattern=NAME)]],
    Field(max_length=MOST_CHANNELS),
    BeforeValidator(lambda names: [names] if isinstance(names, str) else names),
    WithJsonSchema({"anyOf": [_NAME, {"type": "array", "items": _NAME, "maxItems": MOST_CHANNELS}]}),
]


class Params(ActionParams):
    quoted = frozenset({"title", "message", "facts"})

    channels: ChannelNames | None = Field(
        None, description="The name of a channel in CFES_NOTIFY_CHANNELS, or several. By default all of them."
    )
    event: Event = Field("info", description="What happened.")
    title: str = Field(min_length=1, description=f"The title, on one line. It is cut to {LONGEST_TITLE} characters.")
    message: str = Field(
        "",
        description=f"The text. It is cut to {LONGEST_MESSAGE:,} characters. Markup and links have no effect.",
    )
    facts: dict[str, Fact] = Field(
        default_factory=dict,
        max_length=MOST_FACTS,
        description="Short labels with a text, number, boolean or null (shown as not known).",
    )
    run_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$", description="The run: `run.id` in a playbook."
    )
    signal: str | None = Field(
        None,
        pattern=SIGNAL,
        max_length=500,
        description="The signal that the run waits for, if it waits: `approval`, or `job/approval`.",
    )
    case_id: str | None = Field(
        None, pattern=CASE_ID, description="The case of TheHive to comment on. Without it, such channels are skipped."
    )
    dedupe: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="A key for this notification. The same run, event and key give the same message ID, so that a "
        "receiver can ignore a repetition. By default the content is the key.",
    )


class Sent(ActionResult):
    """What became of the notification on one channel."""

    name: str = Field(description="The channel's name.")
    kind: Kind | None = Field(description="The channel's kind; null if its setting names none that exists.")
    outcome: Outcome = Field(description="`sent`: the receiver accepted it. `skipped`: not meant for this channel.")
    attempts: int = Field(description="The number of attempts.")
    http_status: int | None = Field(description="The status of the last response, or null without a response.")
    error: str | None = Field(description="Why it was not sent, or null. It holds no URL and no secret.")


class Result(ActionResult):
    message_id: str = Field(
        description="The ID of the notification. Signed webhooks have it as `webhook-id`, tickets as `id`."
    )
    sent: int = Field(description="The number of channels that accepted the notification.")
    channels: list[Sent] = Field(description=f"The channels, at most {MOST_CHANNELS}. Empty if none is set.")
    warnings: list[str] = Field(description="Channels that failed, and settings that can't be used.")


def _exit_code(result: Mapping[str, Any]) -> int:
    """Exit 8 if a channel failed or a setting can't be used."""
    return 8 if result["warnings"] else 0


def notify(p: Params) -> Result:
    draft = Draft(**p.model_dump(exclude={"channels"}))
    client = WebhookClient(SystemClock(), random.Random())  # noqa: S311 -- for pauses and IDs
    report = send(draft, p.channels, environment=os.environ, client=client)
    return Result(
        message_id=report.notification_id,
        sent=sum(one.outcome == "sent" for one in report.channels),
        channels=[Sent(**one._asdict()) for one in report.channels],
        warnings=list(report.warnings),
    )


ACTION = Action(
    id="notify",
    title="Send a notification about a run",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[],
    function=notify,
    connection=False,
    verdict=_exit_code,
    example_params={
        "event": "needs_approval",
        "title": "Move 409 messages to Junk Email",
        "message": "A plan waits for approval.",
        "facts": {"Messages": 409, "Sender": "billing@invoice-portal.example"},
        "run_id": "phish-campaign-purge-20261120T160235Z-1f9c2a",
        "signal": "approvals",
    },
    example_result={
        "message_id": "msg_0b7a3f6f2c1d4e5f8a9b0c1d2e3f4a5b",
        "sent": 1,
        "channels": [
            {
                "name": "soc",
                "kind": "slack",
                "outcome": "sent",
                "attempts": 1,
                "http_status": 200,
                "error": None,
            },
            {
                "name": "case",
                "kind": "thehive",
                "outcome": "skipped",
                "attempts": 0,
                "http_status": None,
                "error": "no case_id was given",
            },
        ],
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
