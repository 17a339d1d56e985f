"""Who asked for a job and what it was to do, as a report shows it: at a glance at its top, and in full below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.text import shorten
from remediation.reports.facts import Job, part, search_of, text
from remediation.reports.time_words import point_in_time
from remediation.reports.wording import Wording

Named = tuple[Wording | str, object]

# Longer ones are shown in full below: what is looked for first must fit on a phone's first screen.
_CLAIMED = Wording("claimed")
_GLANCE_LIMIT = 120
_MOST_NAMES = 5


@dataclass(frozen=True)
class Glance:
    """A fact at the report's top. `note`: how far it can be relied on. `exact`: a hash or an ID."""

    name: Wording
    value: object
    note: Wording | None = None
    exact: bool = False


def glances(facts: Mapping[str, Any], job: Job) -> list[Glance]:
    """Return what the mail was, who asked, who approved, under which plan and policy, and the job's ID."""
    request, export = part(facts, "request"), part(facts, "export")
    found = [*_mail(facts), *_people(request)]
    if request:
        plan = text(request.get("plan_hash")) or text(request.get("plan_digest"))
        note = _trust("plan_digest", request) if plan and not text(request.get("plan_hash")) else None
        found.append(Glance(Wording("Plan hash"), plan or Wording("no plan recorded"), note, exact=plan is not None))
    if policy := text(part(request, "policy").get("sha256")):
        found.append(Glance(Wording("Policy hash"), policy, exact=True))
    if job.job_id is not None:
        found.append(Glance(Wording("Job"), job.job_id, exact=True))
    if export.get("pseudonyms"):
        found.append(Glance(Wording("Names"), Wording("addresses, names and subjects are pseudonyms")))
    return found


def _mail(facts: Mapping[str, Any]) -> list[Glance]:
    """The alert's mail; without an alert, what was searched for."""
    alert, search = part(facts, "alert"), search_of(facts)
    sender = text(alert.get("from")) or text(search.get("sender"))
    subject = text(alert.get("subject")) or text(search.get("exact_subject")) or text(search.get("subject"))
    named = [(Wording("Sender"), sender), (Wording("Subject"), subject)]
    return [Glance(name, shorten(value, _GLANCE_LIMIT)) for name, value in named if value is not None]


def _people(request: Mapping[str, Any]) -> list[Glance]:
    if not request:
        return []
    asked = text(request.get("requested_by"))
    found = [
        Glance(
            Wording("Requested by"),
            shorten(asked, _GLANCE_LIMIT) if asked else Wording("not recorded"),
            _trust("requested_by", request) if asked else None,
        )
    ]
    approvals, check = part(request, "approvals"), part(request, "approval_check")
    verified = _names(approvals.get("approved_by")) if approvals.get("verified") is True else []
    if check.get("state") in {"met", "not_met"}:
        verified = _names(check.get("approved_by")) or verified
    claimed = _names(request.get("approved_by"))
    if verified:
        found.append(Glance(Wording("Approved by"), _listed(verified), Wording("verified")))
    elif claimed:
        note = Wording("not verified") if approvals else _trust("approved_by", request)
        found.append(Glance(Wording("Approved by"), _listed(claimed), note))
    else:
        given = Wording("approvals were given, but not verified") if approvals else Wording("no approval recorded")
        found.append(Glance(Wording("Approved by"), given))
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return shorten(", ".join(names[:_MOST_NAMES]), _GLANCE_LIMIT) + more


def _names(value: object) -> list[str]:
    items = value if isinstance(value, list | tuple) else ()
    return [name for item in items if (name := text(item)) is not None]


def alert_of(alert: Mapping[str, Any]) -> list[Named]:
    """Return the alert, field by field; empty without one."""
    if not alert:
        return []
    named = [
        (Wording("Alert"), text(alert.get("id"))),
        (Wording("From"), text(alert.get("from"))),
        (Wording("Subject"), text(alert.get("subject"))),
        (Wording("Received"), point_in_time(alert.get("received"))),
    ]
    return [(name, value) for name, value in named if value is not None]


def request_of(facts: Mapping[str, Any], job: Job) -> list[Named]:
    """Return all of the request, field by field; empty where nothing of it is known."""
    request, search = part(facts, "request"), search_of(facts)
    if not request and not search and job.action is None:
        return []
    named: list[Named] = [(Wording("Action"), job.action)]
    if job.action != "RELEASE":
        named.append((Wording("Destination"), job.destination))
    named += [(name, text(value)) for name, value in search.items() if text(value) is not None]
    if not search:
        named.append((Wording("Search"), None))
    if request:
        named.append((_marked("Comment", "comment", request), text(request.get("comment")) or Wording("none")))
        named += _wanted_by(request)
    return named


def _wanted_by(request: Mapping[str, Any]) -> list[Named]:
    """Return who asked and who approved. What the job's comment alone says is marked as claimed."""
    said: list[Named] = [
        (_marked("Requested by", "requested_by", request), text(request.get("requested_by"))),
        (_marked("Approved by", "approved_by", request), ", ".join(_names(request.get("approved_by"))) or None),
        (_marked("Plan digest", "plan_digest", request), text(request.get("plan_digest"))),
        (Wording("Plan hash"), text(request.get("plan_hash"))),
    ]
    if (seal := text(request.get("plan_seal"))) is not None:
        said.append((Wording("Plan's seal"), _SEALS.get(seal, seal)))
    approvals = part(request, "approvals")
    if approvals.get("verified") is True:
        names = ", ".join(_names(approvals.get("approved_by")))
        said.append((Wording("Approvals, verified for the time of the job"), names or None))
    elif approvals:
        said.append((Wording("Approvals, not verified"), text(approvals.get("why"))))
    policy = part(request, "policy")
    if policy:
        said.append((Wording("Policy (SHA-256)"), text(policy.get("sha256")) or text(policy.get("why"))))
    if (check := text(part(request, "approval_check").get("why"))) is not None:
        said.append((Wording("Approvals against the policy"), check))
    return [(name, value) for name, value in said if value is not None]


_SEALS = {
    "sealed": Wording("good: preview-job made this plan"),
    "unsealed": Wording("none: nothing proves that preview-job made this plan"),
    "broken": Wording("broken: the plan was edited, or sealed with another key"),
    "unchecked": Wording("not checked: the key was not set where the bundle was made"),
}


def _marked(name: str, field: str, request: Mapping[str, Any]) -> Wording:
    """The name of a field that comes from the job's comment, with how far that can be relied on."""
    trust = _trust(field, request)
    return Wording(f"{name} ({trust if trust == _CLAIMED else 'recorded by the pack'})")


def _trust(field: str, request: Mapping[str, Any]) -> Wording:
    """Where nothing says that a field is proved, it is claimed."""
    claimed = request.get("claimed")
    is_claimed = not isinstance(claimed, list | tuple) or field in claimed
    return _CLAIMED if is_claimed else Wording("recorded")
