"""Mark the parameters that name files. A platform with remote callers gives them names in place of paths.

The mark is in the JSON Schema of the parameter: `x-cfes-file` is "read" or "write". `x-cfes-file-at` is the place of
the path inside an object, with "*" for each entry of a list.
"""

from __future__ import annotations

from typing import Any

FILE = "x-cfes-file"
AT = "x-cfes-file-at"

READS_FILE: dict[str, Any] = {FILE: "read"}
WRITES_FILE: dict[str, Any] = {FILE: "write"}


def reads_files_at(*place: str) -> dict[str, Any]:
    """Return the mark of an object with paths in it, such as `reads_files_at("files", "*", "path")`."""
    return {FILE: "read", AT: list(place)}
