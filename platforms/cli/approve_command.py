"""`cfes approve`: an approver looks at a plan and signs it."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.clock import SystemClock
from connectors.connection import PERSON
from connectors.errors import ApprovalRefused, ParameterError, PlanRefused, Problem
from connectors.policy import LONGEST_APPROVAL_HOURS, load_policy
from connectors.search import format_instant
from connectors.strict_yaml import below
from guardrails.approval import Approval, approve, approver_of
from platforms.cli import options
from platforms.cli.approval import typed_answer
from platforms.cli.commands import PlainCommand
from platforms.cli.documents import read_bytes, read_object
from platforms.cli.failures import told
from platforms.cli.policy_command import VARIABLE, policy_file
from platforms.cli.screen import Screen, safe, write
from platforms.cli.tables import facts, named_values

app = typer.Typer(add_completion=False, rich_markup_mode=None)

USUAL_HOURS = 8.0

UNCHECKABLE = (
    "this is no plan of preview-job, and it has no ids: what the file says can't be checked against its plan_hash"
)


class NotGiven(ApprovalRefused):
    """The approver said no, or nobody was there to say yes."""

    default_help = "Nothing was approved."


class DryRun(BaseModel):
    """What a dry run of a by-ID action says; other keys are left to whoever reads it."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)

    plan_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    account_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    action: str = Field(min_length=1, max_length=100)
    destination: str | None = Field(None, max_length=100)
    messages: int | None = Field(None, ge=0)
    recipients: int | None = Field(None, ge=0)
    requested_by: str | None = Field(None, pattern=PERSON)
    ids: list[str] | None = Field(None)


@dataclass(frozen=True)
class Subject:
    """What is to be approved. shown: what the approver has to see of it."""

    plan_hash: str
    account_id: str
    requested_by: str | None
    shown: list[tuple[str, object]]
    warnings: list[str]


@app.command("approve", cls=PlainCommand)
def approve_(
    plan: Annotated[str, typer.Argument(metavar="PLAN|-", help="The result of preview-job, or of a dry run, as JSON.")],
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="Your Ed25519 private key, PEM, unencrypted.")],
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help=f"Who you are. Not needed where ${VARIABLE} names your key."),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(metavar="HOURS", help=f"How long it holds. [default: {USUAL_HOURS:g}, or what the policy allows]"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: options.Output = None,
) -> None:
    """Approve a plan: show what it does, ask, and sign it.

    Prints the approval, which is handed over in `approvals` with the plan. Nothing is sent and nothing is changed.
    """
    screen = Screen(output)
    with told(screen):
        if key == "-":
            raise ParameterError("--key takes a file: standard input is for the plan", help="Nothing was approved.")
        now = SystemClock().now()
        subject = subject_of(read_object(plan, "PLAN"), now)
        pem = read_bytes(key, "--key")
        _warn_of_readers(screen, key)
        approver, most_hours = _approver(pem, name)
        if subject.requested_by is not None and subject.requested_by.casefold() == approver.casefold():
            raise ApprovalRefused(
                f"{approver} asked for it, and nobody approves their own",
                help="Nothing was approved. Let another approver whom the policy names look at it.",
            )
        lifetime = _hours(hours, most_hours) * 3600
        _show(screen, subject, approver)
        if not yes:
            _ask()
        approval = approve(
            plan_hash=subject.plan_hash,
            account_id=subject.account_id,
            approver=approver,
            private_key_pem=pem,
            now=now,
            lifetime_seconds=lifetime,
            jti=secrets.token_hex(16),
        )
        _hand_over(screen, approval)


