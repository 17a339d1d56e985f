"""The steps that a run has reached, also those of the playbooks that it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from playbooks.engine.changes import child_name
from playbooks.engine.commands import Place, path_of
from playbooks.engine.state import RunState, StepRecord
from playbooks.language.format import Playbook, PlaybookStep, Step


@dataclass(frozen=True)
class Reached:
    """A step that was reached, in nested playbooks at `place`."""

    place: Place
    step: Step
    record: StepRecord

    @property
    def path(self) -> str:
        """The step's name for people, such as "job/create"."""
        return path_of(self.place, self.step.id)


def steps_reached(playbook: Playbook, state: RunState) -> list[Reached]:
    """List the steps that were reached, in order; the steps of a sub-playbook follow the step that runs it.

    Steps of sub-playbooks that have ended have no results, and those of a for_each with many steps are left out.
    """
    return list(_reached(playbook, playbook.parts, state, ()))


def inner_records(state: RunState, step: PlaybookStep) -> dict[str, StepRecord]:
    """Return the records of the runs of the current step's playbook by path, without results."""
    found: dict[str, StepRecord] = {}
    for index, child in enumerate(state.children):
        name = child_name(step, index)
        for id_, record in child.steps.items():
            found[f"{name}/{id_}"] = record.model_copy(update={"result": None, "inner": {}})
            found |= {f"{name}/{path}": inner for path, inner in record.inner.items()}
    return found


def _reached(playbook: Playbook, parts: Mapping[str, Playbook], state: RunState, place: Place) -> Iterator[Reached]:
    for index, step in enumerate(playbook.steps[: state.position + 1]):
        record = state.steps.get(step.id)
        if record is None:
            continue
        yield Reached(place, step, record)
        if not isinstance(step, PlaybookStep):
            continue
        for path, inner in record.inner.items():
            names = path.split("/")
            yield Reached((*place, *names[:-1]), _step_at(playbook, parts, names), inner)
        if index == state.position:
            for number, child in enumerate(state.children):
                yield from _reached(parts[step.playbook], parts, child, (*place, child_name(step, number)))
    yield from (Reached(place, step, state.steps[step.id]) for step in playbook.at_end if step.id in state.steps)


def _step_at(playbook: Playbook, parts: Mapping[str, Playbook], names: list[str]) -> Step:
    by_id: dict[str, Step] = {step.id: step for step in (*playbook.steps, *playbook.at_end)}
    step = by_id[names[0].partition("[")[0]]
    if len(names) == 1 or not isinstance(step, PlaybookStep):
        return step
    return _step_at(parts[step.playbook], parts, names[1:])
