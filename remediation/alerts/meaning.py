"""What an alert means for a response: whose mail it is about, and which searches find the campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError

from connectors.objects.search import NARROWING, SearchParams
from core import instants
from core.errors import ParameterError, Problem
from core.json_model import JsonModel
from core.json_values import below, digest
from core.validation_text import plain_message
from remediation.alerts.alert import parse_alert
from remediation.alerts.answer import Answer, YesNoUnknown
from remediation.alerts.pivots import NoPivot, Pivot, SearchBy, Way, choose_pivot, described, pivots_of
from remediation.alerts.sender import OwnDomains, is_outside, is_outsider, is_proved

# The sender of the mail chooses how many links, attachments and recipients there are, and how long the subject is.
PIVOTS_SHOWN = 10
DOMAINS_SHOWN = 20
LONGEST_SUBJECT_SHOWN = 200


class AlertPivot(JsonModel):
    """Another search for the campaign."""

    by: Way = Field(description="What the search matches on.")
    search_params: dict[str, Any] = Field(description="The search, ready for preview-job.")


class AlertSearch(JsonModel):
    """The search for the campaign."""

    by: Way | None = Field(description="What the search matches on; null for given search parameters.")
    criteria: dict[str, Any] = Field(
        description="The criteria without the window. A plan for this alert must have them."
    )
    search_params: dict[str, Any] = Field(description="The search, ready for preview-job.")
    description: str = Field(description="The criteria as text.")


class AlertMeaning(JsonModel):
    """What an alert means, in a kilobyte or two, whatever the size of the alert."""

    id: str = Field(description="The AlertID; for search parameters `search-` and a hash of them.")
    sender: str | None = Field(description="The address in From, in lower case.")
    sender_domain: str | None = Field(description="The sender's domain, in ASCII.")
    received: str | None = Field(description="The alert's Timestamp, RFC 3339 in whole seconds.")
    since: str | None = Field(description="The start of a search for the campaign, RFC 3339.")
    subject: str | None = Field(description=f"The subject, at most {LONGEST_SUBJECT_SHOWN} characters of it.")
    disposition: str | None = Field(description="The FinalDisposition, in lower case.")
    origin: str | None = Field(description="The Origin, in lower case; null if the alert has none.")
    own_domains: list[str] = Field(
        description=f"Your own domains: those given, and those in SMTPEnvelopeTo. At most {DOMAINS_SHOWN}; all of them "
        "are used."
    )
    outsider: YesNoUnknown = Field(
        description="Whether the sender is external. `unknown` if your own domains are not known: a search could "
        "then find your own mail."
    )
    outsider_reason: str = Field(description="The reason for `outsider`.")
    sender_proved: YesNoUnknown = Field(
        description="Whether DMARC, or SPF for an aligned envelope sender, proves the From. Unless `yes`, a search by "
        "sender also finds the real sender's mail."
    )
    sender_proved_reason: str = Field(description="The results of DMARC, SPF and DKIM, and the envelope sender.")
    search: AlertSearch | None = Field(description="The search chosen by `search_by`; null if none is safe.")
    search_problem: str | None = Field(description="Why no search is safe; null if one is.")
    pivots: list[AlertPivot] = Field(
        description="Other searches for the campaign: by attachment hash, link domain, exact subject, envelope sender "
        f"and the sender's domain. At most {PIVOTS_SHOWN}."
    )
    more_pivots: int = Field(description="The number of pivots left out.")


def read_meaning(
    entry: Mapping[str, Any],
    *,
    own_domains: Sequence[str] = (),
    lookback_days: int = 7,
    search_by: SearchBy = "auto",
    search_value: str | None = None,
    pointer: str = "",
    domains_pointer: str = "",
) -> AlertMeaning:
    """Return what a Logpush alert, or an object of search parameters, means.

    own_domains: the organization's, besides those of the alert's envelope recipients. lookback_days: how long before
    the alert the campaign may have begun. search_by, search_value: see choose_pivot. The pointers say where the entry
    and the own domains lie in the parameters. Raises: ParameterError.
    """
    if is_search(entry):
        return _meaning_of_search(entry, OwnDomains(own_domains, pointer=domains_pointer), pointer)
    alert = parse_alert(entry, pointer)
    own = OwnDomains(own_domains, alert.recipients, domains_pointer)
    try:
        since = instants.shift(alert.received, days=-lookback_days)
    except ValueError as error:
        raise ParameterError.at(below(pointer, "Timestamp"), str(error)) from None
    try:
        chosen, problem = choose_pivot(alert, own, search_by, search_value), None
    except NoPivot as error:
        chosen, problem = None, str(error)
    pivots = [pivot for pivot in pivots_of(alert, own) if pivot != chosen]
    outsider, proved = is_outsider(alert, own), is_proved(alert)
    subject = None if alert.subject is None else alert.subject[:LONGEST_SUBJECT_SHOWN]
    return AlertMeaning(
        id=alert.id,
        sender=alert.sender,
        sender_domain=alert.sender_domain,
        received=alert.received,
        since=since,
        subject=subject,
        disposition=alert.disposition,
        origin=alert.origin,
        own_domains=own.names[:DOMAINS_SHOWN],
        outsider=outsider.answer,
        outsider_reason=outsider.reason,
        sender_proved=proved.answer,
        sender_proved_reason=proved.reason,
        search=None if chosen is None else _search(chosen, since),
        search_problem=problem,
        pivots=[AlertPivot(by=pivot.by, search_params=_search_params(pivot, since)) for pivot in pivots[:PIVOTS_SHOWN]],
        more_pivots=max(0, len(pivots) - PIVOTS_SHOWN),
    )


def is_search(entry: Mapping[str, Any]) -> bool:
    """Return whether an object holds search parameters: those names are in lower case, and an alert's are not."""
    return bool(entry) and entry.keys() <= SearchParams.model_fields.keys()


