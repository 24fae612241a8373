"""What a launch would run, where each trial stands and what it costs: said before it starts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fedtune.cost.memory import disk, need
from fedtune.cost.resources import at_once, check_disk, check_fits, places, request
from fedtune.cost.speed import calibrate, rates_in_store
from fedtune.cost.trial_cost import Cost, cost
from fedtune.machine import Machine
from fedtune.plan.plan import Plan
from fedtune.tables import Column, FittedTable
from fedtune.tracking.names import run_name, short_names
from fedtune.trial.by_step import StepFile, owed
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.units import counted, duration, size

#: From so many seconds on a trial gets a worker of its own. That is some 3 s of imports, and only
#: then its peak memory is known.
OWN_WORKER_FROM_S = 60.0


@dataclass(frozen=True)
class LaunchCost:
    """What the trials ``todo`` of a ``plan`` cost at the most, on ``machine`` (None: on a cluster).

    ``costs`` is what the trials that it runs still cost, by ``trial_id``, and ``stored`` the last
    round of each trial that the store has begun. Without ``parallel`` they run one by one.
    """

    plan: Plan
    todo: Sequence[Trial]
    machine: Machine | None
    parallel: bool
    stored: Mapping[str, int]
    costs: Mapping[str, Cost]

    @classmethod
    def of(
        cls,
        plan: Plan,
        todo: Sequence[Trial],
        store: Path,
        machine: Machine | None,
        *,
        parallel: bool,
    ) -> LaunchCost:
        """Add up, at the speed of the trials that have run here, else after a calibration.

        That takes seconds. Raises BadInput where a trial does not fit.
        """
        if machine:
            check_fits(todo, machine)
            check_disk(todo, store)
        stored, again = {}, {}
        for trial in todo:
            folder = TrialFolder(store, trial.trial_id)
            if counted := trial.stop_rule.read(folder.records()):
                stored[trial.trial_id] = int(counted[-1]["round"])
                missing = owed(trial, counted, StepFile(folder).read(counted))
                again[trial.trial_id] = max(missing, default=0)
        rates = calibrate(todo, rates_in_store(store, plan.trials))
        costs = {
            trial_id: cost(trial, rates, stored.get(trial_id), again.get(trial_id, 0))
            for trial_id, trial in ((trial.trial_id, trial) for trial in todo)
        }
        return cls(plan, todo, machine, parallel, stored, costs)

    @cached_property
    def slots(self) -> int:
        """How many trials run at a time, at the least; 1 on a cluster, where that is not known."""
        if self.machine is None or not self.parallel:
            return 1
        return min(at_once(self.todo, self.machine)[0], max(len(self.costs), 1))

    @property
    def trials_are_long(self) -> bool:
        """Is a worker of its own a small part of what a usual trial takes?"""
        each = [cost.seconds for cost in self.costs.values()]
        return bool(each) and statistics.median(each) >= OWN_WORKER_FROM_S

    @property
    def seconds(self) -> float:
        """Until all have ended, at the most."""
        return self.wall_time({key: cost.seconds for key, cost in self.costs.items()})

    @property
    def least_seconds(self) -> float:
        """Until all have ended, where every target is met as early as can be."""
        return self.wall_time({key: cost.least_seconds for key, cost in self.costs.items()})

    def wall_time(self, seconds: Mapping[str, float]) -> float:
        """How long trials take that take so many ``seconds`` each, by ``trial_id``."""
        todo = [trial for trial in self.todo if trial.trial_id in seconds]
        slots = {self.slots}
        if self.machine:  # trials that share a GPU slow each other down, so it counts as one slot
            slots |= {len(self.machine.gpus_for(str(trial.config.device))) for trial in todo}
        return wall_time(todo, [seconds[trial.trial_id] for trial in todo], min(slots - {0}))

    def time(self) -> str:
        """The time that the launch takes, as a range where trials may stop at a target."""
        least, most = duration(self.least_seconds), duration(self.seconds)
        return f"about {most}" if least == most else f"{least} to {most}"

    def table(self) -> FittedTable:
        """A row for each trial of the plan, in the order they start."""
        trials, axes = self.plan.trials, self.plan.axes
        names = [run_name(trial, axes) for trial in trials]
        states = [self._state(trial) for trial in trials]
        ids = [trial.trial_id for trial in trials]
        rounds, steps, traffic, memory, seconds = zip(*map(self._cells, trials), strict=True)
        return FittedTable(
            [
                Column("trial", names, "name", key=True, short=short_names(trials, axes)),
                Column("id", ids, "name", rank=6),
                Column("state", states, "text", rank=2),
                Column("rounds", rounds, rank=1),
                Column("steps", steps, rank=4),
                Column("traffic", traffic, rank=5),
                Column("memory", memory, rank=3),
                Column("time", seconds),
            ]
        )

    def lines(self) -> list[str]:
        """The totals, and how many trials run at a time and why."""
        plan, costs = self.plan, self.costs.values()
        states = {
            "done": len(plan.trials) - len(costs),
            "going on": len(self.stored),
            "new": len(costs) - len(self.stored),
        }
        counts = ", ".join(f"{number} {state}" for state, number in states.items() if number)
        whole = f"In all {len(plan.trials)} trials ({counts})"
        if not costs:
            return [f"{whole}: nothing to run."]
        rounds, traffic = sum(c.rounds for c in costs), sum(c.traffic_bytes for c in costs)
        kept = sum(map(disk, self.todo))
        on_disk = f", up to {size(kept)} of disk for what SCAFFOLD keeps of clients" if kept else ""
        where = "at this machine's speed, one after another" if self.machine is None else "here"
        return [
            f"{whole}: at most {rounds:,} rounds, {size(traffic)} of traffic, "
            f"{self._memory()}{on_disk} and {self.time()} {where}.",
            self.sharing(),
        ]

    def sharing(self) -> str:
        """How many trials run at a time, and what decides that."""
        if self.machine is None:
            asked = [request(trial, None) for trial in self.todo]
            largest = {kind: max(each[kind] for each in asked) for kind in ("cpu", "gpu", "memory")}
            return (
                f"Each asks the cluster for up to {largest['cpu']:g} CPU, {largest['gpu']:g} GPU "
                f"and {size(largest['memory'])} of memory; how many run at a time is up to it."
            )
        if not self.parallel:
            return "They run one after another, in this process."
        machine, todo = self.machine, self.todo
        tightest = min(todo, key=lambda trial: min(places(trial, machine).values()))
        least, most = (min(number, len(todo)) for number in at_once(todo, machine))
        trials = "1 trial runs" if most == 1 else f"Up to {most} trials run"
        of_which = "; of the largest there is" if least < most else ": there is"
        return f"{trials} at a time{of_which} room for {_room(tightest, machine)}."

    def _state(self, trial: Trial) -> str:
        if trial.trial_id not in self.costs:
            return "done"
        last = self.stored.get(trial.trial_id)
        if last is not None and not self.costs[trial.trial_id].rounds:
            return "evaluates again"
        return "new" if last is None else f"from round {last + 1}"

    def _cells(self, trial: Trial) -> list[str]:
        costs = self.costs.get(trial.trial_id)
        if costs is None:
            return [""] * 5
        most, needs = "" if trial.is_baseline else "≤ ", need(trial)
        return [
            f"{most}{costs.rounds}",
            f"{most}{costs.steps:,}",
            f"{most}{size(costs.traffic_bytes)}" if costs.traffic_bytes else "0",
            f"{size(needs.gpu_memory)} GPU" if needs.gpu_memory else size(needs.memory),
            f"{most}{duration(costs.seconds)}",
        ]

    def _memory(self) -> str:
        """What the largest trials take that run at a time."""
        needs = [need(trial) for trial in self.todo]
        total = sum(sorted((each.memory for each in needs), reverse=True)[: self.slots])
        on_gpu = sum(sorted((each.gpu_memory for each in needs), reverse=True)[: self.slots])
        return f"{size(total)} of memory" + (f", {size(on_gpu)} on GPUs" if on_gpu else "")


def _room(trial: Trial, machine: Machine) -> str:
    """For how many trials like this one there is room, by each thing that limits them."""
    found, needs = places(trial, machine), need(trial)
    gpus = machine.gpus_for(str(trial.config.device))
    asked = request(trial, machine, machine.memory)["memory"]
    cores, threads = counted(machine.cores, "core"), counted(int(trial.config.threads), "thread")
    parts = [
        f"{found['cores']} on {cores} ({threads} each)",
        f"{found['memory']} in {size(machine.memory)} of free memory ({size(asked)} each)",
    ]
    if gpus:
        own = size(needs.gpu_memory)
        parts.append(
            f"{found['GPU']} on {counted(len(gpus), 'GPU')} of {size(min(gpus))} ({own} each)"
        )
    return ", ".join(parts)


def wall_time(trials: Sequence[Trial], each: Sequence[float], slots: int) -> float:
    """Seconds for the whole launch, with ``slots`` trials at a time, where ``each`` takes so many.

    The work spread over the slots; or, if that is longer, the longest baseline with a sibling,
    which has to wait for it.
    """
    seconds = dict(zip((trial.trial_id for trial in trials), each, strict=True))
    chains = [
        seconds[t.trial_id] + (seconds.get(t.baseline_id, 0.0) if not t.is_baseline else 0.0)
        for t in trials
    ]
    return max([sum(seconds.values()) / max(slots, 1), *chains])
