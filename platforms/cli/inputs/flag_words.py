"""Replace parameter names in texts by flags: `plan` becomes `--plan @plan.json`, max_messages `--max-messages`.

An action does not know who calls it, so its texts use the JSON names of parameters. On a command line the parameters
are flags, or inputs of a playbook.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core import errors
from core.errors import ANOTHER_JOB
from platforms.cli.inputs.flags import Named, flag_at

# A name that is part of a longer word or already a flag is not replaced.
_BEFORE = r"(?<![-\w/.$@{])(?<!--set )"
_AFTER = r"(?![-\w(=]|\.\w|/\w)"

_FIXED = (
    ("the parameters named in `problems`", "the flags that are named"),
    ("`problems`", "the problems named"),
)
_ANOTHER_JOB = ANOTHER_JOB.partition(" (")[0]
_SEARCH = re.compile(rf"{_BEFORE}`?search_params`?{_AFTER}")
_SEARCH_FIELD = re.compile(rf"{_BEFORE}`?search_params\.(?=[a-z_])")


def in_flags(text: str, flags: Sequence[Named]) -> str:
    """Return the text with each parameter's name replaced by its flag.

    A name that is an ordinary word is replaced only in backticks.
    """
    if not flags:
        return text
    for phrase, plain in _FIXED:
        text = text.replace(phrase, plain)
    by_attempt = any(flag.pointer == "/attempt" for flag in flags)
    text = text.replace(ANOTHER_JOB, "a higher --set attempt=NUMBER" if by_attempt else _ANOTHER_JOB)
    text = _SEARCH_FIELD.sub("", text)
    for flag in sorted(flags, key=lambda one: -len(one.pointer)):
        text = _with_flag(text, flag)
    has_search = any(flag.pointer.startswith("/search_params/") for flag in flags)
    return _SEARCH.sub("the search flags", text) if has_search else text


def as_typed(flag: Named) -> str:
    """Return the flag, with a file name after it if its value is a file."""
    return getattr(flag, "example", "") or flag.option


def result_in_flags(result: Mapping[str, Any], flags: Sequence[Named]) -> dict[str, Any]:
    """Return an action's result with flags instead of parameter names in its texts."""

    def replaced(texts: Any) -> Any:
        if isinstance(texts, Mapping):
            return {name: replaced(text) if name in ("message", "next") else text for name, text in texts.items()}
        return [replaced(text) for text in texts] if isinstance(texts, list) else in_flags(str(texts), flags)

    own = {name: result[name] for name in ("warnings", "refusals", "reused") if result.get(name)}
    if own.get("refusals"):
        own["refusals"] = [{**refusal, "next": _next_step(refusal["type"])} for refusal in own["refusals"]]
    return {**result, **{name: replaced(texts) for name, texts in own.items()}}


def _next_step(error_type: str) -> str:
    """Return what a person can do about a refusal of this type, without the sentence that nothing was changed."""
    if error_type == "MaliciousRelease":
        return "Leave these messages out. Or set allow_malicious to true, if the policy permits it."
    help_text = str(getattr(getattr(errors, error_type, None), "default_help", ""))
    return re.sub(r"^(Nothing was \w+|No job was created)\.\s*", "", help_text)


def document_in_flags(error: dict[str, Any], flags: Sequence[Named]) -> dict[str, Any]:
    """Return the `error` of an error document with flags in its texts. JSON pointers are not changed."""
    # The keys of a policy have the names of parameters.
    if not flags or error.get("type") == "PolicyUnusable":
        return error
    message, problems = str(error.get("message") or ""), []
    for problem in error.get("problems") or ():
        flag = flag_at(flags, problem["pointer"])
        text = in_flags(str(problem["message"]), flags)
        if flag is not None:
            message = message.replace(f"{problem['pointer']}: {problem['message']}", f"{flag}: {problem['message']}")
        problems.append({**problem, "message": text, **({} if flag is None else {"flag": flag})})
    changed = {"message": in_flags(message, flags), "help": in_flags(str(error.get("help") or ""), flags)}
    return {**error, **changed, **({"problems": problems} if problems else {})}


def _with_flag(text: str, flag: Named) -> str:
    name = flag.pointer.rpartition("/")[2]
    if name not in text:
        return text
    typed, word = as_typed(flag), re.escape(name)
    if not flag.option.startswith(("--set ", "--input")):
        text = re.sub(rf"\b([Ss])et `?{word}`? to (true|false)\b", lambda m: _switched(m, flag.option), text)
        text = re.sub(rf"{_BEFORE}`?{word}: (true|false)\b`?", lambda m: _either(m[1], flag.option), text)
    text = re.sub(rf"`{word}: (\w+)`", lambda m: f"`{_given(flag.option, m[1])}`", text)
    # "the `resume` object" is a field of a result.
    text = re.sub(rf"`{word}`(?! object)", lambda _: typed, text)
    return re.sub(rf"{_BEFORE}{word}{_AFTER}", lambda _: typed, text) if "_" in name else text


def _switched(found: re.Match[str], option: str) -> str:
    verb = "Add" if found[1] == "S" else "add"
    return f"{verb} {_either(found[2], option)}"


def _either(value: str, option: str) -> str:
    return option if value == "true" else f"--no-{option[2:]}"


def _given(option: str, value: str) -> str:
    return f"{option}={value}" if option.startswith("--set ") else f"{option} {value}"
