"""The same schedules through the official SDK: one create for each worker, with the retries that it makes by itself.

Intents by ID are left out: they make no job that could be counted.

That is kind to it: nobody runs a failed call again, nobody is killed, and each call counts as an intent of its own.
Its pauses are the stage's, without their jitter; nobody sleeps.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import cloudflare
import httpx
from cloudflare import Cloudflare, _base_client
from cloudflare._models import FinalRequestOptions

from tests.chaos.bad_days import Fields
from tests.chaos.schedule import Schedule, drawn
from tests.chaos.wire import Call, Story, Wire
from tests.chaos.workers import Actor, Stage
from tests.chaos.world import World, tls_settings, world


@dataclass
class SdkOutcome:
    """beyond_intents: jobs beyond one for each key, where workers share one."""

    calls: int = 0
    jobs: int = 0
    duplicates: int = 0
    beyond_intents: int = 0
    errors: int = 0
    errors_with_a_job: int = 0

    def counts(self) -> dict[str, int]:
        return {name.replace("_", " "): count for name, count in vars(self).items()}


class _Patient(Cloudflare):
    """The SDK, unmodified but for what it sleeps by."""

    sleep: Callable[[float], object]

    def _sleep_for_retry(
        self, *, retries_taken: int, max_retries: int, options: FinalRequestOptions, response: httpx.Response | None
    ) -> None:
        headers = response.headers if response else None
        self.sleep(self._calculate_retry_timeout(max_retries - retries_taken, options, headers))


def run_through_sdk(seed: int, number: int) -> SdkOutcome:
    """Play one case's creates."""
    schedule = drawn(seed, number)
    # Its jitter is of the process's own randomness: without it a case is the same each time.
    with world(schedule) as played, mock.patch.object(_base_client, "random", lambda: 0.0):
        return _play(schedule, played)


def _play(schedule: Schedule, world: World) -> SdkOutcome:
    outcome = SdkOutcome()
    stage = Stage(random.Random(f"{schedule.name}/sdk"), world.sandbox.state.advance)
    calls: dict[int, list[Call]] = {}
    intents = [intent for intent in schedule.intents if not intent.by_id]
    for place, intent in enumerate(intents):
        calls[place] = []
        for worker in intent.workers:
            asked = intent.requests[worker.variant]
            call = Call(worker.name, intent.action, asked, asked, began=0.0)
            calls[place].append(call)
            stage.enter(worker.name, _create(call, world, outcome), at=worker.starts)
    stage.play()
    for place, intent in enumerate(intents):
        made = [len(call.made) for call in calls[place]]
        outcome.calls += len(made)
        outcome.jobs += sum(made)
        outcome.duplicates += sum(max(0, count - 1) for count in made)
        if intent.key is not None:
            outcome.beyond_intents += max(0, sum(made) - 1)
    return outcome


def _create(call: Call, world: World, outcome: SdkOutcome) -> Callable[[Actor], None]:
    sandbox = world.sandbox

    def work(actor: Actor) -> None:
        wire = Wire(
            actor,
            sandbox.state,
            Story(),
            service=world.service,
            connect=lambda: httpx.HTTPTransport(verify=tls_settings()),
        )
        wire.call = call
        with (
            httpx.Client(transport=wire, verify=tls_settings(), trust_env=False) as http,
            _Patient(api_token=sandbox.token, base_url=sandbox.base_url, http_client=http) as client,
        ):
            client.sleep = actor.rest
            try:
                client.email_security.investigate.bulk.create(account_id=sandbox.account_id, **_body(call))
            except (cloudflare.CloudflareError, ValueError):
                # ValueError: a body that is cut off comes out of the SDK as the JSON parser's own error.
                outcome.errors += 1
                outcome.errors_with_a_job += bool(call.made)

    return work


def _body(call: Call) -> Fields:
    body = {name: call.params[name] for name in ("search_params", "destination", "comment") if name in call.params}
    return {"action": "MOVE" if call.action == "create-move-job" else "RELEASE", **body}
