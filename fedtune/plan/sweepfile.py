"""Sweep files: a grid of trials as a small YAML file, and how it becomes configurations."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fedtune
from fedtune.config import FIELDS, OF_CLIENTS, UNHASHED, TrialConfig, check_value, find_faults
from fedtune.errors import BadInput, Fault, did_you_mean, first_line
from fedtune.paths import exists, expanded
from fedtune.provenance import committed_at
from fedtune.yaml_text import load_yaml

_KEYS = ("name", "axes", "set", "overrides")
#: Every point is checked, prepared and kept; this many take a minute before anything starts.
MOST_POINTS = 20_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class Override:
    """Settings for the trials that have all the values in ``when``."""

    when: Mapping[str, Any]
    set: Mapping[str, Any]


@dataclass(frozen=True)
class SweepSpec:
    """A grid: every combination of ``axes``, with ``set`` and ``overrides`` applied.

    Defaults < ``set`` and ``axes`` < ``overrides`` < those axes that the command line gave
    (``command_line`` names them). ``source`` names the sweep file, its content (SHA-256) and when
    that was committed; with a command line's settings in it, the name alone is told.
    """

    name: str
    axes: Mapping[str, Sequence[Any]]
    set: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[Override] = ()
    command_line: frozenset[str] = frozenset()
    grows: bool = False  # later launches under this name add to it
    source: Mapping[str, str] = field(default_factory=dict)

    def with_command_line(self, asked: Mapping[str, Sequence[Any]]) -> SweepSpec:
        """The same grid with axes from the command line, which beat everything in the file."""
        source = dict(self.source)
        if source and asked:
            changed = ", ".join(
                f"{name}={','.join(map(str, values))}" for name, values in asked.items()
            )
            source = {"sweep_file": f"{source['sweep_file']} with {changed}"}
        axes = {**self.axes, **asked}
        return replace(self, source=source, axes=axes, command_line=frozenset(asked))

    def configs(self) -> list[TrialConfig]:
        """Every trial of the grid once, in the order of the axes. Raises BadInput with every fault,
        each once.
        """
        configs: dict[TrialConfig, None] = {}
        faults: dict[str, Fault] = {}
        for values, _ in self._evaluated():
            found = find_faults(values)
            faults |= {str(fault): fault for fault in found}
            if not found:
                configs[TrialConfig(**values).effective()] = None
        if faults:
            raise BadInput(faults.values())
        hashed = [name for name in FIELDS if name not in UNHASHED]
        check_told_apart((tuple(getattr(c, name) for name in hashed), c) for c in configs)
        return list(configs)

    def unused_overrides(self) -> list[str]:
        """A line for every override that matches no trial of the grid."""
        used = {position for _, matched in self._evaluated() for position in matched}
        return [
            f"overrides: when {dict(o.when)} matches no trial of this sweep, so it has no effect"
            for position, o in enumerate(self.overrides)
            if position not in used
        ]

    def settings_without_effect(self) -> list[str]:
        """A line for every value of a setting about clients that does nothing in any trial."""
        why: dict[tuple[str, Any], str] = {}
        used: set[tuple[str, Any]] = set()
        for values, _ in self._evaluated():
            config = TrialConfig(**values)
            without = config.without_effect()
            for name in OF_CLIENTS:
                pair = name, getattr(config, name)
                if name in without:
                    why[pair] = without[name]
                else:
                    used.add(pair)
        return [
            f"{name}={value} has no effect: {reason}"
            for (name, value), reason in why.items()
            if (name, value) not in used
        ]

    def _evaluated(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """The settings of every point of the grid, and which overrides matched there.

        An override sees what was set before it, the command line's settings above all.
        """
        points = math.prod(map(len, self.axes.values()))
        if points > MOST_POINTS:
            sizes = " x ".join(f"{len(v):,} of {axis}" for axis, v in self.axes.items() if v[1:])
            message = f"make {points:,} combinations ({sizes}); allowed are {MOST_POINTS:,} a sweep"
            raise BadInput.of("axes", None, f"{message}: make several sweeps of it")
        for combination in itertools.product(*self.axes.values()):
            point = dict(zip(self.axes, combination, strict=True))
            asked = {name: point[name] for name in self.command_line}
            values = {**self.set, **point}
            matched = []
            for position, override in enumerate(self.overrides):
                if all(values.get(key) == wanted for key, wanted in override.when.items()):
                    values |= {**override.set, **asked}
                    matched.append(position)
            yield values, matched


def check_told_apart(trials: Iterable[tuple[Hashable, TrialConfig]]) -> None:
    """Raise BadInput where two trials of one identity differ in what is no part of it.

    A baseline serves siblings with different caps and targets; only its own length must be one.
    """
    first: dict[Hashable, TrialConfig] = {}
    asked: dict[str, dict[Any, None]] = {}
    for identity, config in trials:
        other = first.setdefault(identity, config)
        length = ("budget_rounds", "eval_every", "eval_steps", "stop_on")
        for name in length if config.is_baseline else sorted(UNHASHED):
            mine, theirs = getattr(config, name), getattr(other, name)
            if mine != theirs:
                asked.setdefault(name, {theirs: None})[mine] = None
    if asked:
        raise BadInput(
            Fault(name, list(values), _one_trial(name)) for name, values in asked.items()
        )


def _one_trial(field: str) -> str:
    machine = field in ("device", "threads")
    what = "what a trial runs on" if machine else "how long a trial runs or how it is looked at"
    own = "a --store" if machine else "a --name"
    return (
        f"these stand for one and the same trial, since {field} is {what}, not which one it is; "
        f"keep one, or launch once for each, with {own} of its own"
    )


def check_name(name: object, where: str = "name") -> str:
    """A sweep's name: it is a file's name and stands in MLflow's searches."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInput.of(
            where, name, "allowed are letters, digits and . _ + -, a letter or digit first"
        )
    return name


