"""Show an approver what to check before signing: the file's claims, then the service's current results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.objects.job import delivers
from core.quantity import counted
from platforms.cli.approval_findings import Findings
from platforms.cli.inputs.approval_subject import DryRun
from platforms.cli.views.palette import BAD, STRONG
from platforms.cli.views.plan import number_of
from platforms.cli.views.screen import Screen
from platforms.cli.views.tables import LONGEST_LIST, named_values
from remediation.guardrails.plans.plan import Plan
from remediation.guardrails.plans.seal import SealState
from remediation.messages.live_check import drift_of

Rows = list[tuple[str, object]]

# Rows of a breakdown or a sample, so that the numbers stay on the screen.
ROWS_SHOWN = 10
LONGEST_TEXT = 300

SEALS: dict[SealState, str] = {
    "sealed": "yes: preview-job made this plan with your CFES_PLAN_KEY",
    "unsealed": "NO: not proved that preview-job made this plan",
    "broken": "BROKEN",
    "unchecked": "not checked: CFES_PLAN_KEY is not set here",
}


def show_subject(screen: Screen, subject: Plan | DryRun, findings: Findings, *, offline_because: str) -> None:
    """Show the file's claims, then the checked facts just above the question."""
    screen.say("Claims of the file (not checked)", STRONG)
    for text in _claims(subject, findings):
        screen.say(f"  the file claims: {text}")
    screen.say("Check these facts before you sign", STRONG)
    screen.facts([*_what(subject), *_numbers(subject, findings), *_conditions(subject, findings)])
    if findings.service is None:
        screen.say(
            f"THE SERVICE WAS NOT ASKED: {offline_because}. Numbers, senders and subjects are only claims of the file, "
            "and anybody can edit a file.",
            BAD,
        )


def show_difference(screen: Screen, difference: str) -> None:
    """Show one difference from the file."""
    screen.say(f"DIFFERENT: {difference}", BAD)


def _claims(subject: Plan | DryRun, findings: Findings) -> list[str]:
    texts = list(subject.warnings)
    if isinstance(subject, Plan):
        can = "can be undone" if subject.reversibility.reversible else "can't be undone"
        texts = [f"{can}: {subject.reversibility.how}", *texts, *subject.parity_notes]
        texts += [f"protected: {name}" for name in subject.protected]
        texts += [f"the job would be refused: {r.type}: {r.message}" for r in subject.refusals]
        texts.append(f"counted at {subject.previewed_at}; malicious messages: {number_of(subject.malicious)}")
    if findings.service is None:
        texts += [f"{name}: {value}" for name, value in _breakdowns(subject, subject.sample)]
    shown = [text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…" for text in texts[:LONGEST_LIST]]
    return shown + ([f"and {len(texts) - LONGEST_LIST:,} more"] if len(texts) > LONGEST_LIST else [])


def _what(subject: Plan | DryRun) -> Rows:
    """Return the facts that the hash, and so the signature, covers."""
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
        can_count = "" if findings.service is None else "; the service can't count this search"
        source = f"claim of the file{can_count}"
        return [
            ("messages", f"{number_of(subject.messages)} ({source})"),
            ("recipients", f"{number_of(subject.recipients)} ({source})"),
        ]
    at_least = "" if found.complete else "at least "
    # A dry run counts messages; a plan counts a copy in each mailbox.
    messages = found.messages if isinstance(subject, Plan) else found.distinct_messages
    rows: Rows = [
        ("messages", f"{at_least}{messages:,} now; {_before(subject.messages, messages)}"),
        (
            "recipients",
            f"{at_least}{len(found.recipients):,} now; {_before(subject.recipients, len(found.recipients))}",
        ),
        ("malicious", f"{at_least}{found.malicious:,} now"),
        ("sender not proved", f"{at_least}{found.unproved:,} now: neither DMARC nor SPF proves the sender"),
    ]
    rows += [(name, value) for name, value in _breakdowns(found, found.sample)]
    rows += [
        ("own mail?", f"this sender's domain is a recipient's or one of the policy: {name}")
        for name in found.own_senders
    ]
    rows += [
        ("real sender?", f"clean messages with a sender that DMARC or SPF proves: {name}: {count:,}")
        for name, count in list(found.proved_clean.shown().items())[:ROWS_SHOWN]
    ]
    rows += [("PROTECTED", f"your policy protects this {name}") for name in list(found.protected)[:ROWS_SHOWN]]
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
    drift = "" if change is None else f", a drift of {change:+.1f} percent" if change else ", no drift"
    return f"{number_of(before)} in the file{drift}"


def _conditions(subject: Plan | DryRun, findings: Findings) -> Rows:
    rows: Rows = []
    if delivers(subject.action, subject.destination):
        rows.append(("delivers mail", "YES: the messages go to users' Inbox"))
    if findings.facts is not None and isinstance(subject, Plan):
        undo, limit = findings.facts.reversibility, findings.facts.cancel_if_discovered_over
        messages = "not known" if limit is None else counted(limit, "message")
        rows += [
            ("can be undone", f"{'yes' if undo.reversible else 'NO'}. {undo.how}"),
            ("allowed drift", f"{findings.facts.max_drift:g} percent ({subject.max_drift:g} in the file)"),
            ("discovery limit", f"{messages} ({number_of(subject.cancel_if_discovered_over)} in the file)"),
        ]
    rows.append(("requested by", _requester(subject, findings)))
    if findings.seal is not None:
        rows.append(("sealed", SEALS[findings.seal]))
    if findings.need is not None:
        rows.append(("policy requires", findings.need or "no approval"))
    rows += [
        ("service asked", findings.service or "NO"),
        ("plan_hash", subject.plan_hash),
        ("approver", findings.approver),
    ]
    return rows


def _requester(subject: Plan | DryRun, findings: Findings) -> str:
    name = subject.requested_by
    if name is None:
        return "not set"
    if not subject.requester_proved:
        return f"{name} (CLAIMED by a parameter, not proved)"
    proof = "proved, and sealed with the plan" if findings.seal == "sealed" else "proved, as the file claims"
    account = "; a service account, so the policy requires one more approval" if findings.service_account else ""
    return f"{name} ({proof}{account})"
