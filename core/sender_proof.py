"""Whether the checks of a mail prove its From: anybody can write a From that they do not prove."""

from __future__ import annotations

from typing import Literal

from core.addresses import RelatedDomains

Proof = Literal["DMARC", "SPF"]


def proof_of(sender_domain: str, *, dmarc: str | None, spf: str | None, envelope_domain: str | None) -> Proof | None:
    """Return which check proves that a mail comes from the domain in its From; None where none does.

    DMARC passed; or there is no DMARC result and SPF passed for an envelope sender whose domain is that of From, or
    below or above it. A DKIM result alone proves nothing: it does not say which domain signed.
    """
    result = _word(dmarc)
    if result == "pass":
        return "DMARC"
    if result not in ("", "none") or _word(spf) != "pass" or not envelope_domain:
        return None
    return "SPF" if RelatedDomains([sender_domain]).relates(envelope_domain) else None


def _word(result: str | None) -> str:
    return (result or "").strip().lower()
