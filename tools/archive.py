"""Pack the ended trials of a sweep into one file that any store takes in.

    python -m tools.archive SWEEP --out rounds.tar.gz [--store trials]

    mkdir -p trials && tar -xzf rounds.tar.gz -C trials && fedtune sync     # on another machine

It has what the report and the stop rule read: settings, partition, round log, evaluations within
rounds, test predictions and peak memory of each ended trial, and the sweep's plan. No checkpoints,
so those trials cannot be extended there, and no paths but those that the settings have: a model or
a data set that was given as a folder keeps its name. The same trials give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from fedtune.errors import BadInput
from fedtune.paths import expanded
from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import load_plan, plan_path
from fedtune.run.launch import LaunchResult
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial

#: What a machine knows of its own folders; whoever runs a trial finds them anew.
_PATHS = ("model_dir", "tokens_dir")


def pack(store: Path, sweep: str | None, out: Path) -> tuple[int, int]:
    """Write the archive; gives how many trials are in it, and how many the sweep has.

    Raises BadInput for an unknown sweep, and where no trial has ended.
    """
    plan = load_plan(store, sweep)
    ended = [result.trial for result in LaunchResult.of_store(store, plan).results if result.ended]
    if not ended:
        raise BadInput.of("sweep", plan.name, "none of its trials has ended, so there is nothing")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(_files(store, plan, ended)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return len(ended), len(plan.trials)


def _files(store: Path, plan: Plan, ended: list[Trial]) -> Iterator[tuple[str, bytes]]:
    path = plan_path(store, plan.name)
    values = yaml.safe_load(path.read_text())
    values["trials"] = [trial | dict.fromkeys(_PATHS, "") for trial in values["trials"]]
    yield str(path.relative_to(store)), _as_yaml(values)
    for trial in ended:
        folder = TrialFolder(store, trial.trial_id)
        config = folder.read_config() | dict.fromkeys(_PATHS, "")
        yield f"{trial.trial_id}/config.yaml", _as_yaml(config)
        predictions = folder.predictions_path(trial.stop_rule.budget)
        others = ("partition.json", "by_step.jsonl", "memory.json", "diverged.json")
        for file in (folder.rounds_path, predictions, *(folder.path / name for name in others)):
            if file.is_file():
                yield str(file.relative_to(store)), file.read_bytes()


def _as_yaml(values: object) -> bytes:
    return yaml.safe_dump(values, sort_keys=False).encode()


def main() -> None:
    """Pack a sweep and say how much of it there was."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", nargs="?", help="default: the latest of the store")
    parser.add_argument("--store", type=expanded, default=Path("trials"))
    parser.add_argument("--out", type=expanded, required=True)
    asked = parser.parse_args()
    try:
        ended, planned = pack(asked.store, asked.sweep, asked.out)
    except BadInput as bad:
        parser.error(str(bad))
    print(f"{asked.out}: {ended} of {planned} trials")


if __name__ == "__main__":
    main()
