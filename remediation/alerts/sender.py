"""Who sent an alert's message: whether the sender is external, and whether a check proves the From."""

from __future__ import annotations

from collections.abc import Sequence

from core.addresses import RelatedDomains, read_addresses, read_domain_entry
from core.errors import ParameterError, Problem
from core.json_values import below, shown
from core.sender_proof import proof_of
from remediation.alerts.alert import Alert
from remediation.alerts.answer import Answer

# The values of Origin for mail that came from outside; None if the record has no Origin.
_EXTERNAL_ORIGINS = ("external", "unset", None)

_NAMED = 3
_UNKNOWN = "your own domains are not known"


class OwnDomains:
    """The organization's own domains: those that the caller names, and those of the envelope's recipients.

    The envelope, not the To header, which the sender writes. names: each once, in order. unreadable: envelope
    recipients that can't be read, each with the reason. given: whether the caller named any.
    """

    def __init__(self, given: Sequence[str], envelope_recipients: Sequence[object] = (), pointer: str = "") -> None:
        """pointer: where `given` lies in the parameters. Raises: ParameterError that names each bad entry of it."""
        names: dict[str, None] = {}
        problems = []
        for index, entry in enumerate(given):
            try:
                names[read_domain_entry(entry)] = None
            except ValueError as error:
                problems.append(Problem(pointer=below(pointer, index), message=f"{shown(entry)} {error}"))
        if problems:
            raise ParameterError(problems=problems)
        self.given = bool(given)
        self.unreadable: list[str] = []
        for recipient in envelope_recipients:
            try:
                names.update(dict.fromkeys(one.domain for one in read_addresses(_text(recipient))))
            except ValueError as error:
                self.unreadable.append(f"{shown(recipient)} {error}")
        self.names = list(names)
        self._related = RelatedDomains(names)

    def relates(self, domain: str) -> bool:
        """Return whether the domain is one of these, below one or above one."""
        return self._related.relates(domain)


def is_outsider(alert: Alert, own: OwnDomains) -> Answer:
    """Answer whether the sender is external, so that a search can't find the organization's own mail."""
    if alert.origin not in _EXTERNAL_ORIGINS:
        return Answer("no", f"the alert's Origin is {alert.origin}")
    return is_outside(alert.sender_domain, own)


def is_outside(domain: str, own: OwnDomains) -> Answer:
    """Answer whether a domain is none of the organization's own."""
    # Without own domains from the caller, an unreadable recipient could hide one: also one that the mail links to.
    if own.unreadable and not own.given:
        return Answer(
            "unknown", f"{_UNKNOWN}: SMTPEnvelopeTo has entries that can't be read: {_listed(own.unreadable)}"
        )
    if not own.names:
        return Answer("unknown", f"{_UNKNOWN}: own_domains names none, and neither does an SMTPEnvelopeTo")
    if own.relates(domain):
        return Answer("no", f"{domain} may be your own: your domains are {_listed(own.names)}")
    return Answer("yes", f"{domain} is not one of your domains ({_listed(own.names)})")


def is_proved(alert: Alert) -> Answer:
    """Answer whether DMARC, or SPF for an aligned envelope sender, proves that the From is real."""
    proof = proof_of(alert.sender_domain, dmarc=alert.dmarc, spf=alert.spf, envelope_domain=alert.envelope_domain)
    if proof == "DMARC":
        return Answer("yes", "DMARC passed")
    if proof == "SPF":
        return Answer("yes", f"SPF passed for {alert.envelope_sender}")
    results = (("DMARC", alert.dmarc), ("SPF", alert.spf), ("DKIM", alert.dkim))
    seen = ", ".join(f"{name} {result}" for name, result in results if result and result != "none")
    if alert.envelope_sender:
        seen = f"{seen or 'no result'}, envelope sender {alert.envelope_sender}"
    if alert.dmarc == "fail" or (alert.dmarc in ("", "none") and alert.spf in ("fail", "softfail")):
        return Answer("no", seen)
    return Answer("unknown", f"no check proves the From: {seen or 'no result'}")


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:_NAMED]) + (" and others" if len(items) > _NAMED else "")


def _text(recipient: object) -> str:
    if not isinstance(recipient, str):
        raise ValueError("is not a text")
    return recipient
