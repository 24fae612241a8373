"""The scripts for Slurm in docs/examples, with a stand-in for Slurm on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import (
    LASTING,
    LEARNS,
    folder_of,
    free_port,
    log,
    logs,
    new_database,
    options,
    wait_for,
)

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

#: Slurm's commands as far as the scripts use them, on one machine.
STAND_INS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": 'printf "127.0.0.1\\n127.0.0.1\\n"',  # two machines
    "fedtune": f'exec "{sys.executable}" -m fedtune "$@"',
}


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """The environment of a job in ``tmp_path``, whose ``.venv`` has the stand-ins."""
    own = tmp_path / ".venv" / "bin"
    own.mkdir(parents=True)
    for name, line in STAND_INS.items():
        (own / name).write_text(f"#!/usr/bin/env bash\n{line}\n")
        (own / name).chmod(0o755)
    here = Path(sys.executable).parent
    (own / "activate").write_text(f'PATH="{own}:{here}:$PATH"\n')
    new_database(tmp_path)
    slurm = {"SLURM_JOB_NODELIST": "two", "SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_NODE": "4000"}
    return {**os.environ, **slurm, "RAY_PORT": str(free_port()), "HOME": str(tmp_path)}


def script(name: str, *args: str, folder: Path, job: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(EXAMPLES / name), *args],
        cwd=folder,
        env=job,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_job_that_slurm_ends_goes_on_from_its_last_round(
    bert: str, tmp_path: Path, job: dict[str, str], uninterrupted: Path
) -> None:
    settings = options(name="job", model=bert, dataset="toy", clients="1,4", **LEARNS | LASTING)
    asked = ["run", *settings, "--no-ray", "--store", "trials"]
    store = tmp_path / "trials"

    first = script("slurm-node.sh", *asked, folder=tmp_path, job=job)
    wait_for(lambda: any(len(r) > 2 for r in logs(store).values()), what="two rounds")
    first.send_signal(signal.SIGTERM)  # as `--signal=B:TERM@120` does: to the script alone
    said, _ = first.communicate(timeout=120)

    assert first.returncode == 143, said
    again = script("slurm-node.sh", *asked, folder=tmp_path, job=job)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert logs(store) == logs(uninterrupted)


@pytest.mark.slow
def test_the_machines_of_a_job_become_one_ray(
    bert: str, tmp_path: Path, job: dict[str, str]
) -> None:
    settings = options(name="job", model=bert, dataset="toy", clients="4", **LEARNS)

    done = script("slurm-cluster.sh", "run", *settings, folder=tmp_path, job=job)
    said, _ = done.communicate(timeout=500)

    assert done.returncode == 0, said
    assert re.search(r"│ +4 │.*reached", said), said
    assert log(folder_of(tmp_path / "trials", 4))
    assert len(re.findall("Ray runtime started", said)) == 2, "on both machines"
