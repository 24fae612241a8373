"""A launch's plan as the store keeps it, in ``<store>/sweeps/<name>.yaml``."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from fedtune.config import FIELDS, UNHASHED, TrialConfig
from fedtune.errors import BadInput, did_you_mean, first_line
from fedtune.paths import link_fault
from fedtune.plan.plan import Plan
from fedtune.plan.sweepfile import check_name, name_of
from fedtune.trial.durable import write_atomically
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import ENGINE, Trial
from fedtune.trial.locks import changing
from fedtune.yaml_text import BadYAML, load_dumped


class OtherEngine(BadInput):
    """A plan whose trials are of another engine; to this one they would be without rounds."""


def plan_path(store: Path, name: str) -> Path:
    return store / "sweeps" / f"{name}.yaml"


def save_plan(plan: Plan, store: Path) -> None:
    """Keep the plan in ``<store>/sweeps/<name>.yaml``.

    A plan that ``grows`` keeps the trials of earlier launches under its name: `fedtune run`
    with K = 8 after K = 32 is one comparison of three trials.
    """
    with changing(store):  # else launches of one sweep at once lose each other's trials
        _save(plan, store, plan_path(store, plan.name))


def _save(plan: Plan, store: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fault = link_fault(store, path, writes=True)
    if fault:
        raise BadInput.of("sweep", plan.name, fault)
    trials, axes, source = plan.by_id(), set(plan.axes), plan.source
    earlier = earlier_plan(store, plan.name)
    if earlier and plan.grows:
        trials = earlier.by_id() | trials
        axes = _telling_apart(trials.values(), axes | set(earlier.axes))
    content = source.get("sweep_file_sha256")
    if content and earlier and earlier.source.get("sweep_file_sha256") == content:
        source = earlier.source  # a file that moves to another commit unchanged is as old
    values = {
        "name": plan.name,
        "axes": sorted(axes),
        "source": dict(source),
        "trials": [{"trial_id": key, **t.to_dict()} for key, t in trials.items()],
    }
    write_atomically(path, yaml.safe_dump(values, sort_keys=False))


def _telling_apart(trials: Iterable[Trial], axes: set[str]) -> set[str]:
    """``axes``, and those further fields by which trials differ that are alike in these.

    Each launch may have had one value of a field, or an ``auto`` that became another one.
    """
    found = dict.fromkeys(sorted({"clients"} | axes))  # K is always shown

    def alike() -> list[list[TrialConfig]]:
        groups: dict[Hashable, list[TrialConfig]] = {}
        for trial in trials:
            key = trial.is_baseline, *map(trial.config.called, found)
            groups.setdefault(key, []).append(trial.config)
        return [group for group in groups.values() if len(group) > 1]

    added, groups = set(axes), alike()
    for field in FIELDS:
        if field in found or field in UNHASHED:
            continue
        if any(len({config.called(field) for config in group}) > 1 for group in groups):
            found[field] = None
            added.add(field)
            groups = alike()
    return added


def known_plans(store: Path) -> list[Path]:
    """The plans that the store keeps, the latest last. Raises BadInput where there is none."""
    try:
        found = list((store / "sweeps").glob("*.yaml"))
        known = sorted(found, key=lambda path: path.lstat().st_mtime)
    except OSError as error:  # a name of 300 letters, say
        raise BadInput.of("store", str(store), f"cannot be read ({error.strerror})") from None
    if not known:
        raise BadInput.of("store", str(store), "holds no sweep yet; start one with `fedtune run`")
    return known


def load_plan(store: Path, name: str | None) -> Plan:
    """The plan of an earlier launch: by name, by sweep file, or (None) the latest of the store."""
    known = known_plans(store)
    stems = [path.stem for path in known]
    if name is None:
        return read_plan(known[-1])
    wanted = name_of(name)
    if wanted not in stems:
        raise BadInput.of(
            "sweep",
            name,
            f"the store {store} has no such sweep{did_you_mean(wanted, stems)}; "
            f"it has {', '.join(stems)}",
        )
    return read_plan(plan_path(store, wanted))


def read_plan(path: Path) -> Plan:
    """The plan of a file. Raises OtherEngine, and BadInput where it is no plan of a launch."""
    fault = link_fault(path.parent.parent, path)
    if fault:
        raise BadInput.of("sweep", path.stem, fault)
    try:
        values = load_dumped(path.read_text(encoding="utf-8"))
        plan = _plan_of(values)
        others = [e["trial_id"] for e in values["trials"] if e["trial_id"] not in plan.by_id()]
        begun = [TrialFolder(path.parent.parent, str(other)).read_config() for other in others]
    except OSError as error:
        raise _no_plan(path, f"it cannot be read: {error.strerror}") from None
    except KeyError as error:
        raise _no_plan(path, f"a key is missing: {error}") from None
    except BadYAML as error:
        raise _no_plan(path, f"it is not valid YAML: {first_line(error)}") from None
    except (ValueError, TypeError) as error:  # BadInput and UnicodeDecodeError are ValueErrors
        raise _no_plan(path, first_line(error)) from None
    if others:
        config = next(filter(None, begun), {})
        if config.get("engine") == ENGINE:
            raise _no_plan(path, "settings of a trial were changed after it was planned")
        raise OtherEngine.of(
            "sweep",
            plan.name,
            f"its trials are of engine {config.get('engine', 'unknown')}, and this version has "
            f"engine {ENGINE}: use the version that began them (git commit "
            f"{config.get('git_commit', 'unknown')}), or launch it again to run them anew",
        )
    return plan


def _plan_of(values: Any) -> Plan:
    """Raises KeyError, ValueError and TypeError for what :func:`save_plan` has not written."""
    if not isinstance(values, dict):
        raise TypeError("it holds no settings")
    trials, axes, source = values["trials"], values["axes"], values.get("source", {})
    if not (isinstance(trials, list) and all(isinstance(entry, dict) for entry in trials)):
        raise TypeError("trials is no list of settings")
    if not (isinstance(axes, list) and isinstance(source, dict)):
        raise TypeError("axes is no list, or source has no keys")
    told = tuple(Trial.from_dict(entry) for entry in trials)
    return Plan(check_name(values["name"]), tuple(map(str, axes)), told, source=source)


def _no_plan(path: Path, why: str) -> BadInput:
    message = f"{path} is no plan ({why}); move it away, and launch the sweep again to write it"
    return BadInput.of("sweep", path.stem, message)


def earlier_plan(store: Path, name: str) -> Plan | None:
    """What was planned under this name; None without it, or where that is of another engine."""
    path = plan_path(store, name)
    try:
        return read_plan(path) if path.is_file() or path.is_symlink() else None
    except OtherEngine:
        return None
