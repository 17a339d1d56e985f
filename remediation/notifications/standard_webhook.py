"""A notification as a signed webhook by Standard Webhooks 1.0.0 (standardwebhooks.com).

The receiver is a program. It gets each text without control characters, but with its markup: to show a text, it has to
escape it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime

from core.instants import format_instant
from remediation.notifications.channels import Channel, webhook_key
from remediation.notifications.notification import Notification
from remediation.notifications.post import Post, json_body


def webhook_body(notification: Notification, at: datetime) -> bytes:
    """Return the body, the same for each attempt. at: when the event happened."""
    return json_body(
        {
            "type": f"run.{notification.event}",
            "timestamp": format_instant(at),
            "data": {
                "id": notification.id,
                "title": notification.title,
                "message": "\n".join(notification.lines),
                "facts": notification.facts,
                "run_id": notification.run_id,
                "signal": notification.signal,
                "case_id": notification.case_id,
                "url": notification.link,
                "commands": notification.commands,
            },
        }
    )


def webhook_post(notification: Notification, channel: Channel, body: bytes, now: datetime) -> Post:
    """Return the POST of a body, signed with the channel's secret. now: the time of this attempt."""
    if channel.secret is None:
        raise ValueError("a signed webhook needs a secret")
    timestamp = str(int(now.timestamp()))
    signed = b".".join([notification.id.encode(), timestamp.encode(), body])
    signature = base64.b64encode(hmac.digest(webhook_key(channel.secret), signed, hashlib.sha256)).decode()
    headers = {
        "webhook-id": notification.id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }
    return Post(channel.url.get_secret_value(), body, headers)
