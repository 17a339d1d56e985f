"""One line on a terminal that shows how far a long action has come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from core import progress
from platforms.cli.views.layout import NARROW
from platforms.cli.views.palette import GOOD, QUIET
from platforms.cli.views.screen import Screen, safe

# From this width on there is room for a bar.
ROOMY = 100


class Bar:
    """A spinner with a title, and a bar once something reports how far it is. Also a listener of core.progress."""

    def __init__(self, console: Console) -> None:
        self._narrow = console.width < NARROW
        # The count and the time left are what is looked for: the bar gives way first, then the title.
        columns: list[ProgressColumn] = [SpinnerColumn(_spinner(console)), _Field("title", ratio=1)]
        if console.width >= ROOMY:
            columns.append(BarColumn(24, complete_style=GOOD, finished_style=GOOD, pulse_style=QUIET))
        columns += [_Field("count", cut=False), _Field("note", cut=False)]
        if not self._narrow:
            columns.append(TimeElapsedColumn())
        self._progress = _Narrower(*columns, console=console)
        self._task = self._progress.add_task("", start=False, total=None, visible=False, title="", count="", note="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, title: str) -> None:
        """Something begins that may take a while."""
        self._progress.reset(
            self._task, start=True, total=None, completed=0, visible=True, title=title, count="", note=""
        )

    def note(self, text: str) -> None:
        """Say what is going on, for as long as it is."""
        # On a narrow terminal the time left, which comes last, is what matters.
        self._progress.update(self._task, note=text.rpartition(", ")[2] if self._narrow else text)

    def heard(self, told: progress.Progress) -> None:
        """Show what an action reports."""
        of = "" if told.total is None else f"/{told.total:,}"
        unit = told.unit.removesuffix("s") if (told.total or told.done) == 1 else told.unit
        self._progress.update(
            self._task,
            total=told.total,
            completed=min(told.done, told.total or told.done),
            count=f"{told.done:,}{of}" if self._narrow else f"{told.done:,}{of} {unit}",
        )
        self.note(told.note)

    def end(self) -> None:
        """It is over; the line goes."""
        self._progress.update(self._task, visible=False)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Take the line off the terminal while the block has it."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()


@contextmanager
def shown_for(screen: Screen, title: str) -> Iterator[None]:
    """Show a bar while the block runs, where there is a terminal to show it on."""
    if not screen.live:
        yield
        return
    with Bar(screen.err) as bar, progress.report_to(bar.heard):
        bar.begin(title)
        yield


class _Narrower(Progress):
    """Leaves room for the ^C that a terminal echoes: with it the line would wrap, and a part of it stay behind."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        self._terminal = console
        super().__init__(*columns, console=console, transient=True, expand=True)

    def get_renderable(self) -> RenderableType:
        return Constrain(super().get_renderable(), self._terminal.width - 3)


class _Field(ProgressColumn):
    """A text of the task, safe to show, cut where there is no room."""

    def __init__(self, name: str, ratio: int | None = None, *, cut: bool = True) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis", ratio=ratio))
        self._cut = cut
        self._name = name

    def render(self, task: Task) -> Text:
        text = safe(task.fields[self._name])
        if not self._cut:
            # A table takes room from every column alike, but not below its longest word.
            text = Text(text.plain.replace(" ", "\N{NO-BREAK SPACE}"))
        return text


def _spinner(console: Console) -> str:
    return "dots" if console.encoding.startswith("utf") else "line"
