"""Whether what was told of messages that were changed by their IDs is true, by the sandbox's own record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.account import Account
from sandbox.clock import as_datetime
from sandbox.delivery import Done
from sandbox.message import QUARANTINED, Message
from tests.chaos.message_steps import Look
from tests.chaos.naming import MALICIOUS
from tests.chaos.schedule import BY_ID, Intent
from tests.chaos.wire import Call

ALREADY = "it was in place already"


# One call


@dataclass(frozen=True)
class _Change:
    """A call by ID, and the state of its messages in the sandbox's own record.

    began: how many changes the account had made when the call began.
    """

    call: Call
    account: Account

    @property
    def named(self) -> list[str]:
        return list(dict.fromkeys(self.call.params["ids"]))

    @property
    def folder(self) -> str:
        return str(self.call.params.get("destination", "Inbox"))

    @property
    def operation(self) -> str:
        return "MOVE" if self.call.action == "move-messages" else "RELEASE"

    def message(self, investigate_id: str) -> Message | None:
        return self.account.tenant.by_id(investigate_id)

    def in_place(self, investigate_id: str, seen: int) -> bool:
        """Whether it was done for every recipient, when the account had made so many changes."""
        message = self.message(investigate_id)
        last: dict[str, Done] = {}
        for done in self.account.delivery.done[:seen]:
            # Once it is released it stays so, wherever it is moved.
            if done.investigate_id == investigate_id and self.operation in ("MOVE", done.operation):
                last[done.recipient] = done
        return message is not None and all(
            recipient in last and last[recipient].folder == self.folder for recipient in message.recipients
        )

    def was_in_place(self, investigate_id: str) -> bool:
        """Whether it was at any moment of the call."""
        began, made = self.call.changes_before, self.account.delivery.done
        moments = [began] + [
            place + 1 for place in range(began, len(made)) if made[place].investigate_id == investigate_id
        ]
        return any(self.in_place(investigate_id, seen) for seen in moments)

    def is_possible(self, investigate_id: str) -> bool:
        """Whether the message is there, and the change can be made to it."""
        message = self.message(investigate_id)
        with self.account.present() as now:
            there = message is not None and message.time <= now
        if message is None or not there:
            return False
        held = message.is_quarantined()
        return not held if self.operation == "MOVE" else held or message.status == QUARANTINED


def mistold_change(call: Call, intent: Intent, account: Account) -> list[str]:
    """What is wrong with the end of a call that changes messages by their IDs."""
    change = _Change(call, account)
    wrong = [f"released {one}, whose verdict speaks against it" for one in _not_to_be_released(change)]
    match call.code:
        case 0:
            wrong += _mistold_result(change)
        case 3 if not change_may_be_refused(call, intent, account):
            wrong.append(f"there was no reason to refuse: {call.error['message']}")
        case 7:
            wrong += _mistold_rest(change)
    return wrong


def change_may_be_refused(call: Call, intent: Intent, account: Account) -> bool:
    """Whether a guardrail has a reason: the cap, or a verdict that is bad or can't be looked up."""
    if call.error.get("type") == "TooManyMessages":
        return intent.capped
    if call.action != "release-messages" or call.params.get("allow_malicious"):
        return False
    unseen = 400 in call.statuses
    return call.error.get("type") == "MaliciousRelease" and (unseen or any(_is_suspect(_Change(call, account))))


def _is_suspect(change: _Change) -> Iterable[bool]:
    for one in change.named:
        message = change.message(one)
        yield message is None or message.disposition in MALICIOUS


def _not_to_be_released(change: _Change) -> list[str]:
    if change.operation == "MOVE" or change.call.params.get("allow_malicious"):
        return []
    changed = {done.investigate_id for done in change.call.changed}
    suspect = zip(change.named, _is_suspect(change), strict=True)
    return [one for one, is_suspect in suspect if is_suspect and one in changed]


def _mistold_result(change: _Change) -> list[str]:
    call, result, named = change.call, change.call.document, change.named
    rows: dict[str | None, list[Mapping[str, Any]]] = {}
    for row in result["results"]:
        rows.setdefault(row["id"] or _id_of(change, row), []).append(row)
    strangers = rows.pop(None, [])
    told = {one: _outcome(rows.get(one, [])) for one in named}
    counted = Counter(told.values())
    wrong = [
        f"counts {result[name]} messages {name}, the rows say {counted[name]}"
        for name in ("succeeded", "already", "failed", "unknown")
        if result[name] != counted[name]
    ]
    if result["messages"] != len(named) or result["duplicates"] != len(call.params["ids"]) - len(named):
        wrong.append(f"{len(named)} messages are named, it tells {result['messages']}")
    if result["not_sent"] or not result["done"] or result["truncated"]:
        wrong.append("was not stopped, and has not done everything")
    if set(rows) - set(named):
        wrong.append(f"tells of {', '.join(map(str, set(rows) - set(named)))}, not named")
    # Which message a row speaks of may have to be looked up, for which there may be no calls left.
    may_be_nameless = any(sent.nameless for sent in call.sent) or change.account.rate_limit.quota < 1000
    if result["unknown"] and not call.troubled and not may_be_nameless:
        wrong.append(f"{result['unknown']} messages are unknown, and no answer was lost")
    changed = {(done.investigate_id, done.recipient) for done in call.changed}
    for one, outcome in told.items():
        if outcome in ("succeeded", "already") and not change.was_in_place(one):
            wrong.append(f"{one} is told as {outcome}, and was not")
        if outcome == "already" and any(one == other for other, _ in changed):
            wrong.append(f"{one} is told as left alone, and was changed")
        for row in rows.get(one, []):
            copies = {recipient for other, recipient in changed if other == one}
            if row["success"] is False and (row["recipient"] in copies if row["recipient"] else copies):
                wrong.append(f"{one} is told as not changed for {row['recipient'] or 'anybody'}, and was")
    recipients = {recipient for _, recipient in changed}
    wrong += [
        f"a copy of {row['recipient']} is told as changed, and none was"
        for row in strangers
        if row["success"] and row["recipient"] not in recipients
    ]
    return wrong


