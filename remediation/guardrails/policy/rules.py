"""The parts of a policy: rules, approvers and budgets."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from connectors.connection import PERSON
from connectors.objects.job import ActionType, Destination, Reach, delivers

LONGEST_BUDGET_HOURS = 720.0

# A group of approvers: legal, security.
GROUP = r"^[A-Za-z0-9._-]{1,64}$"
Group = Annotated[str, Field(pattern=GROUP)]
Person = Annotated[str, Field(pattern=PERSON)]


_PUBLIC_KEY = re.compile(r"\s*-----BEGIN PUBLIC KEY-----\s[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*", re.ASCII)


def _pem(text: str) -> str:
    """Return the text of one public key. remediation.guardrails.approvals.keys checks that it is an Ed25519 key."""
    if "PRIVATE KEY" in text:
        raise ValueError(
            "is a private key, which only the approver may have: make a new pair, and put the public key here"
        )
    if not _PUBLIC_KEY.fullmatch(text):
        raise ValueError("is not the PEM text of one public key (-----BEGIN PUBLIC KEY-----)")
    return text


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _says_something(cls, value: object) -> object:
        """Refuse a key without a value: its lines may be commented out, and must not remove a limit."""
        if value is None:
            raise ValueError("is empty: leave the key out, or give it a value")
        return value


class Rule(Part):
    """The conditions of a requirement: all that are given must hold. A rule without conditions always applies."""

    actions: list[ActionType] | None = Field(
        None, min_length=1, description="MOVE, RELEASE or both. A MOVE to Inbox counts as both."
    )
    delivers: bool | None = Field(
        None, description="Whether messages are delivered to users' Inbox: by a RELEASE or by a MOVE to Inbox."
    )
    destinations: list[Destination] | None = Field(
        None, min_length=1, description="The destination folders of a MOVE. A RELEASE has none."
    )
    more_than_messages: int | None = Field(
        None, ge=0, description="More messages than this, one for each mailbox. Applies to an unknown number too."
    )
    more_than_recipients: int | None = Field(
        None, ge=0, description="More different recipients than this. Applies to an unknown number too."
    )

    @model_validator(mode="after")
    def _can_apply(self) -> Self:
        moves = [self._is_about("MOVE", destination) for destination in get_args(Destination)]
        if not any(moves) and not self._is_about("RELEASE", None):
            raise ValueError("can never apply: its conditions exclude each other")
        return self

    def _is_about(self, action: ActionType, destination: Destination | None) -> bool:
        """Return whether the conditions on action and folder hold; an unknown folder counts as a listed one."""
        into_inbox = delivers(action, destination)
        if self.actions is not None and action not in self.actions and not (into_inbox and "RELEASE" in self.actions):
            return False
        if self.delivers is not None and self.delivers != into_inbox:
            return False
        if self.destinations is None:
            return True
        return action == "MOVE" and (destination is None or destination in self.destinations)

    def applies(self, reach: Reach) -> bool:
        """Return whether all conditions hold. Unknown numbers count as too many, an unknown folder as a listed one."""
        return (
            self._is_about(reach.action, reach.destination)
            and _above(reach.messages, self.more_than_messages)
            and _above(reach.recipients, self.more_than_recipients)
        )


class ApprovalRule(Rule):
    """The conditions under which approvals are needed, and how many."""

    approvals: int = Field(1, ge=1, le=5, description="How many different approvers must have approved, 1 to 5.")
    one_from: list[Group] = Field(
        [], min_length=1, max_length=5, description="Groups of approvers: one approval from each, by different people."
    )


class Approver(Part):
    """A person who may approve."""

    name: str = Field(
        pattern=PERSON,
        description="A login or an address, as in CFES_REQUESTED_BY: requesters can't approve their own requests.",
    )
    public_key: Annotated[str, Field(max_length=1000), AfterValidator(_pem)] = Field(
        description="The approver's Ed25519 public key as PEM text."
    )
    groups: list[Group] = Field([], max_length=20, description="The groups that the approver belongs to.")


class DeleteRule(Part):
    """The conditions for deleting a job. `delete: refused` is short for a rule that forbids it."""

    evidence: Literal["required", "signed"] | None = Field(
        None, description="required: a bundle with every row. signed: also signed, with the pack's key or public_key."
    )
    public_key: Annotated[str, Field(max_length=1000), AfterValidator(_pem)] | None = Field(
        None,
        description="The Ed25519 public key of signed evidence, PEM text. [default: that of CFES_EVIDENCE_KEY]",
    )
    refused: Literal[True] | None = Field(None, description="Whether no job may be deleted.")

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> Self:
        if (self.refused is None) == (self.evidence is None):
            raise ValueError("must be `refused`, or have `evidence: required` or `evidence: signed`")
        if self.public_key is not None and self.evidence != "signed":
            raise ValueError("has a public_key, which is for `evidence: signed` only")
        return self


class Budget(Part):
    """A limit on changes within some hours, of all jobs of the pack or for each requester or destination."""

    hours: float = Field(gt=0, le=LONGEST_BUDGET_HOURS, description="How many hours back are counted.")
    messages: int | None = Field(None, ge=0, description="The most messages within these hours.")
    jobs: int | None = Field(None, ge=0, description="The most jobs, or lists of named messages, within these hours.")
    per: list[Literal["requester", "destination"]] = Field(
        [],
        description="Count for each requester, for each destination, or for each pair. By default all count together.",
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.messages is None and self.jobs is None:
            raise ValueError("has no limit: give messages, jobs or both")
        return self


def _above(number: int | None, limit: int | None) -> bool:
    return limit is None or number is None or number > limit
