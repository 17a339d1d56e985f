"""The organization's policy: limits, protected people, and when a change needs a plan or approvals.

Parameters override only the guardrails that it lists. It is a YAML file that the setting CFES_POLICY names.
docs/reference/policy.md shows one. remediation.guardrails.policy.rules has its parts,
remediation.guardrails.policy.loading reads the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from connectors.objects.job import Destination, Reach
from core.addresses import LONGEST_ENTRY, AddressSet, read_domain_entry, read_entry
from core.errors import Problem
from core.quantity import counted
from remediation.guardrails.policy.people import named_among, same_person, unmatched_groups
from remediation.guardrails.policy.rules import ApprovalRule, Approver, Budget, DeleteRule, Part, Person, Rule

# Thirty days.
LONGEST_APPROVAL_HOURS = 720.0

# The parameters that override a guardrail. Where a policy is set, it must list them.
Override = Literal["allow_broad_search", "allow_irreversible", "allow_malicious", "allow_open_window"]


def _check_entry(text: str) -> str:
    read_entry(text)
    return text


def _check_domain_entry(text: str) -> str:
    read_domain_entry(text)
    return text


Guarded = Annotated[str, Field(max_length=LONGEST_ENTRY), AfterValidator(_check_entry)]
OwnDomain = Annotated[str, Field(max_length=LONGEST_ENTRY), AfterValidator(_check_domain_entry)]


def _whole_number(value: object) -> object:
    """Return a whole number as it is, anything else as None: `true` and `1.0` equal 1, and are not a version."""
    return value if type(value) is int else None


def _delete_rule(value: object) -> object:
    return {"refused": True} if value == "refused" else value


class Policy(Part):
    """The organization's policy. A limit that is not given does not apply."""

    policy: Annotated[Literal[1], BeforeValidator(_whole_number)] = Field(description="The version of this format: 1.")
    max_messages: int | None = Field(
        None, ge=0, description="The most messages of a job or a change by ID, one for each mailbox."
    )
    max_recipients: int | None = Field(
        None, ge=0, description="The most different recipients of a job or a change by ID."
    )
    max_drift_percent: float | None = Field(
        None, ge=0, le=1000, description="By how many percent the count may differ from the plan's."
    )
    destinations: list[Destination] | None = Field(
        None,
        description="The folders that messages may be moved to. An empty list allows none. By default all are allowed.",
    )
    protected_recipients: list[Guarded] = Field(
        [], description="Addresses and domains whose mailboxes must not be changed. A domain covers its subdomains."
    )
    protected_senders: list[Guarded] = Field(
        [], description="Senders whose messages must not be moved or released: addresses and domains."
    )
    own_domains: list[OwnDomain] = Field(
        [],
        description="The organization's own domains. A search for one does not narrow; a sender in one may be its own.",
    )
    overrides: list[Override] = Field(
        [], description="The `allow_...` parameters that have an effect. By default none has one."
    )
    budgets: list[Budget] = Field(
        [], max_length=100, description="Limits on the changes within some hours, over several jobs."
    )
    reason_needed: bool = Field(False, description="Whether jobs, changes by ID and delete-job need a `comment`.")
    observe: bool = Field(False, description="Change nothing: every check runs, and the write is refused and logged.")
    plan_needed: list[Rule] = Field(
        [],
        max_length=100,
        description="When a job needs a plan: if any rule applies. A list of named messages is its own plan.",
    )
    approval_needed: list[ApprovalRule] = Field(
        [], max_length=100, description="When approvals are needed. If several rules apply, the largest number counts."
    )
    approvers: list[Approver] = Field([], max_length=100, description="Who may approve, each with a public key.")
    service_accounts: list[Person] = Field(
        [],
        max_length=100,
        description="Accounts whose user is not known. They can't approve, and their requests need one more approval.",
    )
    approval_hours: float = Field(
        24, gt=0, le=LONGEST_APPROVAL_HOURS, description="How long an approval is valid at most, in hours."
    )

    delete: Annotated[DeleteRule, BeforeValidator(_delete_rule)] | None = Field(
        None, description="The conditions for deleting a job: `refused`, or a map with `evidence`."
    )

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        problems = list(_contradictions(self))
        if problems:
            raise PydanticCustomError("contradictions", "contradicts itself", {"problems": problems})
        return self

    @property
    def counts(self) -> bool:
        """Whether any of its rules needs a count of the messages."""
        rules = [*self.plan_needed, *self.approval_needed]
        return bool(
            self.max_messages is not None
            or self.max_recipients is not None
            or self.protected_recipients
            or self.protected_senders
            or any(budget.messages is not None for budget in self.budgets)
            or any(r.more_than_messages is not None or r.more_than_recipients is not None for r in rules)
        )

    def needs_plan(self, reach: Reach) -> bool:
        """Return whether a plan is needed."""
        return any(rule.applies(reach) for rule in self.plan_needed)

    def approvals_needed(self, reach: Reach) -> int:
        """Return how many different approvers must have approved."""
        asked = [r.approvals for r in self.approval_needed if r.applies(reach)]
        return max([*asked, len(self.groups_needed(reach))], default=0)

    def groups_needed(self, reach: Reach) -> tuple[str, ...]:
        """Return the groups that one approver each must have approved: those of all rules that apply."""
        rules = (r for r in self.approval_needed if r.applies(reach))
        return tuple(dict.fromkeys(group for rule in rules for group in rule.one_from))

    def protects_recipient(self, address: str) -> bool:
        """Return whether the mailbox must not be changed."""
        return self._recipients.covers(address)

    def protects_sender(self, address: str) -> bool:
        """Return whether messages from this address, or this domain, must not be moved or released."""
        return self._senders.covers(address)

    def protected_among(self, recipients: Iterable[str], senders: Iterable[str]) -> Iterator[str]:
        """Yield the protected ones as a person reads them, like `recipient a@corp.example`."""
        if self.protected_recipients:
            yield from (f"recipient {address}" for address in recipients if self.protects_recipient(address))
        if self.protected_senders:
            yield from (f"sender {address}" for address in senders if self.protects_sender(address))

    def allows_destination(self, destination: Destination) -> bool:
        """Return whether messages may be moved to this folder."""
        return self.destinations is None or destination in self.destinations

    @cached_property
    def _recipients(self) -> AddressSet:
        return AddressSet(self.protected_recipients)

    @cached_property
    def _senders(self) -> AddressSet:
        return AddressSet(self.protected_senders)


