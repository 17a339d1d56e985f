"""What is due when: the jobs' future as a queue, worked off in the order of time whenever anybody looks.

So the state of the account depends on the clock alone, never on who asked how often.
"""

import heapq
from collections.abc import Callable

from sandbox.clock import Instant


class Agenda:
    """Events of one account. Two events of the same instant run in the order in which they were entered."""

    def __init__(self) -> None:
        self._due: list[tuple[Instant, int, Callable[[Instant], None]]] = []
        self._entered = 0

    def enter(self, at: Instant, event: Callable[[Instant], None]) -> None:
        """Have `event` run, with its own instant as argument, once the clock has reached `at`."""
        self._entered += 1
        heapq.heappush(self._due, (at, self._entered, event))

    def run_until(self, now: Instant) -> None:
        """Run all that is due. An event may enter others; those that are due run too."""
        while self._due and self._due[0][0] <= now:
            at, _, event = heapq.heappop(self._due)
            event(at)
