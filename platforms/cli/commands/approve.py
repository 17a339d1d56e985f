"""`cfes approve`: an approver sees what a plan does now, and signs it or rejects it."""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connectors.connection import Connection
from core.clock import Clock, SystemClock
from core.errors import ApprovalRefused, AuthenticationFailed, PackError, ParameterError, PlanRefused
from core.instants import format_instant
from platforms.cli.command_list import PlainCommand
from platforms.cli.commands import options
from platforms.cli.commands.policy import VARIABLE, policy_file
from platforms.cli.inputs.approval_subject import DryRun, read_subject
from platforms.cli.inputs.documents import read_bytes, read_object
from platforms.cli.step_approval import can_answer, typed_answer
from platforms.cli.views.errors import report_errors
from platforms.cli.views.layout import facts, whole
from platforms.cli.views.palette import WARNING
from platforms.cli.views.screen import Screen, write
from remediation.guardrails.approvals.approval import Approval, Rejection, approve, approver_of, check_reason, reject
from remediation.guardrails.approvals.token import Signing
from remediation.guardrails.policy.loading import load_policy
from remediation.guardrails.policy.people import same_person
from remediation.guardrails.policy.policy import LONGEST_APPROVAL_HOURS, NO_POLICY, Policy

if TYPE_CHECKING:
    from connectors.email_security import EmailSecurity
    from remediation.guardrails.plans.plan import Plan

app = typer.Typer(add_completion=False, rich_markup_mode=None)

USUAL_HOURS = 8.0


