"""What an approver sees before signing: what the file claims, then what the service answers now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.objects.job import delivers
from core.quantity import counted
from platforms.cli.approval_findings import Findings
from platforms.cli.inputs.approval_subject import DryRun
from platforms.cli.views.palette import BAD, STRONG
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import LONGEST_LIST, named_values
from remediation.guardrails.plans.plan import Plan
from remediation.guardrails.plans.seal import SealState
from remediation.messages.live_check import drift_of

Rows = list[tuple[str, object]]

# Of a breakdown and of a sample so many rows are shown: the numbers must stay on the screen.
ROWS_SHOWN = 10
LONGEST_TEXT = 300

SEALS: dict[SealState, str] = {
    "sealed": "yes: preview-job made this plan, under your CFES_PLAN_KEY",
    "unsealed": "NO: nothing proves that preview-job made this plan",
    "broken": "BROKEN",
    "unchecked": "not checked: CFES_PLAN_KEY is not set here",
}


def show_subject(screen: Screen, subject: Plan | DryRun, findings: Findings, *, offline_because: str) -> None:
    """Show the file's claims first: what was checked comes last, just above the question."""
    screen.say("The file says (claims: anybody can write a file)", STRONG)
    for text in _claims(subject, findings):
        screen.say(f"  the file says: {text}")
    screen.say("Check this before you sign", STRONG)
    screen.facts([*_what(subject), *_numbers(subject, findings), *_conditions(subject, findings)])
    if findings.service is None:
        screen.say(
            f"THE SERVICE WAS NOT ASKED: {offline_because}. The numbers, senders and subjects are what the file says, "
            "and a file can say anything.",
            BAD,
        )


def show_difference(screen: Screen, difference: str) -> None:
    """Show one thing that differs from the file."""
    screen.say(f"DIFFERENT: {difference}", BAD)


