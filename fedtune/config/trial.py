"""One trial: its settings, checked, and what follows from them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fedtune.config.checks import find_faults
from fedtune.config.fields import OF_CLIENTS, TrialFields, mark_of
from fedtune.config.kinds import Needs
from fedtune.config.names import DISTILLING, SERVER_OPTIMIZERS, strategy_name
from fedtune.errors import BadInput


class TrialConfig(TrialFields):
    """One simulation: a model fine-tuned on a data set by a number of clients.

    Constructing it checks every field and every combination; :class:`BadInput` lists all faults at
    once. ``auto`` values are settled by :func:`fedtune.trial.prepare`.
    """

    def __init__(self, **values: Any) -> None:
        values = {field: _plain(value) for field, value in values.items()}
        faults = find_faults(values)
        if faults:
            raise BadInput(faults)
        super().__init__(**_spelled_out(values))

    def replace(self, **changes: Any) -> TrialConfig:
        """A copy with other values, checked again."""
        return TrialConfig(**{**self.model_dump(), **changes})

    def called(self, field: str) -> Any:
        """A value as people call it: FedAvg with the server's Adam is ``fedadam``, and where the
        field plays no part it is ``""``.
        """
        needs = mark_of(field, Needs)
        if needs and getattr(self, needs.field) not in needs.values:
            return ""
        if field in OF_CLIENTS and self.is_baseline:
            return ""
        if field == "strategy":
            return strategy_name(self.strategy, self.server_optimizer)
        return getattr(self, field)

    @property
    def num_clients(self) -> int:
        """K of a trial that was prepared, in which ``all`` has become a number."""
        assert isinstance(self.clients, int)
        return self.clients

    def baseline(self) -> TrialConfig:
        """Centralised training in its stead: one client, and nothing that is about several."""
        defaults = {field: TrialConfig.model_fields[field].default for field in OF_CLIENTS}
        return self.model_copy(update={"clients": 1, **defaults})

    @property
    def is_baseline(self) -> bool:
        """Is it centralised training? One client alone is not: FedProx holds it back."""
        fields = TrialConfig.model_fields
        return self.clients == 1 and all(
            getattr(self, field) == fields[field].default for field in OF_CLIENTS
        )

    @property
    def distils(self) -> bool:
        """Does the server train on what the clients' models say of texts?"""
        return self.strategy in DISTILLING

    @property
    def is_one_shot(self) -> bool:
        """Is it one round, in which clients train to the end? Its baseline has its usual rounds."""
        return self.strategy == "one-shot"

    def without_effect(self) -> dict[str, str]:
        """The settings that were changed and do nothing in this combination, each with the reason.

        Those about clients alone; :meth:`effective` puts them back.
        """
        values, reasons = self.model_dump(), {}
        for field, mark in OF_CLIENTS.items():
            default = TrialConfig.model_fields[field].default
            if values[field] == default:
                continue
            needs = mark_of(field, Needs)
            if self.clients == 1 and (mark.alone == "all" or values[field] in mark.alone):
                reasons[field] = "there is one client"
            elif needs and values[needs.field] not in needs.values:
                reasons[field] = needs.why or f"it needs {needs.field} {_either(needs.values)}"
            if field in reasons:
                values[field] = default
        return reasons

    def effective(self) -> TrialConfig:
        """The same trial with every setting about clients that does nothing at its default, so that
        a grid holds no trial twice.
        """
        fields = TrialConfig.model_fields
        back = {field: fields[field].default for field in self.without_effect()}
        return self.replace(**back) if back else self


def _plain(value: Any) -> Any:
    """A path as text, and a single number of numpy's as Python's own."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    is_numpy = type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0
    return value.item() if is_numpy else value


def _spelled_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with ``strategy: fedadam`` and the like as the two settings that they are."""
    optimizer = SERVER_OPTIMIZERS.get(values.get("strategy", ""))
    two = {"strategy": "fedavg", "server_optimizer": optimizer} if optimizer else {}
    return {**values, **two}


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def fields_about(field: str, config: TrialConfig) -> list[str]:
    """``field`` and those that need it, directly or through another, where ``config`` has other
    values than the defaults.
    """
    about = [field]
    for name in TrialConfig.model_fields:  # one that needs another comes after it
        needs = mark_of(name, Needs)
        if needs and needs.field in about:
            about.append(name)
    fields = TrialConfig.model_fields
    return [name for name in about if getattr(config, name) != fields[name].default]
