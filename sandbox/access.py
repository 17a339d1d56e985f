"""Authentication and permissions: API tokens, and the older pair of email and key, checked as the API does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sandbox import envelope
from sandbox.envelope import ApiError, Notice
from sandbox.identifiers import draw
from sandbox.operations import Permission

# Not secret: everyone with access to the sandbox may know them, and nothing else accepts them.
FULL_ACCESS: Final = "sandbox-full-token"
READ_ONLY: Final = "sandbox-read-token"
REVOKED: Final = "sandbox-revoked-token"
EMAIL: Final = "analyst@corp.example"
EMAIL_KEY: Final = "sandbox-global-key"

_SUFFICIENT: Final[dict[Permission, frozenset[Permission]]] = {
    "none": frozenset({"none", "read", "write"}),
    "read": frozenset({"read", "write"}),
    "write": frozenset({"write"}),
}


@dataclass(frozen=True, slots=True)
class Token:
    """A credential. `permission` is that for Cloud Email Security; `name` appears in the action log."""

    id: str
    name: str
    permission: Permission
    active: bool = True


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of a request: a bearer token, an email address and its key, or something malformed."""

    bearer: str | None = None
    email: str | None = None
    key: str | None = None
    malformed: bool = False

    @property
    def budget(self) -> tuple[str | None, str | None]:
        """Return the key of the rate limit: calls with one token share a budget."""
        return (self.bearer, None) if self.bearer else (self.email, self.key)


def read_credentials(headers: Mapping[bytes, bytes]) -> Credentials:
    """Return the credentials in the (lower-case) headers of a request."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, value = authorization.decode("latin-1").strip().partition(" ")
        if scheme.casefold() != "bearer" or not value.strip():
            return Credentials(malformed=True)
        return Credentials(bearer=value.strip())
    email, key = headers.get(b"x-auth-email"), headers.get(b"x-auth-key")
    return Credentials(email=email.decode("latin-1") if email else None, key=key.decode("latin-1") if key else None)


class AccessList:
    """The tokens of the account."""

    def __init__(self, account_id: str) -> None:
        self.account_id = account_id
        self._tokens: dict[str, Token] = {}
        self._keys: dict[tuple[str, str], Token] = {}
        self.add(FULL_ACCESS, "full", "write")
        self.add(READ_ONLY, "read", "read")
        self.add(REVOKED, "revoked", "write", active=False)
        self._keys[EMAIL, EMAIL_KEY] = Token(draw("key", EMAIL).hex(), EMAIL, "write")

    def add(self, secret: str, name: str, permission: Permission, *, active: bool = True) -> None:
        self._tokens[secret] = Token(draw("token", secret).hex(), name, permission, active)

    def identify(self, credentials: Credentials, *, verifying: bool = False) -> Token:
        """Return the token of the credentials. verifying: use the error code of token verification. Raises ApiError."""
        if credentials.malformed:
            raise ApiError(400, Notice(envelope.INVALID_HEADERS, "Invalid request headers"))
        if credentials.bearer is not None:
            token = self._tokens.get(credentials.bearer)
            if token is None or not token.active:
                if verifying:
                    raise ApiError(401, Notice(envelope.INVALID_TOKEN, "Invalid API Token"))
                raise ApiError(401, Notice(envelope.AUTHENTICATION, "Authentication error"))
            return token
        if not credentials.email or not credentials.key:
            raise ApiError(
                400,
                Notice(envelope.MISSING_HEADERS, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
            )
        if verifying:
            raise ApiError(401, Notice(envelope.INVALID_TOKEN, "Invalid API Token"))
        known = self._keys.get((credentials.email, credentials.key))
        if known is None:
            raise ApiError(403, Notice(envelope.UNKNOWN_KEY, "Unknown X-Auth-Key or X-Auth-Email"))
        return known

    def authorize(self, token: Token, account_id: str | None, permission: Permission) -> None:
        """Raise ApiError unless the token may do this in this account."""
        if account_id is not None and len(account_id) > 32:
            raise ApiError(404, no_route(f"/accounts/{account_id}"))
        other_account = account_id is not None and account_id != self.account_id
        if other_account or token.permission not in _SUFFICIENT[permission]:
            raise ApiError(403, Notice(envelope.AUTHENTICATION, "Authentication error"))


def no_route(path: str) -> Notice:
    """Return the error for an unknown path."""
    return Notice(
        envelope.NO_SUCH_ROUTE, f"Could not route to {path[:200]}, perhaps your object identifier is invalid?"
    )
