"""The sums over many days, and how they are told."""

from __future__ import annotations

from collections import Counter

from tests.chaos.exports.play import in_words, run_day


class Tally:
    """Plain sums, so that those of several processes add up."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()
        self.met: Counter[str] = Counter()
        self.failures: list[str] = []

    def play(self, seed: int, number: int) -> None:
        outcome = run_day(seed, number)
        self.codes += outcome.codes
        self.met += outcome.met
        self.sums += Counter(
            {
                "days": 1,
                "calls": sum(outcome.codes.values()),
                "requests": outcome.requests,
                "resumed": outcome.resumed,
                "rows": outcome.rows,
                "complete": outcome.complete,
                "said incomplete": outcome.said_incomplete,
                "wrong": len(outcome.wrong),
            }
        )
        if outcome.wrong:
            self.failures.append(in_words(outcome, story=False))

    def add(self, other: Tally) -> None:
        self.sums += other.sums
        self.codes += other.codes
        self.met += other.met
        self.failures += other.failures

    def report(self, seconds: float) -> str:
        sums = self.sums
        met = ", ".join(f"{kind} {count}" for kind, count in sorted(self.met.items()) if count)
        codes = ", ".join(f"{'killed' if code == -1 else code}: {count}" for code, count in sorted(self.codes.items()))
        return "\n".join(
            [
                f"days             {sums['days']}",
                f"calls            {sums['calls']} ({sums['resumed']} went on, {sums['requests']} requests)",
                f"faults met       {sum(self.met.values())}: {met}",
                f"verdicts         {codes}",
                f"complete         {sums['complete']} exports ({sums['rows']} rows)",
                f"said incomplete  {sums['said incomplete']}",
                f"wrong            {sums['wrong']}",
                f"seconds          {seconds:.1f}",
            ]
        )


def batch(asked: tuple[int, int, int]) -> Tally:
    """The days from one number to another, counted together."""
    seed, first, end = asked
    tally = Tally()
    for number in range(first, end):
        tally.play(seed, number)
    return tally
