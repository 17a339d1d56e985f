"""Signed webhooks in, by Standard Webhooks 1.0.0 (standardwebhooks.com), from platforms that send alerts themselves."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import SecretStr

from core.clock import CLOCK_SKEW, Clock
from core.errors import AuthenticationFailed, ConnectionSettingsError, NotFound, ParameterError
from core.instants import format_instant
from core.json_values import Json, NotPlainJson, plain, read_object, shown
from core.state_database import state_database
from remediation.notifications.channels import webhook_key

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

# The specification recommends no number. A sender that rotates its secret sends two.
MOST_SIGNATURES = 20
_LONGEST_HEADER = 8192
_ID = re.compile(r"[\x21-\x7e]{1,256}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_HELP = (
    "Nothing was stored. Sign the request by Standard Webhooks with a secret of this webhook, at the time when it is "
    "sent. Check the clock of the sender."
)

# A sender repeats a webhook for some days, each time with a new timestamp and the same ID.
KEPT_FOR = timedelta(days=7)

_SEEN = """CREATE TABLE IF NOT EXISTS seen_webhooks (
    endpoint TEXT NOT NULL, id TEXT NOT NULL, seen_at TEXT NOT NULL, PRIMARY KEY (endpoint, id)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS seen_webhooks_by_time ON seen_webhooks (seen_at)"""

# The secrets of webhooks: NAME=SECRET, separated by spaces. A name can have two while its secret is rotated.
VARIABLE = "CFES_ALERT_WEBHOOKS"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)


class WebhookSecrets:
    """The secrets of each webhook. text: the value of CFES_ALERT_WEBHOOKS. Raises: ConnectionSettingsError."""

    def __init__(self, text: str | None) -> None:
        self._secrets: dict[str, list[SecretStr]] = {}
        for number, entry in enumerate((text or "").split(), 1):
            name, _, secret = entry.partition("=")
            try:
                usable = _NAME.fullmatch(name) and 24 <= len(webhook_key(SecretStr(secret))) <= 64
            except ValueError:
                usable = False
            if not usable:
                # The entry is not quoted: it has a secret.
                raise ConnectionSettingsError(
                    f"{VARIABLE}: entry {number} is not NAME=whsec_ followed by base64 of 24 to 64 bytes",
                    help=f"Nothing was started. Correct {VARIABLE}, or the file that {VARIABLE}_FILE names.",
                )
            self._secrets.setdefault(name, []).append(SecretStr(secret))

    def of(self, name: str) -> Sequence[SecretStr]:
        """Return the secrets of a webhook. Raises: NotFound."""
        if name not in self._secrets:
            raise NotFound(
                f"there is no webhook {shown(name)}", help=f"Nothing was stored. Add it to {VARIABLE}, and restart."
            )
        return self._secrets[name]


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[SecretStr], now: datetime) -> str:
    """Return the ID of a webhook with a valid signature and a time within five minutes of now.

    secrets: `whsec_` and base64; any of them counts, so that a secret can be rotated. The comparison takes the same
    time wherever the signatures differ. Raises: AuthenticationFailed; ValueError for a secret of another form.
    """
    lower = {name.lower(): value for name, value in headers.items() if name.lower() in (ID, TIMESTAMP, SIGNATURE)}
    webhook_id, sent_at = lower.get(ID, ""), lower.get(TIMESTAMP, "")
    given = list(_signatures(lower.get(SIGNATURE, "")))
    keys = [webhook_key(secret) for secret in secrets]
    if not (_ID.fullmatch(webhook_id) and _TIMESTAMP.fullmatch(sent_at)):
        raise _refused("the webhook has no valid signature")
    signed = b".".join([webhook_id.encode(), sent_at.encode(), body])
    expected = [hmac.digest(key, signed, hashlib.sha256) for key in keys if key]
    # Every pair, so that the time does not show which secret the sender has.
    matches = [hmac.compare_digest(one, other) for one in expected for other in given]
    if not any(matches):
        raise _refused("the webhook has no valid signature")
    if abs(now.timestamp() - int(sent_at)) > CLOCK_SKEW.total_seconds():
        raise _refused(f"the webhook was sent more than {CLOCK_SKEW.seconds // 60} minutes before or after now")
    return webhook_id


def _signatures(header: str) -> Iterator[bytes]:
    """Yield each signature of version 1. A header can have several, and other versions."""
    for entry in header[:_LONGEST_HEADER].split(" ")[:MOST_SIGNATURES]:
        version, _, text = entry.partition(",")
        if version == "v1":
            try:
                yield base64.b64decode(text.encode("ascii"), validate=True)
            except (binascii.Error, UnicodeEncodeError):
                continue


def _refused(message: str) -> AuthenticationFailed:
    return AuthenticationFailed(message, help=_HELP)


def alert_of(body: bytes) -> dict[str, Json]:
    """Return the alert in the body of a webhook: `data`, or `alert` inside it.

    Raises: ParameterError if the body is not such an object, or not plain JSON.
    """
    found = read_object(body, "the webhook's body is", 'Nothing was stored. Send {"type": ..., "data": {...}}.')
    data = found.get("data")
    alert = data.get("alert", data) if isinstance(data, dict) else None
    if not isinstance(alert, dict):
        raise ParameterError.at(
            "/data",
            "must be an alert, or an object with the key alert",
            help="Nothing was stored. Correct the webhook.",
        )
    try:
        return dict(plain(alert))
    except NotPlainJson as error:
        raise ParameterError.at(f"/data{error.pointer}", error.message, help="Nothing was stored.") from None


class SeenWebhooks:
    """The IDs of the webhooks that were stored, in the database of the state directory.

    setting: the value of CFES_STATE_DIR. Raises, from every method: ConnectionSettingsError if it can't be used.
    """

    def __init__(self, setting: str | None, clock: Clock) -> None:
        self._setting = setting
        self._clock = clock

    def knows(self, endpoint: str, webhook_id: str) -> bool:
        """Return whether the webhook was stored: a repetition, or a replay. endpoint: the name in the URL."""
        with state_database(self._setting, _SEEN) as database:
            found = database.execute(
                "SELECT 1 FROM seen_webhooks WHERE endpoint = ? AND id = ?", (endpoint, webhook_id)
            ).fetchone()
        return found is not None

    def remember(self, endpoint: str, webhook_id: str) -> None:
        """Record a webhook after its alert was stored. Those older than KEPT_FOR are forgotten.

        A kill between the two stores the alert twice when the sender repeats it; the ledger then starts one run.
        """
        now = self._clock.now()
        with state_database(self._setting, _SEEN) as database:
            database.execute("DELETE FROM seen_webhooks WHERE seen_at < ?", (format_instant(now - KEPT_FOR),))
            database.execute(
                "INSERT OR REPLACE INTO seen_webhooks VALUES (?, ?, ?)", (endpoint, webhook_id, format_instant(now))
            )
