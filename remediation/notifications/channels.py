"""The channels that the environment sets: where notifications go, and with which secrets.

CFES_NOTIFY_CHANNELS lists names and kinds (`soc=slack, case=thehive`). Each channel has variables of its own, with its
name in capitals. A channel's URL is a secret too: anybody who knows the URL of a Slack or Teams webhook can post there.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from pydantic import SecretStr

from core.errors import ConnectionSettingsError, ParameterError, Problem
from core.json_values import did_you_mean
from core.quantity import counted
from core.service_url import check_service_url, with_ascii_host
from core.settings import read_setting
from remediation.notifications.run_link import VARIABLE as RUN_URL

Kind = Literal["slack", "teams", "webhook", "thehive", "ticket"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LIST = "CFES_NOTIFY_CHANNELS"
MOST_CHANNELS = 10
NAME = r"^[a-z][a-z0-9_]{0,31}$"

# The kinds whose secret is required, and optional. The other kinds have none.
_NEEDS_SECRET = ("webhook", "thehive")

WEBHOOK_SECRET_PREFIX = "whsec_"  # noqa: S105 -- how a secret begins
# Standard Webhooks 1.0.0, "Symmetric signatures".
WEBHOOK_SECRET_BYTES = (24, 64)
LONGEST_SECRET = 4096


class Variable(NamedTuple):
    """A setting, for the table of settings. `NAME` in its name is the channel's name in capitals."""

    name: str
    meaning: str


VARIABLES = (
    Variable(
        LIST,
        f"The channels of `notify`, as NAME=KIND with commas between them, at most {MOST_CHANNELS}. Kinds: "
        f"{', '.join(f'`{kind}`' for kind in KINDS)}. A name has small letters, digits and `_`.",
    ),
    Variable(
        "CFES_NOTIFY_NAME_URL",
        "URL of the channel. It is treated as a secret. Must be https, except for loopback addresses. For `thehive`, "
        "the base URL.",
    ),
    Variable(
        "CFES_NOTIFY_NAME_SECRET",
        "For `webhook`, the signing secret of Standard Webhooks: `whsec_` and 24 to 64 bytes in base64. For `thehive`, "
        "the API key. For `ticket`, a bearer token (optional).",
    ),
    Variable(
        RUN_URL,
        "Link to a run, such as `https://soar.example/runs/{run_id}`. Without it, notifications show the commands that "
        "answer a run.",
    ),
)


@dataclass(frozen=True)
class Channel:
    """A channel of the list. kind: None if the list has none that exists.

    problem: why nothing can be sent to it, without any value of a setting; url is then empty.
    """

    name: str
    kind: Kind | None
    url: SecretStr
    secret: SecretStr | None
    problem: str | None = None


class Channels(NamedTuple):
    """The channels in the order of the list, and the problems of entries without a usable name."""

    listed: Sequence[Channel]
    problems: Sequence[str]


def read_channels(environment: Mapping[str, str]) -> Channels:
    """Return the channels that the environment sets. A wrong setting is a problem, not an error.

    The problems name variables, but no values.
    """
    try:
        text = read_setting(environment, LIST) or ""
    except ConnectionSettingsError as error:
        return Channels([], [error.message])
    found: dict[str, Channel] = {}
    problems = []
    for number, entry in enumerate((part for part in text.split(",") if part.strip()), start=1):
        name, _, kind = (part.strip() for part in entry.partition("="))
        if not re.fullmatch(NAME, name, re.ASCII):
            # The entry is not quoted: it may be a URL that was put into the wrong variable.
            problems.append(f"{LIST}: entry {number} is not NAME=KIND with a name of small letters, digits and _")
        elif name in found:
            problems.append(f"{LIST} has the channel {name} twice: the first one counts")
        elif len(found) == MOST_CHANNELS:
            problems.append(f"{LIST} has more than {MOST_CHANNELS} channels: the first {MOST_CHANNELS} count")
            break
        else:
            found[name] = _channel(environment, name, kind)
    return Channels(list(found.values()), problems)


def choose(channels: Channels, names: Sequence[str] | None) -> list[Channel]:
    """Return the channels with these names, each once; all of them for None.

    Raises: ParameterError for a name that is not in the list.
    """
    by_name = {channel.name: channel for channel in channels.listed}
    if names is None:
        return list(by_name.values())
    unknown = [
        Problem(
            pointer=f"/channels/{place}",
            message=f"unknown channel {name!r}{did_you_mean(name, by_name, or_list=True)}",
        )
        for place, name in enumerate(names)
        if name not in by_name
    ]
    if unknown:
        found = "".join(f" {problem}." for problem in channels.problems)
        raise ParameterError(
            problems=unknown, help=f"Nothing was sent. Correct `channels`, or add the channel to {LIST}.{found}"
        )
    return [by_name[name] for name in dict.fromkeys(names)]


def _channel(environment: Mapping[str, str], name: str, kind: str) -> Channel:
    if kind not in KINDS:
        problem = f"{LIST}: the channel {name} needs a kind, one of {', '.join(KINDS)}"
        return Channel(name, None, SecretStr(""), None, problem)
    try:
        return Channel(name, kind, _url(environment, name, kind), _secret(environment, name, kind))
    except ConnectionSettingsError as error:
        return Channel(name, kind, SecretStr(""), None, error.message)


def _url(environment: Mapping[str, str], name: str, kind: Kind) -> SecretStr:
    variable = f"CFES_NOTIFY_{name.upper()}_URL"
    url = read_setting(environment, variable)
    if url is None:
        raise ConnectionSettingsError(f"{variable} is not set")
    try:
        # A webhook of Teams has its signature in the query. The base URL of TheHive gets a path.
        parts = check_service_url(url, query=kind != "thehive")
    except ValueError as error:
        raise ConnectionSettingsError(f"{variable}: {error}") from None
    return SecretStr(with_ascii_host(parts))


def _secret(environment: Mapping[str, str], name: str, kind: Kind) -> SecretStr | None:
    variable = f"CFES_NOTIFY_{name.upper()}_SECRET"
    secret = read_setting(environment, variable)
    if secret is None:
        if kind in _NEEDS_SECRET:
            raise ConnectionSettingsError(f"{variable} is not set")
        return None
    if len(secret) > LONGEST_SECRET:
        raise ConnectionSettingsError(f"{variable} has more than {LONGEST_SECRET} characters")
    if not re.fullmatch(r"[\x21-\x7e]+", secret):
        raise ConnectionSettingsError(f"{variable} has a space, a line break or another character that is not allowed")
    if kind == "webhook":
        _check_webhook_secret(variable, secret)
    return SecretStr(secret)


def _check_webhook_secret(variable: str, secret: str) -> None:
    least, most = WEBHOOK_SECRET_BYTES
    try:
        key = webhook_key(SecretStr(secret))
    except ValueError:
        key = b""
    if not least <= len(key) <= most:
        raise ConnectionSettingsError(
            f"{variable} must be {WEBHOOK_SECRET_PREFIX} followed by base64 of {least} to {counted(most, 'byte')}"
        )


def webhook_key(secret: SecretStr) -> bytes:
    """Return the key in a secret of Standard Webhooks. Raises: ValueError that does not quote the secret."""
    prefix, found, encoded = secret.get_secret_value().partition(WEBHOOK_SECRET_PREFIX)
    if prefix or not found:
        raise ValueError("the secret has another prefix")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError("the secret is not base64") from None
