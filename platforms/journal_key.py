"""The key of journals: made from CFES_PLAN_KEY where that is set, else the machine's own, in the state directory."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

from pydantic import SecretStr

from connectors.connection import SHORTEST_PLAN_KEY, environment_variables, read_setting
from core.derived_key import derive_key
from core.errors import ConnectionSettingsError
from core.machine_key import machine_key
from core.state_directory import private_directory
from playbooks.drivers.journal_key import JournalKey

FILE_NAME = "journal.key"

PLAN_KEY = environment_variables()["plan_key"]
STATE_DIRECTORY = environment_variables()["state_directory"]


def journal_key(environment: Mapping[str, str] | None = None) -> JournalKey:
    """Return the key that seals journals, by the settings in `environment`, the process's own unless given.

    With CFES_PLAN_KEY a run can be resumed wherever that is set; else on this machine, by this user.
    Raises: ConnectionSettingsError where there is no plan key and no state directory that can be used.
    """
    environment = os.environ if environment is None else environment
    plan_key = read_setting(environment, PLAN_KEY)
    if plan_key is not None:
        if len(plan_key) < SHORTEST_PLAN_KEY:
            raise ConnectionSettingsError(f"{PLAN_KEY}: must have at least {SHORTEST_PLAN_KEY} characters")
        return JournalKey(derive_key(SecretStr(plan_key), "journal"), f"made from {PLAN_KEY}")
    try:
        directory = private_directory(read_setting(environment, STATE_DIRECTORY), environment)
        return JournalKey(machine_key(directory, FILE_NAME), f"in {directory / FILE_NAME}")
    except ConnectionSettingsError as error:
        error.message = f"no key to seal the run's journal with: {error.message}"
        error.help = f"{error.help} Or set {PLAN_KEY}: then no key file is needed."
        raise


def temporary_key() -> JournalKey:
    """Return a key for a run that nobody will resume: it ends with the process."""
    return JournalKey(secrets.token_bytes(32), "lost with the process that began the run")
