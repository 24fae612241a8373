"""Help pages: options in groups, examples, lines no longer than the terminal."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

import click
from click.formatting import wrap_text

#: Columns of the first column of a list of options, and the width of a page below which what an
#: option does stands under it.
_FIRST_COLUMN, _NARROW = 30, 60


#: Stands for a space at which no line is broken, until the page is written.
_NO_BREAK = "\u00a0"


def _unbroken(found: re.Match[str]) -> str:
    return found[0].replace(" ", _NO_BREAK)


class _Formatter(click.HelpFormatter):
    """click's own, for terminals of less than 50 columns too."""

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        columns = shutil.get_terminal_size().columns
        width = width or max(min(columns, max_width or 80) - 2, 20)
        super().__init__(indent_increment, width, max_width)

    def write_dl(
        self,
        rows: Iterable[tuple[str, str]],
        col_max: int = _FIRST_COLUMN,
        col_spacing: int = 2,
    ) -> None:
        kept = [(first, re.sub(r"\[default: \S+]", _unbroken, second)) for first, second in rows]
        super().write_dl(kept, col_max if self.width >= _NARROW else 4, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(_NO_BREAK, " ")

    def write_example(self, why: str, command: str) -> None:
        """A comment and a command that can be copied, over several lines if need be."""
        indent = " " * self.current_indent
        hash_ = f"{indent}# "
        comment = wrap_text(why, self.width, initial_indent=hash_, subsequent_indent=hash_)
        self.write(f"{comment}\n")
        room = self.width - self.current_indent - len(" \\")
        line, *rest = command.split(" --")
        for part in rest:
            if len(f"{line} --{part}") > room:
                self.write(f"{indent}{line} \\\n")
                line = f"  --{part}"
            else:
                line += f" --{part}"
        self.write(f"{indent}{line}\n")


class _Context(click.Context):
    formatter_class = _Formatter


class Option(click.Option):
    """An option with the ``group`` under which help shows it."""

    def __init__(self, *args: Any, group: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class Command(click.Command):
    """A command with ``examples``: pairs of why and command line."""

    context_class = _Context

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples."""
        _write_examples(formatter, self.examples)


class GroupedCommand(Command):
    """A command whose options are shown by their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options by their groups, in the order in which these first occur."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", ""), []).append(row)
        width = max(len(first) for rows in groups.values() for first, _ in rows)
        column = min(width, _FIRST_COLUMN) if formatter.width >= _NARROW else 0
        rest = groups.pop("", [])
        for title, rows in [*groups.items(), ("More options" if groups else "Options", rest)]:
            with formatter.section(title):
                formatter.write_dl([(first.ljust(column), second) for first, second in rows])


class Group(click.Group):
    """The commands in the order in which they are written, with ``examples`` like Command's."""

    context_class = _Context
    command_class = Command

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples."""
        _write_examples(formatter, self.examples)


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[tuple[str, str]]) -> None:
    assert isinstance(formatter, _Formatter)
    if not examples:
        return
    with formatter.section("Examples"):
        for why, command in examples:
            formatter.write_example(why, command)
