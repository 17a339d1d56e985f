"""The queue of future events of jobs. Each access to the account first runs the events that are due.

So the state of the account depends only on the clock, not on the number of accesses.
"""

import heapq
from collections.abc import Callable

from sandbox.clock import Instant


class Agenda:
    """The events of one account. Events of the same instant run in the order in which they were added."""

    def __init__(self) -> None:
        self._due: list[tuple[Instant, int, Callable[[Instant], None]]] = []
        self._entered = 0

    def enter(self, at: Instant, event: Callable[[Instant], None]) -> None:
        """Schedule `event`. It runs, with its instant as argument, once the clock has reached `at`."""
        self._entered += 1
        heapq.heappush(self._due, (at, self._entered, event))

    def run_until(self, now: Instant) -> None:
        """Run all due events, including those that an event adds."""
        while self._due and self._due[0][0] <= now:
            at, _, event = heapq.heappop(self._due)
            event(at)
