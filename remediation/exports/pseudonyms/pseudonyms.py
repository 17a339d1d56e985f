"""Rows, jobs and plans without their names: every address, name and subject replaced by a keyed pseudonym.

A pseudonym is HMAC-SHA-256 over the value under a key from the environment: the same value gives the same pseudonym in
every export that is made with one key, and nobody without the key can compute it from a guess. It is personal data all
the same, to whoever has the key; docs/explanation/pseudonyms.md says what this protects from, and what not.

It fails closed: a text stays where its field is listed in remediation.exports.pseudonyms.fields and it has the form of
that field, and is replaced everywhere else. Numbers, true, false and null stay.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from connectors.connection import read_setting
from connectors.paging.raw_rows import RawRows
from core.errors import ConnectionSettingsError, UnusableAnswer
from remediation.exports.pseudonyms.fields import JOB, PLAN, ROW, Treatment
from remediation.exports.pseudonyms.form import BYTES, DOMAIN_SUFFIX, MESSAGE_ID_SUFFIX
from remediation.exports.pseudonyms.harmless_text import is_harmless
from remediation.exports.pseudonyms.replacing import FORMS, Text, copied, read, replacing, written
from remediation.stamp import DIGEST_DIGITS, Stamp, reason_in

KEY_VARIABLE = "CFES_PSEUDONYM_KEY"

# 16 random bytes are 32 characters of hex. A key that somebody thought up would be guessed with the first address that
# is known from elsewhere.
SHORTEST_KEY = 32
FEWEST_DIFFERENT_CHARACTERS = 8

# Values that are remembered with their pseudonyms, for each kind: a campaign has few senders and few subjects. Whoever
# writes a mail chooses how long its subject is: long ones are not remembered.
REMEMBERED = 4_096
LONGEST_REMEMBERED = 250

_WORD = re.compile(r"[A-Za-z][A-Za-z_-]{0,39}")
_ADDRESS = re.compile(r"<?([^\s<>,;]+)@([^\s<>,;@]+)>?")
_NAMED_ADDRESS = re.compile(r"([^<>]*)<([^<>]+)>")
_ADDRESS_IN_TEXT = re.compile(r"[^\s<>()\[\],;:\"'|]+@[^\s<>()\[\],;:\"'|@]+")
_DOMAIN = re.compile(r"@?([^\s<>@,;:/*]+\.[^\s<>@,;:/*]+)")
_FOLDERS = frozenset(("Inbox", "JunkEmail", "DeletedItems", "RecoverableItemsDeletions", "RecoverableItemsPurges"))
# What a plan counts under where there are too many names, or none.
_NO_NAMES = frozenset(("(others)", "(none)"))


class Pseudonyms:
    """Replaces names under one key; the same values always become the same pseudonyms.

    `key_check` tells two keys apart and may be shown: it is an HMAC as the pseudonyms are.

    >>> pseudonyms = Pseudonyms(SecretStr("5f3c..."))
    >>> pseudonyms.address("Dana@corp.example") == pseudonyms.address("dana@CORP.example")
    True
    """

    def __init__(self, key: SecretStr) -> None:
        """Raises: ConnectionSettingsError where the key is too short to be one."""
        secret = _checked(key)
        # One key for each kind: the domain corp.example and a subject "corp.example" have nothing in common.
        keys = {kind: hmac.digest(secret, f"cfes pseudonym 1 {kind}".encode(), "sha256") for kind in _KINDS}
        # Begun once for each key: a copy of one takes half the time of `hmac.digest`.
        self._begun = {kind: hmac.new(key, digestmod="sha256") for kind, key in keys.items()}
        self.key_check = self._digest("key check", "")
        texts: dict[Treatment, Text] = {
            "id": self._other,
            "time": self._other,
            "word": self._word,
            "words": self.text,
            "folder": self._folder,
            "address": self.address,
            "person": self.name,
            "name": self.name,
            "subject": self.subject,
            "domain": self.domain,
            "scope": self._scope,
            "protected": self._protected,
            "message-id": self.message_id,
            "ip": self._ip,
            "comment": self._comment,
            "hash": self._hash,
            "other": self._other,
        }
        # Not those that no two rows share: they would push out what comes again.
        texts = {how: text if how in FORMS else _Remembered(text).__getitem__ for how, text in texts.items()}
        self._domain_part = _Remembered(self._new_domain).__getitem__
        self._row = replacing(ROW, texts)
        self._job = replacing(JOB, texts)
        self._plan = replacing(PLAN, texts)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Pseudonyms:
        """Under the key in CFES_PSEUDONYM_KEY, or in the file that CFES_PSEUDONYM_KEY_FILE names.

        Raises: ConnectionSettingsError where there is none.
        """
        value = read_setting(os.environ if environment is None else environment, KEY_VARIABLE)
        return cls.of(None if value is None else SecretStr(value))

    @classmethod
    def of(cls, key: SecretStr | None) -> Pseudonyms:
        """Raises: ConnectionSettingsError where there is no key, or one that is too short."""
        if key is None:
            raise ConnectionSettingsError(
                f"{KEY_VARIABLE} is not set: without a key there are no pseudonyms",
                help=f"Nothing was sent. Set it, or {KEY_VARIABLE}_FILE, to a secret that only those have who may find "
                "out the names: `openssl rand -hex 32` makes one. Keep it: another key gives other pseudonyms.",
            )
        return cls(key)

    def __repr__(self) -> str:
        return f"Pseudonyms(key_check={self.key_check!r})"

    def __reduce__(self) -> str:
        raise TypeError("holds a key, and is never written anywhere")

    # Documents

    def row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A job's row as the API sent it, its names replaced. IDs, statuses, times, verdicts and folders stay."""
        return self._row(copied(row))

    def job(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A job as the API describes it: the search's texts and the comment replaced, counters and times as they are.

        The stamp in front of the comment stays one, with every digest in it keyed: a digest of the request alone could
        be guessed at.
        """
        return self._job(copied(document))

    def plan(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A plan of preview-job. Its hash becomes a keyed one, so that it can be looked at and is no plan to act on."""
        return self._plan(copied(document))

    def rows(self, rows: RawRows) -> RawRows:
        """A page of rows, each read and written again."""
        ids, statuses, texts = list[str](), list[str](), list[bytes]()
        try:
            # One at a time: a page of them is looked through by the garbage collector again and again.
            for text in rows.texts:
                row = self._row(read(text))
                ids.append(str(row["message_id"]))
                statuses.append(str(row["status"]))
                texts.append(written(row))
        except (ValueError, RecursionError):
            raise UnusableAnswer(
                f"row {len(texts) + 1:,} of a page, {rows.ids[len(texts)]}, can't be read: a number of thousands "
                "of digits, say, or nested too deeply"
            ) from None
        # What stayed is ASCII by its form, and what came instead is.
        return RawRows(ids, statuses, texts, form="plain")

    # Values

    def address(self, text: str) -> str:
        """`p-…@d-….invalid`; the case does not count. The domain's pseudonym is that of the domain alone.

        A name in front of the address is replaced as a name; what is no address at all, as `x-…`.
        """
        text = text.strip()
        found = _ADDRESS.fullmatch(text)
        if found is not None:
            whole = f"{found[1]}@{found[2].rstrip('.')}".casefold()
            # Over the whole address: that info@ at two companies is one word is nobody's business.
            return f"p-{self._digest('address', whole)}@{self._domain_part(found[2])}"
        named = _NAMED_ADDRESS.fullmatch(text)
        if named is not None and _ADDRESS.fullmatch(named[2].strip()):
            name = self.name(named[1].strip().strip('"'))
            return f"{name} <{self.address(named[2])}>".lstrip()
        return self._other(text)

    def domain(self, text: str) -> str:
        """`d-….invalid`; the case does not count, nor does a dot at the end. A subdomain is another domain."""
        text = text.strip()
        return self._domain_part(text.removeprefix("@")) if text else ""

    def name(self, text: str) -> str:
        """`n-…`; an address in the place of a name is replaced as an address."""
        text = text.strip()
        bare = text.strip("'\"")
        if _ADDRESS.fullmatch(bare):
            return self.address(bare)
        return f"n-{self._digest('name', text)}" if text else ""

    def subject(self, text: str) -> str:
        """`s-…`."""
        return f"s-{self._digest('subject', text.strip())}" if text.strip() else ""

    def message_id(self, text: str) -> str:
        """`<m-…@message-id.invalid>` for an RFC 5322 Message-ID, with or without its angle brackets."""
        text = text.strip()
        bare = text.removeprefix("<").removesuffix(">")
        return f"<m-{self._digest('message-id', bare)}{MESSAGE_ID_SUFFIX}>" if text else ""

    def text(self, text: str) -> str:
        """A service's words: readable where they are harmless, addresses in them replaced; else `t-…` as a whole."""
        # Only what stands around the addresses is judged.
        if not is_harmless(_ADDRESS_IN_TEXT.sub(" ", text)):
            return f"t-{self._digest('text', text)}"
        return _ADDRESS_IN_TEXT.sub(self._address_found, text)

    def _new_domain(self, domain: str) -> str:
        return f"d-{self._digest('domain', domain.rstrip('.').casefold())}{DOMAIN_SUFFIX}"

    def _address_found(self, found: re.Match[str]) -> str:
        text = found[0].rstrip(".")
        return self.address(text) + found[0][len(text) :]

    def _scope(self, text: str) -> str:
        text = text.strip()
        if text in _NO_NAMES:
            return text
        domain = _DOMAIN.fullmatch(text)
        return self._domain_part(domain[1]) if domain else self.address(text)

    def _protected(self, text: str) -> str:
        kind, _, address = text.partition(" ")
        return f"{kind} {self._scope(address)}" if kind in ("recipient", "sender") else self._other(text)

    def _comment(self, text: str) -> str:
        stamp = Stamp.read(text)
        if stamp is None:
            return self.text(text)
        rest = reason_in(text)
        keyed = Stamp(
            key=self._hex("stamp", stamp.key, len(stamp.key)),
            request=self._hex("stamp", stamp.request, len(stamp.request)),
            call=stamp.call if FORMS["id"](stamp.call) else "",
            plan=self._hex("hash", stamp.plan, DIGEST_DIGITS) if stamp.plan else "",
            requested_by=self.name(stamp.requested_by),
            approved_by=tuple(self.name(name) for name in stamp.approved_by),
            messages=stamp.messages,
        )
        return keyed.on(self.text(rest) if rest else "")

    def _hash(self, text: str) -> str:
        # A job's stamp holds a plan's first 32 digits: that the two belong together still shows.
        return self._hex("hash", text[:DIGEST_DIGITS], DIGEST_DIGITS) + self._hex("hash", text, 64 - DIGEST_DIGITS)

    def _ip(self, text: str) -> str:
        return f"ip-{self._digest('ip', text.strip().casefold())}" if text.strip() else ""

    def _other(self, text: str) -> str:
        return f"x-{self._digest('other', text)}" if text else ""

    def _word(self, text: str) -> str:
        return text if _WORD.fullmatch(text) or text in _NO_NAMES else self.text(text)

    def _folder(self, text: str) -> str:
        return text if text in _FOLDERS else self._other(text)

    def _digest(self, kind: str, text: str) -> str:
        return self._hex(kind, text, 2 * BYTES)

    def _hex(self, kind: str, text: str, length: int) -> str:
        mac = self._begun[kind].copy()
        mac.update(text.encode("utf-8", "surrogatepass"))
        return mac.hexdigest()[:length]


_KINDS = ("key check", "address", "domain", "name", "subject", "message-id", "ip", "text", "stamp", "hash", "other")


def _checked(key: SecretStr) -> bytes:
    secret = key.get_secret_value().strip().encode("utf-8", "surrogatepass")
    if len(secret) < SHORTEST_KEY or len(set(secret)) < FEWEST_DIFFERENT_CHARACTERS:
        raise ConnectionSettingsError(
            f"{KEY_VARIABLE} is too weak: it needs at least {SHORTEST_KEY} characters, and not the same few again",
            help="Nothing was sent. `openssl rand -hex 32` makes a good one.",
        )
    return secret


class _Remembered(dict[str, str]):
    """Texts with what they become: found again without a call. Begun anew when there are too many."""

    def __init__(self, become: Text) -> None:
        super().__init__()
        self._become = become

    def __missing__(self, text: str) -> str:
        made = self._become(text)
        if len(text) <= LONGEST_REMEMBERED:
            if len(self) >= REMEMBERED:
                self.clear()
            self[text] = made
        return made
