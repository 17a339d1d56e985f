"""Pages and cursors. A cursor is opaque, and refused if it was not made here or belongs to another list."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

Item = TypeVar("Item")

DEFAULT_PER_PAGE: Final = 20
MAX_PER_PAGE: Final = 1000


class CursorSeal:
    """Creates and reads cursors. `purpose` ties a cursor to a list, such as a search or the rows of a job."""

    def __init__(self, seed: int) -> None:
        self._key = str(seed).encode()

    def seal(self, purpose: object, position: list[int]) -> str:
        content = json.dumps([self._digest(purpose), position], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mark(content) + content).decode("ascii").rstrip("=")

    def open(self, purpose: object, cursor: str) -> list[int] | None:
        """Return the position in a cursor, or None if the cursor is not for this list."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            mark, content = raw[:8], raw[8:]
            if mark != self._mark(content):
                return None
            digest, position = json.loads(content)
        except ValueError:
            return None
        return position if digest == self._digest(purpose) else None

    def _mark(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=8, key=self._key).digest()

    def _digest(self, purpose: object) -> str:
        return hashlib.blake2b(repr(purpose).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Slice(Generic[Item]):
    """A page of a list. `end` is the start of the next page, None for the last."""

    items: Sequence[Item]
    end: int | None


def cut(items: Sequence[Item], *, start: int, per_page: int) -> Slice[Item]:
    """Return the page with `per_page` items from `start`."""
    page = items[start : start + per_page]
    end = start + len(page)
    return Slice(page, end if page and end < len(items) else None)


def first_of(page: int, per_page: int) -> int:
    """Return the start of page `page`, counted from 1."""
    return (page - 1) * per_page


def search_purpose(params: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the purpose of a search's cursor: its parameters without those for paging."""
    return sorted((name, value) for name, value in params.items() if name not in ("cursor", "page", "per_page"))
