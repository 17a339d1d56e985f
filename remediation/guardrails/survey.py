"""Count the messages of a search one by one, in memory that does not grow with their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from connectors.email_security import EmailSecurity
from connectors.objects.search import SearchParams, verdict_of
from connectors.paging.row_ids import RowIds
from core.addresses import RelatedDomains, domains_named
from core.errors import UncountableSearch, printable
from core.search_words import HARMFUL, MALICIOUS
from core.sender_proof import proof_of
from remediation.guardrails.change import Numbers, mailbox_of, mailboxes_of
from remediation.guardrails.policy.gate import policy_of
from remediation.guardrails.search_scope import scope_of

if TYPE_CHECKING:
    from connectors.objects.found_message import FoundMessage
    from connectors.objects.message import MessageDetails
    from remediation.guardrails.policy.policy import Policy

# The rows of a breakdown that are shown, and the names that are counted one by one: the senders of mail choose how many
# names there are.
ROWS_SHOWN = 25
NAMES_COUNTED = 10_000
OTHERS = "(others)"

# The messages that a survey of named messages shows.
SAMPLE_SIZE = 10

PROTECTED_NAMED = 100
OWN_SENDERS_NAMED = 10
LONGEST_SHOWN = 200


@dataclass
class Breakdown:
    """Messages by a name, the most frequent first, and the rest as one row."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, messages: int) -> None:
        name = printable(name)[:LONGEST_SHOWN] or "(none)"
        known = name in self.counts or len(self.counts) < NAMES_COUNTED
        self.counts[name if known else OTHERS] += messages

    def shown(self) -> dict[str, int]:
        """Return at most ROWS_SHOWN rows; the rest is under OTHERS, so that the sum is the whole."""
        rest = self.counts[OTHERS]
        named = sorted(self.counts.items() - {(OTHERS, rest)}, key=lambda row: (-row[1], row[0]))
        rest += sum(count for _, count in named[ROWS_SHOWN:])
        return dict(named[:ROWS_SHOWN]) | ({OTHERS: rest} if rest else {})


@dataclass
class Survey:
    """The counts so far. recipients: their hashes, to count distinct ones."""

    policy: Policy
    sample_size: int = 0
    complete: bool = True
    messages: int = 0
    distinct_messages: int = 0
    malicious: int = 0
    without_verdict: int = 0
    unproved: int = 0
    without_recipients: int = 0
    recipients: RowIds = field(default_factory=RowIds)
    protected: dict[str, None] = field(default_factory=dict)
    recipient_domains: RelatedDomains = field(default_factory=RelatedDomains)
    senders_by_domain: dict[str, str] = field(default_factory=dict)
    late_own_senders: dict[str, str] = field(default_factory=dict)
    by_recipient_domain: Breakdown = field(default_factory=Breakdown)
    by_disposition: Breakdown = field(default_factory=Breakdown)
    by_delivery_status: Breakdown = field(default_factory=Breakdown)
    by_sender: Breakdown = field(default_factory=Breakdown)
    proved_clean: Breakdown = field(default_factory=Breakdown)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def numbers(self) -> Numbers:
        return Numbers(self.messages, len(self.recipients))

    @property
    def own_senders(self) -> list[str]:
        """Senders that may be the organization's own, at most OWN_SENDERS_NAMED.

        Their domain is one of the recipients' or of the policy's own domains, a subdomain of one, or a parent.
        """
        found = (sender for domain, sender in self.senders_by_domain.items() if self._may_be_own(domain))
        return list(islice(chain(found, self.late_own_senders.values()), OWN_SENDERS_NAMED))

    @property
    def sample(self) -> list[dict[str, Any]]:
        """Return at most sample_size messages, each verdict in turn: an attacker could choose the newest ones."""
        in_turn = chain.from_iterable(zip_longest(*self.samples.values()))
        return list(islice((one for one in in_turn if one is not None), self.sample_size))

    def facts(self) -> dict[str, Any]:
        """Return the counts, as fields of a plan."""
        return {
            "messages": self.messages,
            "distinct_messages": self.distinct_messages,
            "recipients": len(self.recipients),
            "malicious": self.malicious,
            "unproved": self.unproved,
            "by_recipient_domain": self.by_recipient_domain.shown(),
            "by_disposition": self.by_disposition.shown(),
            "by_delivery_status": self.by_delivery_status.shown(),
            "by_sender": self.by_sender.shown(),
            "proved_clean": self.proved_clean.shown(),
            "sample": self.sample,
            "protected": list(self.protected),
            "own_senders": self.own_senders,
        }

    @cached_property
    def policy_domains(self) -> RelatedDomains:
        return RelatedDomains(self.policy.own_domains)

    def take(self, message: FoundMessage | MessageDetails) -> None:
        """Count one message."""
        copies = message.copies
        self.messages += copies
        self.distinct_messages += 1
        verdict = verdict_of(message.final_disposition)
        self.malicious += copies if verdict in MALICIOUS else 0
        self.without_verdict += copies if verdict is None else 0
        # Not the envelope and To: the sender writes them, and they may name anybody.
        recipients = mailboxes_of(message.client_recipients)
        self.without_recipients += 0 if recipients else copies
        self.recipients.new(recipients)
        for recipient in recipients:
            self.by_recipient_domain.add(recipient.rpartition("@")[2], 1)
            for domain in domains_named(recipient):
                self.recipient_domains.add(domain)
        self.by_disposition.add(verdict or message.final_disposition or "NONE", copies)
        for status in set(message.delivery_status or ["(none)"]):
            self.by_delivery_status.add(status, copies)
        checks = message.validation
        sender = _sender(message.from_, message.envelope_from, checks and (checks.dmarc, checks.spf))
        self.by_sender.add(sender.name, copies)
        self.unproved += 0 if sender.proved else copies
        if verdict not in HARMFUL and sender.proved:
            self.proved_clean.add(sender.name, copies)
        for hit in self.policy.protected_among(recipients, sender.addresses):
            if len(self.protected) < PROTECTED_NAMED:
                self.protected[printable(hit)[:LONGEST_SHOWN]] = None
        for possible in sender.possible:
            self._note_sender(possible)
        self._note_sample(message, verdict or "NONE")

    def _note_sample(self, message: FoundMessage | MessageDetails, verdict: str) -> None:
        if verdict not in self.samples and len(self.samples) >= ROWS_SHOWN:
            verdict = OTHERS
        kept = self.samples.setdefault(verdict, [])
        if len(kept) < self.sample_size:
            kept.append(_sample(message))

    def _note_sender(self, sender: str) -> None:
        for domain in domains_named(sender):
            if domain in self.senders_by_domain:
                continue
            known = self.senders_by_domain
            if len(known) >= NAMES_COUNTED:
                # The senders of mail choose how many there are. Further ones are kept only if they may be own ones.
                if len(self.late_own_senders) >= OWN_SENDERS_NAMED or not self._may_be_own(domain):
                    continue
                known = self.late_own_senders
            known[domain] = printable(sender)[:LONGEST_SHOWN]

    def _may_be_own(self, domain: str) -> bool:
        return self.recipient_domains.relates(domain) or self.policy_domains.relates(domain)


