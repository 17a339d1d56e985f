"""Commands of this pack as a report shows them, ready to copy into a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from core.text import STEERING

# Nobody reads a longer command before running it.
LONGEST_COMMAND = 700
# A backtick ends a code span, a bar ends a table's cell.
_ENDS_SPAN = re.compile(r"[`|]")
_JOB_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

FlagValue = str | bool | int | None


class Command(str):
    """A command on one line, quoted for a POSIX shell. No character in it steers or hides text, or ends a code span."""

    __slots__ = ()


def command(action: str, flags: Mapping[str, FlagValue]) -> Command | None:
    """Return `cfes ACTION --flag value ...`; None if one line cannot show a value exactly.

    flags: values by parameter name, in order. True becomes `--name`, False `--no-name`; None is left out.
    """
    words = ["cfes", action]
    for name, value in flags.items():
        flag = name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, str) and value.startswith("-"):
            words.append(f"--{flag}={value}")
        else:
            words += [f"--{flag}", str(value)]
    line = shlex.join(words)
    if len(line) > LONGEST_COMMAND or STEERING.search(line) or _ENDS_SPAN.search(line):
        return None
    # A reader cannot recognize other unprintable characters: unusual blanks, unassigned code points.
    return Command(line) if line.isprintable() else None


def job_command(action: str, job_id: str | None, flags: Mapping[str, FlagValue] | None = None) -> Command | None:
    """Return a command for one job; None if the job's ID is not a UUID."""
    if job_id is None or _JOB_ID.fullmatch(job_id) is None:
        return None
    return command(action, {"job_id": job_id, **(flags or {})})
