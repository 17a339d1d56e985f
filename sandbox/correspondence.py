"""Creates thirty days of a company's mail: from colleagues, partners, newsletters, spammers and attackers."""

import random
from hashlib import md5, sha1, sha256
from typing import Final

from sandbox import wording
from sandbox.clock import DAY, Instant
from sandbox.message import CLEAN, DELIVERED, QUARANTINED, Attachment, Sender
from sandbox.tenant import Tenant

LOOK_BACK: Final = 30 * DAY
HELD_SENDER: Final = "statements@partner-bank.example"

# Fraction of all mail, disposition, fraction of it in quarantine.
_KINDS: Final = (
    ("colleague", 0.44, CLEAN, 0.0),
    ("partner", 0.32, CLEAN, 0.0),
    ("newsletter", 0.11, "BULK", 0.05),
    ("spammer", 0.07, "SPAM", 0.40),
    ("outsider", 0.03, "SUSPICIOUS", 0.25),
    ("impostor", 0.012, "SPOOF", 0.50),
    ("attacker", 0.015, "MALICIOUS", 0.60),
    ("swindler", 0.003, "MALICIOUS-BEC", 0.60),
)


def mailbox_addresses(count: int, domain: str) -> list[str]:
    """Return `count` different addresses: first names, then first.last, then numbered ones."""
    firsts, lasts = wording.FIRST_NAMES, wording.LAST_NAMES
    names = list(firsts[:count])
    for turn in range(len(lasts)):
        if len(names) >= count:
            break
        names += [f"{first}.{lasts[(turn + place) % len(lasts)]}" for place, first in enumerate(firsts)]
    while len(names) < count:
        names.append(f"staff{len(names):05d}")
    return [f"{name}@{domain}" for name in names[:count]]


def attachment(name: str, content_type: str, content: bytes) -> Attachment:
    """Return the name and hashes of an attachment. Its content is not kept."""
    return Attachment(
        name=name,
        content_type=content_type,
        md5=md5(content, usedforsecurity=False).hexdigest(),
        sha1=sha1(content, usedforsecurity=False).hexdigest(),
        sha256=sha256(content).hexdigest(),
    )


def fill(tenant: Tenant, *, seed: int, messages: int, until: Instant, at_least_mailboxes: int = 0) -> None:
    """Deliver `messages` mails in the thirty days before `until`, some of them in quarantine, rightly or by mistake."""
    if messages == 0:
        return
    chance = random.Random(seed)  # noqa: S311 - a fixture that must be reproducible
    roll = chance.random
    mailboxes = mailbox_addresses(max(60, min(2500, messages // 40), at_least_mailboxes), tenant.domain)
    senders = {kind: _senders(kind, mailboxes) for kind, *_ in _KINDS}
    files = [
        attachment(f"{stem}-{number}.{ending}", kind, f"{seed}/{stem}/{number}".encode())
        for stem in wording.FILE_STEMS
        for number in range(1, 6)
        for ending, kind in (("pdf", "application/pdf"), ("xlsx", "application/vnd.ms-excel"))
    ]
    kinds: list[tuple[str, str, float]] = []
    for kind, share, disposition, held in _KINDS:
        kinds += [(kind, disposition, held)] * round(share * 1000)
    wrongly_held = max(5, min(120, messages // 150))
    for place in range(messages):
        time = until - int(roll() * LOOK_BACK) - 1
        if place < wrongly_held:
            _hold_statement(tenant, chance, until, mailboxes)
            continue
        kind, disposition, held = kinds[int(roll() * len(kinds))]
        own = senders[kind]
        sender = own[int(roll() * len(own))]
        recipient = mailboxes[int(roll() * len(mailboxes))]
        recipients: tuple[str, ...] = (recipient,)
        if roll() < 0.08:
            recipients = tuple({recipient: 0, mailboxes[int(roll() * len(mailboxes))]: 0})
        hostile = kind in ("spammer", "attacker") and roll() < 0.06
        subjects = wording.HOSTILE_SUBJECTS if hostile else wording.SUBJECTS[kind]
        subject = subjects[int(roll() * len(subjects))]
        if not hostile:
            subject = subject.replace("#", str(int(roll() * 9000) + 1000))
        tenant.add(
            time=time,
            sender=sender,
            subject=subject,
            recipients=recipients,
            disposition=disposition,
            status=QUARANTINED if roll() < held else DELIVERED,
            links=_links(kind, sender, int(roll() * 400)),
            attachments=(files[int(roll() * len(files))],) if roll() < 0.12 else (),
        )


def _hold_statement(tenant: Tenant, chance: random.Random, until: Instant, mailboxes: list[str]) -> None:
    """Deliver a genuine bank statement that is quarantined by mistake, for a release playbook."""
    month = chance.choice(wording.MONTHS)
    tenant.add(
        time=until - chance.randrange(1, 3 * DAY),
        sender=_STATEMENTS,
        subject=f"Your {month} statement {chance.randrange(1000, 9999)} is ready",
        recipients=(chance.choice(mailboxes),),
        disposition=chance.choice(("SPAM", "SUSPICIOUS", "BULK")),
        status=QUARANTINED,
        links=("https://online.partner-bank.example/statements",),
    )


_STATEMENTS = Sender(
    HELD_SENDER,
    "Partner Bank",
    helo_ip="198.51.100.40",
    envelope_from="bounces@mail.partner-bank.example",
    reasons=("Bulk sending pattern",),
    categories=("Newsletter",),
)


def _senders(kind: str, mailboxes: list[str]) -> list[Sender]:
    if kind == "colleague":
        return [Sender(address, wording.person(address), helo_ip="198.51.100.10") for address in mailboxes]
    reasons, categories = wording.VERDICTS.get(kind, ((), ()))
    trusted = not reasons or kind == "newsletter"
    check = "pass" if trusted else "fail"
    return [
        Sender(
            address,
            wording.HOSTILE_NAMES[place % len(wording.HOSTILE_NAMES)]
            if kind == "attacker"
            else wording.person(address),
            helo_ip=f"203.0.113.{(place * 7 + len(kind)) % 250 + 1}",
            spf=check,
            dkim=check,
            dmarc=check,
            reasons=reasons,
            categories=categories,
        )
        for place, address in enumerate(wording.addresses(kind))
    ]


def _links(kind: str, sender: Sender, number: int) -> tuple[str, ...]:
    if kind == "colleague" or number < 120:
        return ()
    return (f"https://{wording.LINK_HOSTS.get(kind, 'www')}.{sender.domain}/{number:x}",)
