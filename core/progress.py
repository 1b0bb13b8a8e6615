"""What a person sees while a run works: a story header per state and one bar per phase, on stderr.

With a terminal the bars are drawn by rich; without one they are plain lines, at most one every few seconds and one
at the end. The estimate of the time left is over the whole phase, so that it is stable.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

PLAIN_EVERY_S = 5.0
#: After this long without a finished batch a bar says why it stands still.
STANDS_S = 3.0
STORY_INDENT = " " * 12


def _count(n: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if n >= limit:
            return f"{n / (limit if unit != 'k' else 1e3):.1f} {unit}"
    return f"{n:,.0f}"


def _duration(seconds: float) -> str:
    s = round(seconds)
    return f"{s // 3600}:{s % 3600 // 60:02d}:{s % 60:02d}" if s >= 3600 else f"{s // 60}:{s % 60:02d}"


class Task:
    """One phase: `advance` from any thread."""

    def __init__(self, owner: Progress, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self.started = time.monotonic()
        self._owner = owner
        self._lock = threading.Lock()
        self._said = self._moved = self.started
        self._bar: Any = None

    def advance(self, n: int) -> None:
        """Count `n` more units done."""
        with self._lock:
            self.done += n
            now = self._moved = time.monotonic()
            if self._bar is not None:
                self._owner.bars.update(self._bar, completed=self.done)
            elif now - self._said >= PLAIN_EVERY_S and self.done < self.total:
                self._said = now
                self._owner.line(f"{self.label}: {self.text()}")

    def text(self) -> str:
        """Count, rate and time left; the rate is that of the last advance, so that it is stable between batches."""
        now = time.monotonic()
        unit = f" {self.unit}" if self.unit else ""
        if not self.done:
            waited = now - self.started
            why = f", {_duration(waited)} (the first time, kernels are compiled here)" if waited > STANDS_S else ""
            return f"0/{_count(self.total)}{unit}{why}"
        took = max(self._moved - self.started, 1e-9)
        rate = self.done / took
        text = f"{_count(self.done)}/{_count(self.total)}{unit}" + (f", {_count(rate)}/s" if rate >= 1 else "")
        if self.done >= self.total:
            return f"{text}, took {f'{took:.1f} s' if took < 60 else _duration(took)}"
        return f"{text}, {_duration(max((self.total - self.done) / rate - (now - self._moved), 0))} left"

    def attach(self, bar: Any) -> None:
        """Bind the drawn bar."""
        self._bar = bar

    def close(self) -> None:
        """Say the last figures."""
        if self._bar is None and self.total:
            took = time.monotonic() - self.started
            unit = f" {self.unit}" if self.unit else ""
            self._owner.line(f"{self.label}: {_count(self.done)}{unit} in {took:.1f} s")


class Progress:
    """Story headers, lines and tasks. `quiet` says nothing."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self.stream = stream or sys.stderr
        self.drawn = not quiet and self.stream.isatty()
        self.bars: Any = None
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """One plain line."""
        if self.quiet:
            return
        with self._lock:
            if self.bars is not None:
                self.bars.console.print(text, markup=False, highlight=False)
            else:
                print(text, file=self.stream, flush=True)

    def story(self, state: str, title: str, facts: Sequence[tuple[str, str]]) -> None:
        """Header of a state: its objective, gated inputs, outputs."""
        self.line(f"{state}  {title}")
        width = shutil.get_terminal_size().columns if self.drawn else 0
        for name, value in facts:
            text = f"    {name:<8}{value}"
            wrapper = textwrap.TextWrapper(
                width, subsequent_indent=STORY_INDENT, break_long_words=False, break_on_hyphens=False
            )
            for piece in wrapper.wrap(text) if width else [text]:
                self.line(piece)

    @contextmanager
    def task(self, label: str, total: int, unit: str = "arrivals") -> Iterator[Task]:
        """A phase with a bar (or plain lines)."""
        task = Task(self, label, total, unit)
        if not self.drawn:
            try:
                yield task
            finally:
                if not self.quiet:
                    task.close()
            return
        from rich.console import Console
        from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.text import Text

        class Figures(ProgressColumn):
            """Count, rate and time left, anew at every redraw: a bar that stands still shows that time goes by."""

            def render(self, _: Any) -> Text:
                return Text(task.text())

        console = Console(file=self.stream, stderr=False)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), Figures())
        with Bars(*columns, console=console) as bars:
            self.bars = bars
            task.attach(bars.add_task(label, total=max(total, 1)))
            try:
                yield task
            finally:
                self.bars = None


class Silent(Progress):
    """Progress that says nothing."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
