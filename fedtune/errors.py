"""What fedtune says when it will not or cannot do what it is asked for."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from fedtune.redaction import redacted

#: Letters of a value that an error repeats.
_LONGEST = 1_000


class Fault(NamedTuple):
    """One thing wrong with the input: the field, its value, and what is allowed instead."""

    field: str
    value: object
    message: str

    def __str__(self) -> str:
        return redacted(f"{self.field}{_shown(self.value)}: {self.message}")


def _shown(value: object) -> str:
    """``=32``; a value of more letters than anybody reads is cut."""
    if value is None:
        return ""
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python writes
        text = f"{type(value).__name__} of very many digits"
    return f"={text}" if len(text) <= _LONGEST else f"={text[:_LONGEST]} …"


class Refusal(Exception):
    """Something fedtune will not do, said in lines that a user can act on (exit code 2)."""


class BadInput(Refusal, ValueError):
    """Input that cannot be used, as a list of faults, a line each. Raised before any start."""

    def __init__(self, faults: Iterable[Fault]):
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))

    def __reduce__(self) -> tuple[type[BadInput], tuple[tuple[Fault, ...]]]:
        return type(self), (self.faults,)  # it crosses process borders (Ray), so it must unpickle

    @classmethod
    def of(cls, field: str, value: object, message: str) -> Self:
        """A single fault."""
        return cls([Fault(field, value, message)])


@contextmanager
def readable(field: str, value: object) -> Iterator[None]:
    """Make a line of bad input of a file or folder that the system does not let us read."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename} cannot be read" if error.filename else "cannot be read"
        raise BadInput.of(field, value, f"{what} ({error.strerror or first_line(error)})") from None


@contextmanager
def blaming(field: str, value: object, instead_of: Container[str]) -> Iterator[None]:
    """Let bad input of fields ``instead_of`` be that of ``field``, which stands for them here."""
    try:
        yield
    except BadInput as bad:
        raise BadInput(
            Fault(field, value, fault.message) if fault.field in instead_of else fault
            for fault in bad.faults
        ) from bad


def check_writable(field: str, folder: Path) -> None:
    """Raise BadInput where nothing could be written to ``folder``, which need not exist yet."""
    place = folder.absolute()
    try:
        if "\0" in str(place):
            raise ValueError("it holds a null byte")
        nearest = next(path for path in (place, *place.parents) if path.exists())
        if hasattr(os, "pathconf"):  # of what is not there yet, only this tells how long it may be
            longest = os.pathconf(nearest, "PC_NAME_MAX")
            if any(len(os.fsencode(part)) > longest for part in place.parts):
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    except (OSError, ValueError) as error:  # a null byte is a ValueError
        why = error.strerror if isinstance(error, OSError) else first_line(error)
        raise BadInput.of(field, str(folder), f"can be no folder ({why})") from None
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise BadInput.of(field, str(folder), f"{nearest} is no folder that can be written to")


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    said = redacted(str(error)).strip().splitlines()
    return said[0] if said else type(error).__name__


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` where something in ``known`` is close to ``word``, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
