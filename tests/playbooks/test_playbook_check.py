"""check finds problems of a playbook before it runs, with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from playbooks.language.check import check, check_source
from playbooks.language.finding import Finding
from playbooks.language.format import Playbook
from playbooks.language.loading import load

SEARCH = {
    "type": "object",
    "additionalProperties": False,
    "required": ["search_params"],
    "properties": {
        "search_params": {"anyOf": [{"$ref": "#/$defs/SearchParams"}, {"type": "null"}]},
        "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
        "mode": {"enum": ["fast", "slow"]},
    },
    "$defs": {
        "SearchParams": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "sender": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}]},
                "detections_only": {"type": "boolean"},
                "dispositions": {"type": "array", "items": {"enum": ["MALICIOUS", "SPAM"]}, "minItems": 1},
            },
        }
    },
}

OPEN: dict[str, Any] = {"type": "object", "properties": {"job_id": {"type": "string"}}}

RESULT = {
    "type": "object",
    "properties": {
        "count": {"type": "integer"},
        "progress": {"anyOf": [{"$ref": "#/$defs/Progress"}, {"type": "null"}]},
        "job": {"type": "object", "additionalProperties": True},
    },
    "$defs": {"Progress": {"type": "object", "properties": {"discovered": {"type": "integer"}}}},
}

ACTIONS = {"search-messages": SEARCH, "get-job": OPEN, "make-job": {"type": "object"}}
HEAD = """\
playbook: 1
id: a
title: t
inputs: {n: {type: integer, default: 1, description: d}}
"""


def findings_of(rest: str, **more: Any) -> list[tuple[str, str, str]]:
    text = HEAD + rest
    if "inputs.n" not in rest and "unused" not in rest:
        text += '\noutputs: {n: "{{ inputs.n }}"}'
    return [(f.severity, f.pointer, f.message) for f in check(load(text), ACTIONS, **more)]


def with_(params: str) -> str:
    return f"steps: [{{id: x, action: search-messages, with: {params}}}]"


@pytest.mark.parametrize(
    ("params", "pointer", "message"),
    [
        ("{}", "/search_params", "the key 'search_params' is missing"),
        ("{search_params: {}, limt: 1}", "/limt", "unknown parameter 'limt'; did you mean 'limit'?"),
        (
            "{search_params: {sendr: x}}",
            "/search_params/sendr",
            "unknown parameter 'sendr'; did you mean 'sender'?",
        ),
        (
            "{search_params: {sender: 3}}",
            "/search_params/sender",
            "must be of type string, not integer 3; or must be of type null",
        ),
        (
            "{search_params: x}",
            "/search_params",
            "must be of type object, not string 'x'; or must be of type null, not string 'x'",
        ),
        (
            "{search_params: 'a {{ inputs.n }}'}",
            "/search_params",
            "must be of type object, not a text with an expression; or",
        ),
        ("{search_params: {dispositions: []}}", "/search_params/dispositions", "must have at least 1 items"),
        (
            "{search_params: {dispositions: [SPAM, MALICOUS]}}",
            "/search_params/dispositions/1",
            "'MALICOUS' is not one of 'MALICIOUS', 'SPAM'; did you mean 'MALICIOUS'?",
        ),
        ("{search_params: {}, limit: 0}", "/limit", "must be at least 1"),
        ("{search_params: {}, limit: 1001}", "/limit", "must be at most 1000"),
        ("{search_params: {}, limit: true}", "/limit", "must be of type integer, not boolean true"),
        (
            "{search_params: {}, limit: '{{ inputs.n }}0'}",
            "/limit",
            "must be of type integer, not a text with an expression",
        ),
        ("{search_params: {}, mode: quick}", "/mode", "'quick' is not one of 'fast', 'slow'"),
        (
            "{search_params: {sender: '{{ inpts.n }}'}}",
            "/search_params/sender",
            "unknown name 'inpts'; did you mean 'inputs'?",
        ),
        ("{search_params: {sender: '{{ inputs.m }}'}}", "/search_params/sender", "unknown input 'm'"),
        ("{search_params: {sender: '{{ steps.y }}'}}", "/search_params/sender", "unknown step 'y'"),
        (
            "{search_params: {sender: '{{ steps.x.y }}'}}",
            "/search_params/sender",
            "a step can't read its own result here; use `previous` in a repeated step",
        ),
        ("{search_params: {'{{ inputs.n }}': x}}", "/search_params/{{ inputs.n }}", "a key can't have an expression"),
    ],
)
def test_a_bad_parameter_is_found(params: str, pointer: str, message: str) -> None:
    errors = [(at, message) for severity, at, message in findings_of(with_(params)) if severity == "error"]
    assert any(at == f"/steps/0/with{pointer}" and message.startswith(message) for at, message in errors), errors


@pytest.mark.parametrize(
    "params",
    [
        "{search_params: {sender: '{{ inputs.n + 1 }}', detections_only: false, dispositions: [SPAM]}, limit: 5}",
        "{search_params: '{{ inputs.n or {} }}', limit: '{{ inputs.n }}', mode: '{{ inputs.n }}'}",
        "{search_params: {sender: 'x{{ inputs.n }}'}}",
        "{search_params: null}",
    ],
)
def test_good_parameters_have_no_finding(params: str) -> None:
    assert findings_of(with_(params)) == []


@pytest.mark.parametrize(
    ("steps", "finding"),
    [
        (
            "[{id: x, action: serch-messages}]",
            ("error", "/steps/0/action", "unknown action 'serch-messages'; did you mean 'search-messages'?"),
        ),
        (
            "[{id: x, action: get-job, with: {jobid: y}}]",
            ("error", "/steps/0/with/jobid", "unknown parameter 'jobid'; did you mean 'job_id'?"),
        ),
        (
            "[{id: x, check: 'steps.y.z', otherwise: no}]",
            (
                "error",
                "/steps/0/check",
                "must be true or false, or one expression in {{ … }}, and is 'steps.y.z'",
            ),
        ),
        (
            "[{id: x, when: 'a {{ true }}', action: get-job}]",
            (
                "error",
                "/steps/0/when",
                "a condition must be exactly one {{ expression }}, with nothing before or after it",
            ),
        ),
        (
            "[{id: x, action: get-job, repeat: {until: true, sleep: soon, limit: 1}}]",
            (
                "error",
                "/steps/0/repeat/sleep",
                "must be a number of seconds from 0 to 86400, or one expression in {{ … }}, and is 'soon'",
            ),
        ),
        (
            "[{id: x, action: get-job, repeat: {until: true, sleep: -1, limit: 1}}]",
            (
                "error",
                "/steps/0/repeat/sleep",
                "must be a number of seconds from 0 to 86400, or one expression in {{ … }}, and is -1",
            ),
        ),
        (
            "[{id: x, action: get-job, repeat: {until: true, sleep: '1{{ 2 }}', limit: 1}}]",
            (
                "error",
                "/steps/0/repeat/sleep",
                "a number of seconds must be exactly one {{ expression }}, with nothing before or after it",
            ),
        ),
        (
            "[{id: x, set: {v: '{{ steps.y.a }}'}}, {id: y, action: get-job}]",
            ("error", "/steps/0/set/v", "step 'y' comes later than this one"),
        ),
        (
            "[{id: x, check: true, otherwise: no}, {id: y, set: {v: '{{ steps.x }}'}}]",
            ("error", "/steps/1/set/v", "step 'x' has no result: only action, set, pause and playbook steps have one"),
        ),
        (
            "[{id: x, action: get-job, when: '{{ inputs.n > 1 }}'}, {id: y, set: {v: '{{ steps.x.a }}'}}]",
            ("warning", "/steps/1/set/v", "step 'x' may have no result; guard it: {{ … if 'x' in steps else … }}"),
        ),
        (
            "[{id: x, action: get-job, on_error: [{type: NotFond}]}]",
            (
                "warning",
                "/steps/0/on_error/0/type",
                "unknown error type 'NotFond'; did you mean 'NotFound'?",
            ),
        ),
        (
            "[{id: x, action: get-job, on_error: [{type: '*'}, {type: NotFound}]}]",
            (
                "warning",
                "/steps/0/on_error/0/type",
                "this handler takes every error, so the handlers after it are never used",
            ),
        ),
        (
            "[{id: x, action: get-job, on_error: [{type: '*', when: '{{ result }}'}]}]",
            ("error", "/steps/0/on_error/0/when", "unknown name 'result'"),
        ),
        (
            "[{id: x, set: {v: '{{ run.startd_at }}'}}]",
            ("error", "/steps/0/set/v", "run has no 'startd_at'; did you mean 'started_at'?"),
        ),
        (
            "[{id: x, action: make-job, with: {idempotency_key: '{{ inputs.n }}', end: '{{ run.now }}'}}]",
            ("warning", "/steps/0/with/end", "run.now differs in every run, and idempotency_key needs"),
        ),
        (
            "[{id: s, set: {p: {sendr: x}}}, "
            "{id: x, action: search-messages, with: {search_params: '{{ steps.s.p }}'}}]",
            ("error", "/steps/1/with/search_params/sendr", "unknown parameter 'sendr'; did you mean 'sender'?"),
        ),
        (
            "[{id: x, action: get-job, with: {job_id: '{{ inputs.n }}'}}]",
            ("error", "/steps/0/with/job_id", "must be of type string, not an expression of type integer"),
        ),
        ("[{id: unused, action: get-job}]", ("warning", "/inputs/n", "the input 'n' is not used")),
    ],
)
def test_a_problem_of_a_step_is_found(steps: str, finding: tuple[str, str, str]) -> None:
    findings = findings_of(f"steps: {steps}")
    assert [(s, p, m[: len(finding[2])]) for s, p, m in findings] == [finding], findings


@pytest.mark.parametrize(
    "second",
    [
        "{id: y, set: {v: \"{{ steps.x.a if 'x' in steps else 0 }}\"}}",
        "{id: y, set: {v: '{{ steps.x.a if steps.x is defined else 0 }}'}}",
        "{id: y, when: \"{{ 'x' in steps }}\", set: {v: '{{ steps.x.a }}'}}",
        "{id: y, when: '{{ inputs.n > 1 }}', set: {v: '{{ steps.x.a }}'}}",
    ],
)
def test_a_guarded_read_has_no_finding(second: str) -> None:
    assert findings_of(f"steps: [{{id: x, action: get-job, when: '{{{{ inputs.n > 1 }}}}'}}, {second}]") == []


def test_a_default_of_the_wrong_type_is_found() -> None:
    playbook = load(HEAD.replace("default: 1", "default: x") + 'steps: [{id: x, set: {v: "{{ inputs.n }}"}}]')
    assert [(f.pointer, f.line) for f in check(playbook, ACTIONS)] == [("/inputs/n/default", 4)]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("steps.x.cuont", "the result of 'get-job' has no 'cuont'; did you mean 'count'?"),
        ("steps.x.progress.discoverd", "the result of 'get-job' has no 'discoverd'; did you mean 'discovered'?"),
        ("steps.x.count.a", "the result of 'get-job' has no 'a'"),
    ],
)
def test_a_misspelled_key_of_a_result_is_found(expression: str, message: str) -> None:
    steps = f"steps: [{{id: x, action: get-job}}, {{id: y, set: {{v: '{{{{ {expression} }}}}'}}}}]"
    assert findings_of(steps, results={"get-job": RESULT}) == [("error", "/steps/1/set/v", message)]


def test_known_keys_of_a_result_have_no_finding() -> None:
    steps = (
        "steps: [{id: x, action: get-job, repeat: {until: '{{ result.count > 0 }}', sleep: 1, limit: 1}}, "
        "{id: y, set: {v: '{{ steps.x.progress.discovered }}', w: '{{ steps.x.job.any.thing }}'}}]"
    )
    assert findings_of(steps, results={"get-job": RESULT}) == []


def test_a_read_of_a_key_that_is_not_kept_is_found() -> None:
    steps = "steps: [{id: x, action: get-job, keep: [count]}, {id: y, set: {v: '{{ steps.x.progress }}'}}]"
    assert findings_of(steps, results={"get-job": RESULT}) == [
        ("error", "/steps/1/set/v", "step 'x' does not keep 'progress' of its result")
    ]


def test_a_check_that_refuses_after_a_change_is_found() -> None:
    steps = "steps: [{id: x, action: make-job}, {id: y, check: true, otherwise: no}]"
    assert findings_of(steps, effects={"make-job": "write"}) == [
        (
            "warning",
            "/steps/1",
            "step 'x' may have changed something before this check refuses; use outcome: incomplete",
        )
    ]


def test_a_check_that_refuses_after_a_dry_run_has_no_finding() -> None:
    steps = "steps: [{id: x, action: make-job, with: {dry_run: true}}, {id: y, check: true, otherwise: no}]"
    assert findings_of(steps, effects={"make-job": "write"}) == []


def test_findings_have_a_line_number(purge: Playbook) -> None:
    findings = check(purge, {})
    assert (findings[0].pointer, findings[0].line) == ("/steps/1/action", 20)
    assert findings[0].problem() == {
        "pointer": "/steps/1/action",
        "message": "unknown action 'search-messages'",
    }


def test_an_invalid_playbook_has_findings(tmp_path: Path) -> None:
    assert check_source("a: 1\na: 2", {}) == [Finding("error", "/a", "duplicate key 'a'; the first is on line 1", 2)]
    assert check_source("", {}) == [Finding("error", "", "must be a map of keys and values")]
    path = tmp_path / "good.yaml"
    path.write_text(HEAD + 'steps: [{id: x, action: make-job, with: {v: "{{ inputs.n }}"}}]')
    assert check_source(path, ACTIONS) == []
