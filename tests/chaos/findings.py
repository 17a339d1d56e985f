"""What is wrong with a case, in words, and what is counted beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.chaos.wire import Call, Made

CREATES = ("create-move-job", "release-job")

# Words of the warnings that say what a result can't be sure of.
NOT_SHOWN = "does not show the job"
NOT_SURE = ("the time allowed ended", NOT_SHOWN, "does not show the tag of job", "could not be read once more")


@dataclass
class Findings:
    """What is wrong, in words; and what is to be told though it is not wrong.

    ended_twins: later jobs of an intent that had ended before any look could show them beside the first: on an API
    without idempotency keys nobody can stop those. stale_looks: twins of either kind that were made more than a second
    after the first job could have been seen, by a call that had looked before and not again. worked_twice: how many
    intents had more than one job that processed messages. hangs: calls that took longer than they may. strays: results
    that name a job which did not stay. unrecognised: jobs beside the first where no look can show a stamp.
    """

    duplicates: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    unrecognised: int = 0
    codes: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    cancelled_twins: int = 0
    done_by_cancelled_twins: int = 0
    ended_twins: int = 0
    done_by_ended_twins: int = 0
    stale_looks: int = 0
    widest_race_seconds: float = 0.0
    worked_twice: int = 0

    @property
    def wrong(self) -> list[str]:
        """Each once: some are looked for before the calm call and after it."""
        return list(dict.fromkeys(self.duplicates + self.hangs + self.strays + self.codes + self.others))


def in_order(made: Iterable[Made]) -> list[Made]:
    """Sort jobs by when they were made, as the service shows it, then by job ID: the first stays."""
    return sorted(made, key=lambda one: (one.created_at, one.job.job_id))


def is_not_sure(call: Call) -> bool:
    """Whether a warning says that another job may take the place of the one that the result names."""
    return any(words in warning for warning in call.document["warnings"] for words in NOT_SURE)
