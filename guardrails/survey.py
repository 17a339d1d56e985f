"""What a search finds, counted: one message after the other, in memory that does not grow with their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from connectors.addresses import RelatedDomains, domains_named
from connectors.email_security import EmailSecurity
from connectors.errors import UncountableSearch, printable
from connectors.search import HARMFUL, MALICIOUS, SearchParams, verdict_of
from connectors.sender_proof import proof_of
from guardrails.search_scope import scope_of

if TYPE_CHECKING:
    from connectors.message import MessageDetails
    from connectors.policy import Policy

# The rows of a breakdown that are shown, and the different names that are counted one by one: whoever writes the mails
# chooses how many senders there are.
ROWS_SHOWN = 25
NAMES_COUNTED = 10_000
OTHERS = "(others)"

PROTECTED_NAMED = 100
OWN_SENDERS_NAMED = 10
LONGEST_SHOWN = 200


class Numbers(NamedTuple):
    """messages: one for each mailbox that holds one, as a job counts them. recipients: distinct ones."""

    messages: int
    recipients: int


@dataclass
class Breakdown:
    """How many messages by a name, the most frequent first, and the rest as one."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, messages: int) -> None:
        name = printable(name)[:LONGEST_SHOWN] or "(none)"
        known = name in self.counts or len(self.counts) < NAMES_COUNTED
        self.counts[name if known else OTHERS] += messages

    def shown(self) -> dict[str, int]:
        """At most ROWS_SHOWN rows; what is left over stands under OTHERS, so that the sum is the whole."""
        rest = self.counts[OTHERS]
        named = sorted(
            ((name, count) for name, count in self.counts.items() if name != OTHERS), key=lambda row: (-row[1], row[0])
        )
        rest += sum(count for _, count in named[ROWS_SHOWN:])
        return dict(named[:ROWS_SHOWN]) | ({OTHERS: rest} if rest else {})


@dataclass
class Survey:
    """What was found so far. The recipients are kept one by one: there are no more of them than mailboxes."""

    policy: Policy
    sample_size: int = 0
    complete: bool = True
    messages: int = 0
    distinct_messages: int = 0
    malicious: int = 0
    without_verdict: int = 0
    unproved: int = 0
    without_recipients: int = 0
    recipients: set[str] = field(default_factory=set)
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
        """Senders that may be the organisation's own, at most OWN_SENDERS_NAMED.

        Their domain is one of the recipients' or of the policy's own domains, lies below one, or above one.
        """
        found = (sender for domain, sender in self.senders_by_domain.items() if self._may_be_own(domain))
        return list(islice(chain(found, self.late_own_senders.values()), OWN_SENDERS_NAMED))

    @property
    def sample(self) -> list[dict[str, Any]]:
        """At most sample_size messages, each verdict in turn: the newest ones alone would be the attacker's choice."""
        in_turn = chain.from_iterable(zip_longest(*self.samples.values()))
        return list(islice((one for one in in_turn if one is not None), self.sample_size))

    @cached_property
    def policy_domains(self) -> RelatedDomains:
        """The policy's own domains."""
        return RelatedDomains(self.policy.own_domains)

    def take(self, message: MessageDetails) -> None:
        copies = message.copies
        self.messages += copies
        self.distinct_messages += 1
        verdict = verdict_of(message.final_disposition)
        self.malicious += copies if verdict in MALICIOUS else 0
        self.without_verdict += copies if verdict is None else 0
        # The envelope and To are written by the sender, and may name anybody.
        addresses = [recipient.strip().casefold() for recipient in message.client_recipients or ()]
        self.without_recipients += 0 if addresses else copies
        self.recipients.update(addresses)
        for address in addresses:
            self.by_recipient_domain.add(_domain(address), 1)
        self.by_disposition.add(verdict or message.final_disposition or "NONE", copies)
        for status in set(message.delivery_status or ["(none)"]):
            self.by_delivery_status.add(status, copies)
        senders = {sender.strip().casefold() for sender in (message.from_, message.envelope_from) if sender}
        self.by_sender.add((message.from_ or message.envelope_from or "").strip().casefold(), copies)
        proved = _is_proved(message)
        self.unproved += 0 if proved else copies
        if verdict not in HARMFUL and message.from_ and proved:
            self.proved_clean.add(message.from_.strip().casefold(), copies)
        self._note_protected(addresses, senders)
        for address in addresses:
            for domain in domains_named(address):
                self.recipient_domains.add(domain)
        for sender in _possible_senders(message):
            self._note_sender(sender)
        self._note_sample(message, verdict or "NONE")

    def _note_sample(self, message: MessageDetails, verdict: str) -> None:
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
                # Whoever writes the mails chooses how many there are. Further ones are kept only if they matter.
                if len(self.late_own_senders) >= OWN_SENDERS_NAMED or not self._may_be_own(domain):
                    continue
                known = self.late_own_senders
            known[domain] = printable(sender)[:LONGEST_SHOWN]

    def _may_be_own(self, domain: str) -> bool:
        return self.recipient_domains.relates(domain) or self.policy_domains.relates(domain)

    def _note_protected(self, recipients: Iterable[str], senders: Iterable[str]) -> None:
        if self.policy.protected_recipients:
            hit = [address for address in recipients if self.policy.protects_recipient(address)]
            self._name([f"recipient {address}" for address in hit])
        if self.policy.protected_senders:
            hit = [address for address in senders if self.policy.protects_sender(address)]
            self._name([f"sender {address}" for address in hit])

    def _name(self, hits: Iterable[str]) -> None:
        for hit in hits:
            if len(self.protected) < PROTECTED_NAMED:
                self.protected[printable(hit)[:LONGEST_SHOWN]] = None


