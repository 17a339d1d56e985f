"""Rules say which alerts start which playbook. A rule that can't work is refused when the file is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from platforms.alerts.errors import RulesInvalid
from platforms.alerts.rule_format import SCHEMA_PATH, schema_text
from platforms.alerts.rule_loading import load_rules
from platforms.alerts.rules import Match, Refusal, Rules
from tests.conftest import EXAMPLE_ALERT
from tests.doc_blocks import read_blocks

PAGE = EXAMPLE_ALERT.parents[1] / "docs" / "how-to" / "receive-alerts-from-logpush.md"
ALERT: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())

NOTE = """
playbook: 1
id: note
title: Note an alert
key: "{{ inputs.alert_id }}"
inputs:
  alert_id: {type: string}
  subject: {type: string, default: ""}
  alert: {type: object, default: null}
steps:
  - set: {subject: "{{ inputs.subject }}", alert: "{{ inputs.alert }}"}
"""

RULE = """
alert_rules: 1
own_domains: [corp.example]
rules:
  - id: phish
    when: "{{ alert.FinalDisposition in ['malicious', 'suspicious'] and meaning.outsider == 'yes' }}"
    playbook: phish-campaign-purge
    inputs: {alert: "{{ alert }}", own_domains: [corp.example]}
"""


def load(folder: Path, text: str) -> Rules:
    path = folder / "rules.yaml"
    path.write_text(text)
    return load_rules(path)


def problems(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(RulesInvalid) as caught:
        load(folder, text)
    return {problem["pointer"]: problem["message"] for problem in caught.value.problems}


def rule(**changes: str) -> str:
    """Return a file with one rule for the playbook beside it; the changes are YAML."""
    keys = {"id": "one", "when": "true", "playbook": "note.yaml", "inputs": "{alert_id: '{{ alert.AlertID }}'}"}
    return "alert_rules: 1\nrules:\n- " + "\n  ".join(f"{key}: {text}" for key, text in {**keys, **changes}.items())


@pytest.fixture(autouse=True)
def _playbook_beside(tmp_path: Path) -> None:
    (tmp_path / "note.yaml").write_text(NOTE)


def matches(rules: Rules, alert: dict[str, Any]) -> list[tuple[str, str]]:
    found = list(rules.of(alert))
    assert all(isinstance(one, Match) for one in found), found
    return [(one.rule_id, one.playbook.id) for one in found if isinstance(one, Match)]


def test_without_a_file_no_alert_starts_a_playbook() -> None:
    assert list(load_rules(None).of(ALERT)) == []


def test_a_rule_that_matches_gives_the_playbook_and_its_inputs(tmp_path: Path) -> None:
    [match] = load(tmp_path, RULE).of(ALERT)
    assert isinstance(match, Match)
    assert (match.alert_id, match.rule_id, match.playbook.id) == (ALERT["AlertID"], "phish", "phish-campaign-purge")
    assert match.inputs == {"alert": ALERT, "own_domains": ["corp.example"]}
    assert matches(load(tmp_path, RULE), {**ALERT, "FinalDisposition": "spam"}) == []
    assert matches(load(tmp_path, RULE), {**ALERT, "From": "boss@corp.example"}) == []


def test_the_text_of_an_alert_is_never_an_expression(tmp_path: Path) -> None:
    rules = load(tmp_path, rule(inputs="{alert_id: '{{ alert.AlertID }}', subject: 'S: {{ alert.Subject }}'}"))
    for subject in ("{{ 7*7 }}", "{% raw %}", "${7*7}", "x{jndi:ldap://a}", "{{ alert.From }}"):
        [match] = rules.of({**ALERT, "Subject": subject})
        assert isinstance(match, Match)
        assert match.inputs["subject"] == f"S: {subject}"


def test_every_rule_that_matches_starts_its_playbook_once(tmp_path: Path) -> None:
    text = RULE
    for name in ("first", "second"):
        text += (
            f"  - {{id: {name}, when: true, playbook: note.yaml, inputs: {{alert_id: '{{{{ alert.AlertID }}}}'}}}}\n"
        )
    assert matches(load(tmp_path, text), ALERT) == [("phish", "phish-campaign-purge"), ("first", "note")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Origin": None, "FinalDisposition": None}, "/rules/0/when: null"),
        ({"From": "nobody"}, "read-alert can't read the alert"),
        ({"Timestamp": 7}, "read-alert can't read the alert"),
    ],
)
def test_a_rule_that_can_not_be_evaluated_is_reported_for_the_alert(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    when = '\'{{ alert.FinalDisposition | lower == "malicious" and meaning.outsider == "yes" }}\''
    [refusal] = load(tmp_path, rule(when=when)).of({**ALERT, **change})
    assert isinstance(refusal, Refusal)
    assert (refusal.alert_id, refusal.rule_id) == (ALERT["AlertID"], "one")
    assert reason in refusal.reason


def test_a_field_that_the_logpush_job_does_not_send_is_reported(tmp_path: Path) -> None:
    [refusal] = load(tmp_path, rule(when="\"{{ alert.Origin == 'external' }}\"")).of({"AlertID": "1"})
    assert isinstance(refusal, Refusal)
    assert "there is no key 'Origin'" in refusal.reason


@pytest.mark.parametrize(
    ("alert_id", "reason"),
    [(None, "is missing"), ("", "not empty"), (" ", "not empty"), (7, "string"), ({}, "string"), ("x" * 401, "longer")],
)
def test_an_alert_without_a_usable_id_starts_nothing_and_is_reported(
    tmp_path: Path, alert_id: object, reason: str
) -> None:
    [refusal] = load(tmp_path, rule(inputs="{alert_id: '{{ alert.From }}'}")).of({**ALERT, "AlertID": alert_id})
    assert isinstance(refusal, Refusal)
    assert refusal.alert_id is None
    assert reason in refusal.reason


@pytest.mark.parametrize("timestamp", [1732116755, 1732116755123, 1732116755123456789, "1732116755123456789",
                                       "2026-11-20T15:32:35Z", "2026-11-20T15:32:35.123Z",
                                       "2026-11-20T15:32:35.123456789Z"])  # fmt: skip
def test_timestamps_of_every_format_are_read(tmp_path: Path, timestamp: object) -> None:
    text = rule(when="\"{{ meaning.received[:2] == '20' }}\"")
    assert matches(load(tmp_path, text), {**ALERT, "Timestamp": timestamp}) == [("one", "note")]


@pytest.mark.parametrize("value", [float("inf"), 1 << 300])
def test_a_value_that_no_playbook_takes_is_reported(tmp_path: Path, value: object) -> None:
    text = rule(inputs="{alert_id: '{{ alert.AlertID }}', alert: '{{ alert }}'}")
    [refusal] = load(tmp_path, text).of({**ALERT, "SMTPHeloServerIPAsNumber": value})
    assert isinstance(refusal, Refusal)
    assert "not plain JSON" in refusal.reason


@pytest.mark.parametrize(
    ("text", "pointer", "message"),
    [
        ("", "", "is empty"),
        ("rules: []", "", "the key 'alert_rules' is missing"),
        ("alert_rules: 2\nrules: []", "/alert_rules", "line 1: must be the number 1"),
        ("alert_rules: true\nrules: []", "/alert_rules", "must be the number 1"),
        ("alert_rules: 1\nrulez: []", "/rulez", "line 2: unknown key; did you mean 'rules'?"),
        ("alert_rules: 1\nrules: [x]", "/rules/0", "must be a map"),
        ("alert_rules: 1\nown_domains: ['']\nrules: []", "/own_domains/0", "line 2: "),
        (rule(whem="true"), "/rules/0/whem", "line 7: unknown key; did you mean 'when'?"),
        (rule(id="One"), "/rules/0/id", "must start with a lower-case letter"),
        (rule(when="[]"), "/rules/0/when", "must be true, false or one expression"),
        (rule(when="alert.From"), "/rules/0/when", "exactly one {{ expression }}"),
        (rule(when="'{{ true }} '"), "/rules/0/when", "exactly one {{ expression }}"),
        (rule(when="{{ alert.From }}"), "/rules/0/when", "line 4: an expression needs quotes"),
        (rule(when="'{{ alert.From == }}'"), "/rules/0/when", "line 4: not a valid expression"),
        (rule(when="'{{ alerts.From }}'"), "/rules/0/when", "unknown name 'alerts'; did you mean 'alert'?"),
        (rule(when="'{{ inputs.x }}'"), "/rules/0/when", "unknown name 'inputs'"),
        (rule(when="'{{ alert.FinalDispositon }}'"), "/rules/0/when", "did you mean 'FinalDisposition'?"),
        (rule(when="'{{ meaning.outsidr }}'"), "/rules/0/when", "did you mean 'outsider'?"),
        (rule(when="'{{ alert.From | lowercase }}'"), "/rules/0/when", "unknown filter"),
        (rule(playbook="phish-campaign-purg"), "/rules/0/playbook", "did you mean 'phish-campaign-purge'?"),
        (rule(playbook="./other.yaml"), "/rules/0/playbook", "can't be read"),
        (rule(inputs="{alertid: x}"), "/rules/0/inputs/alertid", "unknown input 'alertid'; did you mean 'alert_id'?"),
        (rule(inputs="{}"), "/rules/0/inputs", "needs the input 'alert_id'"),
        (rule(inputs="{alert_id: 7}"), "/rules/0/inputs/alert_id", "must be of type string"),
        (rule(inputs="{alert_id: '{{ alert }}'}"), "/rules/0/inputs/alert_id", "must be of type string"),
        (rule(inputs="{alert_id: fixed}"), "/rules/0/playbook", "every alert would have the same run"),
        (rule() + "\n- " + rule().partition("- ")[2], "/rules/1/id", "is used twice, first in rule 1"),
    ],
)
def test_a_file_with_a_problem_is_refused_with_its_place(tmp_path: Path, text: str, pointer: str, message: str) -> None:
    found = problems(tmp_path, text)
    assert message in found[pointer], found


def test_a_playbook_without_a_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.yaml").write_text(NOTE.replace("key:", "description:"))
    assert "has no `key`" in problems(tmp_path, rule())["/rules/0/playbook"]


def test_a_playbook_with_an_error_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.yaml").write_text(NOTE.replace("inputs.subject", "inputs.subjekt"))
    assert "did you mean 'subject'" in problems(tmp_path, rule())["/rules/0/playbook"]


def test_two_playbooks_with_one_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(NOTE.replace("Note an alert", "Another"))
    text = rule() + "\n- " + rule(id="two", playbook="other.yaml").partition("- ")[2]
    assert "another rule has another playbook" in problems(tmp_path, text)["/rules/1/playbook"]


def test_a_file_that_others_can_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(rule())
    path.chmod(0o666)
    with pytest.raises(RulesInvalid, match="can be changed by another user"):
        load_rules(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesInvalid, match="can't be read"):
        load_rules(tmp_path / "none.yaml")


def test_the_rules_of_the_documentation_load_and_match_the_example_alert(tmp_path: Path) -> None:
    [block] = [block for block in read_blocks(PAGE) if block.language == "yaml"]
    assert matches(load(tmp_path, block.text), ALERT) == [("malicious-from-outside", "phish-campaign-purge")]


def test_the_schema_of_the_format_is_current() -> None:
    assert SCHEMA_PATH.read_text() == schema_text()
