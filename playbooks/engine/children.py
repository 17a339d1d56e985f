"""The runs of the playbook that a step runs: one, or with for_each one per item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playbooks.engine import changes
from playbooks.engine.calls import handler_of
from playbooks.engine.history import inner_records
from playbooks.engine.state import End, PlaybookVersion, RunState, StepRecord
from playbooks.language import inputs as run_inputs
from playbooks.language.expressions import OMIT
from playbooks.language.format import PlaybookStep

if TYPE_CHECKING:
    from playbooks.engine.walk import Walk


# A state has to stay small.
MAX_INNER_RECORDS = 200


def begin_more(walk: Walk, step: PlaybookStep) -> None:
    """Begin runs until `at_most` are active. After an end that also ends this run, begin no more.

    Raises: ParameterError if inputs are invalid, ExpressionFailed.
    """
    state = walk.state
    part = walk.bundle.parts[step.playbook]
    while len(state.children) < len(state.items):
        active = sum(not isinstance(child.pending, End) for child in state.children)
        if active >= step.at_most or any(_ends_parent(walk, step, child) for child in state.children):
            return
        index = len(state.children)
        scope = {} if step.for_each is None else {"item": state.items[index], "index": index}
        given = walk.at("with").value(walk.context({"omit": OMIT, **scope}))
        child = RunState(
            playbook=PlaybookVersion(id=part.id, sha256=part.sha256),
            run_id=state.run_id,
            key=state.key,
            # With for_each each run has files of its own.
            directory=state.directory if step.for_each is None else f"{state.directory}/{step.id}-{index + 1}",
            started_at=walk.now,
            inputs=run_inputs.accept(part, given if isinstance(given, dict) else {}),
        )
        state.children = [*state.children, child]
        walk.child_walk(step, index, child).settle()


def gather(walk: Walk, step: PlaybookStep, record: StepRecord) -> End | None:
    """Record how the runs ended. Returns the end that also ends this run, or None.

    A single run whose error a handler takes leaves the step failed.
    """
    state = walk.state
    ends = [child.pending for child in state.children if isinstance(child.pending, End)]
    if step.for_each is None:
        record.result = ends[0].outputs
    else:
        keys = {"status", "outputs", "error", "message"}
        record.result = {"runs": [end.model_dump(mode="json", include=keys) for end in ends]}
    for child in state.children:
        if isinstance(child.pending, End) and _ends_parent(walk, step, child):
            return child.pending
    for index, child in enumerate(state.children):
        found = changes.changes_within(walk.bundle.parts[step.playbook], child, walk.bundle)
        name = changes.child_name(step, index)
        record.changes = [*record.changes, *({**vars(c), "step": f"{name}/{c.step}"} for c in found)]
    inner = inner_records(state, step)
    record.inner = inner if len(inner) <= MAX_INNER_RECORDS else {}
    if step.for_each is None and ends[0].error is not None:
        record.error = ends[0].error
        record.status, record.reason, record.ended = "failed", ends[0].message, walk.now
    state.items, state.children = [], []
    return None


def _ends_parent(walk: Walk, step: PlaybookStep, child: RunState) -> bool:
    end = child.pending
    if not isinstance(end, End) or end.error is None:
        return False
    _, handler = handler_of(walk, step, end.error, 1)
    return handler is None or handler.do == "stop"
