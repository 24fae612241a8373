"""What fedtune prints on: consoles of any width, and lines that wrap between words."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.text import Text

#: The width of what goes to a file or a pipe: a table must not be folded to 80 columns in a log.
PIPE_WIDTH = 160


def new_console() -> Console:
    """The console of a command: as wide as the terminal, or PIPE_WIDTH in a pipe.

    A notebook's cell (``!fedtune run``) gives itself out as a terminal, and a live table is there
    repeated each time it changes. Every kernel sets MPLBACKEND, and its commands inherit it.
    """
    in_cell = os.environ.get("MPLBACKEND", "").endswith("matplotlib_inline.backend_inline")
    width = None if sys.stdout.isatty() and not in_cell else PIPE_WIDTH
    return Console(width=width, force_terminal=False if in_cell else None)


def say(console: Console, markup: str, *, indent: int = 0) -> None:
    """Print a line of text, wrapped between words on a terminal; in a pipe it stays one line."""
    if console.is_terminal:
        console.print(Wrapped(Text.from_markup(markup), indent), highlight=False)
    else:
        console.print(" " * indent + markup, soft_wrap=True, highlight=False)


def say_problem(console: Console, text: str) -> None:
    """Print what went wrong; ``text`` is plain, not markup."""
    say(console, f"[red]problem:[/] {escape(text)}")


def say_whole(console: Console, text: str, *, indent: int = 0) -> None:
    """Print an address or a command, which has to be copied whole: only a terminal breaks it."""
    console.print(" " * indent + text, soft_wrap=True, highlight=False, markup=False)


@dataclass(frozen=True)
class Wrapped:
    """A text between words, set in by ``indent``, and by two more from its second line on.

    A word longer than the line is broken, not cut.
    """

    text: Text
    indent: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width - self.indent - 2, 1)
        for number, line in enumerate(self.text.wrap(console, width)):
            line.rstrip()
            line.pad_left(self.indent + 2 * (number > 0))
            yield line
