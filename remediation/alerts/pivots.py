"""Searches that find an alert's campaign by a feature that the attacker's mail has and a real sender's mail has not.

Anybody can write any From. Where nothing proves the From, a search by it finds the real sender's mail. Pivots are the
features that the attacker added: an attachment, a link's domain, the From together with the exact subject, the envelope
sender that SPF passed for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from core.addresses import RelatedDomains, read_addresses, read_entry
from core.json_values import shown
from remediation.alerts.alert import Alert
from remediation.alerts.sender import OwnDomains, is_proved

Way = Literal["sender", "attachment", "link_domain", "subject", "envelope_sender", "sender_domain"]
SearchBy = Literal["auto", "sender", "attachment", "link_domain", "subject", "envelope_sender"]

# In the order in which `auto` tries them. It never uses the envelope sender or the sender's whole domain.
WAYS: tuple[Way, ...] = ("sender", "attachment", "link_domain", "subject", "envelope_sender", "sender_domain")
_AUTO = WAYS[:4]
_WITH_VALUE = ("attachment", "link_domain")

_SHA256 = re.compile(r"[0-9a-f]{64}", re.IGNORECASE | re.ASCII)

# Logos, signatures and plain texts are in many unrelated mails.
_SHARED_TYPES = ("image/", "text/plain", "text/calendar", "message/")
_SHARED_ENDINGS = ("-signature",)

_LONGEST_SUBJECT = 2000


@dataclass(frozen=True)
class Pivot:
    """One search for the campaign. criteria: the criteria of a search, without its window."""

    by: Way
    criteria: Mapping[str, str]


class NoPivot(ValueError):
    """A way to search is not possible for the alert. The message is the reason."""


def choose_pivot(alert: Alert, own: OwnDomains, search_by: SearchBy = "auto", value: str | None = None) -> Pivot:
    """Return the search for the alert's campaign.

    search_by: `auto` for the first of the ways that is possible and safe: `sender` only where a check proves the From.
    value: the attachment's SHA-256 or the link's domain, where the alert has several. Raises: NoPivot.
    """
    if value is not None and search_by not in _WITH_VALUE:
        raise NoPivot("search_value needs search_by=attachment or search_by=link_domain")
    if search_by != "auto":
        try:
            return _asked(alert, own, search_by, value)
        except NoPivot as error:
            raise NoPivot(f"search_by={search_by} is not possible: {error}") from None
    reasons = []
    for way in _AUTO:
        try:
            return _safe(alert, own, way)
        except NoPivot as error:
            reasons.append(f"{way}: {error}")
    raise NoPivot(f"the alert has no feature that only the attacker's mail has ({'; '.join(reasons)})")


def pivots_of(alert: Alert, own: OwnDomains) -> Iterator[Pivot]:
    """Yield every possible search other than by sender, the most specific first, one for each attachment and link."""
    for sha256, shared in _hashes(alert).items():
        if not shared:
            yield Pivot("attachment", {"query": sha256})
    for host in _third_parties(alert, own):
        yield Pivot("link_domain", {"domain": host})
    for way in ("subject", "envelope_sender", "sender_domain"):
        try:
            yield _asked(alert, own, way, None)
        except NoPivot:
            continue


def described(criteria: Mapping[str, str]) -> str:
    """Return the criteria of a search as text."""
    return ", ".join(f"{name} {shown(text)}" for name, text in criteria.items())


def _safe(alert: Alert, own: OwnDomains, way: Way) -> Pivot:
    if way == "sender" and is_proved(alert).answer != "yes":
        raise NoPivot("neither DMARC nor an aligned SPF result proves the sender")
    if way == "attachment" and (hashes := _hashes(alert)) and all(hashes.values()):
        raise NoPivot("the attachments are images, texts or signatures, which other mail has too")
    return _asked(alert, own, way, None)


def _asked(alert: Alert, own: OwnDomains, way: str, value: str | None) -> Pivot:
    match way:
        case "sender":
            return Pivot("sender", {"sender": alert.sender})
        case "attachment":
            return Pivot("attachment", {"query": _attachment(alert, value)})
        case "link_domain":
            return Pivot("link_domain", {"domain": _link_domain(alert, own, value)})
        case "subject":
            # The sender too: other people's mail also has the subject "Re: invoice".
            return Pivot("subject", {"sender": alert.sender, "exact_subject": _subject(alert)})
        case "envelope_sender":
            return Pivot("envelope_sender", {"sender": _envelope(alert, own)})
        case _:
            if own.relates(alert.sender_domain):
                raise NoPivot("the sender's domain may be your own")
            return Pivot("sender_domain", {"sender": alert.sender_domain})


def _subject(alert: Alert) -> str:
    if alert.subject is None or len(alert.subject) > _LONGEST_SUBJECT:
        raise NoPivot("the alert has no Subject that can be searched for")
    if re.search(r"[\x00\r\n]", alert.subject):
        raise NoPivot("the alert's Subject has a line break")
    if "x{" in alert.subject:
        # The search would find nothing, which reads as if there were no campaign.
        raise NoPivot("the alert's Subject has x{, which a Logpush job with CVE-2021-44228 writes in place of ${")
    return alert.subject


def _hashes(alert: Alert) -> dict[str, bool]:
    """Return the SHA-256 of each attachment, and whether it is of a kind that unrelated mail shares."""
    return {
        str(file["Sha256"]).lower(): _is_shared(file)
        for file in alert.attachments
        if _SHA256.fullmatch(str(file.get("Sha256") or ""))
    }


def _is_shared(file: Mapping[str, Any]) -> bool:
    kind = str(file.get("ContentTypeComputed") or file.get("ContentTypeProvided") or "").strip().lower()
    return kind.startswith(_SHARED_TYPES) or kind.endswith(_SHARED_ENDINGS)


def _attachment(alert: Alert, value: str | None) -> str:
    hashes = _hashes(alert)
    if value is not None:
        if value.strip().lower() not in hashes:
            raise NoPivot("search_value is not the SHA-256 of one of the alert's attachments")
        return value.strip().lower()
    if not hashes:
        raise NoPivot("the alert has no attachment with a SHA-256")
    return min(hashes, key=lambda sha256: hashes[sha256])


def _link_domain(alert: Alert, own: OwnDomains, value: str | None) -> str:
    usable = _third_parties(alert, own)
    if value is not None:
        try:
            mailbox, chosen = read_entry(value)
        except ValueError as error:
            raise NoPivot(f"search_value {error}") from None
        below = any(host == chosen or host.endswith(f".{chosen}") for host in usable)
        foreign = not own.relates(chosen) and not RelatedDomains([alert.sender_domain]).relates(chosen)
        if mailbox is not None or not below or not foreign:
            raise NoPivot("search_value is not the domain of a link, or the domain is the sender's or your own")
        return chosen
    if not usable:
        raise NoPivot("the alert has no link to a third party's domain")
    if len(usable) > 1:
        named = ", ".join(usable[:5]) + (" and others" if len(usable) > 5 else "")
        raise NoPivot(f"the links go to several domains ({named}): set search_value to one of them")
    return usable[0]


def _third_parties(alert: Alert, own: OwnDomains) -> list[str]:
    """Return the domains of the alert's links, each once, without the sender's and the organization's own."""
    # Where nothing proves the From, its domain may be the victim's, and real mail links to that domain.
    theirs = RelatedDomains([alert.sender_domain])
    return [host for host in dict.fromkeys(_hosts(alert)) if not own.relates(host) and not theirs.relates(host)]


def _hosts(alert: Alert) -> Iterator[str]:
    for link in alert.links:
        # Browsers read a backslash as a slash.
        written = link.strip().replace("\\", "/")
        try:
            host = urlsplit(written if "://" in written else f"//{written}").hostname
            yield read_addresses(f"x@{host}")[0].domain
        except ValueError:
            # A search takes domain names only, not IP addresses.
            continue


def _envelope(alert: Alert, own: OwnDomains) -> str:
    if alert.envelope_sender is None or alert.envelope_domain is None or alert.spf != "pass":
        raise NoPivot("SPF did not pass for the SMTPEnvelopeFrom")
    if own.relates(alert.envelope_domain):
        raise NoPivot("the SMTPEnvelopeFrom is in one of your own domains")
    return alert.envelope_sender
