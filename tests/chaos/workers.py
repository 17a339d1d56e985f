"""Workers that take turns: threads of which one runs at a time, and a time of their own.

The turn is handed over before each request and at each sleep, to one of those who could go on, drawn from the seed.
When nobody can, time jumps to the earliest who wakes up, and the sandbox's clock goes with it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

# Far more turns than any case takes: one that never ends is a defect, and is told instead of waited for.
MOST_TURNS = 50_000


# In real time, from one turn to the next: a worker that does not give its turn back hangs.
LONGEST_TURN_SECONDS = 60.0


class Hung(Exception):
    """A worker keeps its turn."""


class Killed(BaseException):
    """kill -9: nothing of the pack may catch it."""


class Stage:
    """One case's time and order. `now` in seconds; `moved` is told of each step of it."""

    def __init__(self, chance: random.Random, moved: Callable[[float], object]) -> None:
        self.chance = chance
        self.now = 0.0
        self._moved = moved
        self._actors: list[Actor] = []
        self._back = threading.Semaphore(0)

    def enter(self, name: str, work: Callable[[Actor], None], *, at: float = 0.0) -> Actor:
        """Have `work` done by a worker of its own, from `at` on."""
        actor = Actor(self, len(self._actors), name, work, self._back, at)
        self._actors.append(actor)
        return actor

    def let_pass(self, seconds: float) -> None:
        self.now += seconds
        self._moved(seconds)

    def play(self) -> None:
        """Until all are done. Raises what a worker raised."""
        for _ in range(MOST_TURNS):
            waiting = [actor for actor in self._actors if not actor.done]
            if not waiting:
                break
            able = [actor for actor in waiting if actor.wakes <= self.now]
            if not able:
                self.let_pass(min(actor.wakes for actor in waiting) - self.now)
                # Adding up fractions can end a hair before the moment that was meant.
                able = [min(waiting, key=lambda actor: actor.wakes)]
            self.chance.choice(able).step()
        else:
            raise Hung(f"no end after {MOST_TURNS} turns")
        for actor in self._actors:
            if actor.failure is not None:
                raise actor.failure


class Actor:
    """One worker on the stage."""

    def __init__(
        self,
        stage: Stage,
        number: int,
        name: str,
        work: Callable[[Actor], None],
        back: threading.Semaphore,
        wakes: float,
    ) -> None:
        self.stage = stage
        self.number = number
        self.name = name
        self.wakes = wakes
        self.done = False
        self.failure: BaseException | None = None
        self._work = work
        self._go = threading.Semaphore(0)
        self._back = back
        self._thread = threading.Thread(target=self._act, name=name, daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Let it go on until it gives the turn back."""
        self._go.release()
        if not self._back.acquire(timeout=LONGEST_TURN_SECONDS):
            raise Hung(f"{self.name} did not come to its next request for {LONGEST_TURN_SECONDS:.0f} s of real time")
        if self.done:
            self._thread.join()

    def give_way(self) -> None:
        """Hand the turn over; whoever could go on may come first."""
        self.rest(0)

    def rest(self, seconds: float) -> None:
        self.wakes = self.stage.now + seconds
        self._back.release()
        self._go.acquire()

    def _act(self) -> None:
        self._go.acquire()
        try:
            self._work(self)
        except BaseException as problem:  # noqa: BLE001 -- told by play, in the thread that asked
            self.failure = problem
        finally:
            self.done = True
            self._back.release()


class ActorClock:
    """The pack's Clock for one worker: the stage's time, and a wall clock that somebody may set."""

    def __init__(self, actor: Actor, began: datetime) -> None:
        self._actor = actor
        self._began = began
        # No two wall clocks agree to the microsecond: plans that are made at one instant differ.
        self.set_by = -actor.number / 100_000

    def now(self) -> datetime:
        return self._began + timedelta(seconds=self._actor.stage.now + self.set_by)

    def monotonic(self) -> float:
        return self._actor.stage.now

    def sleep(self, seconds: float) -> None:
        self._actor.rest(max(0.0, seconds))
