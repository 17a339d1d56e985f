"""The request as a report shows it: the key facts at its top, and all fields below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.text import shorten
from remediation.reports.facts import Job, part, point_in_time, search_of, text
from remediation.reports.own_words import Wording

Named = tuple[Wording | str, object]


def known(named: Sequence[Named]) -> list[Named]:
    """Return the pairs that have a value."""
    return [(name, value) for name, value in named if value is not None]


_CLAIMED = Wording("claimed")
# The key facts must fit on a phone's first screen. The section below shows longer values in full.
_GLANCE_LIMIT = 120
_MOST_NAMES = 5


@dataclass(frozen=True)
class Glance:
    """A key fact at the report's top. `note`: how far it is proved. `exact`: a hash or an ID."""

    name: Wording
    value: object
    note: Wording | None = None
    exact: bool = False


def glances(facts: Mapping[str, Any], job: Job) -> list[Glance]:
    """Return the mail's sender and subject, the requester, the approvers, the plan, the policy and the job's ID."""
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
    """Return the alert's sender and subject, or those of the search if there is no alert."""
    alert, search = part(facts, "alert"), search_of(facts)
    sender = text(alert.get("from")) or text(search.get("sender"))
    subject = text(alert.get("subject")) or text(search.get("exact_subject")) or text(search.get("subject"))
    named = [(Wording("Sender"), sender), (Wording("Subject"), subject)]
    return [Glance(name, shorten(value, _GLANCE_LIMIT)) for name, value in named if value is not None]


def _people(request: Mapping[str, Any]) -> list[Glance]:
    if not request:
        return []
    requester: Glance = Glance(Wording("Requested by"), Wording("not recorded"))
    if asked := text(request.get("requested_by")):
        requester = replace(requester, value=shorten(asked, _GLANCE_LIMIT), note=_trust("requested_by", request))
    approvals, check = part(request, "approvals"), part(request, "approval_check")
    names = _names(approvals.get("approved_by")) if approvals.get("verified") is True else []
    if check.get("state") in {"met", "not_met"}:
        names = _names(check.get("approved_by")) or names
    note: Wording | None = Wording("verified")
    if not names:
        names = _names(request.get("approved_by"))
        note = Wording("not verified") if approvals else _trust("approved_by", request)
    value: object = _listed(names)
    if not names:
        value, note = Wording("approvals not verified" if approvals else "no approval recorded"), None
    return [requester, Glance(Wording("Approved by"), value, note)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return shorten(", ".join(names[:_MOST_NAMES]), _GLANCE_LIMIT) + more


def _names(value: object) -> list[str]:
    items = value if isinstance(value, list | tuple) else ()
    return [name for item in items if (name := text(item)) is not None]


def alert_of(alert: Mapping[str, Any]) -> list[Named]:
    """Return the alert's known fields."""
    named: list[Named] = [
        (Wording("Alert"), text(alert.get("id"))),
        (Wording("From"), text(alert.get("from"))),
        (Wording("Subject"), text(alert.get("subject"))),
        (Wording("Received"), point_in_time(alert.get("received"))),
    ]
    return known(named)


def request_of(facts: Mapping[str, Any], job: Job) -> list[Named]:
    """Return all fields of the request; empty if none is known."""
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
        named += _people_and_policy(request)
    return named


def _people_and_policy(request: Mapping[str, Any]) -> list[Named]:
    """Return requester, approvers, plan and policy. Fields from the job's comment alone are marked as claimed."""
    named: list[Named] = [
        (_marked("Requested by", "requested_by", request), text(request.get("requested_by"))),
        (_marked("Approved by", "approved_by", request), ", ".join(_names(request.get("approved_by"))) or None),
        (_marked("Plan hash", "plan_digest", request), text(request.get("plan_digest"))),
        (Wording("Plan hash"), text(request.get("plan_hash"))),
    ]
    if (seal := text(request.get("plan_seal"))) is not None:
        named.append((Wording("Plan seal"), _SEALS.get(seal, seal)))
    approvals = part(request, "approvals")
    if approvals.get("verified") is True:
        names = ", ".join(_names(approvals.get("approved_by")))
        named.append((Wording("Approvals (verified as of the job's creation)"), names or None))
    elif approvals:
        named.append((Wording("Approvals (not verified)"), text(approvals.get("why"))))
    policy = part(request, "policy")
    if policy:
        named.append((Wording("Policy (SHA-256)"), text(policy.get("sha256")) or text(policy.get("why"))))
    if (check := text(part(request, "approval_check").get("why"))) is not None:
        named.append((Wording("Approvals required by the policy"), check))
    return known(named)


_SEALS = {
    "sealed": Wording("valid: preview-job made this plan"),
    "unsealed": Wording("none: the origin of this plan is not proved"),
    "broken": Wording("broken: the plan was edited or sealed with another key"),
    "unchecked": Wording("not checked: CFES_PLAN_KEY was not set when the bundle was made"),
}


def _marked(name: str, field: str, request: Mapping[str, Any]) -> Wording:
    """Return the name of a field of the job's comment, marked as claimed or as recorded by the pack."""
    trust = _trust(field, request)
    return Wording(f"{name} ({trust if trust == _CLAIMED else 'recorded by the pack'})")


def _trust(field: str, request: Mapping[str, Any]) -> Wording:
    """Return `recorded` for a proved field, and `claimed` for any other."""
    claimed = request.get("claimed")
    is_claimed = not isinstance(claimed, list | tuple) or field in claimed
    return _CLAIMED if is_claimed else Wording("recorded")
