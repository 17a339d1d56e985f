"""`cfes policy`: create, check and show your organization's policy."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from actions.contract.streams import record
from connectors.connection import environment_variables
from connectors.objects.job import IRREVERSIBLE_DESTINATIONS
from core.errors import ParameterError, PolicyUnusable
from core.quantity import counted
from core.settings import read_setting
from platforms.cli.commands import options
from platforms.cli.views.errors import report_errors
from platforms.cli.views.layout import facts, paragraph, whole
from platforms.cli.views.palette import STRONG, WARNING
from platforms.cli.views.screen import Screen
from remediation.guardrails.approvals.keys import evidence_key, public_keys
from remediation.guardrails.plans.plan import DEFAULT_DRIFT_PERCENT
from remediation.guardrails.policy.document import policy_hash
from remediation.guardrails.policy.loading import load_policy
from remediation.guardrails.policy.policy import Policy
from remediation.guardrails.policy.rules import ApprovalRule, Approver, Budget, Rule

VARIABLE = environment_variables()["policy_file"]
KEY_VARIABLE = environment_variables()["plan_key"]

STARTER = Path(__file__).with_name("starter_policy.yaml")

app = typer.Typer(
    name="policy",
    help="Create and check your organization's policy.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _root() -> None:
    """Create and check your organization's policy: limits that parameters can't override."""


@app.command(cls=options.PlainCommand)
def check(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help=f"The policy, a YAML file. [default: ${VARIABLE}]")
    ] = None,
    output: options.Output = None,
) -> None:
    """Check a policy and show its rules.

    Exits 3 if the policy is invalid, and lists each problem and its place.

    Also checks the approvers' public keys, which needs the extra `approval`.
    """
    screen = Screen(output)
    with report_errors(screen):
        path = file or policy_file()
        if path is None:
            raise ParameterError("no policy is given", help=f"Nothing was checked. Give a file, or set {VARIABLE}.")
        try:
            policy = load_policy(path)
            if policy.approvers:
                public_keys(policy)
            evidence_key(policy)
        except PolicyUnusable as error:
            error.help = (
                "While the policy is invalid, every change is refused. Correct the policy, then check it again."
            )
            raise
        _show(screen, path, policy)
        if (policy.plan_needed or policy.approval_needed) and read_setting(
            os.environ, KEY_VARIABLE, guard=True
        ) is None:
            screen.say(
                f"warning: the policy requires sealed plans, and {KEY_VARIABLE} is not set here, so every plan would "
                f"be refused. Set {KEY_VARIABLE}_FILE to the plan.key that `cfes policy init DIR` wrote",
                WARNING,
            )


@app.command(cls=options.PlainCommand)
def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory for the files. It is created if it is missing.")
    ],
    output: options.Output = None,
) -> None:
    """Create a first policy and the key that seals plans.

    Writes DIR/policy.yaml and DIR/plan.key. Never overwrites a file.

    Prints the two environment variables to set.
    """
    screen = Screen(output)
    with report_errors(screen):
        made = {"policy": directory / "policy.yaml", "plan_key": directory / "plan.key"}
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            for path in made.values():
                if os.path.lexists(path):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            _write_new(made["plan_key"], secrets.token_hex(32) + "\n", 0o600)
            _write_new(made["policy"], STARTER.read_text(encoding="utf-8"), 0o644)
        except OSError as error:
            raise ParameterError(
                f"{str(error.filename)[:200]!r} can't be written: {error.strerror}",
                help="Nothing was overwritten. Choose a directory that has neither policy.yaml nor plan.key.",
            ) from None
        record(changed=True, place=str(directory))
        _warn_of_refusal(screen, made["policy"])
        settings = {VARIABLE: str(made["policy"].resolve()), f"{KEY_VARIABLE}_FILE": str(made["plan_key"].resolve())}
        if screen.json:
            screen.write_json({"files": [str(path) for path in made.values()], "settings": settings})
            return
        paragraph(
            screen.out,
            "Set these variables where the actions run. Let only the user that runs them read plan.key.",
            STRONG,
        )
        for name, value in settings.items():
            whole(screen.out, f"export {name}={shlex.quote(value)}")


def _warn_of_refusal(screen: Screen, path: Path) -> None:
    """Warn at once if the pack will refuse the policy because of its directory."""
    try:
        load_policy(str(path))
    except PolicyUnusable as error:
        screen.say(f"warning: {error.message}", WARNING)


def _write_new(path: Path, text: str, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "w") as file:
        file.write(text)


def policy_file() -> str | None:
    """Return the file that the setting names. Raises: ConnectionSettingsError."""
    return read_setting(os.environ, VARIABLE, guard=True)


def _show(screen: Screen, path: str, policy: Policy) -> None:
    if screen.json:
        screen.write_json({"file": path, "sha256": policy_hash(policy), "policy": policy.model_dump(mode="json")})
        return
    whole(screen.out, f"{path}: valid", STRONG)
    facts(screen.out, [*_rules_of(policy), ("hash", policy_hash(policy))])


def _rules_of(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield the policy's rules, one line each."""
    for name, limit in (("messages", policy.max_messages), ("recipients", policy.max_recipients)):
        yield f"max {name}", "no limit" if limit is None else f"{limit:,}"
    yield "max drift", _drift(policy.max_drift_percent)
    yield "destinations", "any folder" if policy.destinations is None else _joined(policy.destinations)
    yield "protected recipients", _joined(policy.protected_recipients)
    yield "protected senders", _joined(policy.protected_senders)
    yield "own domains", _joined(policy.own_domains)
    yield "overrides", _joined(policy.overrides)
    yield from _each("budgets", [_budget(budget) for budget in policy.budgets] or ["none"])
    yield "reason required", "yes" if policy.reason_needed else "no"
    yield "observe only", "yes: every change is refused" if policy.observe else "no"
    yield from _each("plan required", [_condition(rule) for rule in policy.plan_needed])
    yield from _each("approval required", [_condition(rule) for rule in policy.approval_needed])
    yield "approvers", _joined([_approver(approver) for approver in policy.approvers])
    yield "service accounts", _joined(policy.service_accounts)
    yield "deleting jobs", _deleting(policy)
    yield "approvals valid for", f"up to {policy.approval_hours:g} h"