def subject_of(document: Mapping[str, Any], now: datetime) -> Subject:
    """What a document asks to be approved.

    Raises: PlanRefused for a plan that was edited or is too old, ParameterError for what is none.
    """
    # What has a search is a plan, and has to prove it by its hash: without one it would be taken at its word.
    if "search_params" in document or "previewed_at" in document:
        return _of_plan(document, now)
    try:
        found = DryRun.model_validate(dict(document))
    except ValidationError as error:
        problems = [
            Problem(pointer="".join(below("", part) for part in one["loc"]), message=one["msg"])
            for one in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise ParameterError(
            f"PLAN is no plan: {'; '.join(p['pointer'] + ': ' + p['message'] for p in problems)}",
            problems=problems,
            help="Nothing was approved. Give the whole result of preview-job, or of a dry run, as it is.",
        ) from None
    unchecked = _checked_by_ids(found)
    warnings = [*_texts(document), unchecked]
    return Subject(found.plan_hash, found.account_id, found.requested_by, _facts(found), warnings)


def _checked_by_ids(found: DryRun) -> str:
    """What could not be checked against the hash, in words. Raises: PlanRefused where something does not fit it."""
    if found.ids is None:
        raise PlanRefused(UNCHECKABLE, help="Nothing was approved. Take the dry run of at most 10,000 messages, whole.")
    from guardrails.named_messages import Change, plan_hash  # noqa: PLC0415 -- brings the whole connector

    change = Change(found.action, found.destination)  # type: ignore[arg-type]  # any words: the hash decides
    if plan_hash(found.account_id, change, found.ids) != found.plan_hash or found.messages != len(set(found.ids)):
        raise PlanRefused("the file was changed after it was made: its plan_hash does not fit its content")
    return "the recipients and who asked are what the file says: the hash is over the messages and what is done to them"


def _of_plan(document: Mapping[str, Any], now: datetime) -> Subject:
    from guardrails.plan import read_plan  # noqa: PLC0415 -- brings the search's models

    plan = read_plan(document)
    plan.check_age(now)
    shown = _facts(plan)
    shown += [(f"search: {key}", value) for key, value in named_values(plan.search_params)]
    shown += [
        ("malicious", _number(plan.malicious)),
        ("can be undone", f"{'yes' if plan.reversibility.reversible else 'no'}. {plan.reversibility.how}"),
        ("counted at", plan.previewed_at),
    ]
    warnings = [
        *plan.warnings,
        *plan.parity_notes,
        *(f"protected: {name}" for name in plan.protected),
        *(f"a job would be refused as things stand: {r.type}: {r.message}" for r in plan.refusals),
    ]
    return Subject(plan.plan_hash, plan.account_id, plan.requested_by, shown, warnings)


def _facts(found: Any) -> list[tuple[str, object]]:
    return [
        ("account", found.account_id),
        ("action", found.action),
        ("destination", found.destination or "none"),
        ("messages", _number(found.messages)),
        ("recipients", _number(found.recipients)),
        ("asked by", found.requested_by or "nobody said"),
    ]


def _number(count: int | None) -> str:
    return "not known" if count is None else f"{count:,}"


def _texts(document: Mapping[str, Any]) -> list[str]:
    warnings = document.get("warnings")
    return [text for text in warnings if isinstance(text, str)] if isinstance(warnings, list) else []


def _approver(pem: bytes, name: str | None) -> tuple[str, float]:
    """Who approves, and for how many hours at most. Raises: ParameterError, ApprovalRefused, PolicyUnusable."""
    path = policy_file()
    if path is None:
        if name is None:
            raise ParameterError(
                f"whose key is it? {VARIABLE} names no policy: give --as NAME", help="Nothing was approved."
            )
        return name, LONGEST_APPROVAL_HOURS
    policy = load_policy(path)
    found = approver_of(pem, policy)
    if found is None:
        raise ApprovalRefused(
            "the policy does not name the one whose key this is",
            help=f"Nothing was approved. Take your own key, or have its public half added to the policy ({VARIABLE}).",
        )
    if name is not None and name.casefold() != found.casefold():
        raise ApprovalRefused(f"--as says {name[:64]!r}, and the key is {found}'s", help="Nothing was approved.")
    return found, policy.approval_hours


def _hours(given: float | None, most: float) -> float:
    hours = min(USUAL_HOURS, most) if given is None else given
    # Written so that NaN is refused too.
    if not 0 < hours <= most:
        raise ParameterError(
            f"--hours must be more than 0 and at most {most:g}, the longest life of an approval",
            help="Nothing was approved.",
        )
    return hours


def _warn_of_readers(screen: Screen, key: str) -> None:
    try:
        mode = Path(key).stat().st_mode
    except (OSError, ValueError):
        return
    if mode & 0o077:
        screen.say("warning: others on this machine can read or change the key file: chmod 600 it", "yellow")


def _show(screen: Screen, subject: Subject, approver: str) -> None:
    screen.say("To be approved", "bold")
    screen.facts([*subject.shown, ("plan_hash", subject.plan_hash), ("approver", approver)])
    for warning in subject.warnings:
        screen.say(f"warning: {warning}", "yellow")


def _ask() -> None:
    """Raises: NotGiven unless a person says yes."""
    write(sys.stderr, "Approve it? [y/N] ")
    answer = typed_answer()
    if answer is None:
        write(sys.stderr, "\n")
        raise NotGiven("there is nobody to ask", help="Nothing was approved. Where it has been looked at, add --yes.")
    if answer.strip().lower() not in ("y", "yes"):
        raise NotGiven("it was not approved")


def _hand_over(screen: Screen, approval: Approval) -> None:
    expires = format_instant(approval.expires_at)
    if screen.json:
        screen.write_json(
            {
                "approval": approval.token,
                "approver": approval.approver,
                "plan_hash": approval.plan_hash,
                "expires_at": expires,
            }
        )
        return
    facts(screen.out, [("approver", approval.approver), ("plan_hash", approval.plan_hash), ("expires_at", expires)])
    # On a line of its own, however long: it is to be copied.
    screen.out.print(safe(approval.token), soft_wrap=True)
