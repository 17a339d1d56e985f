"""The organisation's policy: limits, what is protected, what needs a plan or approvals.

Parameters override only what it names. It is a YAML file that the setting CFES_POLICY names; docs/policy.md shows one.
What can't be read in full is refused in full: a misspelt limit that is skipped would be no limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from connectors.addresses import LONGEST_ENTRY, AddressSet, read_domain_entry, read_entry
from connectors.connection import PERSON
from connectors.errors import PolicyUnusable, Problem, printable
from connectors.job import ActionType, Destination, delivers
from connectors.people import named_among, same_person, unmatched_groups
from connectors.policy_file import read_policy_file
from connectors.strict_yaml import MAX_BYTES, YamlRefused, below, read

# Thirty days. An approval is for a plan of today's mail.
LONGEST_APPROVAL_HOURS = 720.0

LONGEST_BUDGET_HOURS = 720.0

# The parameters that lift a guardrail. Where a policy is set it has to name them.
Override = Literal["allow_broad_search", "allow_irreversible", "allow_malicious", "allow_open_window"]

# More of them help nobody, and a file of nonsense has thousands.
MOST_PROBLEMS = 50

_PUBLIC_KEY = re.compile(r"\s*-----BEGIN PUBLIC KEY-----\s[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*", re.ASCII)


def _pem(text: str) -> str:
    """The text itself. Whether the key is an Ed25519 key is seen by guardrails.approver_keys."""
    if "PRIVATE KEY" in text:
        raise ValueError(
            "is a private key: it belongs to the approver alone; make a new pair, and put the public key here"
        )
    if not _PUBLIC_KEY.fullmatch(text):
        raise ValueError("is no PEM text of one public key (-----BEGIN PUBLIC KEY-----)")
    return text


def _guarded(text: str) -> str:
    read_entry(text)
    return text


def _whole_number(value: object) -> object:
    """The value itself; `true` and `1.0` equal 1, and are no version."""
    return value if type(value) is int else None


# A group of approvers: legal, security.
GROUP = r"^[A-Za-z0-9._-]{1,64}$"
Group = Annotated[str, Field(pattern=GROUP)]
Person = Annotated[str, Field(pattern=PERSON)]


def _own(text: str) -> str:
    read_domain_entry(text)
    return text


Guarded = Annotated[str, Field(max_length=LONGEST_ENTRY), AfterValidator(_guarded)]
OwnDomain = Annotated[str, Field(max_length=LONGEST_ENTRY), AfterValidator(_own)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _says_something(cls, value: object) -> object:
        """A key without a value, its lines commented out perhaps, must not lift a limit."""
        if value is None:
            raise ValueError("is empty: leave the key out, or give it a value")
        return value


class Rule(_Part):
    """When something is needed: all conditions given must hold. A rule without conditions always applies."""

    actions: list[ActionType] | None = Field(
        None, min_length=1, description="MOVE, RELEASE or both. A MOVE to Inbox counts as both."
    )
    delivers: bool | None = Field(
        None, description="Whether messages come into users' Inbox: by a RELEASE or by a MOVE to Inbox."
    )
    destinations: list[Destination] | None = Field(
        None, min_length=1, description="The folders that a move goes to. A release goes to none of them."
    )
    more_than_messages: int | None = Field(
        None, ge=0, description="Above this number of messages, a copy in each mailbox counted. Holds if not known."
    )
    more_than_recipients: int | None = Field(
        None, ge=0, description="Above this number of different recipients. Holds if not known."
    )

    @model_validator(mode="after")
    def _can_apply(self) -> Self:
        moves = [self._is_about("MOVE", destination) for destination in get_args(Destination)]
        if not any(moves) and not self._is_about("RELEASE", None):
            raise ValueError("can never apply: its conditions exclude each other")
        return self

    def _is_about(self, action: ActionType, destination: Destination | None) -> bool:
        """Whether the conditions on what is done hold; an unknown destination counts as the listed one."""
        into_inbox = delivers(action, destination)
        if self.actions is not None and action not in self.actions and not (into_inbox and "RELEASE" in self.actions):
            return False
        if self.delivers is not None and self.delivers != into_inbox:
            return False
        if self.destinations is None:
            return True
        return action == "MOVE" and (destination is None or destination in self.destinations)

    def applies(
        self, action: ActionType, destination: Destination | None, messages: int | None, recipients: int | None
    ) -> bool:
        """Whether all conditions hold; what is not known counts as too many, and as the listed destination."""
        if not self._is_about(action, destination):
            return False
        return _above(messages, self.more_than_messages) and _above(recipients, self.more_than_recipients)


class ApprovalRule(Rule):
    """When approvals are needed, and how many."""

    approvals: int = Field(1, ge=1, le=5, description="How many different approvers must have approved, 1 to 5.")
    one_from: list[Group] = Field(
        [], min_length=1, max_length=5, description="Groups of approvers: one approval from each, by different people."
    )


class Approver(_Part):
    """Who may approve."""

    name: str = Field(
        pattern=PERSON, description="A login or an address, as CFES_REQUESTED_BY gives it: nobody approves their own."
    )
    public_key: Annotated[str, Field(max_length=1000), AfterValidator(_pem)] = Field(
        description="The approver's Ed25519 public key as PEM text."
    )
    groups: list[Group] = Field([], max_length=20, description="The groups that the approver belongs to.")


class DeleteRule(_Part):
    """What must hold before a job is deleted. `delete: refused` is short for a rule that forbids it."""

    evidence: Literal["required", "signed"] | None = Field(
        None, description="A bundle that holds every row of the job; signed: with the pack's key, or public_key."
    )
    public_key: Annotated[str, Field(max_length=1000), AfterValidator(_pem)] | None = Field(
        None,
        description="The Ed25519 public key of signed evidence, PEM text. [default: that of CFES_EVIDENCE_KEY]",
    )
    refused: Literal[True] | None = Field(None, description="Whether no job is deleted at all.")

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> Self:
        if (self.refused is None) == (self.evidence is None):
            raise ValueError("must be `refused`, or have `evidence: required` or `evidence: signed`")
        if self.public_key is not None and self.evidence != "signed":
            raise ValueError("has a public_key, which is for `evidence: signed` only")
        return self


def _delete_rule(value: object) -> object:
    return {"refused": True} if value == "refused" else value


class Budget(_Part):
    """What may be changed within some hours, by all jobs of the pack together or by each requester or destination."""

    hours: float = Field(gt=0, le=LONGEST_BUDGET_HOURS, description="How far back is counted, in hours.")
    messages: int | None = Field(None, ge=0, description="No more messages than this within these hours.")
    jobs: int | None = Field(None, ge=0, description="No more jobs than this within these hours.")
    per: list[Literal["requester", "destination"]] = Field(
        [], description="Count for each requester, for each destination, or for each pair; together where not given."
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.messages is None and self.jobs is None:
            raise ValueError("limits nothing: give messages, jobs or both")
        return self


class Policy(_Part):
    """What the organisation allows. A limit that is not given is none."""

    policy: Annotated[Literal[1], BeforeValidator(_whole_number)] = Field(description="The version of this format: 1.")
    max_messages: int | None = Field(
        None, ge=0, description="No job and no by-ID action on more messages than this, a copy in each mailbox counted."
    )
    max_recipients: int | None = Field(None, ge=0, description="No job on messages of more different recipients.")
    max_drift_percent: float | None = Field(
        None, ge=0, le=1000, description="How far the search may be from its plan, in percent of the plan's messages."
    )
    destinations: list[Destination] | None = Field(
        None, description="The folders that messages may be moved to. An empty list allows none; not given, all."
    )
    protected_recipients: list[Guarded] = Field(
        [], description="Addresses and domains whose mailboxes are not touched. A domain covers its subdomains."
    )
    protected_senders: list[Guarded] = Field(
        [], description="Addresses and domains whose messages are not touched. A domain covers its subdomains."
    )
    own_domains: list[OwnDomain] = Field(
        [],
        description="The organisation's own domains: a search for one narrows nothing, a sender in one may be its own.",
    )
    overrides: list[Override] = Field(
        [], description="The `allow_...` parameters that have an effect. Without it none of them does."
    )
    budgets: list[Budget] = Field(
        [], max_length=100, description="What may be changed within some hours, over several jobs."
    )
    reason_needed: bool = Field(False, description="Whether every change needs a `comment` that says why.")
    observe: bool = Field(
        False, description="Change nothing: every check is made, and the write is refused and logged instead."
    )
    plan_needed: list[Rule] = Field(
        [],
        max_length=100,
        description="When a job needs a plan: any rule that applies. A list of named messages is its own plan.",
    )
    approval_needed: list[ApprovalRule] = Field(
        [], max_length=100, description="When approvals are needed: the most that any rule which applies asks for."
    )
    approvers: list[Approver] = Field([], max_length=100, description="Who may approve, each with a public key.")
    service_accounts: list[Person] = Field(
        [],
        max_length=100,
        description="Names that no person stands behind for certain: they approve nothing, and what they ask for needs "
        "one more approval.",
    )
    approval_hours: float = Field(
        24, gt=0, le=LONGEST_APPROVAL_HOURS, description="The longest life of an approval, in hours."
    )

    delete: Annotated[DeleteRule, BeforeValidator(_delete_rule)] | None = Field(
        None, description="What must hold before a job is deleted: `refused`, or a map with `evidence`."
    )

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        problems = list(_contradictions(self))
        if problems:
            raise PydanticCustomError("contradictions", "contradicts itself", {"problems": problems})
        return self

    @property
    def counts(self) -> bool:
        """Whether something in it can only be kept by counting what a search finds."""
        rules = [*self.plan_needed, *self.approval_needed]
        return bool(
            self.max_messages is not None
            or self.max_recipients is not None
            or self.protected_recipients
            or self.protected_senders
            or any(budget.messages is not None for budget in self.budgets)
            or any(r.more_than_messages is not None or r.more_than_recipients is not None for r in rules)
        )

    def needs_plan(
        self, action: ActionType, destination: Destination | None, messages: int | None, recipients: int | None
    ) -> bool:
        """Whether a plan is needed. None: a number that is not known, which counts as too many."""
        return any(rule.applies(action, destination, messages, recipients) for rule in self.plan_needed)

    def approvals_needed(
        self, action: ActionType, destination: Destination | None, messages: int | None, recipients: int | None
    ) -> int:
        """How many different approvers must have approved. None: a number that is not known."""
        asked = [r.approvals for r in self.approval_needed if r.applies(action, destination, messages, recipients)]
        return max([*asked, len(self.groups_needed(action, destination, messages, recipients))], default=0)

    def groups_needed(
        self, action: ActionType, destination: Destination | None, messages: int | None, recipients: int | None
    ) -> tuple[str, ...]:
        """The groups that one approver each must have approved: those of all rules that apply."""
        rules = (r for r in self.approval_needed if r.applies(action, destination, messages, recipients))
        return tuple(dict.fromkeys(group for rule in rules for group in rule.one_from))

    def protects_recipient(self, address: str) -> bool:
        """Whether the mailbox must not be touched."""
        return self._recipients.covers(address)

    def protects_sender(self, address: str) -> bool:
        """Whether messages from this address, or this domain, must not be touched."""
        return self._senders.covers(address)

    def allows_destination(self, destination: Destination) -> bool:
        """Whether messages may be moved there."""
        return self.destinations is None or destination in self.destinations

    @cached_property
    def _recipients(self) -> AddressSet:
        return AddressSet(self.protected_recipients)

    @cached_property
    def _senders(self) -> AddressSet:
        return AddressSet(self.protected_senders)


# Made without validation: to build the validators takes time at each start, and most processes have no policy.
NO_POLICY = Policy.model_construct(policy=1)


def load_policy(path: str) -> Policy:
    """Return the policy in a YAML file of at most 256 KiB.

    Raises: PolicyUnusable with every problem and its JSON pointer, or where another user can change the file.
    """
    text = _text(path)
    try:
        document = read(text).data
        if document is not None:
            return Policy.model_validate(document)
        problems = [Problem(pointer="", message="is empty: the least that a policy says is `policy: 1`")]
    except YamlRefused as error:
        at = "" if error.line is None else f"line {error.line}: "
        problems = [Problem(pointer=error.pointer, message=f"{at}{error.message}")]
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        problems = [problem for one in found[:MOST_PROBLEMS] for problem in _problems(one)]
        if len(found) > MOST_PROBLEMS:
            problems.append(Problem(pointer="", message=f"and {len(found) - MOST_PROBLEMS} more problems"))
    raise unusable(path, problems)


def unusable(path: str | None, problems: list[Problem]) -> PolicyUnusable:
    """The error for a policy with these problems; `path` where it is known."""
    named = "" if path is None else f" {path[:200]!r}"
    said = "; ".join(f"{p['pointer'] or '/'}: {p['message']}" for p in problems)
    return PolicyUnusable(f"the policy{named} can't be used: {said}", problems=problems)


def _text(path: str) -> str:
    data = read_policy_file(path, MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise PolicyUnusable(f"the policy {path[:200]!r} is larger than {MAX_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PolicyUnusable(f"the policy {path[:200]!r} is not UTF-8 text") from None


def _above(number: int | None, limit: int | None) -> bool:
    return limit is None or number is None or number > limit


def _contradictions(policy: Policy) -> Iterator[Problem]:
    members = {approver.name: approver.groups for approver in policy.approvers}
    for index, rule in enumerate(policy.approval_needed):
        if rule.approvals > len(policy.approvers):
            message = f"needs {rule.approvals} approvals, and there are {len(policy.approvers)} approvers"
            yield Problem(pointer=f"/approval_needed/{index}/approvals", message=message)
        if len(set(rule.one_from)) < len(rule.one_from):
            yield Problem(pointer=f"/approval_needed/{index}/one_from", message="names a group twice")
        elif missing := unmatched_groups(rule.one_from, members):
            message = f"can never be met: no approver of their own is left for {', '.join(missing)}"
            yield Problem(pointer=f"/approval_needed/{index}/one_from", message=message)
    yield from _same_approvers(policy)


def _same_approvers(policy: Policy) -> Iterator[Problem]:
    keys: dict[str, int] = {}
    for index, approver in enumerate(policy.approvers):
        before = policy.approvers[:index]
        earlier = next((n for n, other in enumerate(before) if same_person(approver.name, other.name)), None)
        if earlier is not None:
            message = f"is that of approver {earlier} too: one person would count twice"
            yield Problem(pointer=f"/approvers/{index}/name", message=message)
        if named_among(approver.name, policy.service_accounts):
            message = "is a service account: only a person can approve"
            yield Problem(pointer=f"/approvers/{index}/name", message=message)
        first = keys.setdefault("".join(approver.public_key.split()), index)
        if first != index:
            message = f"is that of approver {first} too: one person would count twice"
            yield Problem(pointer=f"/approvers/{index}/public_key", message=message)


def _problems(error: Any) -> Iterator[Problem]:
    """One of pydantic's errors in the words of the format."""
    if error["type"] == "contradictions":
        yield from error["ctx"]["problems"]
        return
    pointer = ""
    for part in error["loc"]:
        pointer = below(pointer, part)
    said = str(error["msg"])
    match error["type"]:
        case "extra_forbidden":
            said = f"is no key that is known here{_did_you_mean(error['loc'])}"
        case "missing":
            said = "is required"
        case "model_type":
            said = "must be a map of keys and values"
        case "literal_error":
            said = f"must be {error['ctx']['expected']}"
        case "string_pattern_mismatch":
            group = "groups" in error["loc"] or "one_from" in error["loc"]
            said = f"must be 1 to 64 letters, digits and {'. _ -' if group else '. _ % + @ -'}"
        case "value_error":
            said = said.removeprefix("Value error, ")
        case _:
            said = said[:1].lower() + said[1:]
    yield Problem(pointer=pointer, message=printable(said)[:500])


def _did_you_mean(location: tuple[Any, ...]) -> str:
    import difflib  # noqa: PLC0415 -- only where something is wrong

    models: dict[Any, type[BaseModel]] = {
        "plan_needed": Rule,
        "approval_needed": ApprovalRule,
        "approvers": Approver,
        "delete": DeleteRule,
        "budgets": Budget,
    }
    known = list((models[location[0]] if len(location) > 1 else Policy).model_fields)
    close = difflib.get_close_matches(str(location[-1])[:100].casefold(), known, n=1)
    return f": did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
