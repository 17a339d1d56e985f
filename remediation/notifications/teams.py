"""A notification as an adaptive card, for a webhook of a Microsoft Teams workflow.

Text of the notification is in text runs of RichTextBlocks. Those know no Markdown, unlike a TextBlock and a FactSet
(learn.microsoft.com, "Text features"). A message has at most 28 KB; the limits of a notification keep to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.json_values import Json
from core.text import defanged
from remediation.notifications.channels import Channel
from remediation.notifications.notification import Notification
from remediation.notifications.post import Post, json_body

CARD = "application/vnd.microsoft.card.adaptive"
# Every client of Teams has this version.
CARD_VERSION = "1.4"


def teams_post(notification: Notification, channel: Channel) -> Post:
    """Return the POST of a message with one card."""
    card: dict[str, Json] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": CARD_VERSION,
        "body": list(_body(notification)),
    }
    if notification.link is not None:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open the run", "url": notification.link}]
    document = {"type": "message", "attachments": [{"contentType": CARD, "contentUrl": None, "content": card}]}
    return Post(channel.url.get_secret_value(), json_body(document))


def _body(notification: Notification) -> Iterator[Json]:
    yield _block(_run(notification.headline, size="Large", weight="Bolder"))
    for line in notification.lines:
        yield _block(_run(line))
    for label, value in notification.shown_facts.items():
        yield _block(_run(f"{label}: ", weight="Bolder"), _run(value))
    for command in notification.commands if notification.link is None else ():
        yield _block({"type": "TextRun", "text": command, "fontType": "Monospace"})
    if notification.run_id is not None:
        yield _block({"type": "TextRun", "text": f"Run {notification.run_id}", "isSubtle": True})


def _block(*runs: Json) -> Json:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **style: Any) -> Json:
    # Cards replace {{DATE(...)}} and {{TIME(...)}} in texts.
    return {"type": "TextRun", "text": defanged(text).replace("{{", "\uff5b\uff5b"), **style}
