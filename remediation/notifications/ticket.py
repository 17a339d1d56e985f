"""A notification as one flat JSON object, for the webhook of a ticket system.

The pack does not know how the system shows a text. So characters that are markup in some system become their full-width
forms, which look alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.text import without_markup
from remediation.notifications.channels import Channel
from remediation.notifications.notification import Event, Notification
from remediation.notifications.post import Post, json_body

SEVERITY: Mapping[Event, str] = {
    "needs_approval": "medium",
    "done": "low",
    "partial": "medium",
    "refused": "medium",
    "failed": "high",
    "stalled": "high",
    "info": "low",
}


def ticket_post(notification: Notification, channel: Channel) -> Post:
    """Return the POST of a ticket, with the channel's secret as a bearer token if it has one."""
    document = {
        "id": notification.id,
        "event": notification.event,
        "severity": SEVERITY[notification.event],
        "title": without_markup(notification.headline),
        "description": _description(notification),
        "run_id": notification.run_id,
        "url": notification.link,
    }
    secret = channel.secret
    headers = {} if secret is None else {"Authorization": f"Bearer {secret.get_secret_value()}"}
    return Post(channel.url.get_secret_value(), json_body(document), headers)


def _description(notification: Notification) -> str:
    lines = [without_markup(line) for line in notification.lines]
    lines += [f"{without_markup(label)}: {without_markup(value)}" for label, value in notification.shown_facts.items()]
    return "\n".join([*lines, *(notification.commands if notification.link is None else ())])