def _id_of(change: _Change, row: Mapping[str, Any]) -> str | None:
    """The message that a row names otherwise."""
    if row["message_id"] is None:
        return None
    if row["message_id"] in change.named:
        return str(row["message_id"])
    return next(map(change.account.tenant.id_of, change.account.tenant.by_message_id(row["message_id"])), None)


def _outcome(rows: Sequence[Mapping[str, Any]]) -> str:
    success = {row["success"] for row in rows}
    if not rows or None in success:
        return "unknown"
    if False in success:
        return "failed"
    return "already" if {row["status"] for row in rows} == {ALREADY} else "succeeded"


def _mistold_rest(change: _Change) -> list[str]:
    """An outcome that is not known: there is a reason for it, and whatever is not settled is in `resume`."""
    call, named = change.call, change.named
    wrong = []
    if not call.changed and not any(sent.lost for sent in call.sent):
        wrong.append("no answer was lost, and nothing was changed")
    resume = call.error.get("resume")
    if resume is None:
        return [*wrong, "does not tell which messages are left"]
    left = set(resume["ids"])
    answered = {one for sent in call.sent if not sent.lost for one in sent.ids}
    settled = {one for one in named if one in answered or change.was_in_place(one)}
    if left - set(named):
        wrong.append(f"{len(left - set(named))} messages are left that were not named")
    if set(named) - left - settled:
        wrong.append(f"{len(set(named) - left - settled)} messages are neither done nor left")
    return wrong


# All calls


def judge_changes(calls: Sequence[Call], account: Account) -> list[str]:
    """What is wrong with what was sent, by killed calls too: messages not named, or sent without a look."""
    wrong = []
    for call in calls:
        if call.action in BY_ID:
            change = _Change(call, account)
            strange = [
                done
                for done in call.changed
                if (done.operation, done.folder) != (change.operation, change.folder)
                or done.investigate_id not in call.params["ids"]
            ]
            wrong += [f"{call.worker} touched {len(strange)} messages that were not meant"] if strange else []
            wrong += [f"{call.worker} {call.action}: {problem}" for problem in _sent_blindly(change)]
    return wrong


def left_undone(call: Call, account: Account) -> list[str]:
    """What a calm call left behind, though it can be done."""
    change = _Change(call, account)
    possible = {one for one in change.named if change.is_possible(one)}
    wrong = [f"{one} was left as it was" for one in possible if not change.was_in_place(one)]
    failing = set(change.named) - possible
    if change.operation == "RELEASE":
        # A copy that was released before fails, where a message is sent again for its other copies, or without a look.
        looks = call.params.get("skip_done", True)
        before = account.delivery.done[: call.changes_before]
        failing |= {
            done.investigate_id
            for done in before
            if done.operation == "RELEASE" and not (looks and change.in_place(done.investigate_id, len(before)))
        } & set(change.named)
    if call.document["failed"] != len(failing) or call.document["unknown"]:
        wrong.append(
            f"{call.document['failed']} messages are told as failed, {call.document['unknown']} as unknown; "
            f"{len(failing)} of {len(change.named)} can't be changed"
        )
    return wrong


def _sent_blindly(change: _Change) -> list[str]:
    """After a lost answer a message is sent again only where a look since then shows that it is not done.

    Each call looks before it sends at all, unless it is told not to: so what runs again looks too.
    """
    looks: list[Look] = []
    # How many looks there were when the answer about a message was lost.
    lost: dict[str, int] = {}
    wrong: Counter[str] = Counter()
    for step in change.call.steps:
        if isinstance(step, Look):
            looks.append(step)
            continue
        for one in step.ids:
            shown = [look for look in looks[lost.get(one, 0) :] if one in look.shown]
            if one in lost and not shown:
                wrong["again without a look"] += 1
            elif one in lost and change.in_place(one, shown[-1].seen):
                wrong["again though a look had shown that it was done"] += 1
            elif change.call.params.get("skip_done", True) and not _was_looked_for(change, one, looks):
                wrong["without a look"] += 1
        if step.lost:
            lost |= dict.fromkeys(step.ids, len(looks))
    return [f"{count} messages were sent {how}" for how, count in wrong.items()]


def _was_looked_for(change: _Change, investigate_id: str, looks: Sequence[Look]) -> bool:
    """Where it can be looked for at all: the search goes by the time, and that is in the ID."""
    message = change.message(investigate_id)
    at: datetime | None = as_datetime(message.time) if message else None
    return at is None or any(look.covers(investigate_id, at) for look in looks)
