"""Describe the verdicts of `cfes verify` on the files and on the signature."""

from __future__ import annotations

from remediation.evidence.verification import Signature, Verification

# The end of the headline, and the row about the signature.
_SIGNATURE: dict[Signature, tuple[str, str]] = {
    "valid": ("the signature is valid", "valid: made with the given key"),
    "other_key": (
        "the signature was made with another key than the given one",
        "made with another key than the given one",
    ),
    "broken": (
        "the signature is broken",
        "BROKEN: it does not match this evidence.json, which may have been rewritten",
    ),
    "removed": (
        "the signature was removed",
        "REMOVED: evidence.json names a signer, but the signature is missing",
    ),
    "absent": (
        "there is no signature",
        "none: anyone with write access to the bundle could have rewritten evidence.json",
    ),
    "unchecked": ("the signature was not checked", "present, not checked: give --public-key"),
}


def headline(found: Verification) -> str:
    """Return both verdicts as one sentence."""
    files, link = files_words(found), "but" if found.intact and not found.authentic else "and"
    return f"{files[0].upper()}{files[1:]}, {link} {_SIGNATURE[found.signature][0]}."


def files_words(found: Verification) -> str:
    """Return the verdict on the files alone."""
    return "every file is unchanged" if found.intact else "files are missing, changed or extra"


def signature_words(found: Verification) -> str:
    """Return the verdict on the signature alone."""
    return _SIGNATURE[found.signature][1]
