"""Choose the search criteria of a campaign: features of the attacker's mail that a real sender's mail does not have.

Anybody can write any From. Where nothing proves the From, a search by it finds the real sender's mail. The search then
uses features that the attacker added: an attachment, a link's domain, the envelope sender that SPF passed for, or the
From together with the exact subject.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from core.addresses import RelatedDomains, normal_form, read_addresses, read_entry
from core.json_values import Json, shown
from core.search_words import ADDRESS_CRITERIA
from core.sender_proof import proof_of
from playbooks.language.filter_values import FilterError, mapping_of, text_of
from playbooks.language.mail_filters import address, domain, related_domains

WAYS = ("sender", "attachment", "link_domain", "subject", "envelope_sender")

_SHA256 = re.compile(r"[0-9a-f]{64}", re.IGNORECASE | re.ASCII)

# Logos, signatures and plain texts are in many unrelated mails.
_SHARED_TYPES = ("image/", "text/plain", "text/calendar", "message/")
_SHARED_ENDINGS = ("-signature",)

_LONGEST_SUBJECT = 2000


def sender_proof(alert: Json) -> str | None:
    """Name the check that proves the alert's From, such as "DMARC passed"; null where nothing does."""
    record = mapping_of(alert)
    envelope = _envelope_sender(record)
    proof = proof_of(
        domain(record.get("From")),
        dmarc=_word(record, "DMARCResult"),
        spf=_word(record, "SPFResult"),
        envelope_domain=None if envelope is None else domain(envelope),
    )
    return f"SPF passed for {envelope}" if proof == "SPF" else "DMARC passed" if proof else None


def campaign_search(
    alert: Json, search_by: str, own_domains: Json, start: str, value: str | None = None
) -> dict[str, Json]:
    """Choose the search for the messages that belong to an alert.

    search_by: one of WAYS, or `auto` for the first of WAYS that the alert has and that is safe. `auto` takes `sender`
    only where sender_proof names a proof, and never takes `envelope_sender`. value: the attachment's SHA-256 or the
    link domain to use, where the alert has several.

    Returns {by, criteria, search_params, subject, problem}. criteria: the criteria that a plan for this alert must
    have. search_params: the criteria from `start` on, clean verdicts included. subject: the search as text. problem:
    why no search is safe, or null; with a problem the other values are null.
    """
    record = mapping_of(alert)
    ours = related_domains(own_domains)
    found = {way: _criteria(way, record, ours, value, explicit=search_by != "auto") for way in WAYS}
    if search_by != "auto":
        if search_by not in found:
            raise FilterError(f"search_by must be auto or one of {', '.join(WAYS)}, not {shown(search_by)}")
        way, criteria = search_by, found[search_by]
    elif value is not None:
        return _none("search_value needs search_by=attachment or search_by=link_domain")
    else:
        usable = [way for way in WAYS if not isinstance(found[way], str) and way != "envelope_sender"]
        if not usable:
            reasons = "; ".join(f"{way}: {found[way]}" for way in WAYS if isinstance(found[way], str))
            return _none(f"the alert has no feature that only the attacker's mail has ({reasons})")
        way, criteria = usable[0], found[usable[0]]
    if isinstance(criteria, str):
        return _none(f"search_by {way} is not possible: {criteria}")
    return {
        "by": way,
        "criteria": dict(criteria),
        "search_params": {**criteria, "start": start, "detections_only": False},
        "subject": ", ".join(f"{name} {shown(text)}" for name, text in criteria.items()),
        "problem": None,
    }


def has_criteria(search_params: Json, criteria: Json) -> bool:
    """Check whether a search has all these criteria with these values. Further criteria are allowed."""
    search = mapping_of(search_params)
    return all(
        isinstance(search.get(name), str) and _normalized(name, search[name]) == _normalized(name, text_of(wanted))
        for name, wanted in mapping_of(criteria).items()
    )


def _normalized(name: str, value: str) -> str:
    """Return the normal form of a criterion's value."""
    if name in ADDRESS_CRITERIA:
        return normal_form(value)
    return value if name == "exact_subject" else value.strip().lower()


def _none(problem: str) -> dict[str, Json]:
    return {"by": None, "criteria": None, "search_params": None, "subject": None, "problem": problem}


