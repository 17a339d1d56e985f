"""Generate the AWS Step Functions definitions that run playbooks by advance-run.

`python -m platforms.published.step_functions` writes them to examples/step-functions/. A test fails if one is stale.
`${FunctionArn}` and `${TopicArn}` are filled by CloudFormation, AWS SAM or Terraform.
Source: the Amazon States Language; AWS Step Functions Developer Guide, "Handle Lambda service exceptions".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from platforms.published.manifest import ROOT
from platforms.served_actions import ADVANCE_RUN

FOLDER = ROOT / "examples" / "step-functions"

State = dict[str, Any]

# The longest time of a Lambda function is 900 seconds.
CALL_SECONDS = 930
RUNS_AT_ONCE = 5

# The call may not have reached the function, or the function may have ended without a result. OutputError: the store of
# the states was unavailable.
REPEATED = [
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Sandbox.Timedout",
    "States.Timeout",
    "OutputError",
]


def definitions() -> dict[Path, str]:
    """Return the text of each definition, by its file."""
    found = {"run-playbook": _one_run(), "run-playbook-for-each": _each()}
    return {FOLDER / f"{name}.asl.json": json.dumps(found[name], indent=2) + "\n" for name in found}


def _one_run() -> State:
    end = {
        "Done": {"Type": "Succeed", "OutputPath": "$.result"},
        "Failed": {"Type": "Fail", "ErrorPath": "$.result.error.type", "CausePath": "$.result.error.message"},
    }
    completed = {
        "And": [_is("$.next", "done"), {"Variable": "$.result.exit_code", "NumericEquals": 0}],
        "Next": "Done",
    }
    return {
        "Comment": "Run a playbook, one step per call. Fails if the run does not complete.",
        **_loop([completed, {**_is("$.next", "done"), "Next": "Failed"}], end),
    }


def _each() -> State:
    """Return the definition for a list. A run that does not complete does not stop the others."""
    kept = ("run_id", "directory", "status", "exit_code")
    end = {"Ended": {"Type": "Pass", "Parameters": {f"{name}.$": f"$.result.{name}" for name in kept}, "End": True}}
    processor = _loop([{**_is("$.next", "done"), "Next": "Ended"}], end)
    return {
        "Comment": "Run a playbook for each entry of a list. Fails at the end if a run did not complete.",
        "StartAt": "Split",
        "States": {
            "Split": _call("Each"),
            "Each": {
                "Type": "Map",
                "ItemsPath": "$.runs",
                "ItemSelector": {"run.$": "$$.Map.Item.Value"},
                "MaxConcurrency": RUNS_AT_ONCE,
                # Each run has an execution of its own, with a history of its own.
                "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, **processor},
                "Next": "Collect",
            },
            "Collect": {
                "Type": "Pass",
                "Parameters": {"runs.$": "$", "exit_codes.$": "States.ArrayUnique($[*].exit_code)"},
                "Next": "All completed",
            },
            "All completed": {
                "Type": "Choice",
                "Choices": [
                    {
                        "And": [
                            {"Variable": "$.exit_codes[0]", "NumericEquals": 0},
                            {"Not": {"Variable": "$.exit_codes[1]", "IsPresent": True}},
                        ],
                        "Next": "Done",
                    }
                ],
                "Default": "Failed",
            },
            "Done": {"Type": "Succeed"},
            "Failed": {
                "Type": "Fail",
                "Error": "NotCompleted",
                "Cause": "A run did not complete. The input of this state has the runs, with their status.",
            },
        },
    }


def _loop(ends: list[State], end_states: dict[str, State]) -> State:
    """Return the states that run one playbook. The input is `{"run": the parameters of the first call}`."""
    return {
        "StartAt": "Advance",
        "States": {
            "Advance": _call("Next step"),
            "Next step": {
                "Type": "Choice",
                "Choices": [
                    *ends,
                    {**_is("$.next", "again"), "Next": "Advance"},
                    {**_is("$.next", "signal"), "Next": "Ask"},
                ],
                "Default": "Wait",
            },
            "Wait": {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Advance"},
            "Ask": {
                "Comment": "Only for playbooks that pause. SendTaskSuccess returns the signals: [{name, value}].",
                "Type": "Task",
                "Resource": "arn:aws:states:::sns:publish.waitForTaskToken",
                "Parameters": {
                    "TopicArn": "${TopicArn}",
                    "Message": {
                        "task_token.$": "$$.Task.Token",
                        "waits_for.$": "$.waits_for",
                        "refused_signals.$": "$.refused_signals",
                    },
                },
                "TimeoutSecondsPath": "$.seconds",
                "ResultPath": "$.run.signals",
                "Catch": [{"ErrorEquals": ["States.Timeout"], "ResultPath": None, "Next": "Advance"}],
                "Next": "Advance",
            },
            **end_states,
        },
    }


def _call(following: str) -> State:
    """Return the state that calls the function with `run` of its input."""
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {
            "FunctionName": "${FunctionArn}",
            "Payload": {
                "action": ADVANCE_RUN,
                "params.$": "$.run",
                "execution": {"name.$": "$$.Execution.Name", "retries.$": "$$.State.RetryCount"},
            },
        },
        "OutputPath": "$.Payload",
        "TimeoutSeconds": CALL_SECONDS,
        "Retry": [{"ErrorEquals": REPEATED, "IntervalSeconds": 2, "BackoffRate": 2, "MaxAttempts": 6}],
        "Next": following,
    }


def _is(variable: str, value: str) -> State:
    return {"Variable": variable, "StringEquals": value}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, text in definitions().items():
        file.write_text(text, encoding="utf-8")
