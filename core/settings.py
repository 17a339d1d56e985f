"""Reads settings from environment variables, or from the files that variables with the suffix _FILE name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.errors import ConnectionSettingsError

# No setting needs more. A huge or endless file must not fill the memory.
LARGEST_FILE_BYTES = 65_536


def read_setting(environment: Mapping[str, str], variable: str, *, guard: bool = False) -> str | None:
    """Return the value of a variable, or the content of the file that NAME_FILE names, or None if neither is set.

    guard: whether a variable that is set but empty, as by `export NAME=$UNSET`, is an error.
    Raises: ConnectionSettingsError, also if both are set or the file can't be read.
    """
    named = f"{variable}_FILE"
    for name in (variable, named) if guard else ():
        if name in environment and not environment[name].strip():
            raise ConnectionSettingsError(
                f"{name} is set but empty", help=f"Nothing was changed. Unset {name}, or set a value."
            )
    value, path = environment.get(variable) or None, environment.get(named) or None
    if path is None:
        return value
    if value is not None:
        raise ConnectionSettingsError(f"{variable} and {named} are both set: unset one of them")
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
        text = data.decode().strip()
    except OSError as error:
        raise ConnectionSettingsError(f"{named}: the file can't be read: {error.strerror}") from None
    except ValueError:
        raise ConnectionSettingsError(f"{named}: the file is not UTF-8 text, or not a valid path") from None
    if len(data) > LARGEST_FILE_BYTES:
        raise ConnectionSettingsError(f"{named}: the file is larger than {LARGEST_FILE_BYTES // 1024} KiB")
    if not text:
        raise ConnectionSettingsError(f"{named}: the file is empty")
    return text
