"""A notification as a comment on a case of TheHive 5.

Comments are Markdown. Every ASCII punctuation character of a text has a backslash before it, which takes away its
effect (CommonMark, "Backslash escapes"), also that of HTML and of entities.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from core.text import defanged
from remediation.notifications.channels import Channel
from remediation.notifications.notification import Notification
from remediation.notifications.post import Post, json_body

# TheHive's own IDs begin with ~; a case also has a number.
CASE_ID = r"^~?[A-Za-z0-9_-]{1,64}$"

_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")


def thehive_post(notification: Notification, channel: Channel) -> Post:
    """Return the POST of a comment. The notification has a case, and the channel a secret."""
    if notification.case_id is None or channel.secret is None:
        raise ValueError("a comment needs a case and an API key")
    base = channel.url.get_secret_value().rstrip("/")
    return Post(
        f"{base}/api/v1/case/{quote(notification.case_id, safe='~')}/comment",
        json_body({"message": "\n\n".join(_paragraphs(notification))}),
        {"Authorization": f"Bearer {channel.secret.get_secret_value()}"},
    )


def _paragraphs(notification: Notification) -> Iterator[str]:
    yield f"### {_escaped(notification.headline)}"
    if notification.lines:
        # Two blanks at the end of a line are a line break.
        yield "  \n".join(_escaped(line) for line in notification.lines)
    if notification.facts:
        yield "\n".join(f"- {_escaped(label)}: {_escaped(value)}" for label, value in notification.shown_facts.items())
    if notification.link is not None:
        yield f"[Open the run]({notification.link})"
    elif notification.commands:
        yield "\n".join(["```", *notification.commands, "```"])
    if notification.run_id is not None:
        yield f"Run `{notification.run_id}`"


def _escaped(text: str) -> str:
    return _PUNCTUATION.sub(r"\\\g<0>", defanged(text))
