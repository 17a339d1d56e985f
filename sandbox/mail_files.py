"""Loads real mail: an mbox, a Maildir, a folder of .eml files, or one .eml file.

The files are untrusted: headers may be broken, encodings wrong, dates impossible, parts endless. An unreadable mail is
counted and skipped; a file that is not mail at all is an error. Any line with a colon looks like a header, so a mail
must have a header that RFC 5322 requires, or one that delivery adds.
"""

import email
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.header import decode_header, make_header
from email.message import Message as ParsedMail
from email.parser import BytesHeaderParser
from email.utils import getaddresses, parsedate_to_datetime
from mailbox import Maildir, mbox
from pathlib import Path
from typing import Final, Literal, cast

from sandbox.clock import Instant, from_datetime
from sandbox.correspondence import attachment
from sandbox.message import CLEAN, Attachment, Sender
from sandbox.tenant import Tenant

MAX_MAIL_BYTES: Final = 30 * 1024 * 1024
_MAX_BODY_CHARACTERS: Final = 500_000
_MAX_HEADER_CHARACTERS: Final = 20_000
_MAX_PARTS: Final = 500
_MAX_LINKS: Final = 100
_LINK = re.compile(r"https?://[^\s\"'<>()\[\]{}\\^`|]{1,2000}", re.ASCII | re.IGNORECASE)
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]]{1,64}@[A-Za-z0-9.-]{1,255}")
_ADDRESS_LITERAL = re.compile(r"\[(\d{1,3}(?:\.\d{1,3}){3})\]", re.ASCII)
_MAIL_HEADERS: Final = ("From", "Date", "Received", "Message-ID")
_DELIVERY_HEADERS: Final = ("Delivered-To", "X-Original-To", "Envelope-To", "To", "Cc", "Bcc")


class NoMailError(ValueError):
    """The path has no readable mail; the message names what was found instead."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The number of loaded mails, of unreadable ones, and of loaded ones with a date in the future."""

    messages: int
    unreadable: int
    newest: Instant
    future: int


def load(tenant: Tenant, path: Path, *, undated: Instant, verdict: str | None = None) -> Loaded:
    """Deliver the mails at `path` to the tenant. Raises NoMailError.

    `undated` (now) is the time of mails without a usable Date. A Date after it is ignored, because no search finds
    future mail. `verdict` is the disposition of all mails. Without it, mail that a spam filter marked is SPAM, and the
    rest is clean, which a search does not return by default.
    """
    unreadable = future = 0
    times: list[Instant] = []
    try:
        for raw in _raw_mails(path):
            try:
                mail = email.message_from_bytes(raw)
                dated = _date(mail)
                early = dated is not None and dated > undated
                time = undated if dated is None or early else dated
                readable = _deliver(tenant, mail, time, verdict, complete=len(raw) < MAX_MAIL_BYTES)
            # The parser of the standard library fails in many ways on hostile mail; each means "unreadable".
            except Exception:  # noqa: BLE001
                readable = False
            if not readable:
                unreadable += 1
                continue
            times.append(time)
            future += early
    except OSError as problem:
        raise NoMailError(f"{path}: {problem.strerror or problem}") from problem
    if not times:
        raise NoMailError(f"{path}: no mail could be read ({unreadable} unreadable)")
    return Loaded(len(times), unreadable, max(times), future)


