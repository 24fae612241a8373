"""Which setting runs along x, and in words all others that a sweep varies."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fedtune.config import OF_CLIENTS, UNHASHED, TrialConfig, mark_of, strategy_name
from fedtune.config.kinds import Follows, Needs

Params = Mapping[str, str]

#: What every run's name has; any other setting that varies makes a variant.
OWN_FIELDS = ("model", "dataset", "clients", "seed")

#: Every setting that is part of a trial's identity, and its default as MLflow has it.
DEFAULTS = {
    name: str(field.default)
    for name, field in TrialConfig.model_fields.items()
    if name not in UNHASHED and not field.is_required()
}

#: The setting that says how much clients differ, by partition.
_EXTENT = {
    "dirichlet": "partition_alpha",
    "dirichlet-per-class": "partition_alpha",
    "quantity": "partition_alpha",
    "shards": "shards_per_client",
    "fixed-per-client": "examples_per_client",
}
_SPREAD = ("partition", *dict.fromkeys(_EXTENT.values()))
_STRATEGY = ("strategy", "server_optimizer")
#: Where a baseline stands along an axis of what it has not.
NOWHERE = -math.inf
#: A number that only names a draw is no quantity.
_NO_QUANTITY = ("data_seed",)


class Settings(NamedTuple):
    """The parameters of a trial, planned or tracked."""

    params: Params
    is_baseline: bool


def settings_of(params: Params) -> Settings:
    """Of a trial that is known by its parameters alone."""
    plain = all(params[field] == DEFAULTS[field] for field in OF_CLIENTS if field in params)
    return Settings(params, params["clients"] == "1" and plain)


def strategy_of(params: Params) -> str:
    """For example ``fedavg``, ``fedadam`` or ``scaffold+adam``."""
    return strategy_name(params["strategy"], params["server_optimizer"])


def spread_of(params: Params) -> str:
    """How clients differ, for example ``iid``, ``dirichlet 0.1`` or ``shards 2``."""
    kind = params["partition"]
    if kind not in _EXTENT:
        return kind
    extent = _number(params[_EXTENT[kind]])
    return f"{kind} {extent:g}"


def varied(settings: Iterable[Settings]) -> list[str]:
    """The settings other than model, data set, clients and seed that vary, of the same model and
    data set, where they have an effect. One that needs a strategy, say, varies where it has several
    values for that strategy, and one that follows others where it has several for the same of them.
    """
    values: dict[tuple[str, ...], set[str]] = {}
    for each in settings:
        params = each.params
        for field in params:
            if field not in (*OWN_FIELDS, *UNHASHED) and counts(field, each):
                needs = mark_of(field, Needs)
                needed = params[needs.field] if needs else ""
                follows = mark_of(field, Follows)
                followed = [params[other] for other in follows.fields] if follows else []
                key = field, params["model"], params["dataset"], needed, *followed
                values.setdefault(key, set()).add(params[field])
    return sorted({key[0] for key, seen in values.items() if len(seen) > 1})


def counts(field: str, settings: Settings) -> bool:
    """Does a setting make a difference? Those about clients make none in a baseline."""
    if settings.is_baseline and field in OF_CLIENTS:
        return False
    needs = mark_of(field, Needs)
    return needs is None or settings.params[needs.field] in needs.values


@dataclass(frozen=True)
class Axis:
    """The setting that runs along x with its values in order: K, unless only one K was swept.

    Of ``partition_alpha`` the value of an IID partition is infinity, which is its limit.
    """

    field: str = "clients"
    values: tuple[float, ...] = ()

    @property
    def is_clients(self) -> bool:
        return self.field == "clients"

    @property
    def of_baselines(self) -> bool:
        """Do baselines have this setting, so that there is one for each of its values?"""
        return self.field not in ("clients", *OF_CLIENTS)

    @property
    def column(self) -> str:
        """What a table calls it."""
        return "K" if self.is_clients else self.field

    @property
    def label(self) -> str:
        """What a figure writes below it."""
        return "clients K" if self.is_clients else self.field.replace("_", " ")

    @property
    def title(self) -> str:
        """What titles call it."""
        return "K" if self.is_clients else self.label

    def of(self, settings: Settings) -> float:
        """Where a trial stands; NOWHERE for a baseline that has no such setting."""
        params = settings.params
        if self.is_clients:
            return int(params["clients"])
        if settings.is_baseline and not self.of_baselines:
            return NOWHERE
        if self.field == "partition_alpha" and params["partition"] == "iid":
            return math.inf
        value = _number(params[self.field])
        assert value is not None
        return value

    def place(self, value: float) -> float:
        """Where a value is drawn, on a logarithmic axis: K itself, others at equal distances."""
        return value if self.is_clients else 4.0 ** self.values.index(value)

    def text(self, value: float) -> str:
        """A value in a figure or a table."""
        if value == NOWHERE:
            return ""
        if value == math.inf:
            return "iid" if self.field == "partition_alpha" else "all"
        return f"{value:g}"

    def told(self, value: float) -> str:
        """A value with what it is one of: ``K = 8``, ``partition alpha = 0.1``."""
        if value == math.inf and self.field == "partition_alpha":
            return "iid"
        return f"{self.title} = {self.text(value)}"


def axis_of(settings: Sequence[Settings], planned_clients: Iterable[int] = ()) -> Axis:
    """K, or where only one K was swept the number that varies most; of two the one about clients,
    then the one that :class:`TrialConfig` has first.
    """
    federated = [each for each in settings if not each.is_baseline]
    clients = {int(each.params["clients"]) for each in settings} | {*planned_clients}
    swept = {int(each.params["clients"]) for each in federated} | (clients - {1})
    best = Axis("clients", tuple(sorted(clients)))
    if len(swept) != 1:
        return best
    order = [*OF_CLIENTS, *(field for field in DEFAULTS if field not in OF_CLIENTS)]
    most = 1
    for field in sorted(varied(federated), key=order.index):
        values = _values(field, federated)
        if len(values) > most:
            best, most = Axis(field, tuple(sorted(values))), len(values)
    return best


def _values(field: str, federated: Sequence[Settings]) -> set[float]:
    """The values of a field that is a number in every federated trial; else none."""
    counted = [each for each in federated if counts(field, each)]
    others = [each for each in federated if not counts(field, each)]
    kinds = {each.params["partition"] for each in counted}
    limit = field == "partition_alpha" and len(kinds) == 1
    if others and not (limit and {each.params["partition"] for each in others} == {"iid"}):
        return set()
    found = {_number(each.params[field]) for each in counted}
    values = {value for value in found if value is not None}
    if field in _NO_QUANTITY or len(values) < len(found):
        return set()
    return values | ({math.inf} if others else set())


def _number(text: str) -> float | None:
    """The number that a parameter is; ``all`` of something is more than any part of it."""
    if text == "all":
        return math.inf
    return float(text) if re.fullmatch(r"[-+.\d]+(e[-+]?\d+)?", text) else None


@dataclass(frozen=True)
class Naming:
    """What the settings are called that a sweep varies, beside the one along x.

    Where strategies, models or other settings are compared, how clients differ is told with the
    data set, so that what is compared stands side by side.
    """

    axis: Axis
    fields: tuple[str, ...]
    with_dataset: bool

    @staticmethod
    def of(settings: Sequence[Settings], planned_clients: Iterable[int] = ()) -> Naming:
        axis = axis_of(settings, planned_clients)
        fields = [field for field in varied(settings) if field != axis.field]
        if axis.field == "partition_alpha":  # on which IID has its place
            kinds = {each.params["partition"] for each in settings if not each.is_baseline}
            fields = [f for f in fields if f != "partition" or len(kinds - {"iid"}) > 1]
        named = Naming(axis, tuple(fields), with_dataset=False)
        compared = {
            (each.params["model"], named._words(each, with_spread=False))
            for each in settings
            if not each.is_baseline
        }
        return Naming(axis, tuple(fields), with_dataset=len(compared) > 1)

    def variant(self, settings: Settings) -> str:
        """For example ``scaffold, dirichlet 0.1, local_epochs=2``; nothing where nothing varies."""
        return self._words(settings, with_spread=not self.with_dataset)

    def dataset(self, name: str, settings: Settings) -> str:
        """The data set, with how clients differ where that is told with it."""
        spread = self._spread(settings) if self.with_dataset else ""
        return f"{name}, {spread}" if spread else name

    def _spread(self, settings: Settings) -> str:
        if settings.is_baseline or not set(self.fields) & {*_SPREAD}:
            return ""
        return spread_of(settings.params)

    def _words(self, settings: Settings, *, with_spread: bool) -> str:
        params, words = settings.params, []
        if not settings.is_baseline and set(self.fields) & {*_STRATEGY}:
            words.append(strategy_of(params))
        if with_spread and (spread := self._spread(settings)):
            words.append(spread)
        others = [field for field in self.fields if field not in (*_SPREAD, *_STRATEGY)]
        told = [f"{field}={params[field]}" for field in others if counts(field, settings)]
        return ", ".join([*words, *told])