class NotGiven(ApprovalRefused):
    """The approver said no, or nobody was there to say yes."""

    default_help = "Nothing was signed."


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
        typer.Option(
            metavar="HOURS", help=f"How long it is valid. [default: {USUAL_HOURS:g}, or what the policy allows]"
        ),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option("--reject", metavar="REASON", help="Reject the plan instead, for this reason."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the service: rely on what the file says.")
    ] = False,
    accept_differences: Annotated[
        bool,
        typer.Option("--accept-differences", help="Sign also where the service or the policy contradicts the file."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: options.Output = None,
) -> None:
    """Approve a plan: ask the service what it finds now, show it, ask you, and sign.

    The service is asked with your own token: a read token, in the same settings as for the actions. Without one the
    command says that it shows the file's claims only. It prints the approval, to be given in `approvals` with the plan;
    or with --reject a signed rejection, which stops the plan where it is given in `approvals`. Nothing is changed.
    """
    screen = Screen(output)
    with report_errors(screen), ExitStack() as opened:
        if key == "-":
            raise ParameterError("--key takes a file: standard input is for the plan", help="Nothing was signed.")
        if reason is not None:
            check_reason(reason)
        clock = SystemClock()
        subject = read_subject(read_object(plan, "PLAN"), clock.now())
        pem = read_bytes(key, "--key")
        _warn_of_readers(screen, key)
        approver, policy, most_hours = _approver(pem, name)
        if reason is None:
            _check_requester(subject, approver)
        lifetime = _hours(hours, most_hours) * 3600
        api = None if offline else _reading(clock)
        if api is not None:
            opened.callback(api.close)
        differences = _show(screen, subject, approver, policy, api, offline=offline)
        if differences and reason is None and not accept_differences:
            raise ApprovalRefused(
                f"the file differs from what was found: {'; '.join(differences)}",
                help="Nothing was signed. Ask for a new plan and check that. If you accept what is shown as DIFFERENT, "
                "add --accept-differences. To reject the plan, add --reject REASON.",
            )
        if not yes:
            _ask("Approve it? [y/N] " if reason is None else "Reject it? [y/N] ")
        _hand_over(screen, _signed(subject, approver, pem, clock, lifetime, reason))


def _signed(
    subject: Plan | DryRun, approver: str, pem: bytes, clock: Clock, lifetime: float, reason: str | None
) -> Approval | Rejection:
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


def _reading(clock: Clock) -> EmailSecurity | None:
    """Return a connection with the approver's own token, that changes nothing; None where no token is set.

    Raises: ConnectionSettingsError.
    """
    from connectors.email_security import EmailSecurity  # noqa: PLC0415 -- brings the whole connector

    try:
        connection = Connection.from_environment()
    except AuthenticationFailed:
        return None
    # The policy says who approves, not what the approver may see.
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
    """Show what is to be signed. Returns what contradicts the file. Raises: PlanRefused, and what a search raises."""
    # Both bring the whole connector.
    from platforms.cli.approval_findings import check_subject  # noqa: PLC0415
    from platforms.cli.views.approval import show_difference, show_subject  # noqa: PLC0415

    if api is not None and api.connection.account_id.lower() != subject.account_id.lower():
        raise ApprovalRefused(
            f"the plan is for account {subject.account_id}, and CLOUDFLARE_ACCOUNT_ID is {api.connection.account_id}",
            help="Nothing was signed. Set CLOUDFLARE_ACCOUNT_ID to the plan's account, if that is yours; or add "
            "--offline to rely on what the file says.",
        )
    try:
        findings = check_subject(subject, approver, policy, api)
    except PlanRefused:
        raise
    except PackError as error:
        raise error.restate(
            f"the service could not be asked what it finds now: {error.message}",
            help="Nothing was signed. Run it again; or add --offline to rely on what the file says.",
        ) from None
    why = "--offline is given" if offline else "no token is set (CLOUDFLARE_API_TOKEN)"
    show_subject(screen, subject, findings, offline_because=why)
    for difference in findings.differences:
        show_difference(screen, difference)
    return findings.differences


def _check_requester(subject: Plan | DryRun, approver: str) -> None:
    """Raises: ApprovalRefused where the approval would not count."""
    if subject.requested_by is not None and same_person(subject.requested_by, approver):
        raise ApprovalRefused(
            f"{subject.requested_by} is the requester, and requesters can't approve their own requests",
            help="Nothing was signed. Ask another approver whom the policy names.",
        )
    if not subject.requester_proved:
        raise ApprovalRefused(
            "nothing proves who requested the plan, so an approval of it would not count",
            help="Nothing was signed. Set CFES_REQUESTED_BY where the actions run, and make a new plan with "
            "preview-job, or a new dry run.",
        )


def _approver(pem: bytes, name: str | None) -> tuple[str, Policy, float]:
    """Return who approves, under which policy, and for how many hours at most.

    Raises: ParameterError, ApprovalRefused, PolicyUnusable.
    """
    path = policy_file()
    if path is None:
        if name is None:
            raise ParameterError(
                f"{VARIABLE} is not set, so nothing says whose key this is",
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
        raise ApprovalRefused(f"--as says {name[:64]!r}, and the key is {found}'s", help="Nothing was signed.")
    return found, policy, policy.approval_hours


def _hours(given: float | None, most: float) -> float:
    hours = min(USUAL_HOURS, most) if given is None else given
    # Written so that NaN is refused too.
    if not 0 < hours <= most:
        raise ParameterError(
            f"--hours must be more than 0 and at most {most:g}, the longest life of an approval",
            help="Nothing was signed.",
        )
    return hours


def _warn_of_readers(screen: Screen, key: str) -> None:
    try:
        mode = Path(key).stat().st_mode
    except (OSError, ValueError):
        return
    if mode & 0o077:
        screen.say("warning: others on this machine can read or change the key file: chmod 600 it", WARNING)


def _ask(question: str) -> None:
    """Raises: NotGiven unless a person says yes."""
    answer = None
    if can_answer():
        write(sys.stderr, question)
        answer = typed_answer()
    if answer is None:
        raise NotGiven(
            "there is no terminal to ask at",
            help="Nothing was signed. Check what is shown, then run it again with --yes.",
        )
    if answer.strip().lower() not in ("y", "yes"):
        raise NotGiven("the question was not answered with yes")


def _hand_over(screen: Screen, signed: Approval | Rejection) -> None:
    rows = {
        "approver": signed.approver,
        "plan_hash": signed.plan_hash,
        "expires_at": format_instant(signed.expires_at),
        **({"reason": signed.reason} if isinstance(signed, Rejection) else {}),
    }
    if screen.json:
        kind = "rejection" if isinstance(signed, Rejection) else "approval"
        screen.write_json({kind: signed.token, **rows})
        return
    facts(screen.out, list(rows.items()))
    # On a line of its own, however long: it is to be copied.
    whole(screen.out, signed.token)
