"""The identifiers of the API. They are computed from a running number and back, so that none is stored."""

import hashlib
import re
import uuid
from datetime import datetime
from functools import lru_cache
from typing import Final

from sandbox.clock import Instant, as_datetime, from_datetime, iso_seconds

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUE: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_LENGTH: Final = 14
_SPACE: Final = 62**_LENGTH
_INVESTIGATE_ID = re.compile(r"[0-9A-Za-z]{1,40}-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-(\d{8,12})", re.ASCII)
_MESSAGE_ID_TIME = re.compile(r"(\d{11,14})\.", re.ASCII)
_POSTFIX_ID = re.compile(r"4([0-9A-Za-z]{14})", re.ASCII)


def draw(*parts: object) -> bytes:
    """Return sixteen bytes that look random but depend only on `parts`."""
    return hashlib.blake2b("|".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def fraction(*parts: object) -> float:
    """Return a number in [0, 1) that depends only on `parts`."""
    return int.from_bytes(draw(*parts)[:6]) / (1 << 48)


class Identifiers:
    """Postfix IDs (`4WtWkr6nlBz9sNH`), IDs made from them, and UUIDs. Deterministic for one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        factor = int.from_bytes(draw(seed, "postfix")) % _SPACE | 1
        while factor % 31 == 0:  # 62 = 2 * 31: the factor is invertible only without these prime factors
            factor += 2
        self._factor = factor
        self._inverse = pow(factor, -1, _SPACE)
        # A response has the IDs of a message several times, and listings are read again and again.
        self._recent = lru_cache(maxsize=8192)(self._postfix_id)
        self._offset = int.from_bytes(draw(seed, "offset")) % _SPACE

    def postfix_id(self, number: int) -> str:
        """Return the mail queue's ID of message `number`."""
        return self._recent(number)

    def _postfix_id(self, number: int) -> str:
        rest = (number * self._factor + self._offset) % _SPACE
        letters = []
        for _ in range(_LENGTH):
            rest, digit = divmod(rest, 62)
            letters.append(_ALPHABET[digit])
        return "4" + "".join(letters)

    def number_of_postfix_id(self, postfix_id: str) -> int | None:
        """Return the message number of a postfix ID, or None if it was not made here."""
        match = _POSTFIX_ID.fullmatch(postfix_id)
        if match is None:
            return None
        value = 0
        for letter in reversed(match[1]):
            value = value * 62 + _VALUE[letter]
        return (value - self._offset) * self._inverse % _SPACE

    def uuid(self, *parts: object) -> str:
        """Return a version 4 UUID that depends only on the seed and `parts`."""
        return str(uuid.UUID(bytes=draw(self._seed, *parts), version=4))


def investigate_id(postfix_id: str, at: Instant, number: int) -> str:
    """Return an investigate ID (queue ID, scan time, number): `4Njp3P0STMz2c02Q-2024-01-05T10:00:00-12345678`."""
    return f"{postfix_id}-{iso_seconds(at)}-{number:08d}"


def number_of_investigate_id(text: str) -> int | None:
    """Return the message number of an investigate ID, or None if the ID is invalid."""
    match = _INVESTIGATE_ID.fullmatch(text)
    return int(match[1]) if match else None


def alert_id(postfix_id: str, at: Instant) -> str:
    """Return an alert ID as in Logpush alerts: `4WtWkr6nlBz9sNH-2026-11-20T15:32:35`."""
    return f"{postfix_id}-{iso_seconds(at)}"


def rfc5322_message_id(postfix_id: str, at: Instant, domain: str) -> str:
    """Return a Message-ID header: `<20261120153235.4WtWkr6nlBz9sNH@sender.example>`."""
    return f"<{as_datetime(at):%Y%m%d%H%M%S}.{postfix_id}@{domain}>"


def second_of_message_id(text: str) -> Instant | None:
    """Return the second in a Message-ID (without angle brackets) that was made here, or None if it has none."""
    match = _MESSAGE_ID_TIME.match(text)
    if match is None:
        return None
    # A year before 1000 has fewer digits.
    digits = match[1].zfill(14)
    try:
        return from_datetime(datetime.fromisoformat(f"{digits[:8]}T{digits[8:]}+00:00"))
    except ValueError:
        return None
