"""Load a policy from its file, and report each problem with its place and the fix.

A policy with any problem is refused as a whole: a misspelled limit must not be skipped. So is a file that anyone but
root and this process's own user can change: it would limit nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from core.errors import PolicyUnusable, Problem, printable
from core.json_values import below, did_you_mean
from core.strict_yaml import MAX_BYTES, YamlRefused, read
from core.trusted_text import NotTrusted, read_trusted_text
from core.validation_text import plain_message
from remediation.guardrails.policy.policy import Policy
from remediation.guardrails.policy.rules import ApprovalRule, Approver, Budget, DeleteRule, Rule

# More do not help, and a file of nonsense has thousands.
MOST_PROBLEMS = 50


def load_policy(path: str) -> Policy:
    """Return the policy in a YAML file of at most 256 KiB.

    Raises: PolicyUnusable with every problem and its JSON pointer, or where another user can change the file.
    """
    text = _text(path)
    try:
        document = read(text).data
        if document is not None:
            return Policy.model_validate(document)
        problems = [Problem(pointer="", message="is empty: a policy needs at least `policy: 1`")]
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
    """Return the error for a policy with these problems. path: None if it is not known."""
    named = "" if path is None else f" {path[:200]!r}"
    listed = "; ".join(f"{p['pointer'] or '/'}: {p['message']}" for p in problems)
    return PolicyUnusable(f"the policy{named} can't be used: {listed}", problems=problems)


def _text(path: str) -> str:
    """Return the file's text. Raises: PolicyUnusable."""
    try:
        return read_trusted_text(path, "the policy", MAX_BYTES)
    except NotTrusted as error:
        raise PolicyUnusable(str(error)) from None


def _problems(error: Any) -> Iterator[Problem]:
    """Yield the problems in one of pydantic's errors, in the words of the format."""
    if error["type"] == "contradictions":
        yield from error["ctx"]["problems"]
        return
    text = plain_message(error)
    match error["type"]:
        case "extra_forbidden":
            text = f"unknown key{_suggestion(error['loc'])}"
        case "model_type":
            text = "must be a map of keys and values"
        case "literal_error":
            text = f"must be {error['ctx']['expected']}"
        case "string_pattern_mismatch":
            group = "groups" in error["loc"] or "one_from" in error["loc"]
            text = f"must be 1 to 64 letters, digits and {'. _ -' if group else '. _ % + @ -'}"
    yield Problem(pointer=below("", *error["loc"]), message=printable(text)[:500])


def _suggestion(location: tuple[Any, ...]) -> str:
    models: dict[Any, type[BaseModel]] = {
        "plan_needed": Rule,
        "approval_needed": ApprovalRule,
        "approvers": Approver,
        "delete": DeleteRule,
        "budgets": Budget,
    }
    known = list((models[location[0]] if len(location) > 1 else Policy).model_fields)
    return did_you_mean(str(location[-1]), known, or_list=True)
