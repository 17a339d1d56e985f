"""What `cfes verify` found, in words: one verdict on the files, one on the signature, and one line over both."""

from __future__ import annotations

from remediation.evidence.verification import Signature, Verification

_SIGNATURE: dict[Signature, str] = {
    "valid": "valid: made with the key given",
    "other_key": "made with another key than the one given",
    "broken": "BROKEN: it is not a signature over this evidence.json, which may have been written anew",
    "removed": "REMOVED: evidence.json says that it is signed, and the signature is not there",
    "absent": "none: anyone who can write to the bundle could have rewritten evidence.json",
    "unchecked": "there is one, not checked: give --public-key",
}

# Behind "every file is unchanged" or what is said of the files that are not.
_HEADLINE: dict[Signature, str] = {
    "valid": "and the signature is valid",
    "other_key": "and the signature was made with another key than the one given",
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
    """Return the verdict on the files alone, which holds whatever is found of the signature."""
    if found.intact:
        return "every file is unchanged"
    return "files are missing, changed or extra"


def signature_words(found: Verification) -> str:
    """Return the verdict on the signature alone."""
    return _SIGNATURE[found.signature]