def _raw_mails(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        yield from _mails_of_folder(path)
        return
    with path.open("rb") as file:
        first = file.read(5)
    if first == b"From ":
        box = mbox(path, create=False)
        try:
            for key in box.iterkeys():
                with box.get_file(key) as part:
                    yield part.read(MAX_MAIL_BYTES)
        finally:
            box.close()
        return
    raw = _read_mail(path)
    if not _is_mail(BytesHeaderParser().parsebytes(raw)):
        raise NoMailError(
            f"{path}: neither an mbox (no 'From ' line at its start) nor a mail (none of {', '.join(_MAIL_HEADERS)})"
        )
    yield raw


def _mails_of_folder(path: Path) -> Iterator[bytes]:
    if (path / "cur").is_dir() or (path / "new").is_dir():
        for name in ("cur", "new", "tmp"):
            if not (path / name).is_dir():
                raise NoMailError(f"{path}: a Maildir has the folders cur, new and tmp; {name} is missing")
        box = Maildir(path, create=False)
        for key in sorted(box.iterkeys()):
            with box.get_file(key) as content:
                yield content.read(MAX_MAIL_BYTES)
        return
    files = sorted(file for file in path.rglob("*") if file.suffix.casefold() == ".eml" and file.is_file())
    if not files:
        raise NoMailError(f"{path}: neither a Maildir (cur, new, tmp) nor a folder with .eml files")
    for file in files:
        yield _read_mail(file)


def _read_mail(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_MAIL_BYTES)


def _is_mail(mail: ParsedMail) -> bool:
    return any(name in mail for name in _MAIL_HEADERS)


def _deliver(tenant: Tenant, mail: ParsedMail, time: Instant, verdict: str | None, *, complete: bool) -> bool:
    if not _is_mail(mail):
        return False
    name, address = (_addresses(mail, "From", "Sender", "Return-Path") or [("", "unknown@unknown.invalid")])[0]
    to = tuple(dict.fromkeys(found for _, found in _addresses(mail, "To", "Cc")))
    held_by = next(
        (found for header in _DELIVERY_HEADERS if (found := _addresses(mail, header))),
        [("", f"mailbox@{tenant.domain}")],
    )
    links, attachments = _contents(mail, complete=complete)
    reply_to = _addresses(mail, "Reply-To")
    message_id = _text(mail, "Message-ID").strip()
    spam_flag, spam_status = (_text(mail, name).strip().casefold() for name in ("X-Spam-Flag", "X-Spam-Status"))
    marked_spam = spam_flag == "yes" or spam_status.startswith("yes")
    tenant.add(
        time=time,
        sender=Sender(
            address,
            name,
            helo_ip=_first_hop(mail),
            reply_to=reply_to[0][1] if reply_to else None,
            spf=_check_result(mail, "spf"),
            dkim=_check_result(mail, "dkim"),
            dmarc=_check_result(mail, "dmarc"),
        ),
        subject=_text(mail, "Subject"),
        recipients=tuple(dict.fromkeys(found for _, found in held_by)),
        to=to or None,
        disposition=verdict or ("SPAM" if marked_spam else CLEAN),
        links=links,
        attachments=attachments,
        message_id=message_id or None,
    )
    return True


def _text(mail: ParsedMail, name: str) -> str:
    """Return a header on one line, with encoded words decoded if possible."""
    return _decode(mail.get(name, ""))


def _decode(value: object) -> str:
    text = str(value)[:_MAX_HEADER_CHARACTERS]
    # For an unknown or wrong charset, keep the raw text, which is still searchable.
    with suppress(LookupError, ValueError):
        text = str(make_header(decode_header(text)))
    text = re.sub(r"\r?\n[ \t]*", " ", text)
    return text.encode("utf-8", "replace").decode("utf-8")


def _addresses(mail: ParsedMail, *names: str) -> list[tuple[str, str]]:
    """Return (name, address) pairs of the first thousand addresses in these headers."""
    values = [str(value)[:_MAX_HEADER_CHARACTERS] for name in names for value in mail.get_all(name, [])]
    pairs = [(_decode(name), address.strip()) for name, address in getaddresses(values)]
    good = [(name, address) for name, address in pairs if _ADDRESS.fullmatch(address)]
    return (good or [("", address) for value in values for address in _ADDRESS.findall(value)])[:1000]


def _date(mail: ParsedMail) -> Instant | None:
    try:
        moment = parsedate_to_datetime(_text(mail, "Date"))
        return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _first_hop(mail: ParsedMail) -> str:
    hops = mail.get_all("Received", [])
    found = _ADDRESS_LITERAL.search(str(hops[-1])[:_MAX_HEADER_CHARACTERS]) if hops else None
    return found[1] if found else "192.0.2.25"


def _check_result(mail: ParsedMail, check: str) -> Literal["pass", "neutral", "fail", "error", "none"]:
    found = re.search(rf"\b{check}=(pass|neutral|fail|none)\b", _text(mail, "Authentication-Results"))
    return cast(Literal["pass", "neutral", "fail", "none"], found[1]) if found else "none"


def _contents(mail: ParsedMail, *, complete: bool) -> tuple[tuple[str, ...], tuple[Attachment, ...]]:
    """Return the links of the text parts, and the attachments. If the mail was cut (not complete), hashes are empty."""
    links: dict[str, None] = {}
    attachments: list[Attachment] = []
    for place, part in enumerate(mail.walk()):
        if place >= _MAX_PARTS:
            break
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            continue
        name = _decode(part.get_filename() or "")
        if name:
            attachments.append(attachment(name[:500], part.get_content_type(), content if complete else b""))
        elif part.get_content_maintype() == "text" and len(links) < _MAX_LINKS:
            text = content[:_MAX_BODY_CHARACTERS].decode("utf-8", "replace")
            links |= dict.fromkeys(link.rstrip(".,;:!?") for link in _LINK.findall(text))
    return tuple(links)[:_MAX_LINKS], tuple(attachments)