def survey(
    api: EmailSecurity,
    search: SearchParams,
    *,
    sample_size: int = 0,
    policy: Policy | None = None,
    enough: Callable[[Numbers], bool] = lambda _: False,
) -> Survey:
    """Count what a job with this search would find, as far as the message search can tell; `enough` stops it early.

    policy: whose own domains and protected people are noted; that of the connection unless given.
    Raises: UncountableSearch, and what EmailSecurity.search_messages raises.
    """
    scope = scope_of(search)
    if scope.uncountable:
        raise UncountableSearch(f"the messages can't be counted: {scope.uncountable}")
    found = Survey(policy=api.policy if policy is None else policy, sample_size=sample_size)
    for message in api.search_messages(scope.query):
        if scope.holds(message):
            found.take(message)
            if enough(found.numbers):
                found.complete = False
                break
    return found


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


def _possible_senders(message: MessageDetails) -> Iterator[str]:
    """Yield the header From, and the envelope sender unless SPF failed for it: then anybody can have written it."""
    if message.from_:
        yield message.from_
    disproved = message.validation is not None and (message.validation.spf or "").casefold() in ("fail", "softfail")
    if message.envelope_from and not disproved:
        yield message.envelope_from


def _is_proved(message: MessageDetails) -> bool:
    """Return whether the checks prove the From. A From that names several domains is proved by none."""
    checks, senders = message.validation, domains_named(message.from_ or "")
    if checks is None or len(senders) != 1:
        return False
    envelopes = domains_named(message.envelope_from or "")
    envelope = next(iter(envelopes)) if len(envelopes) == 1 else None
    [sender] = senders
    return proof_of(sender, dmarc=checks.dmarc, spf=checks.spf, envelope_domain=envelope) is not None


def _sample(message: MessageDetails) -> dict[str, Any]:
    def text(value: str | None) -> str | None:
        return None if value is None else printable(value)[:LONGEST_SHOWN]

    return {
        "id": text(message.id),
        "from": text(message.from_),
        "subject": text(message.subject),
        "recipients": [printable(recipient)[:LONGEST_SHOWN] for recipient in (message.client_recipients or ())[:10]],
        "final_disposition": text(message.final_disposition),
        "scanned_at": text(message.scanned_at),
    }