def _drift(of_policy: float | None) -> str:
    """Describe the effective drift: the smaller of the policy's and the folder's."""
    most = DEFAULT_DRIFT_PERCENT if of_policy is None else min(of_policy, DEFAULT_DRIFT_PERCENT)
    text = f"{most:g} %, and 0 % for {' and '.join(IRREVERSIBLE_DESTINATIONS)}" if most else "0 %"
    if of_policy is not None and of_policy > most:
        text += f" (the policy's {of_policy:g} % has no effect: no plan allows more than {most:g} %)"
    return text


def _deleting(policy: Policy) -> str:
    if policy.delete is None:
        return "allowed"
    if policy.delete.refused:
        return "forbidden"
    key = ", checked with the policy's public_key" if policy.delete.public_key is not None else ""
    return f"allowed with {'signed ' if policy.delete.evidence == 'signed' else ''}evidence{key}"


def _each(name: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    for index, line in enumerate(lines or ["never"]):
        yield "" if index else name, line


def _budget(budget: Budget) -> str:
    limits = [f"{count:,} {name}" for name, count in (("messages", budget.messages), ("jobs", budget.jobs))
              if count is not None]  # fmt: skip
    per = f" for each {' and '.join(budget.per)}" if budget.per else ""
    return f"{' and '.join(limits)} in {budget.hours:g} h{per}"


def _condition(rule: Rule) -> str:
    parts = [_joined(rule.actions) if rule.actions else "MOVE, RELEASE"]
    if rule.delivers is not None:
        parts.append("into Inbox" if rule.delivers else "not into Inbox")
    if rule.destinations:
        parts.append(f"to {_joined(rule.destinations)}")
    if rule.more_than_messages is not None:
        parts.append(f"above {counted(rule.more_than_messages, 'message')}")
    if rule.more_than_recipients is not None:
        parts.append(f"above {counted(rule.more_than_recipients, 'recipient')}")
    return " ".join(parts) + (_approvals(rule) if isinstance(rule, ApprovalRule) else "")


def _approvals(rule: ApprovalRule) -> str:
    count = max(rule.approvals, len(rule.one_from))
    groups = f", one from each of {_joined(rule.one_from)}" if rule.one_from else ""
    return f": {count} approval{'' if count == 1 else 's'}{groups}"


def _approver(approver: Approver) -> str:
    return f"{approver.name} ({_joined(approver.groups)})" if approver.groups else approver.name


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
