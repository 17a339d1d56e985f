"""The settings of the HTTP service, from environment variables or the files that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from core.model_settings import read_model, variable


class HttpSettings(BaseModel):
    """How the service runs actions and playbooks, and where its files are."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    engine: Literal["local", "temporal"] = Field(
        "local",
        description="What drives runs of playbooks: `local`, the service itself, or `temporal`, the workers of a "
        "Temporal server.",
        json_schema_extra=variable("CFES_HTTP_ENGINE"),
    )
    run_workers: int = Field(
        8,
        ge=1,
        le=64,
        description="The number of runs that the service drives at the same time.",
        json_schema_extra=variable("CFES_HTTP_RUN_WORKERS"),
    )
    calls: int = Field(
        32,
        ge=1,
        le=200,
        description="The number of calls of actions at the same time. Waits and exports have threads of their own.",
        json_schema_extra=variable("CFES_HTTP_CALLS"),
    )
    waits: int = Field(
        64,
        ge=1,
        le=500,
        description="The number of waits, exports and reconciliations at the same time.",
        json_schema_extra=variable("CFES_HTTP_WAITS"),
    )
    queue: int = Field(
        200,
        ge=0,
        le=5000,
        description="The number of requests that wait for a free thread. A further request gets the status 429.",
        json_schema_extra=variable("CFES_HTTP_QUEUE"),
    )
    queued_runs: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="The number of runs that may wait for a worker. A request for a further one gets the status 429, "
        "and an alert waits.",
        json_schema_extra=variable("CFES_HTTP_QUEUED_RUNS"),
    )
    requests: int = Field(
        6000,
        ge=10,
        le=1_000_000,
        description="The number of requests of all callers in 5 minutes that the rate shares of callers divide.",
        json_schema_extra=variable("CFES_HTTP_REQUESTS"),
    )
    call_seconds: float = Field(
        60,
        # A change waits 30 s for its own answer.
        ge=35,
        le=900,
        description="The time limit of a call, in seconds. A wait or an export then answers `done: false`.",
        json_schema_extra=variable("CFES_HTTP_CALL_SECONDS"),
    )
    files: str | None = Field(
        None,
        description="Absolute path of the folder for the files of runs. [default: `files` in CFES_STATE_DIR]",
        json_schema_extra=variable("CFES_HTTP_FILES"),
    )
    stores: str = Field(
        "",
        description="Object stores that callers may name: URL prefixes that end with `/`, separated by commas, such as "
        "`s3://evidence/cases/`.",
        json_schema_extra=variable("CFES_HTTP_STORES"),
    )
    audit_file: str | None = Field(
        None,
        description="Absolute path of the audit log, one JSON line a request. [default: `audit.ndjson` in "
        "CFES_STATE_DIR]",
        json_schema_extra=variable("CFES_HTTP_AUDIT_FILE"),
    )
    otel: Literal["on", "off"] = Field(
        "off",
        description="`on`: send traces and metrics with OpenTelemetry, as the OTEL_EXPORTER_OTLP_ variables say. Needs "
        "the extra `otel`.",
        json_schema_extra=variable("CFES_HTTP_OTEL"),
    )
    alert_rules: str | None = Field(
        None,
        description="Path of the rules (YAML) that say which alerts start which playbook. Without rules, none does.",
        json_schema_extra=variable("CFES_ALERT_RULES"),
    )
    alert_webhooks: SecretStr | None = Field(
        None,
        description="Webhooks that send alerts: NAME=SECRET, separated by spaces. A secret is that of Standard "
        "Webhooks: `whsec_` and 24 to 64 bytes in base64. A name can have two.",
        json_schema_extra=variable("CFES_ALERT_WEBHOOKS"),
    )

    @field_validator("files", "audit_file")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        if path is not None and not path.startswith("/"):
            raise ValueError("must be an absolute path")
        return path

    @field_validator("stores")
    @classmethod
    def _prefixes(cls, stores: str) -> str:
        for prefix in filter(None, (each.strip() for each in stores.split(","))):
            if "://" not in prefix or not prefix.endswith("/"):
                raise ValueError("must be URL prefixes that end with /, such as s3://evidence/cases/")
        return stores

    @property
    def store_prefixes(self) -> tuple[str, ...]:
        """Return the prefixes of the URLs of allowed objects."""
        return tuple(filter(None, (each.strip() for each in self.stores.split(","))))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> HttpSettings:
        """Return the settings in `environment`. Raises: ConnectionSettingsError."""
        return read_model(cls, environment, "the HTTP service")
