"""`cfes approve`: show an approver what a plan does now, then sign or reject it."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from core.clock import Clock, SystemClock
from core.errors import ApprovalRefused, AuthenticationFailed, PackError, ParameterError, PlanRefused
from core.instants import format_instant
from platforms.cli.approval_findings import check_subject
from platforms.cli.commands import options
from platforms.cli.commands.policy import VARIABLE, policy_file
from platforms.cli.errors import NotGiven
from platforms.cli.inputs.approval_subject import DryRun, read_subject
from platforms.cli.inputs.documents import read_bytes, read_object
from platforms.cli.step_approval import can_answer, typed_answer
from platforms.cli.views.approval import show_difference, show_subject
from platforms.cli.views.errors import report_errors
from platforms.cli.views.layout import facts, whole
from platforms.cli.views.palette import WARNING
from platforms.cli.views.screen import Screen, write
from remediation.guardrails.approvals.approval import approve, approver_of, check_reason, reject
from remediation.guardrails.approvals.token import SignedToken, Signing
from remediation.guardrails.plans.plan import Plan
from remediation.guardrails.policy.loading import load_policy
from remediation.guardrails.policy.people import same_person
from remediation.guardrails.policy.policy import LONGEST_APPROVAL_HOURS, NO_POLICY, Policy

app = typer.Typer(add_completion=False, rich_markup_mode=None)

USUAL_HOURS = 8.0


@app.command("approve", cls=options.PlainCommand)
def approve_(
    plan: Annotated[str, typer.Argument(metavar="PLAN|-", help="The result of preview-job or of a dry run, as JSON.")],
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="Your Ed25519 private key (PEM, unencrypted).")],
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help=f"Your name. Not needed if ${VARIABLE} lists your key."),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS",
            help=f"How long the approval is valid. [default: {USUAL_HOURS:g}, or less if the policy says so]",
        ),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option("--reject", metavar="REASON", help="Reject the plan, and give the reason."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the service. Rely on the numbers in the file.")
    ] = False,
    accept_differences: Annotated[
        bool,
        typer.Option("--accept-differences", help="Sign even if the service or the policy contradicts the file."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation.")] = False,
    output: options.Output = None,
) -> None:
    """Approve a plan: search again with your own token, show the result, and sign after your confirmation.

    Set CLOUDFLARE_API_TOKEN to your own read token. Without a token the command shows only the numbers in the file, and
    says so. It prints the approval; pass it in `approvals` together with the plan. With --reject it prints a signed
    rejection instead, which stops the plan. The command changes nothing in Cloudflare.
    """
    screen = Screen(output)
    with report_errors(screen):
        if key == "-":
            raise ParameterError("--key must name a file: standard input is for the plan", help="Nothing was signed.")
        document = read_object(plan, "PLAN")
        terms = Terms(key, name, hours, reason, offline, accept_differences, yes)
        print_signed(screen, show_and_sign(screen, document, terms))


@dataclass(frozen=True)
class Terms:
    """How to sign: the options of the command."""

    key: str
    name: str | None = None
    hours: float | None = None
    reason: str | None = None
    offline: bool = False
    accept_differences: bool = False
    yes: bool = False


def show_and_sign(screen: Screen, document: Mapping[str, Any], terms: Terms) -> SignedToken:
    """Show an approver what a plan does now, ask, and return the signed approval or rejection.

    Raises: NotGiven, ApprovalRefused, PlanRefused, ParameterError, PolicyUnusable, and the errors of a search.
    """
    with ExitStack() as opened:
        if terms.reason is not None:
            check_reason(terms.reason)
        clock = SystemClock()
        subject = read_subject(document, clock.now())
        pem = read_bytes(terms.key, "--key")
        _warn_of_readers(screen, terms.key)
        approver, policy, most_hours = _approver(pem, terms.name)
        if terms.reason is None:
            _check_requester(subject, approver)
        lifetime = _hours(terms.hours, most_hours) * 3600
        api = None if terms.offline else _read_connection(clock)
        if api is not None:
            opened.callback(api.close)
        differences = _show(screen, subject, approver, policy, api, offline=terms.offline)
        if differences and terms.reason is None and not terms.accept_differences:
            raise ApprovalRefused(
                f"the service or the policy contradicts the file: {'; '.join(differences)}",
                help="Nothing was signed. Ask for a new plan. To accept the lines marked DIFFERENT, add "
                "--accept-differences. To reject the plan, add --reject REASON.",
            )
        if not terms.yes:
            _ask("Approve this plan? [y/N] " if terms.reason is None else "Reject this plan? [y/N] ")
        return _sign(subject, approver, pem, clock, lifetime, terms.reason)


def _sign(
    subject: Plan | DryRun, approver: str, pem: bytes, clock: Clock, lifetime: float, reason: str | None
) -> SignedToken:
    signing = Signing(
        plan_hash=subject.plan_hash,
        account_id=subject.account_id,
        approver=approver,
        private_key_pem=pem,
        now=clock.now(),
        lifetime_seconds=lifetime,
        jti=secrets.token_hex(16),
    )
    return approve(signing) if reason is None else reject(signing, reason)


def _read_connection(clock: Clock) -> EmailSecurity | None:
    """Return a read-only connection with the approver's own token; None if no token is set.

    Raises: ConnectionSettingsError.
    """
    try:
        connection = Connection.from_environment()
    except AuthenticationFailed:
        return None
    # The policy restricts changes, not what an approver may read.
    return EmailSecurity(connection.model_copy(update={"policy_file": None, "read_only": True}), clock=clock)


def _show(
    screen: Screen,
    subject: Plan | DryRun,
    approver: str,
    policy: Policy,
    api: EmailSecurity | None,
    *,
    offline: bool,
) -> list[str]:
    """Show the plan or dry run. Returns the contradictions to it. Raises: PlanRefused, and the errors of a search."""
    if api is not None and api.connection.account_id.lower() != subject.account_id.lower():
        raise ApprovalRefused(
            f"the plan is for account {subject.account_id}, and CLOUDFLARE_ACCOUNT_ID is {api.connection.account_id}",
            help="Nothing was signed. Set CLOUDFLARE_ACCOUNT_ID to the plan's account, if that is yours. Or add "
            "--offline to rely on the file.",
        )
    try:
        findings = check_subject(subject, approver, policy, api)
    except PlanRefused:
        raise
    except PackError as error:
        raise error.restate(
            f"the search of the plan failed: {error.message}",
            help="Nothing was signed. Run it again, or add --offline to rely on the file.",
        ) from None
    why = "--offline is set" if offline else "CLOUDFLARE_API_TOKEN is not set"
    show_subject(screen, subject, findings, offline_because=why)
    for difference in findings.differences:
        show_difference(screen, difference)
    return findings.differences


def _check_requester(subject: Plan | DryRun, approver: str) -> None:
    """Check that an approval by this person would count. Raises: ApprovalRefused."""
    if subject.requested_by is not None and same_person(subject.requested_by, approver):
        raise ApprovalRefused(
            f"{subject.requested_by} is the requester, and requesters can't approve their own requests",
            help="Nothing was signed. Ask another approver of the policy.",
        )
    if not subject.requester_proved:
        raise ApprovalRefused(
            "nothing proves who requested the plan, so an approval of it would not count",
            help="Nothing was signed. Set CFES_REQUESTED_BY where the actions run. Then make a new plan with "
            "preview-job, or a new dry run.",
        )


def _approver(pem: bytes, name: str | None) -> tuple[str, Policy, float]:
    """Return the approver, the policy, and the maximum hours of an approval.

    Raises: ParameterError, ApprovalRefused, PolicyUnusable.
    """
    path = policy_file()
    if path is None:
        if name is None:
            raise ParameterError(
                f"{VARIABLE} is not set, so the owner of the key is not known",
                help=f"Nothing was signed. Set {VARIABLE} to the policy, or add --as NAME.",
            )
        return name, NO_POLICY, LONGEST_APPROVAL_HOURS
    policy = load_policy(path)
    found = approver_of(pem, policy)
    if found is None:
        raise ApprovalRefused(
            "the policy does not name an approver with this key",
            help=f"Nothing was signed. Use your own key, or have its public key added to the policy ({VARIABLE}).",
        )
    if name is not None and name.casefold() != found.casefold():
        raise ApprovalRefused(
            f"--as is {name[:64]!r}, but the key belongs to {found}", help="Nothing was signed. Leave out --as."
        )
    return found, policy, policy.approval_hours


def _hours(given: float | None, most: float) -> float:
    hours = min(USUAL_HOURS, most) if given is None else given
    # This form also refuses NaN.
    if not 0 < hours <= most:
        raise ParameterError(
            f"--hours must be more than 0 and at most {most:g}",
            help=f"Nothing was signed. Give at most --hours {most:g}.",
        )
    return hours


def _warn_of_readers(screen: Screen, key: str) -> None:
    try:
        mode = Path(key).stat().st_mode
    except (OSError, ValueError):
        return
    if mode & 0o077:
        screen.say(f"warning: other users can read or change the key file. Run: chmod 600 {shlex.quote(key)}", WARNING)


def _ask(question: str) -> None:
    """Ask for confirmation. Raises: NotGiven unless a person answers yes."""
    answer = None
    if can_answer():
        write(sys.stderr, question)
        answer = typed_answer()
    if answer is None:
        raise NotGiven(
            "there is no terminal to confirm on",
            help="Nothing was signed. Review the plan above, then run it again with --yes.",
        )
    if answer.strip().lower() not in ("y", "yes"):
        raise NotGiven("you did not answer yes")


def print_signed(screen: Screen, signed: SignedToken) -> None:
    """Show the approval or rejection."""
    rows = {
        "approver": signed.approver,
        "plan_hash": signed.plan_hash,
        "expires_at": format_instant(signed.expires_at),
        **({"reason": signed.reason} if signed.kind == "rejection" else {}),
    }
    if screen.json:
        screen.write_json({signed.kind: signed.token, **rows})
        return
    facts(screen.out, list(rows.items()))
    # On its own line, however long, so that it can be copied.
    whole(screen.out, signed.token)