def _criteria(
    way: str, alert: Mapping[str, Any], ours: RelatedDomains, value: str | None, *, explicit: bool
) -> dict[str, str] | str:
    """Return the criteria of one way to search, or the reason why there are none."""
    if value is not None and way not in ("attachment", "link_domain"):
        return "search_value is for attachment and link_domain only"
    match way:
        case "sender":
            if not explicit and sender_proof(alert) is None:
                return "neither DMARC nor an aligned SPF result proves the sender"
            return {"sender": address(alert.get("From"))}
        case "attachment":
            return _attachment(alert, value, explicit=explicit)
        case "link_domain":
            return _link_domain(alert, ours, value)
        case "subject":
            subject = alert.get("Subject")
            if not isinstance(subject, str) or not subject.strip() or len(subject) > _LONGEST_SUBJECT:
                return "the alert has no Subject that can be searched for"
            if re.search(r"[\x00\r\n]", subject):
                return "the alert's Subject has a line break"
            # The sender too: other people's mail also has the subject "Re: invoice".
            return {"sender": address(alert.get("From")), "exact_subject": subject}
        case _:
            return _envelope(alert, ours)


def _attachment(alert: Mapping[str, Any], value: str | None, *, explicit: bool) -> dict[str, str] | str:
    hashes = {
        str(file["Sha256"]).lower(): _is_shared(file)
        for file in _listed(alert, "Attachments")
        if isinstance(file, Mapping) and _SHA256.fullmatch(str(file.get("Sha256") or ""))
    }
    if value is not None:
        chosen = value.strip().lower()
        return (
            {"query": chosen}
            if chosen in hashes
            else "search_value is not the SHA-256 of one of the alert's attachments"
        )
    if not hashes:
        return "the alert has no attachment with a SHA-256"
    alone = [sha256 for sha256, shared in hashes.items() if not shared]
    if not alone and not explicit:
        return "the attachments are images, texts or signatures, which other mail has too"
    return {"query": alone[0] if alone else next(iter(hashes))}


def _is_shared(file: Mapping[str, Any]) -> bool:
    kind = str(file.get("ContentTypeComputed") or file.get("ContentTypeProvided") or "").strip().lower()
    return kind.startswith(_SHARED_TYPES) or kind.endswith(_SHARED_ENDINGS)


def _link_domain(alert: Mapping[str, Any], ours: RelatedDomains, value: str | None) -> dict[str, str] | str:
    theirs = RelatedDomains([domain(alert.get("From"))])
    hosts = list(dict.fromkeys(_hosts(alert)))
    # Where nothing proves the From, its domain may be the victim's, and real mail links to that domain.
    usable = [host for host in hosts if not ours.relates(host) and not theirs.relates(host)]
    if value is not None:
        try:
            chosen = read_entry(value)
        except ValueError as error:
            return f"search_value {error}"
        below = any(host == chosen.domain or host.endswith(f".{chosen.domain}") for host in usable)
        if chosen.mailbox is not None or not below or ours.relates(chosen.domain) or theirs.relates(chosen.domain):
            return "search_value is not the domain of a link, or the domain is the sender's or our own"
        return {"domain": chosen.domain}
    if not usable:
        return "the alert has no link to a third party's domain"
    if len(usable) > 1:
        named = ", ".join(usable[:5]) + (" and others" if len(usable) > 5 else "")
        return f"the links go to several domains ({named}): set search_value to one of them"
    return {"domain": usable[0]}


def _hosts(alert: Mapping[str, Any]) -> Iterator[str]:
    for link in _listed(alert, "Links"):
        if not isinstance(link, str):
            continue
        # Browsers read a backslash as a slash.
        written = link.strip().replace("\\", "/")
        try:
            host = urlsplit(written if "://" in written else f"//{written}").hostname
            yield read_addresses(f"x@{host}")[0].domain
        except ValueError:
            # A search takes domain names only, not IP addresses.
            continue


def _envelope(alert: Mapping[str, Any], ours: RelatedDomains) -> dict[str, str] | str:
    envelope = _envelope_sender(alert)
    if envelope is None or _word(alert, "SPFResult") != "pass":
        return "SPF did not pass for the SMTPEnvelopeFrom"
    if ours.relates(domain(envelope)):
        return "the SMTPEnvelopeFrom is in one of our own domains"
    return {"sender": envelope}


def _envelope_sender(alert: Mapping[str, Any]) -> str | None:
    try:
        return address(alert.get("SMTPEnvelopeFrom"))
    except FilterError:
        return None


def _word(alert: Mapping[str, Any], name: str) -> str:
    value = alert.get(name)
    return value.strip().lower() if isinstance(value, str) else ""


def _listed(alert: Mapping[str, Any], name: str) -> list[Any]:
    value = alert.get(name)
    return value if isinstance(value, list) else []
