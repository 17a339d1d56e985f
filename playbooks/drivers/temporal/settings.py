"""The settings of the Temporal driver, from environment variables or the files that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from core.model_settings import read_model, variable, variables_of
from core.service_url import is_loopback


class TemporalSettings(BaseModel):
    """How to reach a Temporal server, and which of its runs are ours. Secrets show as `**********` in every repr."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    address: str = Field(
        "127.0.0.1:7233",
        pattern=r"^[A-Za-z0-9._-]{1,253}:[0-9]{1,5}$",
        description="Host and port of the Temporal server.",
        json_schema_extra=variable("CFES_TEMPORAL_ADDRESS"),
    )
    namespace: str = Field(
        "default",
        pattern=r"^[A-Za-z0-9._-]{2,255}$",
        description="Namespace of the runs.",
        json_schema_extra=variable("CFES_TEMPORAL_NAMESPACE"),
    )
    task_queue: str = Field(
        "cfes",
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Task queue, which connects the runs with their workers.",
        json_schema_extra=variable("CFES_TEMPORAL_TASK_QUEUE"),
    )
    files: str = Field(
        "",
        max_length=1024,
        description="Where runs write their files: the URL of a folder in an object store, such as s3://evidence/runs, "
        "or an absolute path that all workers share. Required by playbooks that write files.",
        json_schema_extra=variable("CFES_TEMPORAL_FILES"),
    )
    build_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Version of a worker, such as the tag of its image. Runs stay with the version that began them. "
        "See [Run playbooks on a fleet of workers](../how-to/run-on-temporal.md).",
        json_schema_extra=variable("CFES_TEMPORAL_BUILD_ID"),
    )
    tls: Literal["on", "off"] | None = Field(
        None,
        description="`on` or `off`. [default: off for a loopback address, otherwise on]",
        json_schema_extra=variable("CFES_TEMPORAL_TLS"),
    )
    tls_ca: str | None = Field(
        None,
        description="CA certificate of the server (PEM), if no public CA has signed the server's certificate.",
        json_schema_extra=variable("CFES_TEMPORAL_TLS_CA"),
    )
    tls_cert: str | None = Field(
        None, description="Client certificate (PEM).", json_schema_extra=variable("CFES_TEMPORAL_TLS_CERT")
    )
    tls_key: SecretStr | None = Field(
        None,
        description="Private key of the client certificate (PEM). Best set through CFES_TEMPORAL_TLS_KEY_FILE.",
        json_schema_extra=variable("CFES_TEMPORAL_TLS_KEY"),
    )
    api_key: SecretStr | None = Field(
        None,
        description="API key of Temporal Cloud. Best set through CFES_TEMPORAL_API_KEY_FILE.",
        json_schema_extra=variable("CFES_TEMPORAL_API_KEY"),
    )

    @field_validator("files")
    @classmethod
    def _absolute(cls, files: str) -> str:
        if files and not files.startswith("/") and "://" not in files:
            raise ValueError("must be a URL, such as s3://evidence/runs, or an absolute path")
        return files

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError(
                "CFES_TEMPORAL_TLS_CERT and CFES_TEMPORAL_TLS_KEY must both be set: one of them is missing"
            )
        if not self.uses_tls and (self.api_key is not None or self.tls_cert is not None or self.tls_ca is not None):
            raise ValueError("an API key or a certificate needs TLS: set CFES_TEMPORAL_TLS to on")
        return self

    @property
    def uses_tls(self) -> bool:
        """Return whether the connection is encrypted."""
        if self.tls is not None:
            return self.tls == "on"
        return not is_loopback(urlsplit(f"//{self.address}").hostname or "")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> TemporalSettings:
        """Return the settings in `environment`; an empty variable counts as not set.

        Raises: ConnectionSettingsError that names each invalid variable but never its value.
        """
        return read_model(cls, environment, "Temporal")


def environment_variables() -> dict[str, str]:
    """Return the environment variable of each field."""
    return variables_of(TemporalSettings)
