"""Process stored batches: start the playbooks of the rules that match, each once for an alert.

A batch is removed when every alert in it was started, refused or matched by no rule. A start that fails for the moment
keeps its batch, and the next pass tries it again. An alert that fails, or a batch, never holds up the others.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from core.clock import Clock
from core.errors import GuardrailRefusal, PackError, ParameterError, PolicyUnusable
from core.json_values import DuplicateKey, Json, read_json, shown
from core.quantity import counted
from platforms.alerts.events import EventFiles
from platforms.alerts.inbox import EVENTS, Batch, Inbox
from platforms.alerts.ledger import Ledger, PlacedRefusal
from platforms.alerts.record_lines import read_record, records_of
from platforms.alerts.rules import Match, Refusal, Rules
from playbooks.language.errors import (
    DirectoryUnusable,
    PlaybookNotFound,
    RunInProgress,
    RunStoreUnusable,
    StateRefused,
)

# Begins a run for a match, and returns its ID. For inputs with the key of an existing run it returns that run's ID.
StartRun = Callable[[Match], str]

# How many matches, or refusals, one access to the ledger covers.
_AT_ONCE = 200

# From this many starts in a row that fail for the moment, the rest of a batch waits for the next pass.
_MOST_FAILURES = 20

# A start that fails for the moment is tried again for this long.
TRIED_FOR = timedelta(days=7)

# Errors about the alert or its run, which a later start would raise again; without those about the settings.
_REFUSING = (ParameterError, GuardrailRefusal, StateRefused)
_OF_THE_SERVICE = (RunStoreUnusable, DirectoryUnusable, PlaybookNotFound, PolicyUnusable, RunInProgress)


@dataclass
class Processed:
    """What became of a batch. read: its records. done: it was removed, because nothing in it is left to do.

    started: the IDs of new runs. repeated: alerts that have a run already. refused: see Ledger.refused. postponed:
    starts that failed for the moment, with the reason of the last one in `problem`.
    """

    batch: Batch
    read: int = 0
    started: list[str] = field(default_factory=list)
    repeated: int = 0
    refused: int = 0
    postponed: int = 0
    done: bool = False
    problem: str | None = None
    by_rule: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Stores:
    """Where batches come from, and where their alerts and events go."""

    inbox: Inbox
    ledger: Ledger
    events: EventFiles


class Processor:
    """Processes the batches of an inbox, one after the other. For one thread.

    start: see StartRun. An error of _REFUSING refuses the alert; any other error postpones it.
    stopping: is asked between alerts; once true, the batch is left for later.
    """

    def __init__(
        self, stores: Stores, rules: Rules, start: StartRun, clock: Clock, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._stores = stores
        self._rules = rules
        self._start = start
        self._clock = clock
        self._stopping = stopping

    def process_waiting(self) -> Iterator[Processed]:
        """Process every batch that waits, in the order of arrival, and yield what became of it."""
        for batch in self._stores.inbox.batches():
            if self._stopping():
                return
            yield self.process(batch)

    def process(self, batch: Batch) -> Processed:
        """Process a batch, and remove it if nothing in it is left to do. Raises nothing."""
        done = Processed(batch)
        try:
            if batch.dataset == EVENTS:
                self._keep_events(done)
            else:
                self._process_alerts(done)
            if done.done:
                self._stores.inbox.remove(batch)
        except (EOFError, zlib.error, _Damaged) as error:
            self._set_aside(done, error)
        except Exception as error:  # noqa: BLE001 -- a batch must not hold up the others
            _postpone(done, error)
            done.done = False
        return done

    def _keep_events(self, done: Processed) -> None:
        kept = self._stores.events.store(done.batch)
        done.read, done.refused, done.done = kept.read, len(kept.refused), True
        self._refuse(done.batch, kept.refused)

    def _process_alerts(self, done: Processed) -> None:
        matches: list[tuple[int, Match]] = []
        refusals: list[tuple[int, Refusal]] = []
        failures = 0
        for number, line in self._lines(done.batch):
            if self._stopping() or failures >= _MOST_FAILURES:
                done.postponed += 1
                break
            done.read += 1
            for found in self._of_line(line):
                if isinstance(found, Match):
                    matches.append((number, found))
                else:
                    refusals.append((number, found))
            if len(matches) >= _AT_ONCE:
                failures = self._start_all(done, matches, refusals, failures)
            if len(refusals) >= _AT_ONCE:
                self._flush(done, refusals)
        self._start_all(done, matches, refusals, failures)
        self._flush(done, refusals)
        done.done = not done.postponed

    def _lines(self, batch: Batch) -> Iterator[tuple[int, bytes]]:
        try:
            yield from records_of(batch.lines())
        except OSError as error:
            # gzip reports damage as an OSError without a number.
            if error.errno is None:
                raise _Damaged(str(error)) from error
            raise

    def _of_line(self, line: bytes) -> Sequence[Match | Refusal]:
        try:
            record = read_record(line)
        except ValueError as error:
            return [Refusal(None, None, f"the record is {error}")]
        found = list(self._rules.of(record))
        if any(isinstance(one, Match) for one in found) and (key := _double_key(line)) is not None:
            # Another reader would see another alert.
            return [Refusal(None, None, f"the record has the key {shown(key)} twice in one object")]
        return found

    def _start_all(
        self,
        done: Processed,
        matches: list[tuple[int, Match]],
        refusals: list[tuple[int, Refusal]],
        failures: int,
    ) -> int:
        """Start the matches that have no run. Return the number of failures in a row."""
        known = self._stores.ledger.runs_of([_pair(match) for _, match in matches]) if matches else {}
        for number, match in matches:
            if _pair(match) in known:
                done.repeated += 1
                continue
            if failures >= _MOST_FAILURES or self._stopping():
                done.postponed += 1
                continue
            try:
                run_id = self._start(match)
            except Exception as error:  # noqa: BLE001 -- an alert must not hold up the others
                if isinstance(error, _REFUSING) and not isinstance(error, _OF_THE_SERVICE):
                    refusals.append((number, Refusal(match.alert_id, match.rule_id, error.message)))
                elif self._clock.now() - done.batch.stored_at > TRIED_FOR:
                    reason = f"not started for {counted(TRIED_FOR.days, 'day')}: {_reason(error)}"
                    refusals.append((number, Refusal(match.alert_id, match.rule_id, reason)))
                else:
                    failures += 1
                    _postpone(done, error)
                continue
            failures = 0
            known[_pair(match)] = run_id
            # At once: a kill before this line starts the same run again, which its key then finds.
            self._stores.ledger.record({_pair(match): run_id})
            done.started.append(run_id)
            done.by_rule[match.rule_id] += 1
        matches.clear()
        return failures

    def _flush(self, done: Processed, refusals: list[tuple[int, Refusal]]) -> None:
        self._refuse(done.batch, refusals)
        done.refused += len(refusals)
        refusals.clear()

    def _refuse(self, batch: Batch, refusals: Sequence[tuple[int, Refusal]]) -> None:
        if refusals:
            self._stores.ledger.refuse([PlacedRefusal(one, batch.path.name, number) for number, one in refusals])

    def _set_aside(self, done: Processed, error: Exception) -> None:
        try:
            aside = self._stores.inbox.set_aside(done.batch)
            reason = f"the stored batch is damaged ({error}); it is kept as {aside}"
            self._refuse(done.batch, [(0, Refusal(None, None, reason))])
        except (OSError, PackError) as failed:
            _postpone(done, failed)
        else:
            done.refused += 1
            done.problem = reason


class _Damaged(Exception):
    """A stored batch can't be unpacked."""


def _pair(match: Match) -> tuple[str, str]:
    return match.alert_id, match.playbook.id


def _postpone(done: Processed, error: Exception) -> None:
    done.postponed += 1
    done.problem = _reason(error)


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, PackError) else f"{type(error).__name__}: {error}"[:500]


def _double_key(line: bytes) -> Json:
    """Return a key that an object on the line has twice, or None."""
    try:
        read_json(line.decode("utf-8-sig", "replace"))
    except DuplicateKey as error:
        return error.key
    except (ValueError, RecursionError):
        # Other problems are found where the value is used.
        return None
    return None