def experiments() -> dict[str, Path]:
    """The sweep files that come with fedtune, by name; those of one study are in a folder:
    ``starve/phase``.
    """
    root = Path(fedtune.__file__).parent / "experiments"
    found = {
        path.relative_to(root).with_suffix("").as_posix(): path for path in root.rglob("*.yaml")
    }
    return dict(sorted(found.items()))


def find_sweep_file(asked: str) -> Path:
    """The file of that path, or the one of that name that comes with fedtune.

    ``experiments/NAME.yaml``, its path in a clone, is a name too, so that it can be written
    anywhere.
    """
    path, known = expanded(asked), experiments()
    if exists(asked) and path.is_file():
        return path
    if asked in known:
        return known[asked]
    in_clone = {Path("experiments", f"{name}.yaml"): file for name, file in known.items()}
    if path in in_clone:
        return in_clone[path]
    hint = did_you_mean(path.stem, known)
    message = f"no such file{hint}; allowed is a sweep file or one of {', '.join(known)}"
    raise BadInput.of("config", asked, message)


def name_of(sweep: str) -> str:
    """The name of the sweep that a command is asked for: that of the sweep file, or it is one."""
    if expanded(sweep).suffix not in (".yaml", ".yml") and sweep not in experiments():
        return sweep
    try:
        path = find_sweep_file(sweep)
    except BadInput:
        return sweep
    return read_sweep_file(path).name


def read_sweep_file(path: Path) -> SweepSpec:
    """Read and check a sweep file. Raises BadInput with every fault and where in the file it is."""
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput.of(path.name, None, f"cannot be read ({error.strerror})") from None
    except ValueError as error:  # BadYAML, or bytes that are no text
        raise BadInput.of(path.name, None, f"is not valid YAML: {first_line(error)}") from None
    if not isinstance(content, dict):
        raise BadInput.of(path.name, None, f"is no mapping; allowed keys are {', '.join(_KEYS)}")
    faults = _unknown_keys(content)
    axes = _mapping(content, "axes", faults)
    fixed = _mapping(content, "set", faults)
    faults += _axes_faults(axes) + _value_faults("set", fixed)
    overrides = _overrides(content.get("overrides"), faults)
    for name in axes.keys() & fixed.keys():
        faults.append(Fault(f"set.{name}", fixed[name], f"{name} is an axis already; keep one"))
    try:
        name = check_name(content.get("name", path.stem))
    except BadInput as bad:
        faults += bad.faults
    if faults:
        raise BadInput(Fault(f"{path.name}: {f.field}", f.value, f.message) for f in faults)
    return SweepSpec(name, axes, fixed, overrides, source=_source(path))


def _source(path: Path) -> dict[str, str]:
    told = {
        "sweep_file": path.name,
        "sweep_file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    committed = committed_at(path)
    return told | ({"sweep_file_committed": committed} if committed else {})


def _unknown_keys(content: Mapping[str, Any]) -> list[Fault]:
    return [
        Fault(
            str(key),
            None,
            f"there is no such key{did_you_mean(str(key), _KEYS)}; allowed are {', '.join(_KEYS)}"
            + (" (settings belong under 'set')" if key in FIELDS else ""),
        )
        for key in content
        if key not in _KEYS
    ]


def _mapping(content: Mapping[str, Any], key: str, faults: list[Fault]) -> dict[str, Any]:
    value = content.get(key)
    if value is None or isinstance(value, dict):
        return value or {}
    faults.append(Fault(key, value, "allowed is a mapping from settings to values"))
    return {}


def _axes_faults(axes: Mapping[str, Any]) -> list[Fault]:
    faults: list[Fault] = []
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            faults.append(Fault(f"axes.{name}", values, "allowed is a list of at least one value"))
            continue
        for position, value in enumerate(values):
            faults += _check(f"axes.{name}[{position}]", name, value)
    return faults


def _value_faults(where: str, values: Mapping[str, Any]) -> list[Fault]:
    return [f for name, value in values.items() for f in _check(f"{where}.{name}", name, value)]


def _check(where: str, name: object, value: object) -> list[Fault]:
    try:
        check_value(str(name), value)
    except BadInput as bad:
        return [Fault(where, fault.value, fault.message) for fault in bad.faults]
    return []


def _overrides(entries: object, faults: list[Fault]) -> list[Override]:
    overrides: list[Override] = []
    if entries is None:
        return overrides
    if not isinstance(entries, list):
        faults.append(Fault("overrides", entries, "allowed is a list of {when: …, set: …}"))
        return []
    for position, entry in enumerate(entries):
        where = f"overrides[{position}]"
        if not isinstance(entry, dict) or set(entry) != {"when", "set"}:
            faults.append(Fault(where, entry, "allowed is {when: {…}, set: {…}}"))
            continue
        parts = {key: _mapping(entry, key, faults) for key in ("when", "set")}
        for key, values in parts.items():
            faults += _value_faults(f"{where}.{key}", values)
        overrides.append(Override(**parts))
    return overrides
