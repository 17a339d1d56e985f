"""Connection settings from environment variables or mounted files: credentials, account, API URL, limits and guards.

Each field names its environment variable. The loader, the connection schema in the manifest and the table of settings
use these fields. For each variable NAME, NAME_FILE may name a file with the value, such as a mounted secret.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from core.errors import AuthenticationFailed, ConnectionSettingsError, Problem
from core.service_url import check_service_url, with_ascii_host
from core.settings import read_setting
from core.validation_text import plain_message

DEFAULT_BASE_URL = "https://api.cloudflare.com/client/v4"

# A person in the tag of a job's comment. Characters that end a field of the tag are not allowed.
PERSON = r"^[A-Za-z0-9._%+@-]{1,64}$"
_PATTERNS = {
    "account_id": "must have only letters, digits, _ and -",
    "api_email": "must have only printable ASCII characters, without spaces",
    "requested_by": "must be 1 to 64 letters, digits and . _ % + @ -",
}

Secret = Annotated[SecretStr, Field(min_length=1, max_length=4096)]

# 256 bits are 64 hexadecimal digits. A shorter password could be guessed.
SHORTEST_PLAN_KEY = 32
PlanKey = Annotated[SecretStr, Field(min_length=SHORTEST_PLAN_KEY, max_length=4096)]

CallerFrom = Literal["api-gateway-iam", "api-gateway-jwt", "cognito-identity"]


def _setting(environment: str) -> Any:
    return {"environment": environment}


def _guard(environment: str) -> Any:
    return {"environment": environment, "guard": True}


class Connection(BaseModel):
    """The settings for access to the API: `api_token`, or the older pair `api_key` and `api_email`, and limits.

    Secrets show as `**********` in every repr, and appear in no dump.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    account_id: str = Field(
        max_length=32,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Cloudflare account ID, at most 32 characters.",
        json_schema_extra=_setting("CLOUDFLARE_ACCOUNT_ID"),
    )
    api_token: Secret | None = Field(
        None, description="API token (sent as a bearer token).", json_schema_extra=_setting("CLOUDFLARE_API_TOKEN")
    )
    api_key: Secret | None = Field(
        None, description="Global API key. Needs CLOUDFLARE_EMAIL.", json_schema_extra=_setting("CLOUDFLARE_API_KEY")
    )
    api_email: str | None = Field(
        None,
        min_length=3,
        max_length=320,
        pattern=r"^[\x21-\x7e]+$",
        description="Email address of the user that CLOUDFLARE_API_KEY belongs to.",
        json_schema_extra=_setting("CLOUDFLARE_EMAIL"),
    )
    base_url: str = Field(
        DEFAULT_BASE_URL,
        description="Base URL of the API. Must be https, except for loopback addresses.",
        json_schema_extra=_setting("CLOUDFLARE_BASE_URL"),
    )
    request_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=600,
        description="Read timeout per HTTP request, in seconds. Also limits the connection and the response headers.",
        json_schema_extra=_setting("CFES_REQUEST_TIMEOUT_SECONDS"),
    )
    call_allowance_seconds: float = Field(
        120.0,
        gt=0,
        le=86_400,
        description="Total time limit per API call, including all retries and waits, in seconds.",
        json_schema_extra=_setting("CFES_CALL_ALLOWANCE_SECONDS"),
    )
    rate_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Fraction of the rate limit (1,200 calls in 5 minutes) to use before throttling, from 0 to 1.",
        json_schema_extra=_setting("CFES_RATE_SHARE"),
    )
    pages_ahead: int = Field(
        8,
        ge=0,
        le=32,
        description="Number of pages to prefetch in parallel when reading the rows of a job, within CFES_RATE_SHARE. "
        "0 turns prefetching off.",
        json_schema_extra=_setting("CFES_PAGES_AHEAD"),
    )
    listing_lag_seconds: float = Field(
        15.0,
        ge=0,
        le=600,
        description="How long to look for a new job after a lost response before retrying, in seconds.",
        json_schema_extra=_setting("CFES_LISTING_LAG_SECONDS"),
    )

    policy_file: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="Path of the organization's policy (YAML). Parameters override only what the policy allows; see "
        "docs/reference/policy.md.",
        json_schema_extra=_guard("CFES_POLICY"),
    )
    read_only: bool = Field(
        False, description="Refuse every change (read-only mode).", json_schema_extra=_guard("CFES_READ_ONLY")
    )
    requested_by: str | None = Field(
        None,
        max_length=64,
        pattern=PERSON,
        description="Requester: a login or email address. No parameter overrides it.",
        json_schema_extra=_guard("CFES_REQUESTED_BY"),
    )
    caller_from: CallerFrom | None = Field(
        None,
        description="How AWS Lambda identifies its caller: `api-gateway-iam`, `api-gateway-jwt` or "
        "`cognito-identity`. If not set, the requester is CFES_REQUESTED_BY; see SECURITY.md.",
        json_schema_extra=_guard("CFES_CALLER_FROM"),
    )
    call_record: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="File to which every API call is appended as evidence, without bodies and secrets. Use one file "
        "per case.",
        json_schema_extra=_setting("CFES_CALL_RECORD"),
    )
    evidence_key: Secret | None = Field(
        None,
        description="Ed25519 private key (PEM) to sign evidence with. Best set through CFES_EVIDENCE_KEY_FILE.",
        json_schema_extra=_setting("CFES_EVIDENCE_KEY"),
    )
    pseudonym_key: Secret | None = Field(
        None,
        description="Key to pseudonymize exports with, at least 32 characters; see docs/explanation/pseudonyms.md.",
        json_schema_extra=_setting("CFES_PSEUDONYM_KEY"),
    )

    plan_key: PlanKey | None = Field(
        None,
        description="Key to seal plans and create job tags with, at least 32 characters. `cfes policy init` creates "
        "one. Set the same key wherever actions run; see docs/reference/policy.md.",
        json_schema_extra=_guard("CFES_PLAN_KEY"),
    )
    runs_url: str | None = Field(
        None,
        min_length=1,
        max_length=800,
        description="Parent folder of the runs that `advance-run` begins, such as `s3://evidence/runs`. Each run has "
        "a folder in it, for its files and for states of over 200,000 bytes.",
        json_schema_extra=_setting("CFES_RUNS_URL"),
    )
    state_directory: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="Private directory for used approvals, the count of API calls, the key that seals runs, and the "
        "tokens of callers. "
        "[default: cfes in XDG_STATE_HOME, else ~/.local/state/cfes]",
        json_schema_extra=_guard("CFES_STATE_DIR"),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _guard_has_a_value(cls, value: object, info: ValidationInfo) -> object:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and info.field_name in guard_variables():
            if not text.strip():
                raise ValueError("is set but empty: unset it, or set a value")
            if text != text.strip():
                raise ValueError("begins or ends with white space: remove it")
        return value

    @field_validator("account_id")
    @classmethod
    def _in_lower_case(cls, account_id: str) -> str:
        """Return a hexadecimal ID in lower case, because tags, plans and approvals compare it as text."""
        return account_id.lower() if re.fullmatch(r"[0-9A-Fa-f]+", account_id) else account_id

    @field_validator("api_token", "api_key")
    @classmethod
    def _fits_in_a_header(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not re.fullmatch(r"[\x21-\x7e]+", secret.get_secret_value()):
            raise ValueError("has a space, a line break or another character that is not allowed in a credential")
        return secret

    @field_validator("base_url")
    @classmethod
    def _encrypted_or_loopback(cls, url: str) -> str:
        return with_ascii_host(check_service_url(url)).rstrip("/")

    @model_validator(mode="after")
    def _one_way_to_authenticate(self) -> Self:
        if self.api_token is None and (self.api_key is None) != (self.api_email is None):
            raise ValueError("CLOUDFLARE_API_KEY and CLOUDFLARE_EMAIL must both be set: one of them is missing")
        return self

    def auth_headers(self) -> dict[str, str]:
        """Return the headers that authenticate a call.

        Raises: AuthenticationFailed if no credentials are set.
        """
        if self.api_token is not None:
            return {"Authorization": f"Bearer {self.api_token.get_secret_value()}"}
        if self.api_key is not None and self.api_email is not None:
            return {"X-Auth-Email": self.api_email, "X-Auth-Key": self.api_key.get_secret_value()}
        raise AuthenticationFailed("no credentials: neither CLOUDFLARE_API_TOKEN nor CLOUDFLARE_API_KEY is set")

    def secrets(self) -> list[str]:
        """Return every secret, none of which may ever be written to an output."""
        secrets = (self.api_token, self.api_key, self.evidence_key, self.pseudonym_key, self.plan_key)
        return [secret.get_secret_value() for secret in secrets if secret is not None]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Connection:
        """Return the settings in `environment` (default: os.environ).

        An empty variable counts as not set, except for a guard.
        Raises: ConnectionSettingsError that names each invalid variable but never its value;
        AuthenticationFailed if no credentials are set.
        """
        environment = os.environ if environment is None else environment
        values = {}
        for name, variable in environment_variables().items():
            value = read_setting(environment, variable, guard=name in guard_variables())
            if value is not None:
                values[name] = value
        if "api_token" not in values and "api_key" not in values and "api_email" not in values:
            raise AuthenticationFailed("no credentials: neither CLOUDFLARE_API_TOKEN nor CLOUDFLARE_API_KEY is set")
        return cls.checked(values)

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Connection:
        """Return the settings in `values` (by field name).

        Raises: ConnectionSettingsError that names each invalid variable but never its value.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            variables = environment_variables()
            problems = [
                Problem(
                    pointer="/connection" + "".join(f"/{part}" for part in problem["loc"]),
                    message=f"{variables.get(str((problem['loc'] or ('',))[0]), 'connection')}: " + _describe(problem),
                )
                for problem in error.errors(include_input=False, include_url=False)
            ]
        raise ConnectionSettingsError("; ".join(p["message"] for p in problems), problems=problems)


def _describe(problem: ErrorDetails) -> str:
    """Return what is wrong with a setting, without its value."""
    limits = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return "is not set"
        case "too_short" | "string_too_short":
            hint = "; `cfes policy init DIR` creates a key" if problem["loc"] == ("plan_key",) else ""
            return f"has fewer than {limits['min_length']} characters{hint}"
        case "too_long" | "string_too_long":
            return f"has more than {limits['max_length']} characters"
        case "string_pattern_mismatch":
            return _PATTERNS[str(problem["loc"][0])]
    return plain_message(problem)


def environment_variables() -> dict[str, str]:
    """Return field name to environment variable."""
    return {name: extra["environment"] for name, extra in _extras()}


@functools.cache
def guard_variables() -> dict[str, str]:
    """Return field name to environment variable, for the guard settings."""
    return {name: extra["environment"] for name, extra in _extras() if "guard" in extra}


def _extras() -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, cast("dict[str, Any]", field.json_schema_extra)) for name, field in Connection.model_fields.items())
