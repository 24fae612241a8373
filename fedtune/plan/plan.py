"""The trials of a launch: grid and baselines, resolved, in the order they start."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from fedtune.config import TrialConfig, did_you_mean, settings_without_effect
from fedtune.cost.trial_cost import work
from fedtune.data.lookup import resolve
from fedtune.errors import BadInput, Fault, first_line
from fedtune.models.zoo import PAPER_LEARNING_RATE, card_learning_rate, find_model
from fedtune.paths import link_fault
from fedtune.plan.sweepfile import SweepSpec, check_name, check_told_apart, name_of
from fedtune.tracking import names
from fedtune.tracking.called import as_called, called
from fedtune.trial.folder import TrialFolder, write_atomically
from fedtune.trial.identity import ENGINE, Trial
from fedtune.trial.locks import changing
from fedtune.trial.prepare import data_facts, open_examples, prepare_all
from fedtune.trial.simulation import as_begun
from fedtune.yaml_text import BadYAML, load_yaml


@dataclass(frozen=True)
class Plan:
    """``trials`` in the order they start: seed by seed, baselines first, the longest first.

    ``axes`` are the fields that the sweep varies; they name its runs. ``source`` tells of the sweep
    file, where there is one (see :class:`SweepSpec`).
    """

    name: str
    axes: tuple[str, ...]
    trials: tuple[Trial, ...]
    grows: bool = False
    source: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _by_id(self) -> dict[str, Trial]:
        return {trial.trial_id: trial for trial in self.trials}  # each id is a hash to compute

    def by_id(self) -> dict[str, Trial]:
        return self._by_id

    def baseline_of(self, trial: Trial) -> Trial:
        """The K = 1 trial that ``trial`` is held against (itself, if it is one)."""
        return self.by_id()[trial.baseline_id]

    def tags(self) -> dict[str, str]:
        """What MLflow is told of the sweep: its trials, begun or not, its grid, its sweep file.

        The grid only where the trials are all combinations of models, data sets, K and seeds.
        """
        grid = self._values(("model", "dataset", "clients", "seed"))
        told = {names.TRIALS: names.listed(self.by_id())}
        if math.prod(map(len, grid.values())) == len(self.trials):
            told[names.PLANNED] = json.dumps(grid)
        files = (names.SWEEP_FILE, names.SWEEP_FILE_SHA256, names.SWEEP_FILE_COMMITTED)
        source = {key: self.source.get(key.removeprefix("fedtune.")) for key in files}
        return told | {key: value for key, value in source.items() if value}

    def params(self) -> dict[str, str]:
        """What MLflow is told that the sweep spans: the values of each axis, ``1,8,32``."""
        axes = dict.fromkeys(("model", "dataset", "clients", "seed", *self.axes))
        texts = {axis: ",".join(map(str, values)) for axis, values in self._values(axes).items()}
        return {axis: text[: names.LONGEST_PARAM] for axis, text in texts.items()}

    def called(self) -> dict[tuple[str, str], str]:
        """What MLflow's pages call models and data sets."""
        return called(self.trials)

    def _values(self, axes: Iterable[str]) -> dict[str, list[Any]]:
        """The values of each axis as the pages show them, numbers by their size before words."""
        known = self.called()
        configs = [as_called(trial, known).config for trial in self.trials]
        return {
            axis: sorted(
                {getattr(config, axis) for config in configs}, key=lambda v: (isinstance(v, str), v)
            )
            for axis in axes
        }

    def save(self, store: Path) -> None:
        """Keep the plan in ``<store>/sweeps/<name>.yaml``.

        A plan that ``grows`` keeps the trials of earlier launches under its name: `fedtune run`
        with K = 8 after K = 32 is one comparison of three trials.
        """
        with changing(store):  # else launches of one sweep at once lose each other's trials
            self._save(store, plan_path(store, self.name))

    def _save(self, store: Path, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fault = link_fault(store, path, writes=True)
        if fault:
            raise BadInput.of("sweep", self.name, fault)
        trials, axes, source = self.by_id(), set(self.axes), self.source
        earlier = earlier_plan(store, self.name)
        if earlier and self.grows:
            trials, axes = earlier.by_id() | trials, axes | set(earlier.axes)
        content = source.get("sweep_file_sha256")
        if content and earlier and earlier.source.get("sweep_file_sha256") == content:
            source = earlier.source  # a file that moves to another commit unchanged is as old
        values = {
            "name": self.name,
            "axes": sorted(axes),
            "source": dict(source),
            "trials": [{"trial_id": key, **t.to_dict()} for key, t in trials.items()],
        }
        write_atomically(path, yaml.safe_dump(values, sort_keys=False))


def plan_path(store: Path, name: str) -> Path:
    return store / "sweeps" / f"{name}.yaml"


def make_plan(
    spec: SweepSpec, store: Path | None = None, *, elsewhere: bool = False, progress: bool = False
) -> Plan:
    """Resolve a sweep: check and prepare every trial, and add the baselines that are missing.

    A trial that the ``store`` has begun keeps the device and the threads it was begun with. Where
    trials run ``elsewhere``, on a cluster, GPUs are taken for there. Raises BadInput with every
    fault, each once. Writes nothing but caches.
    """
    configs: dict[TrialConfig, None] = {}
    for config in spec.configs():
        configs[config.replace(clients=1)] = None
    for config in spec.configs():
        configs[config] = None
    _check_names(list(configs))
    num_federated = sum(config.clients > 1 for config in configs)
    trials = prepare_all(
        list(configs),
        num_federated=max(num_federated, 1),
        elsewhere=elsewhere,
        progress=progress,
    )
    if store is not None:
        folders = (TrialFolder(store, trial.trial_id) for trial in trials)
        pairs = zip(trials, folders, strict=True)
        trials = [as_begun(trial, folder, elsewhere=elsewhere) for trial, folder in pairs]
    # Two names may be of one model, and `auto` may become what was asked for elsewhere.
    check_told_apart((trial.trial_id, trial.config) for trial in trials)
    unique: dict[str, Trial] = {}
    for trial in trials:
        unique.setdefault(trial.trial_id, trial)
    axes = tuple(name for name, values in spec.axes.items() if len(values) > 1)
    return Plan(
        spec.name, axes, tuple(sorted(unique.values(), key=_place)), spec.grows, spec.source
    )


def _place(trial: Trial) -> tuple[float, ...]:
    """Where a trial comes: seed by seed, baselines first, the longest first.

    Seed by seed, so that a study that is cut short has some seeds whole. The longest first, so that
    no long trial is left to run alone at the end; of trials with equal work the largest K, which
    needs the most rounds as a rule.
    """
    config = trial.config
    return config.seed, config.clients > 1, -work(trial), -config.clients


def _check_names(configs: Sequence[TrialConfig]) -> None:
    """Raise BadInput with every model and data set that is not there, before any is prepared."""
    faults: list[Fault] = []
    for look_up, asked in (
        (find_model, [config.model for config in configs]),
        (resolve, [config.dataset for config in configs]),
    ):
        for name in dict.fromkeys(asked):
            try:
                look_up(name)
            except BadInput as bad:
                faults += bad.faults
    if faults:
        raise BadInput(faults)


class OtherEngine(BadInput):
    """A plan whose trials are of another engine; to this one they would be without rounds."""


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
        values = load_yaml(path.read_text(encoding="utf-8"))
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
    """Raises KeyError, ValueError and TypeError for what :meth:`Plan.save` has not written."""
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


def warnings_of(plan: Plan, spec: SweepSpec, store: Path) -> list[str]:
    """What a user should know before the launch starts: settings without effect, hopeless plans,
    siblings of earlier launches that were run to another length.
    """
    lines = list(spec.unused_overrides()) + _other_lengths(plan, store)
    lines += _fractions_without_effect(plan, spec)
    for trial in plan.trials:
        lines += settings_without_effect(trial.config)
        lines += _classes_alike(trial)
        lines += _cannot_learn(trial)
    return list(dict.fromkeys(lines))


#: The longest path (rate x sequential steps) after which a trial has been seen at chance. Of 162
#: published trials with miniatures (docs/results/mini-study) one was at 0.4, and none beyond. Other
#: models: the paper's DistilBERT on IMDB at K = 32 after 100 rounds (Fig. 1), 4,800 steps of 2e-5.
_SEEN_AT_CHANCE = {True: 0.4, False: 0.096}


def _other_lengths(plan: Plan, store: Path) -> list[str]:
    earlier = earlier_plan(store, plan.name)
    if earlier is None or not plan.grows:
        return []
    now = {trial.baseline_id: trial.config for trial in plan.trials}
    differing: dict[str, set[int]] = {}
    for trial in earlier.trials:
        config = now.get(trial.baseline_id)
        if config is None or trial.trial_id in plan.by_id():
            continue
        for name in ("budget_rounds", "max_rounds", "stop"):
            theirs = getattr(trial.config, name)
            if theirs != getattr(config, name):
                differing.setdefault(f"{name} {theirs}", set()).add(trial.config.clients)
    return [
        f"{plan.name} has K = {', '.join(map(str, sorted(clients)))} with {what} from an earlier "
        "launch; name them in --clients too, and they go on as asked for now"
        for what, clients in differing.items()
    ]


def _fractions_without_effect(plan: Plan, spec: SweepSpec) -> list[str]:
    """A line for every data set that has a test split and was asked to be split."""
    whole = {trial.config.dataset for trial in plan.trials if trial.config.test_fraction == "none"}
    return [
        f"test_fraction={config.test_fraction} has no effect on {config.dataset}: it has a test "
        "split of its own"
        for config in spec.configs()
        if config.test_fraction != "none" and config.dataset in whole
    ]


def _classes_alike(trial: Trial) -> list[str]:
    """A line for classes whose names are one word, written in several ways."""
    spellings: dict[str, list[str]] = {}
    for name in open_examples(trial)[1].label_names:
        spellings.setdefault(" ".join(name.casefold().split()), []).append(name)
    return [
        f"{trial.config.dataset} has classes that differ in spaces or capitals alone: "
        f"{', '.join(map(repr, names))}"
        for names in spellings.values()
        if len(names) > 1
    ]


def _cannot_learn(trial: Trial) -> list[str]:
    config = trial.config
    if config.client_optimizer != "sgd":
        return []
    # The name may be that of another machine, so the model's card tells whether it is a miniature.
    has_card = card_learning_rate(Path(trial.model_dir)) != PAPER_LEARNING_RATE
    steps = data_facts(trial)["steps/per_round"] * trial.stop_rule.last
    path = float(config.learning_rate) * steps / (1 - config.momentum)
    seen = _SEEN_AT_CHANCE[has_card]
    if path >= seen:
        return []
    return [
        f"clients={config.clients} on {config.dataset} may learn nothing: learning_rate "
        f"{config.learning_rate:g} x {steps} sequential steps is {path:.2g}, and published trials "
        f"have stayed at chance up to {seen:g}; raise learning_rate or max_rounds"
    ]