def _meaning_of_search(entry: Mapping[str, Any], own: OwnDomains, pointer: str) -> AlertMeaning:
    try:
        search = SearchParams.model_validate(entry).request()
    except ValidationError as error:
        raise ParameterError(problems=[_problem(dict(one), pointer) for one in error.errors()]) from None
    criteria = {name: value for name, value in search.items() if name in NARROWING}
    sender = search.get("sender")
    domain = None if sender is None else sender.rpartition("@")[2].lower()
    outsider = Answer("unknown", "the search has no sender") if domain is None else is_outside(domain, own)
    return AlertMeaning(
        id=f"search-{digest(search)[:24]}",
        sender=sender,
        sender_domain=domain,
        received=None,
        since=search.get("start"),
        subject=search.get("exact_subject"),
        disposition=None,
        origin=None,
        own_domains=own.names[:DOMAINS_SHOWN],
        outsider=outsider.answer,
        outsider_reason=outsider.reason,
        sender_proved="unknown",
        sender_proved_reason="search parameters have no results of DMARC and SPF",
        search=AlertSearch(by=None, criteria=criteria, search_params=search, description=described(criteria)),
        search_problem=None,
        pivots=[],
        more_pivots=0,
    )


def _search(pivot: Pivot, since: str) -> AlertSearch:
    return AlertSearch(
        by=pivot.by,
        criteria=dict(pivot.criteria),
        search_params=_search_params(pivot, since),
        description=described(pivot.criteria),
    )


def _search_params(pivot: Pivot, since: str) -> dict[str, Any]:
    # Mail with a clean verdict too: it includes the copies that detection missed.
    return {**pivot.criteria, "start": since, "detections_only": False}


def _problem(error: dict[str, Any], pointer: str) -> Problem:
    return Problem(pointer=below(pointer, *error["loc"]), message=plain_message(error))
