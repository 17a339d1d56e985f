"""The sums over many cases, and how they are told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.cases import Outcome, run_case
from tests.chaos.sdk import SdkOutcome, run_through_sdk


@dataclass
class Tally:
    """Plain sums, so that those of several processes add up."""

    cases: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    widest_race_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome, sdk: SdkOutcome | None) -> None:
        found = outcome.findings
        self.cases += 1
        self.met += outcome.met
        self.codes += outcome.codes
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
        self.codes += other.codes
        self.widest_race_seconds = max(self.widest_race_seconds, other.widest_race_seconds)
        self.failures += other.failures

    def report(self, seconds: float) -> str:
        sums = self.sums
        met = ", ".join(f"{kind} {count}" for kind, count in sorted(self.met.items()) if count)
        codes = ", ".join(f"{'killed' if code == -1 else code}: {count}" for code, count in sorted(self.codes.items()))
        lines = [
            f"cases               {self.cases} ({sums['intents']} intents, {sums['workers']} workers)",
            f"calls               {sums['calls']} ({sums['requests']} requests)",
            f"faults met          {sum(self.met.values())}: {met}",
            f"exit codes          {codes}",
            f"jobs made           {sums['jobs']} ({sums['planned jobs']} from a plan)",
            f"forged plans        {sums['forged plans']} calls; a job beyond what was found and approved counts below",
            f"changed by ID       {sums['changed by ID']} messages ({sums['intents by ID']} intents)",
            f"duplicates          {sums['duplicates']}",
            f"twins cancelled     {sums['cancelled twins']}, "
            f"which had processed {sums['done by cancelled twins']} messages",
            f"twins ended unseen  {sums['ended twins']}, which had processed {sums['done by ended twins']} messages",
            f"after a stale look  {sums['stale looks']} of these twins: the first job had been in the list for 1 s",
            f"widest race         {self.widest_race_seconds:.1f} s from the last look to a twin's POST",
            f"worked twice        {sums['worked twice']} intents had more than one job that processed messages",
            f"wrong exit codes    {sums['wrong exit codes']}",
            f"other               {sums['other']}",
        ]
        if sums["sdk calls"]:
            lines += [
                "the official SDK    the same schedules, one create for each worker, its own retries alone",
                f"  jobs made         {sums['sdk jobs']} for {sums['sdk calls']} calls",
                f"  duplicates        {sums['sdk duplicates']} beyond one for each call, "
                f"{sums['sdk beyond intents']} beyond one for each intent",
                f"  errors            {sums['sdk errors']}, of them though a job was made: "
                f"{sums['sdk errors with a job']}",
            ]
        return "\n".join([*lines, f"seconds             {seconds:.1f}"])


def told(outcome: Outcome, *, story: bool) -> str:
    """A case in words, with the command that plays it again."""
    seed, number = outcome.schedule.name.split("/")
    lines = [f"case {number}: {len(outcome.findings.wrong) or 'nothing'} wrong", *outcome.findings.wrong]
    if story:
        faults = [", ".join(f"{name} {value}" for name, value in fault.items()) for fault in outcome.schedule.faults]
        workers = [f"{worker}" for intent in outcome.schedule.intents for worker in intent.workers]
        lines = [*faults, *workers, *outcome.story, *lines]
    return "\n".join([*lines, f"again: python -m tests.chaos --seed {seed} --case {number} -v"])


def batch(asked: tuple[int, int, int, bool]) -> Tally:
    """The cases from one number to another, counted together."""
    seed, first, end, sdk = asked
    tally = Tally()
    for number in range(first, end):
        tally.count(run_case(seed, number), run_through_sdk(seed, number) if sdk else None)
    return tally
