"""Load the alert rules from their YAML file, and report every problem with its place and line.

A file with a problem is refused as a whole. So is a file that another user can change, because rules start playbooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.addresses import read_domain_entry
from core.errors import PackError, Problem, printable
from core.json_values import Json, below, did_you_mean, shown
from core.quantity import counted
from core.strict_yaml import MAX_BYTES, YamlRefused, line_of, read
from core.trusted_text import NotTrusted, read_trusted_text
from core.validation_text import plain_message
from platforms import playbook_checks
from platforms.alerts.errors import RulesInvalid
from platforms.alerts.rule_format import AlertRule, AlertRules
from platforms.alerts.rules import NAMES, Rule, RuleField, Rules
from playbooks import library
from playbooks.language.errors import PlaybookInvalid
from playbooks.language.expressions import Template
from playbooks.language.format import Playbook
from playbooks.language.program import Tree, compile_tree, compiled
from playbooks.language.shape import Unknown, mismatches, missing_of
from playbooks.language.structure import has_unquoted_expression
from remediation.alerts.meaning import AlertMeaning

MOST_PROBLEMS = 50

# The fields of the Logpush dataset email_security_alerts. A misspelt one would fail for every alert.
FIELDS = frozenset(
    (
        *("AlertID", "AlertReasons", "Attachments", "BCC", "CC", "CCName", "DKIMResult", "DMARCPolicy", "DMARCResult"),
        *("FinalDisposition", "From", "FromName", "Links", "MessageDeliveryMode", "MessageID", "Origin"),
        *("OriginalSender", "ReplyTo", "ReplyToName", "SMTPEnvelopeFrom", "SMTPEnvelopeTo", "SMTPHeloServerIP"),
        *("SMTPHeloServerIPAsName", "SMTPHeloServerIPAsNumber", "SMTPHeloServerIPGeo", "SMTPHeloServerName"),
        *("SPFResult", "Subject", "ThreatCategories", "Timestamp", "To", "ToName"),
    )
)


def load_rules(path: Path | None) -> Rules:
    """Return the rules of a YAML file; no rules for None. Raises: RulesInvalid with every problem."""
    if path is None:
        return Rules()
    try:
        text = read_trusted_text(str(path), "the file of alert rules", MAX_BYTES)
    except NotTrusted as error:
        raise RulesInvalid(str(error), help="Nothing was started. Correct the file, or its permissions.") from None
    try:
        source = read(text)
    except YamlRefused as error:
        unquoted = has_unquoted_expression(text, error.line)
        message = 'an expression needs quotes, as in when: "{{ alert.Origin }}"' if unquoted else error.message
        raise _invalid(path, [_located(Problem(pointer=error.pointer, message=message), error.line)]) from None
    rules, problems = _rules(source.data, path.parent)
    if problems:
        raise _invalid(path, [_located(problem, line_of(source.lines, problem["pointer"])) for problem in problems])
    return rules


def _rules(document: Json, folder: Path) -> tuple[Rules, list[Problem]]:
    if document is None:
        return Rules(), [Problem(pointer="", message="is empty: write `alert_rules: 1` and `rules: []`")]
    try:
        given = AlertRules.model_validate(document)
    except ValidationError as error:
        return Rules(), [_explained(dict(one)) for one in error.errors(include_input=False, include_url=False)]
    problems = list(_file_problems(document, given))
    found: list[Rule] = []
    for number, entry in enumerate(given.rules):
        rule = _rule(entry, below("/rules", number), folder, problems)
        if rule is not None:
            found.append(rule)
    by_id: dict[str, Playbook] = {}
    for number, rule in enumerate(found):
        if by_id.setdefault(rule.playbook.id, rule.playbook) != rule.playbook:
            message = f"another rule has another playbook with the id {shown(rule.playbook.id)}"
            problems.append(Problem(pointer=below("/rules", number, "playbook"), message=message))
    return Rules(tuple(found), tuple(given.own_domains)), problems


def _file_problems(document: Mapping[str, Json], given: AlertRules) -> Iterator[Problem]:
    if type(document["alert_rules"]) is not int:
        yield Problem(pointer="/alert_rules", message="must be the number 1, the version of the format")
    for number, entry in enumerate(given.own_domains):
        try:
            read_domain_entry(entry)
        except ValueError as error:
            yield Problem(pointer=below("/own_domains", number), message=str(error))
    seen: dict[str, int] = {}
    for number, rule in enumerate(given.rules):
        if seen.setdefault(rule.id, number) != number:
            message = f"the id {shown(rule.id)} is used twice, first in rule {seen[rule.id] + 1}"
            yield Problem(pointer=below("/rules", number, "id"), message=message)


def _rule(entry: AlertRule, pointer: str, folder: Path, problems: list[Problem]) -> Rule | None:
    before = len(problems)
    when = compile_tree(entry.when, below(pointer, "when"), NAMES, {}, problems)
    # A static text is no condition, however it reads.
    if len(problems) == before and not (isinstance(when, bool) or (isinstance(when, Template) and when.native)):
        message = "must be true, false or exactly one {{ expression }}, with nothing before or after it"
        problems.append(Problem(pointer=below(pointer, "when"), message=message))
    inputs = compile_tree(entry.inputs, below(pointer, "inputs"), NAMES | {"omit"}, {}, problems)
    for at, tree in (("when", when), ("inputs", inputs)):
        problems += _read_problems(RuleField(entry.id, None, below(pointer, at), tree))
    playbook = _playbook(entry.playbook, below(pointer, "playbook"), folder, problems)
    if playbook is not None:
        problems += _input_problems(playbook, inputs, below(pointer, "inputs"))
        problems += _key_problems(playbook, inputs, below(pointer, "playbook"))
    if playbook is None or len(problems) > before:
        return None
    fields = (RuleField(entry.id, None, below(pointer, at), tree) for at, tree in (("when", when), ("inputs", inputs)))
    return Rule(entry.id, entry.title, next(fields), playbook, next(fields))


def _playbook(name: str, pointer: str, folder: Path, problems: list[Problem]) -> Playbook | None:
    is_path = "/" in name or name.endswith((".yaml", ".yml"))
    try:
        playbook = library.load_file(folder / name) if is_path else library.find(name)
        playbook_checks.require_sound(playbook)
    except PlaybookInvalid as error:
        message = f"the playbook {shown(name)} has problems ({printable(error.message)[:500]})"
        problems.append(Problem(pointer=pointer, message=f"{message}. Run cfes playbook check on it"))
        return None
    except PackError as error:
        problems.append(Problem(pointer=pointer, message=error.message))
        return None
    return playbook


def _read_problems(field: RuleField) -> Iterator[Problem]:
    """Yield each misspelt field of an alert or of its meaning."""
    for pointer, template in field.templates():
        for path in template.references:
            match path:
                case ("alert", str(name), *_) if name not in FIELDS and (hint := did_you_mean(name, FIELDS)):
                    yield Problem(pointer=pointer, message=f"an alert has no field {shown(name)}{hint}")
                case ("meaning", _, *_):
                    missing = missing_of(_meaning_schema(), path[1:])
                    if missing is not None:
                        yield Problem(pointer=pointer, message=f"the meaning of an alert has no {missing}")


def _input_problems(playbook: Playbook, inputs: Mapping[str, Tree], pointer: str) -> Iterator[Problem]:
    for name, tree in inputs.items():
        if name not in playbook.inputs:
            hint = did_you_mean(name, playbook.inputs, or_list=True)
            yield Problem(pointer=below(pointer, name), message=f"unknown input {shown(name)}{hint}")
        elif not (tree is None and playbook.inputs[name].has_default and playbook.inputs[name].default is None):
            yield from mismatches(playbook.inputs[name].json_schema(), _known(tree), below(pointer, name))
    for name, spec in playbook.inputs.items():
        if not spec.has_default and name not in inputs:
            example = '; write {alert: "{{ alert }}"}' if name == "alert" else ""
            message = f"the playbook {shown(playbook.id)} needs the input {shown(name)}{example}"
            yield Problem(pointer=pointer, message=message)


def _key_problems(playbook: Playbook, inputs: Mapping[str, Tree], pointer: str) -> Iterator[Problem]:
    """Yield why a repetition of an alert would not find its run, or another alert would."""
    if playbook.key is None:
        message = f"the playbook {shown(playbook.id)} has no `key`, so an alert that comes twice could start two runs"
        yield Problem(pointer=pointer, message=message)
        return
    read_by_key = {
        str(path[1])
        for _, template in compiled(playbook).fields["/key"].templates()
        for path in template.references
        if path[0] == "inputs" and len(path) > 1
    }
    varying = {name for name, tree in inputs.items() if any(RuleField("", None, "", tree).templates())}
    if not read_by_key & varying:
        message = (
            f"every alert would have the same run: the key of {shown(playbook.id)} reads "
            f"{', '.join(sorted(read_by_key)) or 'no input'}, and no such input of this rule reads the alert"
        )
        yield Problem(pointer=pointer, message=message)


def _known(tree: Tree) -> Json | Unknown:
    """Return the parts of a value that are known before an alert comes."""
    if isinstance(tree, Template):
        whole_alert = tree.path in (("alert",), ("meaning",))
        return Unknown(None if tree.native and not whole_alert else "object" if whole_alert else "string")
    if isinstance(tree, dict):
        return {key: _known(item) for key, item in tree.items()}
    return [_known(item) for item in tree] if isinstance(tree, list) else tree


@cache
def _meaning_schema() -> dict[str, Any]:
    return AlertMeaning.model_json_schema(mode="serialization")


def _explained(error: dict[str, Any]) -> Problem:
    """Return one of pydantic's errors in the words of the format."""
    location = [part for part in error["loc"] if part not in ("bool", "str")]
    text = plain_message(error)
    match error["type"]:
        case "extra_forbidden":
            model = AlertRule if len(location) > 1 else AlertRules
            text = f"unknown key{did_you_mean(str(location[-1]), model.model_fields, or_list=True)}"
        case "missing":
            text = f"the key {shown(str(location[-1]))} is missing"
        case "model_type" | "dict_type":
            text = "must be a map of keys and values"
        case "literal_error":
            text = "must be the number 1, the version of the format"
        case "string_pattern_mismatch":
            text = "must start with a lower-case letter, then lower-case letters, digits, - or _, 64 at most"
        case "bool_type" | "string_type" if location[-1:] == ["when"]:
            text = "must be true, false or one expression in {{ … }}"
    if error["type"] == "missing":
        del location[-1:]
    return Problem(pointer=below("", *location), message=text)


def _located(problem: Problem, line: int | None) -> Problem:
    at = "" if line is None else f"line {line}: "
    return Problem(pointer=problem["pointer"], message=printable(f"{at}{problem['message']}")[:1000])


def _invalid(path: Path, problems: list[Problem]) -> RulesInvalid:
    unique = list({(one["pointer"], one["message"]): one for one in problems}.values())
    kept = unique[:MOST_PROBLEMS]
    if len(unique) > MOST_PROBLEMS:
        kept.append(Problem(pointer="", message=f"and {counted(len(unique) - MOST_PROBLEMS, 'more problem')}"))
    listed = "; ".join(f"{one['pointer'] or '/'}: {one['message']}" for one in kept)
    return RulesInvalid(f"the alert rules {str(path)[:200]!r} can't be used: {listed}", problems=kept)
