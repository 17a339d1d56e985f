"""The sums over many cases, and the table that shows them (benchmarks/README.md has such tables)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.cases import Outcome, run_case
from tests.chaos.sdk import SdkOutcome, run_through_sdk


@dataclass
class Tally:
    """Plain sums, so that those of several processes add up.

    met: how often each fault and oddity was met. cases_met: in how many cases. most_requests: of one call, by action.
    """

    cases: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    cases_met: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    most_requests: dict[str, int] = field(default_factory=dict)
    widest_race_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome, sdk: SdkOutcome | None) -> None:
        found = outcome.findings
        self.cases += 1
        self.met += outcome.met
        self.cases_met += Counter(kind for kind, count in outcome.met.items() if count)
        self.codes += outcome.codes
        self._take_most(outcome.most_requests)
        self.sums += Counter(
            {
                "intents": len(outcome.schedule.intents),
                "workers": sum(len(intent.workers) for intent in outcome.schedule.intents),
                "calls": outcome.calls,
                "requests": outcome.requests,
                "jobs": outcome.jobs,
                "planned jobs": outcome.planned_jobs,
                "intents by ID": sum(intent.by_id for intent in outcome.schedule.intents),
                "changed by ID": outcome.changed_by_id,
                "forged plans": outcome.forged_plans,
                "worked twice": found.worked_twice,
                "duplicates": len(set(found.duplicates)),
                "unrecognised": found.unrecognised,
                "strays": len(set(found.strays)),
                "hangs": len(set(found.hangs)),
                "cancelled twins": found.cancelled_twins,
                "done by cancelled twins": found.done_by_cancelled_twins,
                "ended twins": found.ended_twins,
                "done by ended twins": found.done_by_ended_twins,
                "stale looks": found.stale_looks,
                "wrong exit codes": len(found.codes),
                "other": len(found.others),
            }
        )
        self.widest_race_seconds = max(self.widest_race_seconds, found.widest_race_seconds)
        if found.wrong:
            self.failures.append(told(outcome, story=False))
        if sdk is not None:
            self.sums += Counter({f"sdk {name}": count for name, count in sdk.counts().items()})

    def add(self, other: Tally) -> None:
        self.cases += other.cases
        self.sums += other.sums
        self.met += other.met
        self.cases_met += other.cases_met
        self.codes += other.codes
        self._take_most(other.most_requests)
        self.widest_race_seconds = max(self.widest_race_seconds, other.widest_race_seconds)
        self.failures += other.failures

    def _take_most(self, requests: dict[str, int]) -> None:
        for action, count in requests.items():
            self.most_requests[action] = max(self.most_requests.get(action, 0), count)

    def report(self, seed: int, seconds: float) -> str:
        """Return two Markdown tables: what came of the cases, and how many met each kind of trouble."""
        lines = [f"| | seed {seed}, {self.cases:,} cases |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in self._results()]
        lines += ["", "| what went wrong | cases | times |", "| --- | --- | --- |"]
        lines += [
            f"| {kind} | {self.cases_met[kind]:,} | {self.met[kind]:,} |" for kind in sorted(self.met) if self.met[kind]
        ]
        return "\n".join([*lines, "", f"{seconds:.0f} seconds"])

    def _results(self) -> Iterator[tuple[str, str]]:
        sums = self.sums
        yield "intents; workers", _numbers(sums["intents"], sums["workers"])
        yield "calls of actions; of the API", _numbers(sums["calls"], sums["requests"])
        yield "workers killed", f"{self.codes[-1]:,}"
        told_codes = sorted((code, count) for code, count in self.codes.items() if code != -1)
        yield "exit codes", ", ".join(f"{code}: {count:,}" for code, count in told_codes)
        yield "jobs made; from a plan", _numbers(sums["jobs"], sums["planned jobs"])
        yield "calls with a forged plan, under a policy that asks for approved plans", f"{sums['forged plans']:,}"
        yield "messages changed by ID; intents", _numbers(sums["changed by ID"], sums["intents by ID"])
        yield "duplicates that could have been avoided", f"{sums['duplicates']:,}"
        yield "results that name a job which did not stay", f"{sums['strays']:,}"
        yield "wrong exit codes", f"{sums['wrong exit codes']:,}"
        yield "hangs over 60 s", f"{sums['hangs']:,}"
        yield "other findings", f"{sums['other']:,}"
        most = sorted(self.most_requests.items())
        yield "most calls of the API for one action", ", ".join(f"{action} {count:,}" for action, count in most)
        yield (
            "jobs beside the first where the list loses every stamp, announced by a warning",
            f"{sums['unrecognised']:,}",
        )
        yield (
            "later jobs that were cancelled; messages that they had processed",
            _numbers(sums["cancelled twins"], sums["done by cancelled twins"]),
        )
        yield (
            "later jobs that had ended before a look could show them; messages",
            _numbers(sums["ended twins"], sums["done by ended twins"]),
        )
        yield "of these later jobs, posted after the first had been in the list for 1 s", f"{sums['stale looks']:,}"
        yield "widest race, from the last look to a later job's POST", f"{self.widest_race_seconds:.1f} s"
        yield "intents of which more than one job processed messages", f"{sums['worked twice']:,}"
        if sums["sdk calls"]:
            yield "the official SDK, the same schedules: jobs; calls", _numbers(sums["sdk jobs"], sums["sdk calls"])
            yield (
                "its jobs beyond one for each call; for each intent",
                _numbers(sums["sdk duplicates"], sums["sdk beyond intents"]),
            )
            yield "its errors; though a job was made", _numbers(sums["sdk errors"], sums["sdk errors with a job"])


def _numbers(*counts: int) -> str:
    return "; ".join(f"{count:,}" for count in counts)


def told(outcome: Outcome, *, story: bool) -> str:
    """A case in words, with the command that plays it again."""
    seed, number = outcome.schedule.name.split("/")
    lines = [f"case {number}: {len(outcome.findings.wrong) or 'nothing'} wrong", *outcome.findings.wrong]
    if story:
        faults = [", ".join(f"{name} {value}" for name, value in fault.items()) for fault in outcome.schedule.faults]
        workers = [f"{worker}" for intent in outcome.schedule.intents for worker in intent.workers]
        lines = [f"{outcome.schedule.oddities}", *faults, *workers, *outcome.story, *lines]
    return "\n".join([*lines, f"again: python -m tests.chaos --seed {seed} --case {number} -v"])


def batch(asked: tuple[int, int, int, bool]) -> Tally:
    """The cases from one number to another, counted together."""
    seed, first, end, sdk = asked
    tally = Tally()
    for number in range(first, end):
        tally.count(run_case(seed, number), run_through_sdk(seed, number) if sdk else None)
    return tally
