"""The sandbox of one case: its mail, its faults, and the jobs of others."""

from __future__ import annotations

import atexit
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

from connectors.http import client as pack_wire
from connectors.objects.message_change import MOST_IDS
from remediation.messages import batches as message_batches
from remediation.stamp import Stamp
from sandbox.account import open_account
from sandbox.server import RunningSandbox, start
from sandbox.settings import Pace, Settings
from tests.chaos.bad_days import Fields
from tests.chaos.odd_service import OddService, new_foreign_job
from tests.chaos.schedule import Schedule

ALERT = json.loads((Path(__file__).parents[2] / "examples" / "alert.json").read_text())

# To read the machine's certificates takes longer than a case does, and on loopback none is used.
tls_settings = cache(pack_wire.httpx.create_ssl_context)


@cache
def _serving() -> RunningSandbox:
    """One server for all cases of a process: to build its routes takes a third of a case."""
    sandbox = start(Settings(messages=0, manual_clock=True))
    atexit.register(sandbox.stop)
    return sandbox


@contextmanager
def tenant(settings: Fields, pace: Fields) -> Iterator[RunningSandbox]:
    """A sandbox on which nothing has happened yet, with the alert's campaign in it."""
    sandbox = _serving()
    # The server keeps its account; the account becomes another one, with nothing left of the case before.
    fresh = open_account(Settings(alert=ALERT, manual_clock=True, pace=Pace(**pace), **settings)).account
    vars(sandbox.state).update(vars(fresh))
    yield sandbox


@dataclass(frozen=True)
class World:
    """The account of a case, and what stands between it and its workers."""

    sandbox: RunningSandbox
    service: OddService


@contextmanager
def world(schedule: Schedule) -> Iterator[World]:
    """A sandbox with the schedule's faults, and with somebody else's jobs, which have comments of all kinds."""
    with (
        tenant(schedule.settings, schedule.pace) as sandbox,
        # A thousand messages a case would take too long: the batches are made smaller instead.
        mock.patch.object(message_batches, "MOST_IDS", schedule.most_ids or MOST_IDS),
    ):
        account, chance = sandbox.state, random.Random(f"{schedule.name}/service")
        service = OddService(schedule.oddities, account, chance, page_limit=schedule.page_limit)
        comments: list[str | None] = [None, "case 42", "[cfes:1:0123", str(Stamp.of(sandbox.account_id, "other", {}))]
        # Where it is not in front, a stamp is a stranger's word.
        comments += [f"re: {Stamp.of(sandbox.account_id, intent.key or '', {})}" for intent in schedule.intents]
        for place in range(schedule.foreign_jobs):
            # Those that have ended can be deleted by others while a list is read.
            ended = schedule.oddities.churn > 0 and place % 3 > 0
            new_foreign_job(account, comments[place % len(comments)], ended=ended)
        for fault in schedule.faults:
            account.faults.add(**fault)
        listed = account.jobs.list_jobs
        with mock.patch.object(account.jobs, "list_jobs", lambda *filters: service.listed(listed(*filters))):
            yield World(sandbox, service)
