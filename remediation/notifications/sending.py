"""Send a notification to several channels at the same time. A channel that fails does not affect the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from threading import Thread
from typing import Literal, NamedTuple

from core.errors import ConnectionSettingsError, InternalError
from remediation.notifications.channels import Channel, Kind, choose, read_channels
from remediation.notifications.delivery import WebhookClient
from remediation.notifications.notification import Draft, Notification, compose, random_id, stable_id
from remediation.notifications.post import Post
from remediation.notifications.run_link import run_link
from remediation.notifications.slack import slack_post
from remediation.notifications.standard_webhook import webhook_body, webhook_post
from remediation.notifications.teams import teams_post
from remediation.notifications.thehive import thehive_post
from remediation.notifications.ticket import ticket_post

Outcome = Literal["sent", "failed", "skipped"]


class Sent(NamedTuple):
    """The outcome of a notification on one channel. error: the reason if it was not sent."""

    name: str
    kind: Kind | None
    outcome: Outcome
    attempts: int = 0
    http_status: int | None = None
    error: str | None = None


class Report(NamedTuple):
    """The outcome of a notification. warnings: channels that failed, and settings that can't be used."""

    notification_id: str
    channels: Sequence[Sent]
    warnings: Sequence[str]


def send(
    draft: Draft,
    names: Sequence[str] | None,
    *,
    environment: Mapping[str, str],
    client: WebhookClient,
) -> Report:
    """Send a notification to the named channels of the environment, by default to all of them.

    The call takes as long as the slowest channel.
    Raises: ParameterError for an unknown name, before anything is sent. No other failure is an error.
    """
    channels = read_channels(environment)
    chosen = choose(channels, names)
    warnings = list(channels.problems)
    link = None
    try:
        link = run_link(environment, draft.run_id)
    except ConnectionSettingsError as error:
        warnings.append(error.message)
    notification = compose(draft, stable_id(draft) or random_id(client.rng), link)
    sent = _send_to_all(notification, chosen, client)
    warnings += [f"{one.name}: {one.error}" for one in sent if one.outcome == "failed"]
    return Report(notification.id, sent, warnings)


def _send_to_all(notification: Notification, channels: Sequence[Channel], client: WebhookClient) -> list[Sent]:
    results: list[Sent | None] = [None] * len(channels)

    def send_one(place: int, channel: Channel) -> None:
        try:
            results[place] = _send(notification, channel, client)
        except Exception as error:  # noqa: BLE001 -- a defect in one format must not silence the other channels
            results[place] = Sent(
                channel.name, channel.kind, "failed", error=f"a defect of the pack: {InternalError.of(error).message}"
            )

    # Daemons, because a receiver that hangs must not block the exit of a process.
    threads = [Thread(target=send_one, args=one, name="notify", daemon=True) for one in enumerate(channels)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [result for result in results if result is not None]


def _send(notification: Notification, channel: Channel, client: WebhookClient) -> Sent:
    if channel.problem is not None:
        return Sent(channel.name, channel.kind, "failed", error=channel.problem)
    if channel.kind == "thehive" and notification.case_id is None:
        return Sent(channel.name, channel.kind, "skipped", error="no case_id was given")
    delivery = client.deliver(channel, _builder(notification, channel, client.clock.now()))
    outcome: Outcome = "failed" if delivery.error is not None else "sent"
    return Sent(channel.name, channel.kind, outcome, *delivery)


def _builder(notification: Notification, channel: Channel, at: datetime) -> Callable[[datetime], Post]:
    """Return the function that makes the POST of each attempt. Only a signed webhook differs between attempts."""
    if channel.kind == "webhook":
        return partial(webhook_post, notification, channel, webhook_body(notification, at))
    post = _FORMATS[channel.kind](notification, channel)
    return lambda _: post


_FORMATS: dict[str | None, Callable[[Notification, Channel], Post]] = {
    "slack": slack_post,
    "teams": teams_post,
    "thehive": thehive_post,
    "ticket": ticket_post,
}
