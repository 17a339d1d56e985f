"""Name the key of this language for a word of another one: other SOAR playbooks, CI workflows, Ansible, Python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from core.json_values import did_you_mean, shown


def _by_word(table: Mapping[str, str]) -> dict[str, str]:
    return {word: advice for words, advice in table.items() for word in words.split()}


_STEP_WORDS = _by_word(
    {
        "if only_if condition conditions rules": "write `when`",
        "unless skip skip_if disabled enabled": 'write `when`, as in when: "{{ not inputs.dry }}"',
        "name label display_name": "write `id` for expressions and `title` for people",
        "description desc comment notes note summary doc": "write `title`, or a comment after #",
        "run script shell command cmd bash python code": "write `action` with an action's ID; a step runs no code",
        "uses use call do task function func module operation app integration activity": "write `action` with its ID",
        "args arguments params parameters param input inputs data body payload options vars env environment": (
            "write `with`"
        ),
        "needs depends_on dependencies requires runs_after next next_step nexttasks transitions go_to goto": (
            "steps run in their order; write a step after those that it needs"
        ),
        "then else elif on_true on_false switch case branch branches choices default": (
            "write `when` on each step of the branch"
        ),
        "on_failure on_fail onfail catch except rescue error_handler finally always ignore_errors allow_failure "
        "continue_on_error failed_when": 'write on_error: [{type: "*", do: continue}] on an action step',
        "retry retries attempts max_attempts backoff retry_policy": (
            "leave it out: the engine repeats errors that are safe to repeat"
        ),
        "until while poll polling repeat_until loop_until": (
            "leave it out: the engine continues an action until it is done"
        ),
        "timeout timeout_seconds timeout_minutes deadline": (
            "a pause has `within`; an action has `timeout_seconds` in `with`, if it waits"
        ),
        "foreach loop loops iterate for each with_items map matrix strategy items parallel": (
            "write `for_each` on a step with `playbook`"
        ),
        "concurrency max_parallel batch batch_size limit max_concurrency": (
            "write `at_most` on a step with `playbook` and `for_each`"
        ),
        "wait delay wait_seconds pause_seconds wait_for_seconds": "write `sleep` with a number of seconds",
        "wait_for wait_for_signal signal event approval approve manual prompt ask question form user_input": (
            "write `pause` with the signal's name"
        ),
        "schema answer type expects": "a pause has `accepts`",
        "sub_playbook subplaybook workflow include import import_playbook call_playbook child job": (
            "write `playbook` with the other playbook's ID"
        ),
        "output outputs result results returns register save_as publish export store": (
            "expressions read the result as steps.ID; `outputs` of the playbook names what a run returns"
        ),
        "var variables let assign set_fact set_variable compute": "write `set` with names and values",
        "assert ensure verify validate expect require": "write `check` with a condition",
        "stop exit end return break abort fail": "write `finish` to end well, or `check` to end with an error",
        "else_message error_message otherwise_message on_timeout": "write `otherwise`",
    }
)

_PLAYBOOK_WORDS = _by_word(
    {
        "version apiversion schema schema_version format": "write `playbook: 1` on the first line",
        "name display_name label": "write `id` and `title`",
        "desc comment notes summary doc": "write `description`",
        "on trigger triggers schedule cron when if": (
            "leave it out: the SOAR, cron or the command line starts a playbook"
        ),
        "jobs tasks actions workflow stages nodes": "write `steps`, a list",
        "parameters params arguments args input vars variables env": "write `inputs`",
        "output returns return result results": "write `outputs`",
        "idempotency_key dedup deduplicate unique concurrency correlation_id": "write `key` with an expression",
        "secrets credentials connection connections auth": (
            "leave it out: settings of the environment hold the connection"
        ),
        "test cases": "a test file is run with cfes playbook test FILE",
        "timeout retries permissions defaults author tags": "leave it out, or write it in `description`",
    }
)

_INPUT_WORDS = _by_word(
    {
        "desc help label comment": "write `description`",
        "name": "the name is the key above it; `title` is for forms",
        "optional nullable": "write `default: null`",
        "choices options values allowed": "write `enum`",
        "min ge gt": "write `minimum`, or `minLength` for texts and `minItems` for lists",
        "max le lt": "write `maximum`, or `maxLength` for texts and `maxItems` for lists",
        "regex format match": "write `pattern`",
        "value": "write `default`",
        "file main": "write `primary: true`",
    }
)

_HANDLER_WORDS = _by_word(
    {
        "error errors code class match": "write `type` with the error's type",
        "then action continue ignore": "write `do: continue` or `do: stop`",
        "retries attempts max_attempts": "write `retry: {times: 3, after: 5}`",
        "if condition": "write `when`",
    }
)

_TYPES = _by_word(
    {
        "str text email url date datetime timestamp": "string",
        "int long": "integer",
        "float double decimal": "number",
        "bool": "boolean",
        "list tuple set": "array",
        "dict map json record": "object",
    }
)


def for_step(key: str, own: Iterable[str], kinds: Mapping[str, Iterable[str]]) -> str:
    """Return a suggestion for an unknown key of a step. own: its keys. kinds: the keys of each kind of step."""
    elsewhere = [kind for kind, keys in kinds.items() if key in keys]
    if key == "for_each":
        return "; only a step with `playbook` has it: put these steps into a playbook of their own"
    if elsewhere:
        return f"; only a step with {' or '.join(f'`{kind}`' for kind in elsewhere)} has it"
    return _respelled(key, own) or _advice(_STEP_WORDS, key) or did_you_mean(key, own)


def for_kind(keys: Iterable[str], kinds: Iterable[str]) -> str:
    """Return a suggestion for a step without a kind, from its keys."""
    for key in keys:
        advice = _STEP_WORDS.get(_folded(key), "")
        if any(advice.startswith(f"write `{kind}`") for kind in kinds):
            return f"; instead of {shown(key)} {advice}"
        near = did_you_mean(key, kinds)
        if near:
            return f". {shown(key)} is unknown{near}"
    return ""


def for_playbook(key: str, own: Iterable[str]) -> str:
    """Return a suggestion for an unknown key of a playbook."""
    return _respelled(key, own) or _advice(_PLAYBOOK_WORDS, key) or did_you_mean(key, own)


def for_input(key: str, own: Iterable[str]) -> str:
    """Return a suggestion for an unknown key of an input or of a pause's `accepts`."""
    return _respelled(key, own) or _advice(_INPUT_WORDS, key) or did_you_mean(key, own)