# Made without validation: the validators take time to build at each start, and most processes have no policy.
NO_POLICY = Policy.model_construct(policy=1)


def _contradictions(policy: Policy) -> Iterator[Problem]:
    members = {approver.name: approver.groups for approver in policy.approvers}
    for index, rule in enumerate(policy.approval_needed):
        if rule.approvals > len(policy.approvers):
            message = (
                f"needs {counted(rule.approvals, 'approval')}, and the policy names "
                f"{counted(len(policy.approvers), 'approver')}"
            )
            yield Problem(pointer=f"/approval_needed/{index}/approvals", message=message)
        if len(set(rule.one_from)) < len(rule.one_from):
            yield Problem(pointer=f"/approval_needed/{index}/one_from", message="names a group twice")
        elif missing := unmatched_groups(rule.one_from, members):
            message = f"can never be met: no separate approver is left for {', '.join(missing)}"
            yield Problem(pointer=f"/approval_needed/{index}/one_from", message=message)
    yield from _same_approvers(policy)


def _same_approvers(policy: Policy) -> Iterator[Problem]:
    keys: dict[str, int] = {}
    for index, approver in enumerate(policy.approvers):
        before = policy.approvers[:index]
        earlier = next((n for n, other in enumerate(before) if same_person(approver.name, other.name)), None)
        if earlier is not None:
            message = f"is also the name of approver {earlier}: one person would count twice"
            yield Problem(pointer=f"/approvers/{index}/name", message=message)
        if named_among(approver.name, policy.service_accounts):
            message = "is a service account: only a person can approve"
            yield Problem(pointer=f"/approvers/{index}/name", message=message)
        first = keys.setdefault("".join(approver.public_key.split()), index)
        if first != index:
            message = f"is also the key of approver {first}: one person would count twice"
            yield Problem(pointer=f"/approvers/{index}/public_key", message=message)
