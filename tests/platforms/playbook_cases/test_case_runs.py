"""A test case runs a playbook in a sandbox of its own: faults, crashes, signals and time are scripted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from platforms.playbook_cases.case_run import CaseResult, run_cases
from platforms.playbook_cases.loading import ERRORS, load
from tests.conftest import EXAMPLE_ALERT

# Finds the campaign, asks, moves it with one job, and waits.
MOVE = """\
playbook: 1
id: move
title: Ask and move
key: "{{ inputs.alert.AlertID }}"
inputs: {alert: {type: object, primary: true}, ask: {type: boolean, default: false}}
steps:
  - {id: plan, action: preview-job, with: {action: MOVE, destination: JunkEmail,
     search_params: {sender: "{{ inputs.alert.From }}", start: "2026-11-13T15:32:35Z", detections_only: false}}}
  - {id: asked, pause: approval, when: "{{ inputs.ask }}", within: 3600, otherwise: Nobody answered.,
     accepts: {type: object, required: [by], properties: {by: {type: string}}}}
  - {id: create, action: create-move-job, with: {plan: "{{ steps.plan }}", wait_follows: true}}
  - {id: wait, action: wait-for-job, with: {job_id: "{{ steps.create.job_id }}"}}
outputs: {job_id: "{{ steps.create.job_id }}", processed: "{{ steps.wait.progress.processed }}",
          by: "{{ steps.asked.value.by if 'asked' in steps else none }}"}
"""

# Runs a part with a pause for each of two names.
EACH = """\
playbook: 1
id: each
title: Ask twice
inputs: {}
steps: [{id: asks, playbook: one, for_each: [a, b], at_most: 2, with: {name: "{{ item }}"}}]
outputs: {answers: "{{ steps.asks.runs | map(attribute='outputs') | map(attribute='answer') | list }}"}
"""
ONE = """\
playbook: 1
id: one
title: Ask
inputs: {name: {type: string}}
steps:
  - {id: read, action: read-alert, with: {alert: {AlertID: x, From: a@b.example, Timestamp: "2026-11-20T15:32:35Z"}}}
  - {id: ask, pause: go, within: 600, otherwise: "Nobody answered {{ inputs.name }}."}