def for_handler(key: str, own: Iterable[str]) -> str:
    """Return a suggestion for an unknown key below `on_error` or `repeat`."""
    return _respelled(key, own) or _advice(_HANDLER_WORDS, key) or did_you_mean(key, own)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_DURATION = re.compile(r"\s*(?:PT?)?([0-9]{1,9})\s*(s|m|h|d)(?:ec|in|our|ay|econd|inute)?[a-z]{0,4}\s*", re.IGNORECASE)


def for_seconds(value: object) -> str:
    """Return a suggestion for a duration with a unit, such as 5m, in place of a number of seconds."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return f"; write {int(found[1]) * _UNITS[found[2].lower()]}" if found else ""


def for_error_type(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown type of an error."""
    return '; write "*" for any error' if name.lower() in _ANY_ERROR else did_you_mean(name, known)


_ANY_ERROR = {"all", "any", "error", "errors", "exception", "default", "failure", ".*"}


def for_result(key: object, step_id: str) -> str:
    """Return a suggestion for a key that other systems put between a step and the fields of its result."""
    return f"; the fields are directly below steps.{step_id}" if key in _BETWEEN else ""


_BETWEEN = {"output", "outputs", "result", "results", "data", "response", "body", "value"}


def for_type(name: object) -> str:
    """Return a suggestion for an unknown type of a value."""
    found = _TYPES.get(name.lower()) if isinstance(name, str) else None
    return f"; did you mean {shown(found)}?" if found else ""


def _respelled(key: str, known: Iterable[str]) -> str:
    """Return a suggestion if only case, dashes and underscores differ, as in forEach."""
    plain = _folded(key).replace("_", "")
    return next((f"; did you mean {shown(k)}?" for k in known if _folded(k).replace("_", "") == plain), "")


def _advice(table: Mapping[str, str], key: str) -> str:
    advice = table.get(_folded(key))
    return f"; {advice}" if advice else ""


def _folded(key: str) -> str:
    return key.lower().replace("-", "_").replace(" ", "_")
