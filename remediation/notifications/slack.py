"""A notification as a Slack message, for an incoming webhook.

Texts are in `plain_text` objects, in which Slack reads no markup, link, mention or emoji name. Slack's documentation
asks for &, < and > as entities in every text object. Limits: docs.slack.dev, "Block Kit".
"""

from __future__ import annotations

from collections.abc import Iterator

from core.json_values import Json
from core.text import defanged
from remediation.notifications.channels import Channel
from remediation.notifications.fitting import fit
from remediation.notifications.notification import Notification
from remediation.notifications.post import Post, json_body

LONGEST_HEADER = 150
LONGEST_TEXT = 3000
LONGEST_FIELD = 2000


def slack_post(notification: Notification, channel: Channel) -> Post:
    """Return the POST of a message in blocks."""
    document = {
        # For clients that show no blocks, and for the notifications of a phone.
        "text": fit(notification.headline, LONGEST_TEXT, _escaped),
        "blocks": list(_blocks(notification)),
        # Slack would fetch the pages of links to show previews.
        "unfurl_links": False,
        "unfurl_media": False,
    }
    return Post(channel.url.get_secret_value(), json_body(document))


def _blocks(notification: Notification) -> Iterator[Json]:
    yield {"type": "header", "text": _plain(notification.headline, LONGEST_HEADER)}
    if notification.lines:
        yield {"type": "section", "text": _plain("\n".join(notification.lines), LONGEST_TEXT)}
    if notification.facts:
        fields = [_plain(f"{label}\n{value}", LONGEST_FIELD) for label, value in notification.shown_facts.items()]
        yield {"type": "section", "fields": fields}
    if notification.link is not None:
        yield _section(f"<{_entities(notification.link)}|Open the run>")
    elif notification.commands:
        yield _section("```" + "\n".join(notification.commands) + "```")
    if notification.run_id is not None:
        yield {"type": "context", "elements": [{"type": "plain_text", "text": f"Run {notification.run_id}"}]}


def _plain(text: str, limit: int) -> Json:
    return {"type": "plain_text", "text": fit(text, limit, _escaped), "emoji": False}


def _section(markup: str) -> Json:
    return {"type": "section", "text": {"type": "mrkdwn", "text": markup, "verbatim": True}}


def _escaped(text: str) -> str:
    return _entities(defanged(text))


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