outputs: {answer: "{{ steps.ask.value }}"}
"""

RunCases = Callable[..., list[CaseResult]]


@pytest.fixture
def run_tests(tmp_path: Path) -> RunCases:
    """A function that runs the cases of a test file of the playbook `move` or `each`."""
    for name, text in {"move": MOVE, "each": EACH, "one": ONE}.items():
        (tmp_path / f"{name}.yaml").write_text(text)

    def run(cases: str, playbook: str = "move") -> list[CaseResult]:
        path = tmp_path / f"{playbook}.test.yaml"
        alert = f'inputs: {{alert: "@{EXAMPLE_ALERT}"}}\n' if playbook == "move" else ""
        settings = "{messages: 100, campaign_size: 20, permanent_failures: 0, transient_failures: 0}"
        path.write_text(f"test: 1\nplaybook: {playbook}.yaml\n{alert}sandbox: {settings}\ncases:\n{cases}")
        return list(run_cases(load(path)))

    return run


def test_a_case_compares_how_the_run_ended_and_what_it_changed(run_tests: RunCases) -> None:
    (result,) = run_tests(
        "- name: moves\n  expect: {status: completed, exit_code: 0, jobs: 1, moved: 19, released: 0, "
        "steps: {asked: skipped, wait: succeeded}, calls: {createBulkJob: 1, cancelBulkJob: 0}, "
        "that: ['{{ outputs.processed >= moved }}', \"{{ jobs[0].status == 'COMPLETED' }}\"]}\n"
    )
    assert (result.passed, result.differences) == (True, [])
    assert result.document()["jobs"] == 1


def test_each_difference_has_its_line_and_both_values(run_tests: RunCases) -> None:
    (result,) = run_tests(
        "- name: wrong\n"
        "  expect:\n"
        "    status: refused\n"
        "    jobs: 2\n"
        "    outputs:\n"
        "      processed: 19\n"
        "      procesed: 1\n"
        "    error: {type: NotFound}\n"
        "    steps: {wait: failed}\n"
        "    that:\n"
        '    - "{{ moved < 5 }}"\n'
        '    - "{{ outputs.nothing }}"\n'
    )
    assert [(found["line"], found["message"]) for found in result.differences] == [
        (8, "status is 'completed', not 'refused'"),
        (9, "jobs is 1, not 2"),
        (11, "outputs.processed is 21, not 19"),
        (12, "outputs.procesed is missing, not 1"),
        (13, "error.type is missing, not 'NotFound'"),
        (14, "step 'wait' is succeeded, not failed"),
        (16, "is false, not true: '{{ moved < 5 }}'"),
        (17, "can't be evaluated: there is no key 'nothing'"),
    ]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["create", "wait"])
def test_a_crash_makes_no_second_job(run_tests: RunCases, step: str, moment: str) -> None:
    (result,) = run_tests(
        f"- {{name: crash, steps: {{{step}: {{crash: {moment}}}}}, "
        "expect: {status: completed, jobs: 1, moved: 19}}\n"
    )
    assert result.passed, result.differences


def test_a_fault_of_a_step_ends_with_the_step(run_tests: RunCases) -> None:
    (result,) = run_tests(
        "- name: outage\n"
        "  steps:\n"
        "    create:\n"
        "      faults:\n"
        "      - {operation: createBulkJob, kind: drop_after}\n"
        "      - {operation: getBulkJob, kind: html, times: null}\n"
        "  expect: {status: completed, jobs: 1, moved: 19}\n"
    )
    assert result.passed, result.differences


def test_a_fault_that_no_call_meets_is_a_difference(run_tests: RunCases) -> None:
    (result,) = run_tests(
        "- name: a\n"
        "  faults:\n"
        "  - {operation: deleteBulkJob, kind: drop_after}\n"
        "  steps:\n"
        "    plan:\n"
        "      faults: [{operation: createBulkJob, kind: drop_after}]\n"
        "  expect: {status: completed}\n"
    )
    assert [(found["line"], found["message"]) for found in result.differences] == [
        (11, "the fault drop_after of createBulkJob did not happen: there was no such call"),
        (8, "the fault drop_after of deleteBulkJob did not happen: there was no such call"),
    ]


def test_a_case_can_replace_an_action_with_an_error_of_any_type(run_tests: RunCases) -> None:
    error = "{{type: {}, message: made up}}"
    results = run_tests(
        "".join(
            f"- {{name: {name}, steps: {{plan: {{error: {error.format(name)}}}}}, "
            f"sandbox: {{messages: 0, alert: null}}, expect: {{status: failed, error: {error.format(name)}}}}}\n"
            for name in ERRORS
        )
    )
    assert [result.name for result in results if not result.passed] == []


def test_an_action_can_be_replaced_by_a_result_or_an_error(run_tests: RunCases) -> None:
    made_up = "{job_id: job-1, plan_hash: null, created: true}"
    (result, failed) = run_tests(
        f"- {{name: a, steps: {{create: {{result: {made_up}}}, wait: {{error: {{type: NotFound}}}}}}, "
        "expect: {status: failed, exit_code: 5, error: {type: NotFound}, jobs: 0, calls: {createBulkJob: 0}}}\n"
        "- {name: b, steps: {plan: {error: {type: RateLimited, message: too fast}}}, "
        "expect: {error: {type: RateLimited, message: too fast}, steps: {create: not reached}}}\n"
    )
    assert (result.differences, failed.differences) == ([], [])


def test_a_signal_answers_a_pause(run_tests: RunCases) -> None:
    (answered, late, silent, unused) = run_tests(
        "- {name: a, inputs: {ask: true}, signals: [{name: approval, value: {by: dana}, after: 3599}], "
        "expect: {status: completed, outputs: {by: dana}, jobs: 1}}\n"
        "- {name: b, inputs: {ask: true}, signals: [{name: approval, value: {by: dana}, after: 3601}], "
        "expect: {status: refused, jobs: 0}}\n"
        "- {name: c, inputs: {ask: true}, expect: {status: refused, message: Nobody answered, exit_code: 3}}\n"
        "- {name: d, signals: [{name: approval, value: {by: dana}}], expect: {status: completed}}\n"
    )
    not_sent = "the signal 'approval' was not sent: no pause waited for it in time"
    assert [[found["message"] for found in result.differences] for result in (answered, late, silent, unused)] == [
        [],
        [not_sent],
        [],
        [not_sent],
    ]


def test_a_signal_that_a_pause_refuses_is_a_difference(run_tests: RunCases) -> None:
    (result,) = run_tests(
        "- name: a\n  inputs: {ask: true}\n  signals:\n  - name: approval\n    value: {by: 7}\n"
        "  - {name: approval, value: {by: lee}}\n  expect: {status: completed, outputs: {by: lee}}\n"
    )
    (found,) = result.differences
    assert (found["line"], found["message"]) == (10, "refused: must be of type string, not integer 7")


def test_a_signal_for_one_of_several_runs_names_its_path(run_tests: RunCases) -> None:
    (both, one) = run_tests(
        "- {name: a, signals: [{name: 'asks[1]/go', value: 2}, {name: go, value: 1}], "
        "expect: {outputs: {answers: [1, 2]}}}\n"
        "- {name: b, signals: [{name: 'asks[0]/go', value: 1}], "
        "expect: {status: refused, message: Nobody answered b}}\n",
        playbook="each",
    )
    assert (both.differences, one.differences) == ([], [])


def test_a_step_of_a_sub_playbook_is_named_by_its_id_or_its_path(run_tests: RunCases) -> None:
    (by_id, by_path) = run_tests(
        "- {name: a, steps: {read: {error: {type: ParameterError}}}, expect: {status: failed, exit_code: 2}}\n"
        "- {name: b, steps: {'asks[1]/read': {error: {type: NotFound}}}, "
        "signals: [{name: go}], expect: {exit_code: 5, error: {type: NotFound}, steps: {'asks[0]/read': succeeded}}}\n",
        playbook="each",
    )
    assert by_id.differences == []
    assert [found["message"] for found in by_path.differences][1:] == []


def test_an_earlier_run_leaves_its_job_in_the_sandbox(run_tests: RunCases) -> None:
    (result,) = run_tests(
        "- {name: a, earlier_runs: 2, faults: [{operation: searchMessages, kind: html}], inputs: {ask: true}, "
        "signals: [{name: approval, value: {by: dana}}], expect: {jobs: 1, calls: {createBulkJob: 1}}}\n"
    )
    assert result.differences == []


def test_a_step_that_is_not_reached_is_a_difference(run_tests: RunCases) -> None:
    (result,) = run_tests(
        "- {name: a, steps: {plan: {error: {type: NotFound}}, create: {crash: after}}, expect: {exit_code: 5}}\n"
    )
    assert [found["message"] for found in result.differences] == [
        "nothing of this happened: the run did not reach an action in step 'create'"
    ]


def test_time_passes_without_waiting(run_tests: RunCases) -> None:
    (result,) = run_tests(
        "- {name: a, steps: {plan: {advance: 864000}}, "
        "expect: {that: [\"{{ jobs[0].created_at > '2026-11-30T16' }}\"]}}\n"
    )
    assert result.differences == []


def test_inputs_that_the_playbook_refuses_end_the_case(run_tests: RunCases) -> None:
    (result,) = run_tests("- {name: a, inputs: {ask: 3}, expect: {exit_code: 2, error: {type: ParameterError}}}\n")
    assert (result.differences, result.ended.status) == ([], None)


def test_a_case_merges_its_inputs_into_those_of_the_file(run_tests: RunCases) -> None:
    (result,) = run_tests(
        "- {name: a, inputs: {alert: {From: nobody@nowhere.example}}, sandbox: {alert: null}, "
        "expect: {status: completed, moved: 0, that: ['{{ outputs.processed == 0 }}']}}\n"
    )
    assert result.ended.moved == 0


def test_a_case_does_not_read_the_environment(run_tests: RunCases, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"CFES_READ_ONLY": "1", "CFES_POLICY": "/nowhere", "CLOUDFLARE_API_TOKEN": "no-such-token"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    (result,) = run_tests("- {name: moves, expect: {status: completed, moved: 19}}\n")
    assert result.passed, result.differences
    assert {name: os.environ[name] for name in settings} == settings


def test_a_policy_and_the_rights_of_the_token_apply(run_tests: RunCases) -> None:
    results = run_tests(
        "- {name: observe, policy: {policy: 1, observe: true}, expect: {exit_code: 3, jobs: 0}}\n"
        "- {name: read, token: read, expect: {exit_code: 4, error: {type: PermissionDenied}, jobs: 0}}\n"
        "- {name: revoked, token: revoked, expect: {exit_code: 4, error: {type: AuthenticationFailed}}}\n"
    )
    assert [result.differences for result in results] == [[], [], []]
