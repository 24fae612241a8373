"""The comparison with other tools: what it prints, and that all compute the same."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import environments, gpu, peer_results, peers, turns
from fedtune.config import TrialConfig
from fedtune.trial.federation import Federation
from fedtune.trial.prepare import prepare

TINY = [
    *("--dataset", "toy", "--clients", "4", "--examples", "66"),
    *("--batch-size", "8", "--max-length", "32", "--threads", "1"),
]


def running(name: str, *seconds: float) -> turns.Running:
    """A peer as it is after its rounds."""
    return turns.Running(name, None, Path(), 1, 5.0, "1.0", 100.0, [9.9, *seconds])  # type: ignore[arg-type]


def test_every_peer_computes_the_same(bert: str) -> None:
    """Unequal clients, two local epochs; the peers that need no environment of their own."""
    names = ["fedtune", "plain", *(["trainer"] if importlib.util.find_spec("accelerate") else [])]
    lines: list[str] = []
    code = peers.main(
        [*TINY, "--check", "--model", bert, "--local-epochs", "2", "--peers", ",".join(names)],
        lines.append,
    )
    printed = "\n".join(lines)
    assert code == 0, printed
    for name in names:
        difference = re.search(rf"^\| {name} \| .* \| (\S+) \|$", printed, re.MULTILINE)
        assert difference, printed
        assert float(difference[1]) < peers.TOLERANCE
    moved = re.search(r"moved the parameters by up to (\S+);", printed)
    assert moved, printed
    assert float(moved[1]) > 100 * peers.TOLERANCE


def test_a_tool_that_cannot_be_installed_is_left_out(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(command: object) -> None:
        raise environments.LeftOut("its environment could not be made: no network")

    monkeypatch.setattr(environments, "run", offline)
    lines: list[str] = []
    out, names = tmp_path / "new" / "out.json", ["--peers", "fedtune-fp32,flower"]
    places = ["--venvs", str(tmp_path / "venvs"), "--out", str(out)]
    code = peers.main([*TINY, "--model", bert, "--rounds", "1", *names, *places], lines.append)
    printed = "\n".join(lines)
    assert code == 0, printed
    assert "| peer | version | median s a round | ratio to fedtune-fp32 (min to max) |" in printed
    assert "\n| fedtune-fp32 | " in printed
    assert "\nflower is left out: its environment could not be made: no network\n" in printed
    written = json.loads(out.read_text())
    assert len(written["peers"]["fedtune-fp32"]["seconds"]) == 1
    assert list(written["left_out"]) == ["flower"]


def test_ratios_are_of_the_same_turn(tmp_path: Path) -> None:
    """A turn in which the machine was slow for all changes no ratio."""
    finished = [running("fedtune", 1.0, 3.0, 1.0), running("plain", 2.0, 6.0, 4.0)]
    asked = peers.parse(["--examples", "100", "--local-epochs", "2"])
    numbers = peer_results.summarise(finished, asked)
    assert numbers["plain"]["ratio"] == {"median": 2.0, "min": 2.0, "max": 4.0}
    assert numbers["plain"]["median_s"] == 4.0
    assert numbers["plain"]["examples_per_s"] == 50.0
    assert list(peer_results.table(numbers))[-1] == (
        "| plain | 1.0 | 4.00 | 2.00 (2.00 to 4.00) | 50 | 5.0 | 9.90 | 100 |"
    )
    peer_results.draw(numbers, "a title", tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("WARNING: x\nERROR: No matching distribution\n[notice] new pip\n", "ERROR: No matching"),
        (
            "Traceback\n  File\nray.exceptions.RayError: gone\nbye\n",
            "ray.exceptions.RayError: gone",
        ),
        ("Killed\n", "Killed"),
        ("", "it said nothing"),
    ],
)
def test_the_reason_is_taken_from_what_a_program_said(said: str, reason: str) -> None:
    assert environments.reason_in(said).startswith(reason)


def test_a_peer_that_dies_is_named_with_its_reason(tmp_path: Path) -> None:
    """Its program reads a work folder that is not there."""
    asked = peers.parse([*TINY, "--peers", "plain"])
    players, _ = peers.players_of(asked, tmp_path, lambda line: None)
    finished, left_out = turns.take_turns(players, 1, tmp_path)
    assert not finished
    assert left_out["plain"].startswith("it failed: FileNotFoundError")


def test_the_eager_loop_beside_a_gpu_computes_the_same(without_dropout: Path) -> None:
    config = TrialConfig(
        model=str(without_dropout / "bert"),
        dataset="toy",
        clients=3,
        train_examples=40,
        max_length=32,
        learning_rate=0.1,
        threads=1,
        precision="fp32",
        device="cpu",
    )
    made = Federation(prepare(config))
    before, server = made.server.params.clone(), copy.deepcopy(made.flat.model).train()
    own, eager = gpu.fedtune_round(made), gpu.eager_round(made, server)
    for round_num in (1, 2):
        own(round_num)
        eager(round_num)
    theirs = torch.cat([p.detach().flatten() for p in server.parameters()])
    moved = (made.server.params - before).abs().max()
    assert (made.server.params - theirs).abs().max() < moved / 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "techniques --model 2x64 --dataset toy --examples 64 --turns 1 --threads 1",
        "parts --model 2x64 --dataset toy --examples 64 --clients 4 --rounds 1 --threads 1",
        "scaling --model 2x64 --dataset toy --examples 64 --clients 4 --rounds 1 --threads 1",
        "precision --dataset toy --examples 64 --rounds 1 --seeds 2 --threads 1",
        "sweeps --trials 3 --rounds 1",
        "gpu --shapes 2x64 --dataset toy --examples 64 --clients 4 --rounds 1 --threads 1",
    ],
)
def test_every_other_benchmark_prints_its_table(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *f"benchmarks.{command}".split()],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "| --- |" in done.stdout
