"""A guard setting that is set but empty is an error, from every source; an unset one is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.connection import Connection, environment_variables
from core.errors import ConnectionSettingsError
from core.settings import read_setting
from tests.connectors.scripted import ACCOUNT, TOKEN

GOOD = {"CLOUDFLARE_API_TOKEN": TOKEN, "CLOUDFLARE_ACCOUNT_ID": ACCOUNT}

VALUES = {
    "policy_file": "/etc/cfes/policy.yaml",
    "read_only": "true",
    "requested_by": "ana@corp.example",
    "plan_key": "w" * 64,
    "state_directory": "/var/lib/cfes",
    "caller_from": "api-gateway-iam",
}
VARIABLES = {field: environment_variables()[field] for field in VALUES}
GUARDS = sorted(VARIABLES.values())

EMPTY = ["", " ", "\t", "\n", " \r\n ", "\u00a0", "\u2003", "\u3000"]


def test_the_schema_marks_the_guard_settings() -> None:
    properties = Connection.model_json_schema()["properties"]
    marked = {name for name, schema in properties.items() if schema.get("guard")}
    assert set(VALUES) == marked


@pytest.mark.parametrize("suffix", ["", "_FILE"])
@pytest.mark.parametrize("variable", GUARDS)
def test_an_empty_guard_setting_is_an_error_that_names_the_fix(variable: str, suffix: str) -> None:
    for value in EMPTY:
        with pytest.raises(ConnectionSettingsError) as caught:
            Connection.from_environment({**GOOD, variable + suffix: value})
        assert (caught.value.exit_code, caught.value.applied) == (2, "no")
        assert caught.value.message == f"{variable}{suffix} is set but empty"
        assert caught.value.help == f"Nothing was changed. Unset {variable}{suffix}, or set a value."


@pytest.mark.parametrize("variable", GUARDS)
def test_a_valid_value_does_not_hide_an_empty_one(variable: str, tmp_path: Path) -> None:
    field = next(name for name, found in VARIABLES.items() if found == variable)
    (tmp_path / "value").write_text(VALUES[field])
    for pair in (
        {variable: "", f"{variable}_FILE": str(tmp_path / "value")},
        {variable: VALUES[field], f"{variable}_FILE": ""},
    ):
        with pytest.raises(ConnectionSettingsError, match="is set but empty"):
            Connection.from_environment({**GOOD, **pair})


@pytest.mark.parametrize("content", ["", "\n", " \t\n"])
@pytest.mark.parametrize("variable", GUARDS)
def test_an_empty_file_is_an_error(variable: str, content: str, tmp_path: Path) -> None:
    (tmp_path / "value").write_text(content)
    with pytest.raises(ConnectionSettingsError, match=f"{variable}_FILE: the file is empty"):
        Connection.from_environment({**GOOD, f"{variable}_FILE": str(tmp_path / "value")})


@pytest.mark.parametrize("field", VALUES)
def test_empty_text_from_a_platform_is_an_error(field: str) -> None:
    given: dict[str, object] = {"account_id": ACCOUNT, "api_token": TOKEN}
    for empty in (*EMPTY, *([SecretStr("")] if field == "plan_key" else [])):
        with pytest.raises(ConnectionSettingsError, match=f"{VARIABLES[field]}: is set but empty: unset it"):
            Connection.checked({**given, field: empty})


def test_an_unset_guard_is_none_and_other_settings_may_be_empty() -> None:
    others = {name: "" for name in environment_variables().values() if name not in [*GUARDS, *GOOD]}
    assert Connection.from_environment({**GOOD, **others}) == Connection.from_environment(GOOD)


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, f"{before}{value}{after}")
     for field, value in VALUES.items() for before, after in ((" ", ""), ("", " "), ("\n", ""), ("", "\t"))],
)  # fmt: skip
def test_white_space_around_a_guard_is_refused(field: str, value: str) -> None:
    with pytest.raises(ConnectionSettingsError, match=f"{VARIABLES[field]}: begins or ends with white space"):
        Connection.from_environment({**GOOD, VARIABLES[field]: value})


@pytest.mark.parametrize("value", ["flase", "nope", "0x0", "none", "null", "-", "''", "2", "no!", "\u200b"])
def test_a_misspelled_switch_is_an_error(value: str) -> None:
    with pytest.raises(ConnectionSettingsError, match="CFES_READ_ONLY"):
        Connection.from_environment({**GOOD, "CFES_READ_ONLY": value})


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("Off", False)]
)
def test_a_switch_accepts_the_usual_words(value: str, on: bool) -> None:
    assert Connection.from_environment({**GOOD, "CFES_READ_ONLY": value}).read_only is on


def test_read_setting_follows_the_same_rule() -> None:
    with pytest.raises(ConnectionSettingsError, match="CFES_POLICY is set but empty"):
        read_setting({"CFES_POLICY": ""}, "CFES_POLICY", guard=True)
    assert read_setting({}, "CFES_POLICY", guard=True) is None
