"""What values the settings of a trial may have, and what else is said of a setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seed = Count
Name = Annotated[str, Field(min_length=1)]
StepList = Annotated[str, Field(pattern=r"^[1-9]\d{0,8}(, ?[1-9]\d{0,8})+$")]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]


class Mark:
    """Metadata of a field that says something about it and does not limit its values."""


@dataclass(frozen=True)
class Allowed(Mark):
    """What a field accepts, in the words of an error message."""

    text: str


@dataclass(frozen=True)
class Later(Mark):
    """The field came after engine 3 (``month``): hashed only where it differs from its default."""

    month: str


@dataclass(frozen=True)
class Needs(Mark):
    """The field matters only where ``field`` has one of ``values``; elsewhere it is put back to its
    default. ``why`` is said of that where the values do not say enough.
    """

    field: str
    values: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True)
class Follows(Mark):
    """Where it is not asked for, the field is settled from ``fields``: that it differs says nothing
    of its own where one of these does.
    """

    fields: tuple[str, ...]


@dataclass(frozen=True)
class OfClients(Mark):
    """The field is about several clients: in a baseline, which is centralised training, it has its
    default. Values that do nothing with one client (``alone``) are put back there.
    """

    alone: tuple[str, ...] | Literal["all"] = ()


@dataclass(frozen=True)
class AtMost(Mark):
    """The largest integer that a field accepts: what is beyond it is a slip, and would hang."""

    number: int


#: Rounds and passes are counted one by one; amounts of data are held against the data set.
MOST_ROUNDS = 1_000_000
TURNS, AMOUNT = AtMost(MOST_ROUNDS), AtMost(1_000_000_000)
SEED, THREADS = AtMost(2**63 - 1), AtMost(1024)


@dataclass(frozen=True)
class CommaIsValue(Mark):
    """Marks a field whose values may hold commas: on the command line it takes no comma list."""
