"""Object URLs: `s3://`, `gs://` or `az://`, a bucket (az: a container), and a key, checked strictly.

Errors never quote a refused URL, because it may contain a secret.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, get_args

from core.errors import ParameterError

Scheme = Literal["s3", "gs", "az"]

# The longest key of S3 and GCS in bytes of UTF-8 (Azure: 1,024 characters), minus the suffix of partial objects.
LONGEST_KEY_BYTES = 1024 - len(".partial.calls")

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20})://([^/]*)(?:/(.*))?", re.DOTALL)
# The rules that all three stores share; each store checks its stricter rules itself.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


class ObjectUrl(NamedTuple):
    """The scheme, bucket and key of an object. str() returns the URL."""

    scheme: Scheme
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


def is_url(destination: str) -> bool:
    """Return whether a destination has the form of a URL; otherwise it is a path."""
    return _URL.match(destination) is not None


def parse(destination: str, pointer: str = "/destination") -> ObjectUrl:
    """Return the object that a URL names. pointer: of the parameter that has the URL.

    Raises: ParameterError with the reason and without the URL.
    """
    found = _URL.fullmatch(destination)
    if found is None:
        raise ParameterError.at(pointer, "not a valid URL")
    url = ObjectUrl(found[1], found[2], found[3] or "")  # type: ignore[arg-type]  # checked next
    if problem := _problem_of(url):
        raise ParameterError.at(pointer, problem)
    return url


def _problem_of(url: ObjectUrl) -> str | None:
    scheme, bucket, key = url
    if scheme not in get_args(Scheme):
        return f"{scheme}:// is not supported: give a path, or a URL that begins with s3://, gs:// or az://"
    if "@" in bucket or re.search(r"[?#]", bucket + key):
        return (
            "the URL has a user name, a query or a fragment. Set credentials in the environment. A key must not have "
            "? or #"
        )
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        return "not a valid bucket name: use lower-case letters, digits, dots, hyphens and underscores"
    if not key:
        return "the URL names a bucket, not an object in it"
    if not key.isprintable() or re.search(r"[%\\]", key):
        # Some tools read %2F and \ as separators, others as part of the name. One key would mean two objects.
        return "the key contains a control character, a backslash or a % (write the character itself, not its code)"
    if any(segment in {"", ".", ".."} for segment in key.split("/")):
        return "the key has an empty segment, or a segment . or .."
    if len(key.encode("utf-8", "surrogatepass")) > LONGEST_KEY_BYTES:
        return f"the key is longer than {LONGEST_KEY_BYTES} bytes"
    return None
