"""Show the progress of a long action in one line on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from core import progress
from platforms.cli.views.layout import NARROW, safe
from platforms.cli.views.palette import GOOD, QUIET
from platforms.cli.views.screen import Screen

# The smallest width with room for a bar.
ROOMY = 100


class Bar:
    """A spinner with a title, and a bar once an action reports progress. Listens to core.progress."""

    def __init__(self, console: Console) -> None:
        self._narrow = console.width < NARROW
        # The count and the time left matter most: without room the bar is left out first, then the title is cut.
        columns: list[ProgressColumn] = [
            SpinnerColumn("dots" if console.encoding.startswith("utf") else "line"),
            _Field("title", ratio=1),
        ]
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
        """Start the line with a title."""
        self._progress.reset(
            self._task, start=True, total=None, completed=0, visible=True, title=title, count="", note=""
        )

    def note(self, text: str) -> None:
        """Show a remark behind the count."""
        # On a narrow terminal the time left, which comes last, is what matters.
        self._progress.update(self._task, note=text.rpartition(", ")[2] if self._narrow else text)

    def show(self, report: progress.Progress) -> None:
        """Show the progress that an action reports."""
        of = "" if report.total is None else f"/{report.total:,}"
        unit = report.unit.removesuffix("s") if (report.total or report.done) == 1 else report.unit
        self._progress.update(
            self._task,
            total=report.total,
            completed=min(report.done, report.total or report.done),
            count=f"{report.done:,}{of}" if self._narrow else f"{report.done:,}{of} {unit}",
        )
        self.note(report.note)

    def end(self) -> None:
        """Remove the line."""
        self._progress.update(self._task, visible=False)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Hide the line during the block."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()


@contextmanager
def shown_for(screen: Screen, title: str) -> Iterator[None]:
    """Show a bar during the block, if there is a terminal."""
    if not screen.live:
        yield
        return
    with Bar(screen.err) as bar, progress.report_to(bar.show):
        bar.begin(title)
        yield


class _Narrower(Progress):
    """Leaves room for the ^C that a terminal echoes. Otherwise the line would wrap, and a part would remain."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        self._terminal = console
        super().__init__(*columns, console=console, transient=True, expand=True)

    def get_renderable(self) -> RenderableType:
        return Constrain(super().get_renderable(), self._terminal.width - 3)


class _Field(ProgressColumn):
    """A text of the task, made safe for a terminal, and cut if there is no room."""

    def __init__(self, name: str, ratio: int | None = None, *, cut: bool = True) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis", ratio=ratio))
        self._cut = cut
        self._name = name

    def render(self, task: Task) -> Text:
        text = safe(task.fields[self._name])
        if not self._cut:
            # A table shrinks every column, but not below its longest word.
            text = Text(text.plain.replace(" ", "\N{NO-BREAK SPACE}"))
        return text
