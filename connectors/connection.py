"""Connection settings: who calls, which account, which service; from the environment or mounted files.

Each field names its environment variable. The loader, the manifest's connection schema and the README's table
are all read from here. `NAME_FILE` is accepted for each `NAME`, for secrets that are mounted as files.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

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
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from core.errors import AuthenticationFailed, ConnectionSettingsError, Problem
from core.service_url import check_service_url, is_loopback, with_ascii_host

DEFAULT_BASE_URL = "https://api.cloudflare.com/client/v4"

# Far more than any setting needs: a variable that names a huge or endless file must not fill the memory.
LARGEST_SETTING_FILE_BYTES = 65_536

# A person, as the stamp in a job's comment names one: no character that ends a field there.
PERSON = r"^[A-Za-z0-9._%+@-]{1,64}$"

Secret = Annotated[SecretStr, Field(min_length=1, max_length=4096)]

# 256 bits as hexadecimal digits have 64 characters; a password of 31 could be guessed.
SHORTEST_PLAN_KEY = 32
PlanKey = Annotated[SecretStr, Field(min_length=SHORTEST_PLAN_KEY, max_length=4096)]

CallerFrom = Literal["api-gateway-iam", "api-gateway-jwt", "cognito-identity"]


def _setting(environment: str) -> Any:
    return {"environment": environment}


def _guard(environment: str) -> Any:
    return {"environment": environment, "guard": True}


class Connection(BaseModel):
    """How to reach the remote API. Secrets show as `**********` in every repr, and are in no dump.

    Either `api_token`, or the older pair `api_key` and `api_email`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    account_id: str = Field(
        max_length=32,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="The Cloudflare account's ID, at most 32 characters.",
        json_schema_extra=_setting("CLOUDFLARE_ACCOUNT_ID"),
    )
    api_token: Secret | None = Field(
        None, description="API token, sent as a bearer token.", json_schema_extra=_setting("CLOUDFLARE_API_TOKEN")
    )
    api_key: Secret | None = Field(
        None, description="Global API key; needs api_email.", json_schema_extra=_setting("CLOUDFLARE_API_KEY")
    )
    api_email: str | None = Field(
        None,
        min_length=3,
        max_length=320,
        pattern=r"^[\x21-\x7e]+$",
        description="The address that api_key belongs to.",
        json_schema_extra=_setting("CLOUDFLARE_EMAIL"),
    )
    base_url: str = Field(
        DEFAULT_BASE_URL,
        description="The API's base URL. https; plain http is taken for loopback addresses only.",
        json_schema_extra=_setting("CLOUDFLARE_BASE_URL"),
    )
    request_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=600,
        description="Timeout for one silence, in seconds; also the limit for connecting, and for the answer's head.",
        json_schema_extra=_setting("CFES_REQUEST_TIMEOUT_SECONDS"),
    )
    call_allowance_seconds: float = Field(
        120.0,
        gt=0,
        le=86_400,
        description="The most that one call may take, in seconds, from connecting to the last byte, with all retries.",
        json_schema_extra=_setting("CFES_CALL_ALLOWANCE_SECONDS"),
    )
    rate_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="The share of the token's rate budget (1,200 calls in 5 minutes) that is used at full speed; "
        "beyond it calls are spaced out.",
        json_schema_extra=_setting("CFES_RATE_SHARE"),
    )
    pages_ahead: int = Field(
        8,
        ge=0,
        le=32,
        description="How many pages of a job's rows are fetched ahead at once, within rate_share; 0: none.",
        json_schema_extra=_setting("CFES_PAGES_AHEAD"),
    )
    listing_lag_seconds: float = Field(
        15.0,
        ge=0,
        le=600,
        description="How long a new job may take to show in the listing, in seconds: the patience after a lost answer.",
        json_schema_extra=_setting("CFES_LISTING_LAG_SECONDS"),
    )

    policy_file: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="The organisation's policy, a YAML file. Parameters override only what it names; see "
        "docs/reference/policy.md.",
        json_schema_extra=_guard("CFES_POLICY"),
    )
    read_only: bool = Field(False, description="Refuse every write.", json_schema_extra=_guard("CFES_READ_ONLY"))
    requested_by: str | None = Field(
        None,
        max_length=64,
        pattern=PERSON,
        description="Who asks for what is done: a login or an address. No parameter overrides it.",
        json_schema_extra=_guard("CFES_REQUESTED_BY"),
    )
    caller_from: CallerFrom | None = Field(
        None,
        description="What proves who calls a function: `api-gateway-iam`, `api-gateway-jwt` or `cognito-identity`. "
        "Where it is not set, the caller is CFES_REQUESTED_BY; see SECURITY.md.",
        json_schema_extra=_guard("CFES_CALLER_FROM"),
    )
    call_record: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="A file that every call is appended to, for the evidence: one for each case. No body, no secret.",
        json_schema_extra=_setting("CFES_CALL_RECORD"),
    )
    evidence_key: Secret | None = Field(
        None,
        description="An Ed25519 private key in PEM that evidence is signed with; best as a file.",
        json_schema_extra=_setting("CFES_EVIDENCE_KEY"),
    )
    pseudonym_key: Secret | None = Field(
        None,
        description="Key of the pseudonyms that an export replaces names with, 32 characters or more; see "
        "docs/explanation/pseudonyms.md.",
        json_schema_extra=_setting("CFES_PSEUDONYM_KEY"),
    )

    plan_key: PlanKey | None = Field(
        None,
        description="Key that preview-job seals plans with and stamps are made with, 32 characters or more; "
        "`cfes policy init` makes one. The same wherever the actions run; see docs/reference/policy.md.",
        json_schema_extra=_guard("CFES_PLAN_KEY"),
    )
    state_directory: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="A private directory: it records which approvals were used, counts the calls of each token, and "
        "holds the key of journals. "
        "[default: cfes in XDG_STATE_HOME, else ~/.local/state/cfes]",
        json_schema_extra=_guard("CFES_STATE_DIR"),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _guard_has_a_value(cls, value: object, info: ValidationInfo) -> object:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and info.field_name in guard_variables():
            if not text.strip():
                raise ValueError("is set and empty: unset it, or give it a value")
            if text != text.strip():
                raise ValueError("begins or ends with white space: remove it")
        return value

    @field_validator("account_id")
    @classmethod
    def _in_lower_case(cls, account_id: str) -> str:
        """Hexadecimal digits are one ID in either case; stamps, plans and approvals hold it as text."""
        return account_id.lower() if re.fullmatch(r"[0-9A-Fa-f]+", account_id) else account_id

    @field_validator("api_token", "api_key")
    @classmethod
    def _fits_in_a_header(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not re.fullmatch(r"[\x21-\x7e]+", secret.get_secret_value()):
            raise ValueError("holds a space, a line break or a character that no credential has")
        return secret

    @field_validator("base_url")
    @classmethod
    def _encrypted_or_loopback(cls, url: str) -> str:
        return with_ascii_host(check_service_url(url)).rstrip("/")

    @model_validator(mode="after")
    def _one_way_to_authenticate(self) -> Self:
        if self.api_token is None and (self.api_key is None) != (self.api_email is None):
            raise ValueError("CLOUDFLARE_API_KEY and CLOUDFLARE_EMAIL go together: one of them is missing")
        return self

    @property
    def loopback(self) -> bool:
        """Whether the service is on this machine."""
        return is_loopback(urlsplit(self.base_url).hostname or "")

    def auth_headers(self) -> dict[str, str]:
        """The headers that authenticate a call.

        Raises: AuthenticationFailed where no credentials are set.
        """
        if self.api_token is not None:
            return {"Authorization": f"Bearer {self.api_token.get_secret_value()}"}
        if self.api_key is not None and self.api_email is not None:
            return {"X-Auth-Email": self.api_email, "X-Auth-Key": self.api_key.get_secret_value()}
        raise AuthenticationFailed("no credentials: neither CLOUDFLARE_API_TOKEN nor CLOUDFLARE_API_KEY is set")

    def secrets(self) -> list[str]:
        """What must never be written anywhere."""
        secrets = (self.api_token, self.api_key, self.evidence_key, self.pseudonym_key, self.plan_key)
        return [secret.get_secret_value() for secret in secrets if secret is not None]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Connection:
        """Return the settings in `environment` (the process's own unless given).

        An empty variable counts as not set, except for a guard.
        Raises: ConnectionSettingsError naming each variable that can't be used, never its value;
        AuthenticationFailed where no credentials are set.
        """
        environment = os.environ if environment is None else environment
        values = {}
        for name, variable in environment_variables().items():
            value = read_setting(environment, variable)
            if value is not None:
                values[name] = value
        if "api_token" not in values and "api_key" not in values and "api_email" not in values:
            raise AuthenticationFailed("no credentials: neither CLOUDFLARE_API_TOKEN nor CLOUDFLARE_API_KEY is set")
        return cls.checked(values)

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Connection:
        """The settings in `values`, by field name, with errors that a person can act on and that hold no value.

        Raises: ConnectionSettingsError.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            variables = environment_variables()
            problems = [
                Problem(
                    pointer="/connection" + "".join(f"/{part}" for part in problem["loc"]),
                    message=f"{variables.get(str((problem['loc'] or ('',))[0]), 'connection')}: " + _said(problem),
                )
                for problem in error.errors(include_input=False, include_url=False)
            ]
        raise ConnectionSettingsError("; ".join(p["message"] for p in problems), problems=problems)


def _said(problem: ErrorDetails) -> str:
    """Return what is wrong with a setting, in the words of a person who sets it; nothing of its value."""
    limits = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return "is not set"
        case "too_short" | "string_too_short":
            hint = "; `cfes policy init DIR` makes a key" if problem["loc"] == ("plan_key",) else ""
            return f"has fewer than {limits['min_length']} characters{hint}"
        case "too_long" | "string_too_long":
            return f"has more than {limits['max_length']} characters"
        case "bool_parsing" | "bool_type":
            return "must be true or false"
    return problem["msg"].removeprefix("Value error, ")


def environment_variables() -> dict[str, str]:
    """Field name to environment variable."""
    found = {}
    for name, field in Connection.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict):
            found[name] = str(extra["environment"])
    return found


@functools.cache
def guard_variables() -> dict[str, str]:
    """Return field name to environment variable, for the guard settings."""
    fields = Connection.model_fields
    return {name: variable for name, variable in environment_variables().items() if _is_guard(fields[name])}


def _is_guard(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("guard") is True


def read_setting(environment: Mapping[str, str], variable: str) -> str | None:
    """Return a variable's value, or the content of the file that NAME_FILE names; None where neither is set.

    Raises: ConnectionSettingsError where both are set, the file can't be read, or a guard is set and empty.
    """
    if variable in guard_variables().values():
        _refuse_empty(environment, variable)
    value = environment.get(variable) or None
    path = environment.get(f"{variable}_FILE") or None
    if path is None:
        return value
    if value is not None:
        raise ConnectionSettingsError(f"{variable} and {variable}_FILE are both set: unset one of them")
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST_SETTING_FILE_BYTES + 1)
        if len(data) > LARGEST_SETTING_FILE_BYTES:
            raise ConnectionSettingsError(f"{variable}_FILE: the file is larger than any setting can be")
        text = data.decode().strip()
    except OSError as error:
        raise ConnectionSettingsError(f"{variable}_FILE: the file can't be read: {error.strerror}") from None
    except ValueError:
        raise ConnectionSettingsError(f"{variable}_FILE: the file is no UTF-8 text or no valid path") from None
    if not text:
        raise ConnectionSettingsError(f"{variable}_FILE: the file is empty")
    return text


def _refuse_empty(environment: Mapping[str, str], variable: str) -> None:
    """Raises: ConnectionSettingsError for a guard that is set to nothing, as `export NAME=$UNSET` does."""
    for name in (variable, f"{variable}_FILE"):
        value = environment.get(name)
        if value is not None and not value.strip():
            raise ConnectionSettingsError(
                f"{name} is set and empty", help=f"Nothing was changed. Unset {name}, or give it a value."
            )
