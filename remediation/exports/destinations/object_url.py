"""Where an object is to go: `s3://`, `gs://` or `az://`, a bucket (az: a container), and a key; checked strictly.

A URL that is refused is never quoted: whoever puts a secret into one does not want to read it in a log.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, NoReturn, get_args

from core.errors import ParameterError

Scheme = Literal["s3", "gs", "az"]

# The longest key of S3 and GCS in bytes of UTF-8 (Azure: 1,024 characters), less what the names of partial objects add.
LONGEST_KEY_BYTES = 1024 - len(".partial.calls")

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20})://([^/]*)(?:/(.*))?", re.DOTALL)
# What the three have in common, and what the least strict of them takes; each store knows its own rules better.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


class ObjectUrl(NamedTuple):
    """An object's place. str() is the URL again."""

    scheme: Scheme
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


def is_url(destination: str) -> bool:
    """Whether it is meant as a URL, of whatever kind; else it is a path."""
    return _URL.match(destination) is not None


def parse(destination: str, *, pointer: str = "/destination") -> ObjectUrl:
    """The object that a URL names.

    Raises:
        ParameterError: it is no URL of an object; the message says why, without the URL.
    """
    found = _URL.fullmatch(destination)
    if found is None:
        _refuse("it is no URL", pointer)
    scheme, bucket, key = found[1], found[2], found[3] or ""
    if scheme not in get_args(Scheme):
        _refuse(
            f"{scheme}:// can't be written to: it is a path, or a URL that begins with s3://, gs:// or az://", pointer
        )
    if "@" in bucket or "?" in destination or "#" in destination:
        _refuse(
            "the URL holds a user name, a query or a fragment: credentials come from the environment, and a key "
            "holds neither ? nor #",
            pointer,
        )
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        _refuse("the bucket's name is not one: lower-case letters, digits, dots, hyphens, underscores", pointer)
    problem = _problem_of_key(key)
    if problem:
        _refuse(problem, pointer)
    return ObjectUrl(scheme, bucket, key)  # type: ignore[arg-type]  # one of them, see above


def _problem_of_key(key: str) -> str | None:
    if not key:
        return "the URL names a bucket, not an object in it"
    if not key.isprintable() or re.search(r"[%\\]", key):
        # To some tools %2F and \ are separators, to others a part of the name: two readings, two objects.
        return "the key holds a control character, a backslash or a % (write the character itself, not its code)"
    if any(segment in {"", ".", ".."} for segment in key.split("/")):
        return "the key has an empty segment, or one that is . or .."
    if len(key.encode("utf-8", "surrogatepass")) > LONGEST_KEY_BYTES:
        return f"the key is longer than {LONGEST_KEY_BYTES} bytes"
    return None


def _refuse(why: str, pointer: str) -> NoReturn:
    raise ParameterError(problems=[{"pointer": pointer, "message": why}])