def _claims(subject: Plan | DryRun, findings: Findings) -> list[str]:
    texts = list(subject.warnings)
    if isinstance(subject, Plan):
        can = "it can be undone" if subject.reversibility.reversible else "it can't be undone"
        texts = [f"{can}: {subject.reversibility.how}", *texts, *subject.parity_notes]
        texts += [f"protected: {name}" for name in subject.protected]
        texts += [f"a job would be refused: {r.type}: {r.message}" for r in subject.refusals]
        texts.append(f"counted at {subject.previewed_at}; malicious messages: {_number(subject.malicious)}")
    if findings.service is None:
        texts += [f"{name}: {value}" for name, value in _breakdowns(subject, subject.sample)]
    shown = [text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…" for text in texts[:LONGEST_LIST]]
    return shown + ([f"and {len(texts) - LONGEST_LIST:,} more"] if len(texts) > LONGEST_LIST else [])


def _what(subject: Plan | DryRun) -> Rows:
    """Return what the hash, and so the signature, is over."""
    rows: Rows = [
        ("account", subject.account_id),
        ("action", subject.action),
        ("destination", subject.destination or "none"),
    ]
    if isinstance(subject, Plan):
        rows += [(f"search: {name}", value) for name, value in named_values(subject.search_params)]
    return rows


def _numbers(subject: Plan | DryRun, findings: Findings) -> Rows:
    found = findings.found
    if found is None:
        says = "the file says" if findings.service is None else "the service can't count this search; the file says"
        return [
            ("messages", f"{_number(subject.messages)} ({says})"),
            ("recipients", f"{_number(subject.recipients)} ({says})"),
        ]
    at_least = "" if found.complete else "at least "
    # A dry run counts messages, a plan a copy in each mailbox.
    messages = found.messages if isinstance(subject, Plan) else found.distinct_messages
    rows: Rows = [
        ("messages", f"{at_least}{messages:,} now; {_before(subject.messages, messages)}"),
        (
            "recipients",
            f"{at_least}{len(found.recipients):,} now; {_before(subject.recipients, len(found.recipients))}",
        ),
        ("malicious", f"{at_least}{found.malicious:,} now"),
        ("sender not proved", f"{at_least}{found.unproved:,} now: neither DMARC nor SPF proves who wrote them"),
    ]
    rows += [(name, value) for name, value in _breakdowns(found, found.sample)]
    rows += [
        ("own mail?", f"a sender is in a domain of the recipients or of the policy: {name}")
        for name in found.own_senders
    ]
    rows += [
        ("real sender?", f"clean messages, and DMARC or SPF proves the sender: {name}: {count:,}")
        for name, count in list(found.proved_clean.shown().items())[:ROWS_SHOWN]
    ]
    rows += [("PROTECTED", f"your policy protects the {name}") for name in list(found.protected)[:ROWS_SHOWN]]
    return rows


def _breakdowns(source: Any, sample: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Senders, recipient domains, verdicts and a sample of a plan, a dry run or a survey."""
    rows = []
    for title, name in (("sender", "by_sender"), ("domain", "by_recipient_domain"), ("verdict", "by_disposition")):
        breakdown = getattr(source, name)
        counts: dict[str, int] = breakdown if isinstance(breakdown, dict) else breakdown.shown()
        rows += [(title, f"{key}: {count:,}") for key, count in list(counts.items())[:ROWS_SHOWN]]
        if len(counts) > ROWS_SHOWN:
            rows.append((title, f"and {len(counts) - ROWS_SHOWN} more"))
    rows += [("message", _sampled(message)) for message in sample[:ROWS_SHOWN]]
    return rows


def _sampled(message: Mapping[str, Any]) -> str:
    recipients = message.get("recipients")
    listed = [str(one) for one in recipients[:3]] if isinstance(recipients, list) else []
    to = ", ".join(listed) + (" and others" if isinstance(recipients, list) and len(recipients) > 3 else "")
    subject, sender = (str(message.get(name) or "(none)")[:LONGEST_TEXT] for name in ("subject", "from"))
    return f"{subject!r} from {sender} to {to or '(not known)'}; verdict {message.get('final_disposition') or 'none'}"


def _before(before: int | None, now: int) -> str:
    change = drift_of(before, now)
    said = "" if change is None else f", a drift of {change:+.1f} percent" if change else ", no drift"
    return f"the file says {_number(before)}{said}"


def _conditions(subject: Plan | DryRun, findings: Findings) -> Rows:
    rows: Rows = []
    if delivers(subject.action, subject.destination):
        rows.append(("delivers mail", "YES: the messages come into users' Inbox"))
    if findings.facts is not None and isinstance(subject, Plan):
        undo, limit = findings.facts.reversibility, findings.facts.cancel_if_discovered_over
        rows += [
            ("can be undone", f"{'yes' if undo.reversible else 'NO'}. {undo.how}"),
            ("drift allowed", f"{findings.facts.max_drift:g} percent (the file says {subject.max_drift:g})"),
            (
                "discovery limit",
                f"{_messages(limit)} (the file says {_number(subject.cancel_if_discovered_over)})",
            ),
        ]
    rows.append(("asked by", _requester(subject, findings)))
    if findings.seal is not None:
        rows.append(("sealed", SEALS[findings.seal]))
    if findings.need is not None:
        rows.append(("policy asks for", findings.need or "no approval"))
    rows += [
        ("service asked", findings.service or "NO"),
        ("plan_hash", subject.plan_hash),
        ("approver", findings.approver),
    ]
    return rows


def _requester(subject: Plan | DryRun, findings: Findings) -> str:
    name = subject.requested_by
    if name is None:
        return "not stated"
    if not subject.requester_proved:
        return f"{name} (CLAIMED: a parameter says so, nothing proves it)"
    proof = "proved, and sealed with the plan" if findings.seal == "sealed" else "the file says that this is proved"
    account = "; a service account: the policy asks for one more approval" if findings.service_account else ""
    return f"{name} ({proof}{account})"


def _messages(count: int | None) -> str:
    return _number(count) if count is None else counted(count, "message")


def _number(count: int | None) -> str:
    return "not known" if count is None else f"{count:,}"
