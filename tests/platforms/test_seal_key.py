"""The seal key comes from the settings or from a key file of the machine."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from core.errors import ConnectionSettingsError
from platforms.seal_key import seal_key, temporary_key

PLAN_KEY = "a key of seals that this test alone has"


def test_the_plan_key_gives_the_same_key_on_every_machine(tmp_path: Path) -> None:
    key = seal_key({"CFES_PLAN_KEY": PLAN_KEY})
    assert key.secret == hmac.new(PLAN_KEY.encode(), b"cfes\0journal", hashlib.sha256).digest()
    (tmp_path / "key").write_text(PLAN_KEY + "\n")
    mounted = seal_key({"CFES_PLAN_KEY_FILE": str(tmp_path / "key"), "CFES_STATE_DIR": str(tmp_path / "state")})
    assert mounted == key
    assert not (tmp_path / "state").exists()


def test_without_a_plan_key_the_machine_has_its_own_key(tmp_path: Path) -> None:
    environment = {"CFES_STATE_DIR": str(tmp_path / "state")}
    key = seal_key(environment)
    assert seal_key(environment).secret == key.secret
    assert seal_key({"CFES_STATE_DIR": str(tmp_path / "other")}).secret != key.secret
    assert str(tmp_path / "state" / "journal.key") in key.source
    assert seal_key({"HOME": str(tmp_path)}).source == f"in {tmp_path}/.local/state/cfes/journal.key"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "no home directory for the state directory"),
        ({"CFES_STATE_DIR": "/dev/null/state"}, "can't be used"),
        ({"CFES_STATE_DIR": "relative"}, "must be an absolute path"),
    ],
)
def test_without_a_place_for_a_key_the_error_names_both_settings(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConnectionSettingsError, match=message) as caught:
        seal_key(environment)
    assert caught.value.message.startswith("there is no key to seal the run")
    assert "CFES_STATE_DIR" in caught.value.help + caught.value.message
    assert caught.value.help.endswith("Or set CFES_PLAN_KEY, which replaces the key file.")


@pytest.mark.parametrize("environment", [{"CFES_PLAN_KEY": ""}, {"CFES_STATE_DIR": ""}, {"CFES_PLAN_KEY": "k" * 31}])
def test_an_empty_or_too_short_setting_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConnectionSettingsError, match=next(iter(environment))):
        seal_key({"HOME": str(tmp_path), **environment})
    assert list(tmp_path.iterdir()) == []


def test_each_temporary_key_is_different() -> None:
    assert temporary_key().secret != temporary_key().secret
