"""Verification words: the verdicts of `cfes verify` on files and signature, and a headline with both."""

from __future__ import annotations

from remediation.evidence.verification import Signature, Verification

_SIGNATURE: dict[Signature, str] = {
    "valid": "valid: made with the given key",
    "other_key": "made with another key than the given one",
    "broken": "BROKEN: it does not match this evidence.json, which may have been rewritten",
    "removed": "REMOVED: evidence.json names a signer, but the signature is missing",
    "absent": "none: anyone with write access to the bundle could have rewritten evidence.json",
    "unchecked": "present, not checked: give --public-key",
}

# Follows the verdict on the files.
_HEADLINE: dict[Signature, str] = {
    "valid": "and the signature is valid",
    "other_key": "and the signature was made with another key than the given one",
    "broken": "and the signature is broken",
    "removed": "and the signature was removed",
    "absent": "and there is no signature",
    "unchecked": "and the signature was not checked",
}


def headline(found: Verification) -> str:
    """Return both verdicts as one sentence."""
    signature = _HEADLINE[found.signature]
    if found.intact and not found.authentic:
        signature = f"but{signature.removeprefix('and')}"
    files = files_words(found)
    return f"{files[0].upper()}{files[1:]}, {signature}."


def files_words(found: Verification) -> str:
    """Return the verdict on the files alone."""
    if found.intact:
        return "every file is unchanged"
    return "files are missing, changed or extra"


def signature_words(found: Verification) -> str:
    """Return the verdict on the signature alone."""
    return _SIGNATURE[found.signature]
