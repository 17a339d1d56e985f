"""A word of another language is answered with the construct of this one."""

from __future__ import annotations

import pytest

from playbooks.language.check import check_source

HEAD = "playbook: 1\nid: a\ntitle: t\n"
STEPS = HEAD + "steps:\n- action: x\n"


def message_at(text: str, pointer: str) -> str:
    (found,) = (f for f in check_source(text, {}) if f.pointer == pointer)
    assert found.severity == "error"
    return found.message


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("if", "write `when`"),
        ("Only-If", "write `when`"),
        ("unless", "write `when`"),
        ("name", "write `id` for expressions and `title` for people"),
        ("description", "write `title`"),
        ("args", "write `with`"),
        ("parameters", "write `with`"),
        ("env", "write `with`"),
        ("needs", "steps run in their order"),
        ("depends_on", "steps run in their order"),
        ("else", "write `when` on each step"),
        ("continue-on-error", "write on_error: ["),
        ("on_failure", "write on_error: ["),
        ("retries", "leave it out: the engine repeats"),
        ("timeout-minutes", "a pause has `within`"),
        ("items", "write `for_each` on a step with `playbook`"),
        ("with_items", "write `for_each` on a step with `playbook`"),
        ("foreach", "write `for_each` on a step with `playbook`"),
        ("for_each", "only a step with `playbook` has it: put these steps into a playbook"),
        ("accepts", "only a step with `pause` has it"),
        ("otherwise", "only a step with `check` or `pause` has it"),
        ("outputs", "expressions read the result as steps.ID"),
        ("register", "expressions read the result as steps.ID"),
        ("vars", "write `with`"),
        ("onError", "did you mean 'on_error'?"),
        ("on-error", "did you mean 'on_error'?"),
        ("tilte", "did you mean 'title'?"),
    ],
)
def test_a_foreign_key_of_a_step_has_a_suggestion(key: str, suggestion: str) -> None:
    message = message_at(f"{STEPS}  {key}: y\n", f"/steps/0/{key}")
    assert message.startswith(f"unknown key '{key}'; {suggestion}")


@pytest.mark.parametrize(
    ("step", "suggestion"),
    [
        ("{run: x}", "instead of 'run' write `action`"),
        ("{uses: x}", "instead of 'uses' write `action`"),
        ("{id: y, name: z, script: x}", "instead of 'script' write `action` with an action's ID; a step runs no code"),
        ("{approval: x}", "instead of 'approval' write `pause`"),
        ("{wait_for: x}", "instead of 'wait_for' write `pause`"),
        ("{delay: 5}", "instead of 'delay' write `sleep`"),
        ("{sub_playbook: x}", "instead of 'sub_playbook' write `playbook`"),
        ("{assert: true}", "instead of 'assert' write `check`"),
        ("{var: {a: 1}}", "instead of 'var' write `set`"),
        ("{acton: x}", "'acton' is unknown; did you mean 'action'?"),
        ("{action: x, check: true}", "and this one has action and check: write a step for each"),
    ],
)
def test_a_step_without_a_kind_has_a_suggestion(step: str, suggestion: str) -> None:
    message = message_at(f"{HEAD}steps:\n- {step}\n", "/steps/0")
    assert message.startswith("a step must have exactly one of the keys action, check, finish, set, sleep, pause")
    assert suggestion in message


@pytest.mark.parametrize("key", ["foreach", "forEach", "for-each"])
def test_a_misspelt_for_each_is_named(key: str) -> None:
    message = message_at(f"{HEAD}steps:\n- playbook: b\n  {key}: [1]\n", f"/steps/0/{key}")
    assert message == f"unknown key '{key}'; did you mean 'for_each'?"


@pytest.mark.parametrize(
    ("line", "pointer", "suggestion"),
    [
        ("on: push", "/on", "leave it out: the SOAR, cron"),
        ("name: x", "/name", "write `id` and `title`"),
        ("jobs: {}", "/jobs", "write `steps`, a list"),
        ("parameters: {}", "/parameters", "write `inputs`"),
        ("output: {}", "/output", "write `outputs`"),
        ("idempotency_key: x", "/idempotency_key", "write `key`"),
        ("inputs: {a: object}", "/inputs/a", "write {type: object}"),
        ("inputs: {a: {type: str}}", "/inputs/a/type", "did you mean 'string'?"),
        ("inputs: {a: {type: string, required: true}}", "/inputs/a/required", "an input without `default` must be giv"),
        ("inputs: {a: {type: string, choices: [b]}}", "/inputs/a/choices", "write `enum`"),
        ("inputs: {a: {type: string, optional: true}}", "/inputs/a/optional", "write `default: null`"),
    ],
)
def test_a_foreign_key_of_a_playbook_or_input_has_a_suggestion(line: str, pointer: str, suggestion: str) -> None:
    assert suggestion in message_at(f"{HEAD}{line}\nsteps: [{{action: x}}]\n", pointer)


@pytest.mark.parametrize("version", ["playbook: '1'", "playbook: 2", "playbook: 1.0", "playbook: true", "playbook: v1"])
def test_a_wrong_version_is_named(version: str) -> None:
    found = check_source(f"{version}\nid: a\ntitle: t\nsteps: [{{sleep: 1}}]\n", {})
    message = "must be the number 1, the version of the format: write `playbook: 1`"
    assert [(f.pointer, f.line, f.message) for f in found] == [("/playbook", 1, message)]


def test_a_missing_version_is_named() -> None:
    found = check_source("version: 1\nid: a\ntitle: t\nsteps: [{sleep: 1}]\n", {})
    assert {f.pointer: f.message for f in found} == {
        "/playbook": "the key 'playbook' is missing: write `playbook: 1` on the first line",
        "/version": "unknown key 'version'; write `playbook: 1` on the first line",
    }


@pytest.mark.parametrize(
    "value",
    [
        "{{ inputs.n }}",
        "{{ inputs.n['a'] | domain }}",
        "{{ inputs.n == 'a' }}",
        "{{ inputs.n }} of {{ inputs.m }}",
        "[{{ inputs.n }}]",
        "{a: {{ inputs.n }}}",
        "{a: ${{ inputs.n }}}",
    ],
)
def test_an_expression_without_quotes_is_named_with_its_line(value: str) -> None:
    (found,) = check_source(f"{STEPS}  with:\n    n: {value}\n", {})
    assert (found.line, found.message) == (7, 'an expression needs quotes, as in key: "{{ inputs.name }}"')


@pytest.mark.parametrize("line", ['a: "{{ x }}" b', "a: [1 # {{ x }}", "? {a: 1}"])
def test_other_invalid_yaml_is_not_called_an_expression(line: str) -> None:
    (found,) = check_source(f"{line}\n", {})
    assert "quotes" not in found.message