def survey_messages(policy: Policy, messages: Iterable[MessageDetails]) -> Survey:
    """Return the counts of messages that the service found."""
    found = Survey(policy, SAMPLE_SIZE)
    for message in messages:
        found.take(message)
    return found


def survey(
    api: EmailSecurity,
    search: SearchParams,
    *,
    sample_size: int = 0,
    policy: Policy | None = None,
    enough: Callable[[Numbers], bool] = lambda _: False,
) -> Survey:
    """Count the messages that a job with this search would find. `enough` stops the count.

    policy: its own domains and protected people are noted; the connection's policy unless given.
    Raises: UncountableSearch, and what EmailSecurity.found_messages raises.
    """
    scope = scope_of(search)
    if scope.uncountable:
        raise UncountableSearch(f"the messages can't be counted: {scope.uncountable}")
    found = Survey(policy=policy_of(api) if policy is None else policy, sample_size=sample_size)
    for message in api.found_messages(scope.query):
        if scope.holds(message):
            found.take(message)
            if enough(found.numbers):
                found.complete = False
                break
    return found


class _Sender(NamedTuple):
    """The counted facts of a message's sender. possible: the addresses that may name the real one."""

    name: str
    addresses: frozenset[str]
    possible: tuple[str, ...]
    proved: bool


@lru_cache(maxsize=4096)
def _sender(header: str | None, envelope: str | None, checks: tuple[str | None, str | None] | None) -> _Sender:
    """Return the facts of a sender. header: the From. checks: the results of DMARC and SPF, where there are any."""
    dmarc, spf = checks or (None, None)
    # Where SPF failed, the envelope sender may be forged.
    disproved = (spf or "").casefold() in ("fail", "softfail")
    return _Sender(
        name=(header or envelope or "").strip().casefold(),
        addresses=frozenset(mailbox_of(address) for address in (header, envelope) if address),
        possible=tuple(address for address in (header, None if disproved else envelope) if address),
        proved=checks is not None and _is_proved(header or "", envelope or "", dmarc, spf),
    )


def _is_proved(header: str, envelope: str, dmarc: str | None, spf: str | None) -> bool:
    """Return whether the checks prove the From. A From with several domains is never proved."""
    senders, envelopes = domains_named(header), domains_named(envelope)
    if len(senders) != 1:
        return False
    [sender] = senders
    domain = next(iter(envelopes)) if len(envelopes) == 1 else None
    return proof_of(sender, dmarc=dmarc, spf=spf, envelope_domain=domain) is not None


def _sample(message: FoundMessage | MessageDetails) -> dict[str, Any]:
    def text(value: str | None) -> str | None:
        return None if value is None else printable(value)[:LONGEST_SHOWN]

    return {
        "id": text(message.id),
        "from": text(message.from_),
        "subject": text(message.subject),
        "recipients": [text(recipient) for recipient in (message.client_recipients or ())[:10]],
        "final_disposition": text(message.final_disposition),
        "scanned_at": text(message.scanned_at),
    }
