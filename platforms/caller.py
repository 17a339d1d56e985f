"""Read the caller's identity from the platform in front of the pack. The caller's own claims never count.

If a function is invoked directly, the caller writes the whole event, so its `requestContext` proves nothing. API
Gateway replaces it with its own. The setting CFES_CALLER_FROM names the platform in front of the function. Without
this setting the caller is CFES_REQUESTED_BY.

A platform's identity (an ARN, a claim) becomes a name that tags and policies can use (connectors.connection.PERSON).
Each identity has one name, and two identities never share a name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from connectors.connection import Connection
from core.errors import AuthenticationFailed

# The values of CFES_CALLER_FROM that read the event's `requestContext`, which API Gateway writes.
OF_API_GATEWAY = ("api-gateway-iam", "api-gateway-jwt")

LONGEST_NAME = 64

# Longer than any identity that a platform gives.
LONGEST_IDENTITY = 2048

_PLAIN = re.compile(r"[A-Za-z0-9._+@-]")
_PLAIN_EMAIL = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+")
_ARN = re.compile(r"arn:aws[a-z-]*:(?:iam|sts)::[0-9]{12}:[!-~]+")

# Marks a name that was cut. An escaped character has no dot after its percent sign.
_CUT = "%."
_TAIL = 30


def with_caller(settings: Connection, event: Any, context: object) -> Connection:
    """Return the settings with the caller as `requested_by`. Raises: AuthenticationFailed."""
    return settings.model_copy(update={"requested_by": caller_of(event, context, settings)})


def caller_of(event: Any, context: object, settings: Connection) -> str | None:
    """Return the name of the caller; None if neither the platform nor CFES_REQUESTED_BY gives one.

    event, context: the function's arguments. An HTTP service passes its own `{"requestContext": …}`.
    Raises: AuthenticationFailed if CFES_CALLER_FROM is set and the platform does not name the caller.
    """
    match settings.caller_from:
        case None:
            return settings.requested_by
        case "api-gateway-iam":
            identity = _iam_identity(_request_context(event))
        case "api-gateway-jwt":
            identity = _claimed_identity(_request_context(event))
        case "cognito-identity":
            identity = _cognito_identity(getattr(getattr(context, "identity", None), "cognito_identity_id", None))
    if identity is None:
        raise AuthenticationFailed(
            f"the platform does not name the caller, and CFES_CALLER_FROM is {settings.caller_from}",
            help="Nothing was changed. Call the function through the platform that CFES_CALLER_FROM names, with its "
            "authorizer enabled. Or unset CFES_CALLER_FROM, and set CFES_REQUESTED_BY.",
        )
    return name_of(identity)


def name_of(identity: str) -> str:
    """Return the name of an identity: 1 to 64 letters, digits and . _ % + @ -

    Other characters are escaped as in a URL; a name that would be too long becomes 128 bits of the identity's digest
    and the name's end.
    """
    name = "".join(c if _PLAIN.fullmatch(c) else _escape(c) for c in identity)
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{digest[:32]}{_CUT}{name[-_TAIL:]}"


def _escape(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _request_context(event: Any) -> Mapping[str, Any]:
    found = event.get("requestContext") if isinstance(event, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _iam_identity(context: Mapping[str, Any]) -> str | None:
    """Return the user of the signed request, from an HTTP API (`authorizer.iam`) or a REST API (`identity`)."""
    iam, identity = _at(context, "authorizer", "iam"), _at(context, "identity")
    cognito = _cognito_identity(
        _text(_at(iam, "cognitoIdentity"), "identityId") or _text(identity, "cognitoIdentityId")
    )
    if cognito is not None:
        # Every user of an identity pool has the same ARN.
        return cognito
    arns = {arn for arn in (_text(iam, "userArn"), _text(identity, "userArn")) if arn is not None}
    [arn] = arns if len(arns) == 1 else [""]
    return arn if _ARN.fullmatch(arn) else None


def _claimed_identity(context: Mapping[str, Any]) -> str | None:
    """Return a signed token's verified address, else its subject. HTTP API: `jwt.claims`; REST API: `claims`."""
    authorizer = _at(context, "authorizer")
    claims = _at(authorizer, "jwt", "claims") or _at(authorizer, "claims")
    email = _text(claims, "email")
    verified = claims.get("email_verified")
    if email is not None and (verified is True or verified == "true"):
        # The same form as an approver's name in the policy.
        return email.lower() if _PLAIN_EMAIL.fullmatch(email) else f"email:{email}"
    subject, issuer = _text(claims, "sub"), _text(claims, "iss")
    if subject is None or issuer is None:
        return None
    issuer = issuer.replace("%", "%25").replace("|", "%7C")
    return f"sub:{issuer}|{subject}"


def _cognito_identity(value: object) -> str | None:
    return f"cognito:{value}" if isinstance(value, str) and 0 < len(value) <= LONGEST_IDENTITY else None


def _at(found: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for name in path:
        inner = found.get(name)
        if not isinstance(inner, Mapping):
            return {}
        found = inner
    return found


def _text(found: Mapping[str, Any], name: str) -> str | None:
    value = found.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_IDENTITY and value.strip() else None
