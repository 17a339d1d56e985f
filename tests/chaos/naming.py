"""Which messages an intent by ID names: some of the sandbox's own, drawn from the case's seed."""

from __future__ import annotations

import random

from sandbox.account import Account
from sandbox.message import QUARANTINED
from tests.chaos.bad_days import Fields
from tests.chaos.schedule import SENDER, Intent, Naming

MALICIOUS = ("MALICIOUS", "MALICIOUS-BEC")

# IDs that no message has: one in the API's form, and one that holds no time to look at.
MISSING = ("4Njp3P0STMz2c02Q-2026-11-20T15:40:00-12345678", "no-such-message")


def requests_of(account: Account, intent: Intent) -> tuple[Fields, ...]:
    """The intent's requests, with the IDs of the sandbox's own messages where they are to name some."""
    if not intent.namings:
        return intent.requests
    return tuple(
        {**request, "ids": _named(account, intent, naming)}
        for request, naming in zip(intent.requests, intent.namings, strict=True)
    )


def _named(account: Account, intent: Intent, naming: Naming) -> list[str]:
    chance = random.Random(naming.seed)
    with account.present() as now:
        sent = [message for message in account.tenant.from_sender(SENDER) if message.time <= now or naming.late]
        held = [message for message in account.tenant.messages if message.status == QUARANTINED]
    if not naming.suspect:
        held = [message for message in held if message.disposition not in MALICIOUS]
    fit, unfit = (sent, held) if intent.action == "move-messages" else (held, sent)
    chosen = [message for message in fit if chance.random() < naming.part] or fit[:1]
    chosen += chance.sample(unfit, min(naming.unfit, len(unfit)))
    ids = [account.tenant.id_of(message) for message in chosen] + list(MISSING[: naming.missing])
    return ids + ids[: naming.repeated]
