"""What a worker works with: the pack's actions, its own clock, its own way to the sandbox."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from actions import (
    cancel_job,
    create_move_job,
    delete_job,
    export_job_messages,
    move_messages,
    preview_job,
    release_job,
    release_messages,
    wait_for_job,
)
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.network import Network
from core.clock import Deadline
from core.errors import PackError
from tests.chaos.schedule import Worker
from tests.chaos.wire import Call, Story, Wire
from tests.chaos.workers import Actor, ActorClock, Killed
from tests.chaos.world import World

ACTIONS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "preview-job": preview_job.run,
    "create-move-job": create_move_job.run,
    "release-job": release_job.run,
    "cancel-job": cancel_job.run,
    "delete-job": delete_job.run,
    "wait-for-job": wait_for_job.run,
    "export-job-messages": export_job_messages.run,
    "move-messages": move_messages.run,
    "release-messages": release_messages.run,
}


class Hands:
    """What a worker works with: its clock, and its way to the sandbox."""

    def __init__(
        self,
        actor: Actor,
        worker: Worker | None,
        world: World,
        story: Story,
        *,
        page_limit: int | None,
        began: datetime,
        settings: Mapping[str, Any],
    ) -> None:
        self.actor = actor
        self._settings = settings
        self._sandbox = world.sandbox
        self._story = story
        self._deadline = worker.deadline_seconds if worker else None
        self._clock = ActorClock(actor, began)
        self._wire = Wire(
            actor,
            world.sandbox.state,
            story,
            clock=self._clock,
            kills=worker.kills if worker else (),
            jump=worker.jump if worker else None,
            page_limit=page_limit,
            service=world.service,
            connect=lambda: Network(None, None),
        )

    @property
    def now(self) -> datetime:
        """The worker's wall clock."""
        return self._clock.now()

    def do(self, call: Call) -> int:
        """One call as a process of its own: connection, randomness and rate budget are new. Gives its requests."""
        sandbox, stage, before = self._sandbox, self.actor.stage, self._wire.requests
        self._wire.call = call
        call.deadline_seconds = self._deadline
        self._tell(f"runs {call.action}")
        settings = {
            "account_id": sandbox.account_id,
            "api_token": sandbox.token,
            "base_url": sandbox.base_url,
            **self._settings,
        }
        deadline = None if self._deadline is None else Deadline(self._clock, self._deadline)
        chance = random.Random(stage.chance.random())
        with EmailSecurity(
            Connection.checked(settings), clock=self._clock, rng=chance, http=self._wire, deadline=deadline
        ) as api:
            try:
                call.code, call.document = 0, ACTIONS[call.action](call.params, api)
            except PackError as error:
                call.code, call.document = error.exit_code, error.document()
            except Killed:
                call.code = None
            except Exception as problem:  # noqa: BLE001 -- an action raises nothing else: it is told as what it is
                call.code, call.document = 1, {"error": {"type": "InternalError", "message": repr(problem)}}
        call.moves_on(stage.now)
        call.ended = stage.now
        if call.code is not None:
            self._tell(f"{call.action} ends with {call.code}: {_words(call)}")
        return self._wire.requests - before

    def _tell(self, what: str) -> None:
        self._story.tell(self.actor.stage.now, self.actor.name, what)


def _words(call: Call) -> str:
    if call.code != 0:
        return f"{call.error.get('type')}, applied {call.error.get('applied')}: {call.error.get('message')}"
    shown = ("job_id", "created", "done", "messages", "succeeded", "already", "failed", "unknown")
    known = {name: call.document.get(name) for name in shown}
    return ", ".join(f"{name} {value}" for name, value in known.items() if isinstance(value, str | int))
