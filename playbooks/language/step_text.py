"""Describe a step in a few words."""

from __future__ import annotations

import json

from core.json_values import Json
from playbooks.language.format import (
    ActionStep,
    CheckStep,
    FinishStep,
    PauseStep,
    PlaybookStep,
    SetStep,
    SleepStep,
    Step,
)


def work_of(step: Step) -> str:
    """Return what a step does, such as "runs search-messages"."""
    match step:
        case ActionStep():
            return f"runs {step.action}"
        case CheckStep():
            return f"checks {_written(step.check)}"
        case FinishStep():
            return f"ends the run if {_written(step.finish)}"
        case SleepStep():
            return f"waits {_written(step.sleep)} seconds"
        case PauseStep():
            many = "" if step.count == 1 else f" ({_written(step.count)} needed)"
            return f"waits for the signal {step.pause}{many}, within {_written(step.within)} seconds"
        case PlaybookStep():
            each = "" if step.for_each is None else f" for each of {_written(step.for_each)}"
            at_once = "" if step.at_most == 1 else f", {step.at_most} at a time"
            return f"runs the playbook {step.playbook}{each}{at_once}"
        case SetStep():
            return f"sets {', '.join(step.set_)}"


def condition_of(step: Step) -> str:
    """Return the condition of a step, such as "when {{ inputs.plan is none }}", or an empty text."""
    return "" if step.when is True else f"when {_written(step.when)}"


def _written(value: Json) -> str:
    return " ".join(value.split()) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
