"""The key that seals runs: derived from CFES_PLAN_KEY if set, else the machine's key in the state directory."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

from pydantic import SecretStr

from connectors.connection import SHORTEST_PLAN_KEY, environment_variables
from core.derived_key import derive_key
from core.errors import ConnectionSettingsError
from core.machine_key import machine_key
from core.settings import read_setting
from core.state_directory import private_directory
from playbooks.drivers.seal_key import SealKey

# Named after journal.json, the record of runs of earlier versions: another name would be another key.
FILE_NAME = "journal.key"

PLAN_KEY = environment_variables()["plan_key"]
STATE_DIRECTORY = environment_variables()["state_directory"]


def seal_key(environment: Mapping[str, str] | None = None) -> SealKey:
    """Return the key that seals runs. environment: the settings; by default the process's environment.

    With CFES_PLAN_KEY a run can be resumed wherever the same key is set, else only on this machine by this user.
    Raises: ConnectionSettingsError if there is neither a plan key nor a usable state directory.
    """
    environment = os.environ if environment is None else environment
    plan_key = read_setting(environment, PLAN_KEY, guard=True)
    if plan_key is not None:
        if len(plan_key) < SHORTEST_PLAN_KEY:
            raise ConnectionSettingsError(f"{PLAN_KEY}: must have at least {SHORTEST_PLAN_KEY} characters")
        return SealKey(derive_key(SecretStr(plan_key), "journal"), f"derived from {PLAN_KEY}")
    try:
        directory = private_directory(read_setting(environment, STATE_DIRECTORY, guard=True), environment)
        return SealKey(machine_key(directory, FILE_NAME), f"in {directory / FILE_NAME}")
    except ConnectionSettingsError as error:
        error.message = f"there is no key to seal the run: {error.message}"
        error.help = f"{error.help} Or set {PLAN_KEY}, which replaces the key file."
        raise


def temporary_key() -> SealKey:
    """Return a key for a run that is never resumed. The key is not stored."""
    return SealKey(secrets.token_bytes(32), "which ended with the process that began the run")
