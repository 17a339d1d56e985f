"""The settings of the Temporal driver."""

from __future__ import annotations

import pytest

from core.errors import ConnectionSettingsError
from playbooks.drivers.temporal.settings import TemporalSettings


@pytest.mark.parametrize(
    ("environment", "uses_tls"),
    [
        ({}, False),
        ({"CFES_TEMPORAL_ADDRESS": "localhost:7233"}, False),
        ({"CFES_TEMPORAL_ADDRESS": "temporal.example:7233"}, True),
        ({"CFES_TEMPORAL_ADDRESS": "temporal.example:7233", "CFES_TEMPORAL_TLS": "off"}, False),
        ({"CFES_TEMPORAL_TLS": "on", "CFES_TEMPORAL_API_KEY": "a key"}, True),
    ],
)
def test_only_a_loopback_address_is_plain_unless_it_is_set(environment: dict[str, str], uses_tls: bool) -> None:
    assert TemporalSettings.from_environment(environment).uses_tls is uses_tls


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"CFES_TEMPORAL_ADDRESS": "temporal"}, "CFES_TEMPORAL_ADDRESS"),
        ({"CFES_TEMPORAL_NAMESPACE": "a b"}, "CFES_TEMPORAL_NAMESPACE"),
        ({"CFES_TEMPORAL_FILES": "runs"}, "CFES_TEMPORAL_FILES: must be a URL"),
        ({"CFES_TEMPORAL_TLS": "yes"}, "CFES_TEMPORAL_TLS"),
        ({"CFES_TEMPORAL_API_KEY": "secret-of-temporal"}, "needs TLS"),
        ({"CFES_TEMPORAL_TLS": "on", "CFES_TEMPORAL_TLS_KEY": "secret-of-temporal"}, "CFES_TEMPORAL_TLS_CERT"),
    ],
)
def test_an_invalid_setting_is_named_and_its_value_is_not_shown(environment: dict[str, str], problem: str) -> None:
    with pytest.raises(ConnectionSettingsError, match=problem) as refused:
        TemporalSettings.from_environment(environment)
    assert "secret-of-temporal" not in str(refused.value.document())


def test_secrets_do_not_show_in_the_settings() -> None:
    settings = TemporalSettings.from_environment({"CFES_TEMPORAL_TLS": "on", "CFES_TEMPORAL_API_KEY": "secret-key"})
    assert "secret-key" not in f"{settings!r} {settings} {settings.model_dump_json()}"
