"""One case: workers who do their intents on a bad day, in turns, and a calm call in the end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.clock import as_datetime
from tests.chaos.findings import Findings, in_order
from tests.chaos.guard import Guard, guard
from tests.chaos.hands import Hands
from tests.chaos.named_messages import left_undone
from tests.chaos.naming import requests_of
from tests.chaos.one_job import Service, judge_jobs, units
from tests.chaos.schedule import BY_ID, FollowUp, Intent, Schedule, Worker, drawn
from tests.chaos.touched_messages import Copies, copies, judge_messages
from tests.chaos.verdict import judge_call, judge_time, may_be_refused, most_requests
from tests.chaos.wire import Call, Story
from tests.chaos.workers import Actor, Hung, Stage
from tests.chaos.world import World, world
from tests.red_team.forging import FORGERIES

Params = Mapping[str, Any]

# How often an orchestrator runs a call again that may be run again, and how long it waits where nobody says.
MOST_CALLS = 12
PAUSE_SECONDS = 20.0

# Longer than any window, block or lag: after it nothing of the bad day is left.
CALM_SECONDS = 1000.0


@dataclass
class Outcome:
    """What came of a case.

    met: faults and oddities by kind. codes: exit codes of the calls, -1 where the worker was killed. most_requests: of
    one call, by its action.

    changed_by_id: the messages that were changed by their IDs, without a job.
    """

    schedule: Schedule
    story: list[str]
    findings: Findings
    calls: int = 0
    requests: int = 0
    jobs: int = 0
    planned_jobs: int = 0
    changed_by_id: int = 0
    forged_plans: int = 0
    most_requests: dict[str, int] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)


def run_case(seed: int, number: int) -> Outcome:
    """Play one case and judge it."""
    schedule = drawn(seed, number)
    with world(schedule) as played, guard() as guarded:
        play = _Play(schedule, played, guarded)
        try:
            return play.outcome()
        except Hung as hung:
            # Nobody comes back from it: what was going on is all there is.
            return Outcome(schedule, play.story.lines, Findings(hangs=[str(hung)]))


class _Play:
    def __init__(self, schedule: Schedule, world: World, guarded: Guard) -> None:
        self.schedule = schedule
        self.guard = guarded
        self.world = world
        self.account = world.sandbox.state
        self.stage = Stage(random.Random(f"{schedule.name}/play"), self.account.advance)
        self.story = Story()
        self.findings = Findings()
        self.runs = [_IntentRun(self, intent) for intent in schedule.intents]
        # By plan_hash: what the plan's own search found when it was made.
        self.planned: dict[str, Copies] = {}
        # Hashes of forged plans, and of those that somebody approved.
        self.forged: set[str] = set()
        self.approved: set[str] = set()
        self.requests = 0
        self.began = as_datetime(world.sandbox.clock.now())

    def hands(self, actor: Actor, worker: Worker | None, intent: Intent) -> Hands:
        return Hands(
            actor,
            worker,
            self.world,
            self.story,
            page_limit=self.schedule.page_limit,
            began=self.began,
            settings=self.guard.settings if intent.guarded else self.guard.machine,
        )

    def outcome(self) -> Outcome:
        for run in self.runs:
            for worker in run.intent.workers:
                self.stage.enter(worker.name, run.orchestrator(worker), at=worker.starts)
        self.stage.play()
        for run in self.runs:
            run.judge_what_was_told()
        met = Counter(self.world.service.met)
        self.world.service.calm()
        for fault in self.account.faults.view():
            met[fault["kind"]] += fault["met"]
        self.account.faults.clear()
        # The mail provider's too: in the end every message can be changed that is there.
        self.account.delivery.permanent = self.account.delivery.transient = 0.0
        self.stage.let_pass(CALM_SECONDS)
        for run in self.runs:
            run.judge_when_calm()
        self.stage.let_pass(CALM_SECONDS)
        calls = [call for run in self.runs for call in run.calls]
        judge_messages(self.account, calls, self.planned, self.findings, gone=self.world.service.gone)
        for run in self.runs:
            run.judge_what_was_allowed()
        makers = [call for call in calls for _ in call.made]
        most_requests: dict[str, int] = {}
        for call in calls:
            most_requests[call.action] = max(most_requests.get(call.action, 0), call.requests)
        met["killed"] = sum(call.code is None for call in calls)
        return Outcome(
            schedule=self.schedule,
            story=self.story.lines,
            findings=self.findings,
            calls=len(calls),
            requests=self.requests,
            jobs=len(makers),
            planned_jobs=sum(call.plan is not None for call in makers),
            forged_plans=sum(
                call.forged and call.action == run.intent.action for run in self.runs for call in run.calls
            ),
            changed_by_id=len({done.investigate_id for call in calls for done in call.changed}),
            most_requests=most_requests,
            met=met,
            codes=Counter(-1 if call.code is None else call.code for call in calls),
        )


class _IntentRun:
    """One intent's workers, and all their calls."""

    def __init__(self, play: _Play, intent: Intent) -> None:
        self.intent = intent
        self.requests = requests_of(play.account, intent)
        self.calls: list[Call] = []
        self._play = play
        self._shared_plan: dict[str, Any] | None = None
        self._planner: str | None = None

    def orchestrator(self, worker: Worker) -> Callable[[Actor], None]:
        asked = self.requests[worker.variant]

        def work(actor: Actor) -> None:
            hands = self._play.hands(actor, worker, self.intent)
            plan = self._plan_of(worker, hands, asked)
            if worker.planning != "none" and plan is None:
                return
            params = asked if plan is None else {**asked, "plan": plan}
            if plan is not None and self._play.stage.chance.random() < 0.5:
                params = {name: value for name, value in params.items() if name not in ("search_params", "destination")}
            if plan is not None and self.intent.guarded:
                params = {**params, "approvals": [self._approval(hands, plan)]}
                if worker.forgery is not None:
                    self._until_told(hands, self.intent.action, self._forged(hands, worker.forgery, params), asked)
            made = self._until_told(hands, self.intent.action, params, asked)
            if made.code == 0:
                for action in worker.follow_ups:
                    self._until_told(hands, action, self._follow_up(action, made, worker), asked)

        return work

    def _plan_of(self, worker: Worker, hands: Hands, asked: Params) -> dict[str, Any] | None:
        """Its own, or the one that is shared: whoever comes first makes it, the others wait for it."""
        if worker.planning == "none":
            return None
        shared = worker.planning == "shared"
        while shared and self._shared_plan is None and self._planner is not None:
            hands.actor.rest(2)
        if shared and self._shared_plan is not None:
            return self._shared_plan
        self._planner = worker.name
        params = {"action": "MOVE" if self.intent.action == "create-move-job" else "RELEASE"}
        params |= {name: asked[name] for name in ("search_params", "destination") if name in asked}
        preview = self._until_told(hands, "preview-job", params, asked)
        self._planner = None
        if preview.code != 0:
            return None
        if shared:
            self._shared_plan = preview.document
        return preview.document

    def _approval(self, hands: Hands, plan: Mapping[str, Any]) -> str:
        self._play.approved.add(plan["plan_hash"])
        return self._play.guard.approval(plan, hands.now, f"{self._play.stage.chance.getrandbits(64):x}")

    def _forged(self, hands: Hands, forgery: str, params: Params) -> Params:
        """The parameters with a forged plan; for half of them the approver was shown the forged one."""
        plan = FORGERIES[forgery](params["plan"])
        self._play.forged.add(plan["plan_hash"])
        deceived = self._play.stage.chance.random() < 0.5
        return {**params, "plan": plan, "approvals": [self._approval(hands, plan)] if deceived else params["approvals"]}

    def _follow_up(self, action: FollowUp, made: Call, worker: Worker) -> dict[str, Any]:
        params: dict[str, Any] = {"job_id": made.document["job_id"]}
        if action == "wait-for-job":
            params["timeout_seconds"] = 900
            if worker.discovery_limit is not None:
                params["cancel_if_discovered_over"] = worker.discovery_limit
            elif made.plan is not None and made.document["job_id"] in {one.job.job_id for one in made.made}:
                params["plan"] = made.plan
        if action == "export-job-messages":
            params["inline_limit_bytes"] = 5_000_000
        return params

    def _until_told(self, hands: Hands, action: str, params: Params, asked: Params) -> Call:
        """The same call again where it may be run again, as the playbooks do."""
        chance = self._play.stage.chance
        for _ in range(MOST_CALLS):
            call = self._one_call(hands, action, params, asked)
            if call.code is None:
                hands.actor.rest(chance.uniform(0, 90))
            elif call.code in (6, 7):
                if action in BY_ID and chance.random() < 0.5:
                    params = {**params, **call.error.get("resume", {})}
                hands.actor.rest(call.error.get("retry_after_seconds") or chance.uniform(1, PAUSE_SECONDS))
            else:
                break
        return call

    def _one_call(self, hands: Hands, action: str, params: Params, asked: Params) -> Call:
        play = self._play
        changes = len(play.account.delivery.done)
        plan = params.get("plan")
        forged = plan is not None and plan["plan_hash"] in play.forged
        call = Call(hands.actor.name, action, params, asked, play.stage.now, changes, forged)
        self.calls.append(call)
        # In two steps: the sum of before would be that of before the other workers' turns.
        sent = hands.do(call)
        play.requests += sent
        if call.code == 0 and action == "preview-job":
            with play.account.present() as now:
                found = copies(play.account, call.document["search_params"], now)
            play.planned[call.document["plan_hash"]] = found
            # What is held changes with every release; what a sender has sent does not.
            if self.intent.action == "create-move-job" and call.document["messages"] != len(found):
                play.findings.others.append(
                    f"the plan counts {call.document['messages']} messages, its search finds {len(found)}"
                )
        if call.code is not None:
            together = next((unit for unit in units(self.intent, self.calls) if call in unit), [call])
            made = [one for other in together for one in other.made]
            judge_call(call, self.intent, made, play.account, play.findings, play.schedule.oddities)
        judge_time(call, self.most_calls(call), play.findings)
        return call

    def most_calls(self, call: Call) -> int:
        """How many calls of the API an action may take at most."""
        play = self._play
        pages = len(play.account.jobs.all) // (play.schedule.page_limit or 1000) + 1
        return most_requests(call, list_pages=pages)

    def judge_what_was_told(self) -> None:
        """Where each worker was told in the end that its job stands, no other runs beside it, calm call or not.

        But a worker that is killed can leave a job that the list does not show yet to those who are told.
        """
        for creates in units(self.intent, self.calls):
            last = {call.worker: call for call in creates}
            told = all(
                call.code == 0 or call.error.get("type") in ("IdempotencyConflict", "PlanUsed")
                for call in last.values()
            )
            hidden = self._play.schedule.lag_seconds and any(call.code is None for call in creates)
            if told and not hidden:
                self._judge(creates, at_the_end=False)

    def judge_when_calm(self) -> None:
        """One more call for each job to be: it adopts the job, or makes it where nobody could.

        By ID: for each request, it does what is left.
        """
        for creates in units(self.intent, self.calls):
            made = in_order([one for call in creates for one in call.made])
            lasting = self.intent.key is not None or creates[0].plan is not None
            if lasting and not any(one.job.deleted for one in made):
                like = made[0].call if made else creates[0]
                call = self._calm_call(like.action, like.params, like.asked)
                if call not in creates:
                    creates.append(call)
            self._judge(creates, at_the_end=True)
        for asked in self.requests if self.intent.by_id else ():
            call = self._calm_call(self.intent.action, asked, asked)
            if call.code == 0:
                self._play.findings.others += left_undone(call, self._play.account)

    def judge_what_was_allowed(self) -> None:
        """Under the policy every job is of a plan that preview-job made and an approver signed."""
        for call in self.calls if self.intent.guarded else ():
            plan = call.plan
            if call.made and (call.forged or plan is None or plan["plan_hash"] not in self._play.approved):
                self._play.findings.others.append(f"{call.worker} made a job beyond what was found and approved")

    def _judge(self, creates: list[Call], *, at_the_end: bool) -> None:
        play = self._play
        shown = play.schedule.oddities
        service = Service(
            play.schedule.lag_seconds,
            loses_stamps=shown.loses_stamps,
            hides_rows=shown.needs_pages,
            allows_few_calls=play.schedule.settings["quota"] < 1000,
        )
        judge_jobs(self.intent, creates, play.findings, service, at_the_end=at_the_end)

    def _calm_call(self, action: str, params: Params, asked: Params) -> Call:
        calm: list[Call] = []
        play = self._play
        actor = play.stage.enter(
            "calm",
            lambda actor: calm.append(self._one_call(play.hands(actor, None, self.intent), action, params, asked)),
        )
        play.stage.play()
        assert actor.done
        call = calm[0]
        lost = play.schedule.oddities.loses_stamps
        refused = call.code == 3 and may_be_refused(call, self.intent, play.account, stamps_are_lost=lost)
        # A conflict with another request's job is judged with the call itself.
        conflict = call.error.get("type") in ("IdempotencyConflict", "PlanUsed") and play.schedule.oddities.needs_pages
        if call.code != 0 and not refused and not conflict:
            play.findings.others.append(f"the calm call ended with {call.code}: {call.error.get('message')}")
        return call
