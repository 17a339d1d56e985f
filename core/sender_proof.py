"""Proof of a mail's From by DMARC or SPF. A From without proof may be forged."""

from __future__ import annotations

from typing import Literal

from core.addresses import RelatedDomains

Proof = Literal["DMARC", "SPF"]


def proof_of(sender_domain: str, *, dmarc: str | None, spf: str | None, envelope_domain: str | None) -> Proof | None:
    """Return the check that proves that a mail comes from the domain in its From, or None.

    DMARC proves it by passing. Without a DMARC result, SPF proves it by passing for an envelope sender whose domain
    equals the domain of From, or is below or above it. DKIM alone proves nothing: its result does not name the domain
    that signed.
    """
    result = _word(dmarc)
    if result == "pass":
        return "DMARC"
    if result not in ("", "none") or _word(spf) != "pass" or not envelope_domain:
        return None
    return "SPF" if RelatedDomains([sender_domain]).relates(envelope_domain) else None


def _word(result: str | None) -> str:
    return (result or "").strip().lower()
