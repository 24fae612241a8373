"""Is a value allowed, and can settings be joined? A fault is a line for the person who typed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError

from fedtune.config.fields import FIELDS, TrialFields, mark_of
from fedtune.config.kinds import Allowed, AtMost, CommaIsValue, Mark
from fedtune.config.names import DISTILLING, SERVER_OPTIMIZERS
from fedtune.errors import BadInput, Fault, did_you_mean


def _adapter(field: str) -> TypeAdapter[Any]:
    info = TrialFields.model_fields[field]
    constraints = tuple(entry for entry in info.metadata if not isinstance(entry, Mark))
    kind: Any = info.annotation
    return TypeAdapter(Annotated[kind, *constraints] if constraints else kind)


def allowed(field: str) -> str:
    """What ``field`` accepts, in words."""
    mark = mark_of(field, Allowed)
    assert mark is not None
    return mark.text


def comma_is_value(field: str) -> bool:
    """May a value of ``field`` hold a comma, so that no comma list of them can be given?"""
    return mark_of(field, CommaIsValue) is not None


def choices(field: str) -> tuple[str, ...]:
    """The words a field accepts, for a field that accepts only words; empty otherwise."""
    words = get_args(TrialFields.model_fields[field].annotation)
    return words if words and all(isinstance(word, str) for word in words) else ()


def parse_text(field: str, text: str) -> Any:
    """What ``text`` from a command line means as a value of ``field``. Raises BadInput."""
    _known(field)
    try:
        value = _adapter(field).validate_strings(text.strip())
    except ValidationError:
        raise BadInput([_fault(field, text)]) from None
    _check_size(field, value)
    return value


def check_value(field: str, value: object) -> None:
    """Raise BadInput unless ``value`` has the type and range of ``field`` (strictly: no '32')."""
    _known(field)
    try:
        _adapter(field).validate_python(value, strict=True)
    except ValidationError:
        raise BadInput([_fault(field, value)]) from None
    _check_size(field, value)


def _check_size(field: str, value: object) -> None:
    most = mark_of(field, AtMost)
    if most is not None and isinstance(value, int) and value > most.number:
        raise BadInput.of(field, value, f"allowed is at most {most.number:,}")


def _known(field: str) -> None:
    if field not in FIELDS:
        hint = did_you_mean(field, FIELDS)
        raise BadInput.of(field, None, f"there is no such setting{hint}; see `fedtune run --help`")


def _fault(field: str, value: object) -> Fault:
    return Fault(field, value, f"allowed is {allowed(field)}")


def find_faults(values: Mapping[str, Any], require_all: bool = True) -> list[Fault]:
    """Every fault of a set of values: unknown names, wrong types, impossible combinations.

    ``require_all`` also reports required fields that are missing.
    """
    faults: list[Fault] = []
    for field, value in values.items():
        try:
            check_value(field, value)
        except BadInput as bad:
            faults += bad.faults
    if require_all:
        for field, info in TrialFields.model_fields.items():
            if info.is_required() and field not in values:
                faults.append(Fault(field, None, f"missing; allowed is {allowed(field)}"))
    wrong = {fault.field for fault in faults}
    sound = {
        field: values.get(field, info.default)
        for field, info in TrialFields.model_fields.items()
        if field not in wrong and (field in values or not info.is_required())
    }
    return faults + _combination_faults(sound)


def _combination_faults(sound: Mapping[str, Any]) -> list[Fault]:
    faults = []
    budget, cap = sound.get("budget_rounds"), sound.get("max_rounds")
    if isinstance(budget, int) and isinstance(cap, int) and cap < budget:
        faults.append(
            Fault("max_rounds", cap, f"allowed is at least budget_rounds, which is {budget}")
        )
    if sound.get("stop_on") == "validation" and sound.get("validation_examples") == 0:
        faults.append(
            Fault("stop_on", "validation", "needs validation_examples of at least 1, which is 0")
        )
    clients, examples = sound.get("clients"), sound.get("train_examples")
    if isinstance(clients, int) and isinstance(examples, int) and clients > examples:
        faults.append(
            Fault("clients", clients, f"allowed is at most train_examples, which is {examples}")
        )
    return faults + _client_faults(sound)


#: Strategies that take (x - y) / (steps x rate) for a client's mean gradient.
_PLAIN_SGD = ("scaffold", "fednova")


def _client_faults(sound: Mapping[str, Any]) -> list[Fault]:
    """What cannot be joined, of the settings that are about several clients."""
    faults = []
    strategy, optimizer = sound.get("strategy"), sound.get("server_optimizer")
    meant = SERVER_OPTIMIZERS.get(str(strategy))
    if meant and optimizer not in ("none", meant, None):
        what = f"strategy={strategy} is fedavg with server_optimizer={meant}; keep one of the two"
        faults.append(Fault("server_optimizer", optimizer, what))
    plain = {"client_optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0}
    if strategy in _PLAIN_SGD:
        faults += [
            Fault(
                "strategy",
                strategy,
                "takes a client's change for the mean of its gradients, which it is with plain "
                f"SGD alone; {name} is {sound[name]}, allowed is {value}",
            )
            for name, value in plain.items()
            if name in sound and sound[name] != value
        ]
        if sound.get("head_init") == "per_client" and sound.get("clients") != 1:
            what = (
                "takes a client's change for the mean of its gradients; with head_init=per_client "
                "a part of it is that the client began elsewhere; allowed is shared"
            )
            faults.append(Fault("strategy", strategy, what))
    if strategy in DISTILLING:
        faults += _texts_to_distil_on(sound)
    clients, share = sound.get("clients"), sound.get("participation")
    if (
        isinstance(clients, int)
        and isinstance(share, float)
        and share * clients < 0.5 < clients / 2
    ):
        message = f"of {clients} clients is nobody; allowed is at least {1 / clients:.3g}"
        faults.append(Fault("participation", share, message))
    partition = sound.get("partition")
    if partition == "fixed-per-client" and sound.get("examples_per_client") == "none":
        message = "missing; partition=fixed-per-client needs an integer of at least 1"
        faults.append(Fault("examples_per_client", "none", message))
    if partition == "natural" and sound.get("client_column") == "none":
        message = "missing; partition=natural needs the column that says whose a text is"
        faults.append(Fault("client_column", "none", message))
    if clients == "all" and partition not in ("natural", None):
        message = f"needs partition=natural, which is {partition}; allowed is an integer"
        faults.append(Fault("clients", "all", message))
    return faults


def _texts_to_distil_on(sound: Mapping[str, Any]) -> list[Fault]:
    """Distillation needs texts, from one of two places."""
    examples, dataset = sound.get("distill_examples"), sound.get("distill_dataset")
    if examples == 0 and dataset == "none":
        message = (
            "distils on texts without labels, and there are none; set some of the training data "
            "aside with distill_examples, or name a data set of such texts with distill_dataset"
        )
        return [Fault("strategy", sound["strategy"], message)]
    if examples and dataset not in ("none", None):
        message = f"distill_examples sets {examples} texts aside already; keep one of the two"
        return [Fault("distill_dataset", dataset, message)]
    return []
