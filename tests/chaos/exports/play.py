"""One bad day of an export: an orchestrator that calls until it is told, and a calm call in the end."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock
from zipfile import BadZipFile

from actions import export_job_messages
from connectors import email_security
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.paging import pages as paging
from connectors.paging import read_ahead as pages_ahead
from core.errors import PackError
from remediation.exports import sink, source
from sandbox.jobs import Job, JobOrder, job_view
from sandbox.search import Criteria
from sandbox.server import RunningSandbox
from tests.chaos.exports.machine import Machine, Road
from tests.chaos.exports.schedule import LOSING, Day, drawn, told
from tests.chaos.exports.verdict import judge_bundle, judge_rows, truth, written
from tests.chaos.schedule import SENDER
from tests.chaos.workers import Killed
from tests.chaos.world import tenant
from tests.clock import FakeClock

MOST_CALLS = 14

# Longer than any job, window or block: after it nothing of the bad day is left.
CALM_SECONDS = 2000.0

# A time budget ends between two pages; what is under way then is waited for.
LATENESS_SECONDS = 3.0

# Six rounds over 24 pages, each page a few times: one call that takes more goes in circles.
MOST_REQUESTS = 600

KEY = "0123456789abcdef0123456789abcdef"


@dataclass
class Outcome:
    """What came of a day. codes: exit codes of the calls, -1 where the process was killed. met: faults by kind."""

    day: Day
    story: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    rows: int = 0
    resumed: int = 0
    complete: int = 0
    said_incomplete: int = 0


@dataclass
class _Call:
    """code: the exit code or the verdict, None where the process was killed. elapsed: seconds."""

    params: Mapping[str, Any]
    code: int | None = None
    document: Mapping[str, Any] = field(default_factory=dict)
    elapsed: float = 0.0

    @property
    def error(self) -> Mapping[str, Any]:
        error: Mapping[str, Any] = self.document.get("error") or {}
        return error


def run_day(seed: int, number: int) -> Outcome:
    """Play one day and judge it."""
    day = drawn(seed, number)
    with TemporaryDirectory(prefix="cfes-chaos-") as directory, tenant(day.settings, day.pace) as sandbox:
        return _Play(day, sandbox, Path(directory)).outcome()


@contextmanager
def _pages_of(size: int) -> Iterator[None]:
    """A thousand rows a page would take too long: the largest page is made smaller instead."""
    with ExitStack() as stack:
        for module in (email_security, pages_ahead, paging, sink, source):
            stack.enter_context(mock.patch.object(module, "LARGEST_PAGE", size))
        yield


class _Play:
    def __init__(self, day: Day, sandbox: RunningSandbox, root: Path) -> None:
        self.day = day
        self.result = Outcome(day)
        self._sandbox = sandbox
        self._account = sandbox.state
        self._chance = random.Random(f"{day.name}/play")
        self._clock = FakeClock(moved=sandbox.state.advance)
        self._machine = Machine(root, day.mishaps)
        self._road = Road(self._machine, self._clock, self._chance.uniform)
        self._job = self._begun()
        # How many requests there had been when the export was begun that is going on.
        self._begun_at = 0
        # Nothing of the job moves any more: whoever reads its rows once has them all, in their order.
        self._unmoved = self._job.ended
        self._lost_something = False

    def outcome(self) -> Outcome:
        effects = len(self._account.effects)
        with _pages_of(self.day.page_size):
            last = self._until_told()
            self._count_faults()
            self._account.faults.clear()
            self._clock.advance(CALM_SECONDS)
            self._machine.calm = True
            if self.day.kind == "folder" and self._destination.exists():
                # A folder is never replaced.
                self._destination.rename(self._destination.with_name("before"))
            self._calm(last)
        if len(self._account.effects) != effects:
            self._wrong("an export changed something")
        self.result.requests = self._road.attempts
        self._road.close()
        return self.result

    def _begun(self) -> Job:
        order = JobOrder(
            action="MOVE",
            destination="JunkEmail",
            expected_disposition=None,
            comment="case 42",
            criteria=Criteria(sender=SENDER, detections_only=False),
            search_params={"sender": SENDER, "detections_only": False},
        )
        with self._account.present() as instant:
            job = self._account.jobs.create(order, instant, "somebody")
        if self.day.cancelled_after is not None:
            self._clock.advance(self.day.cancelled_after)
            with self._account.present() as instant:
                if not job.ended:
                    self._account.jobs.cancel(job, instant)
        self._clock.advance(self.day.age)
        for fault in self.day.faults:
            self._account.faults.add(**fault)
        return job

    def _until_told(self) -> Mapping[str, Any] | None:
        """Call until an export is done, as an orchestrator does. Gives the `resume` that it was left with."""
        resume: Mapping[str, Any] | None = None
        for _ in range(MOST_CALLS):
            call = self._one(resume)
            if call.code is None:
                self._clock.advance(self.day.gap)
                continue
            if call.code == 2 and self._machine.died and not call.error.get("resume"):
                pointers = {problem["pointer"] for problem in call.error.get("problems", ())}
                if pointers == {"/destination"} and self._destination.exists():
                    # The process was killed when it had done all, and could not say so.
                    self._judge_file_nobody_told_of()
                    return None
                if pointers == {"/resume"}:
                    resume = None
                    continue
            if "error" not in call.document and call.document["done"]:
                return None
            resume = call.error.get("resume") or call.document.get("resume") or resume
            if call.code not in (3, 4, 5, 6, 8):
                self._wrong(f"ended with {call.code}: {call.document.get('error')}")
                return resume
            self._clock.advance(call.error.get("retry_after_seconds") or self.day.gap)
        return resume

    def _calm(self, resume: Mapping[str, Any] | None) -> None:
        """On a good day the export is complete, whatever was left by the bad one."""
        call = self._one(resume, calm=True)
        if call.code == 2 and resume is not None and self._machine.died:
            # What it stood for went with the process that was killed.
            call = self._one(None, calm=True)
        if call.code != 0 or not call.document["complete"]:
            self._wrong(f"the calm call ended with {call.code}: {call.document}")

    @property
    def _destination(self) -> Path:
        return self._machine.here / self.day.file_name

    def _one(self, resume: Mapping[str, Any] | None, *, calm: bool = False) -> _Call:
        params: dict[str, Any] = {"job_id": self._job.job_id, **self.day.params}
        if self.day.file_name:
            params["destination"] = str(self._destination)
        if resume is not None:
            params["resume"] = resume
        if calm:
            params.pop("time_budget_seconds", None)
            params["overwrite"] = True
        call = _Call(params)
        settings = {
            "account_id": self._sandbox.account_id,
            "api_token": self._sandbox.token,
            "base_url": self._sandbox.base_url,
            "pages_ahead": self.day.pages_ahead,
            "pseudonym_key": KEY,
        }
        before, began = self._road.attempts, self._clock.monotonic()
        if resume is None:
            self._begun_at = before
        api = EmailSecurity(
            Connection.checked(settings),
            clock=self._clock,
            rng=random.Random(self._chance.random()),
            http=self._road,
        )
        verdict = export_job_messages.ACTION.verdict
        assert verdict is not None
        with self._machine.process(), api:
            try:
                call.document = export_job_messages.run(params, api)
                call.code = verdict(call.document)
            except PackError as error:
                call.code, call.document = error.exit_code, error.document()
            except Killed:
                call.code = None
            except Exception as problem:  # noqa: BLE001 -- an action raises nothing else: it is told as what it is
                call.code, call.document = 1, {"error": {"type": "InternalError", "message": repr(problem)}}
            _wait_for_pages()
        call.elapsed = self._clock.monotonic() - began
        self._note(call, resume, self._road.attempts - before)
        if call.code is not None:
            self._judge(call, resume, self._road.attempts - before)
        return call

    def _note(self, call: _Call, resume: Mapping[str, Any] | None, requests: int) -> None:
        self.result.codes[-1 if call.code is None else call.code] += 1
        self.result.resumed += resume is not None
        going = "" if resume is None else f" from page {resume['page']}, {resume['rows']} rows"
        said = {name: value for name, value in call.document.items() if name not in ("job", "messages", "files")}
        line = (
            f"{self._clock.monotonic():9.3f}  {requests} requests{going} -> {call.code}: {said}; job {self._job.status}"
        )
        self.result.story.append(line.replace(str(self._machine.here), "."))

    def _judge(self, call: _Call, resume: Mapping[str, Any] | None, requests: int) -> None:
        self._lost_something |= any(fault["met"] and fault["kind"] in LOSING for fault in self._account.faults.view())
        if requests > MOST_REQUESTS:
            self._wrong(f"made {requests} requests in one call")
        budget = call.params.get("time_budget_seconds")
        if budget is not None and call.elapsed > budget + LATENESS_SECONDS:
            self._wrong(f"took {call.elapsed:.1f} s of its {budget} s")
        if call.error:
            self._judge_error(call, resume)
        elif call.document["done"]:
            self._judge_done(call)
        elif self._destination.exists():
            self._wrong("is not done, and its file is there")
        if not self._machine.died and not self._machine.litters:
            self._judge_leavings(call, resume)

    def _judge_error(self, call: _Call, resume: Mapping[str, Any] | None) -> None:
        error = call.error
        if error.get("applied") != "no" or not error.get("help"):
            self._wrong(f"an error does not say that nothing was changed, or what to do: {error}")
        if error["type"] == "ExportIncomplete":
            self.result.said_incomplete += 1
            if not self._lost_something:
                self._wrong("says that it is incomplete, and no row was ever hidden")
        name, died = self.day.file_name, self._machine.died
        if name and not died and self._destination.exists() and not call.params.get("overwrite"):
            self._wrong("failed, and its file is there")
        partial = self._destination.with_name(f"{name}.partial")
        kept = name and not died and not self._machine.litters and partial.exists()
        if kept and resume is None and not error.get("resume"):
            self._wrong(f"keeps {partial.stat().st_size} bytes of which nobody is told")

    def _judge_done(self, call: _Call) -> None:
        result, day = call.document, self.day
        if day.kind == "inline":
            rows = result["messages"]
        else:
            rows = written(self._destination, day.kind, day.params.get("format", "ndjson"))
        promised = truth(self._account, self._job, day.params.get("status"))
        self.result.rows += len(rows)
        self.result.complete += result["complete"]
        self.result.said_incomplete += not result["complete"]
        for problem in judge_rows(rows, result, promised, job_view(self._job, self._account.clock.now())):
            self._wrong(problem)
        misled = self._lost_something or any(fault["kind"] == "cursor" for fault in self.day.faults)
        if self._unmoved and not misled and [row["message_id"] for row in rows] != [r["message_id"] for r in promised]:
            self._wrong("has its rows in another order than the API")
        if (call.code == 0) != result["complete"]:
            self._wrong(f"ends with {call.code} where complete is {result['complete']}")
        if day.kind in ("zip", "folder"):
            # Pages that nobody waits for any more may come after the record of calls is closed.
            exact = day.pages_ahead == 0 and not self._machine.died and not self._machine.full
            made = self._road.attempts - self._begun_at
            for problem in judge_bundle(self._destination, result, made, exact=exact):
                self._wrong(problem)

    def _judge_file_nobody_told_of(self) -> None:
        try:
            rows = written(self._destination, self.day.kind, self.day.params.get("format", "ndjson"))
        except (ValueError, BadZipFile) as error:
            self._wrong(f"a killed process left half a file in its place: {error}")
            return
        if len({row["message_id"] for row in rows}) != len(rows):
            self._wrong("a row was written twice, by a process that was killed")
        promised = {row["message_id"] for row in truth(self._account, self._job, self.day.params.get("status"))}
        surely_complete = self.day.params.get("require_complete", True) and self._unmoved
        if surely_complete and {row["message_id"] for row in rows} != promised:
            self._wrong("a killed process left an incomplete file in its place")

    def _judge_leavings(self, call: _Call, resume: Mapping[str, Any] | None) -> None:
        name = self.day.file_name
        if not name:
            return
        there = {path.name for path in self._machine.here.iterdir()}
        done = "error" not in call.document and call.document["done"]
        going_on = resume is not None or bool(call.error.get("resume") or call.document.get("resume"))
        allowed = {name} if done else {f"{name}.partial", f"{name}.partial.calls"} if going_on else set()
        if not there <= allowed and not call.params.get("overwrite"):
            self._wrong(f"leaves {sorted(there - allowed)} behind")

    def _count_faults(self) -> None:
        for fault in self._account.faults.view():
            self.result.met[fault["kind"]] += fault["met"]
        self.result.met["killed"] = self._machine.died
        self.result.met["disk full"] = self._machine.full

    def _wrong(self, what: str) -> None:
        self.result.wrong.append(what)


def _wait_for_pages() -> None:
    """The threads that fetch ahead end with their process; here they have to be waited for."""
    for thread in threading.enumerate():
        if thread.name.startswith("pages-ahead"):
            thread.join(5)
            assert not thread.is_alive()


def in_words(outcome: Outcome, *, story: bool) -> str:
    """A day in words, with the command that plays it again."""
    seed, number = outcome.day.name.split("/")
    lines = [f"day {number}: {len(outcome.wrong) or 'nothing'} wrong", *outcome.wrong]
    if story:
        lines = [*told(outcome.day), *outcome.story, *lines]
    return "\n".join([*lines, f"again: python -m tests.chaos.exports --seed {seed} --day {number} -v"])
