"""Read a text file that decides what this process may do: only root and this user may be able to change it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from core.file_ownership import fixes, root_and_this_user, weaknesses_of, weaknesses_on_the_way

# A deep path can have many weak directories; the first ones are enough.
MOST_WEAKNESSES = 5


class NotTrusted(Exception):
    """The file can't be read, or another user can change it. The message names the file and the fix."""


def read_trusted_text(path: str, what: str, most_bytes: int) -> str:
    """Return the text of a file in UTF-8. what: its name in errors. Raises: NotTrusted."""
    named = f"{what} {path[:200]!r}"
    try:
        # Without O_NONBLOCK a named pipe would block the process.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise NotTrusted(f"{named} can't be read: it is not a regular file")
            # Also the directories above it, and symbolic links on the way: Kubernetes mounts config maps with links.
            weak = [*weaknesses_of(Path(os.path.realpath(path)), status, root_and_this_user())]
            weak = [*weak, *weaknesses_on_the_way(Path(path))][:MOST_WEAKNESSES]
            if weak:
                listed = "; ".join(map(str, weak))
                raise NotTrusted(f"{named} can be changed by another user: {listed}. To fix it: {fixes(weak)}")
            data = file.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise NotTrusted(f"{named} is larger than {most_bytes // 1024} KiB")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotTrusted(f"{named} is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is not a path"
        raise NotTrusted(f"{named} can't be read: {reason}") from None
