"""One federated round in fedtune and in other tools: the same texts, batches, model and averaging.

    python -m benchmarks.peers --model mini-bert --clients 32        (or: --model 4x128)
    python -m benchmarks.peers --check --model mini-bert --clients 4 --examples 64

Every tool runs in a process of its own, and in an environment of its own where it needs other
packages (made under --venvs on first use). All do federated averaging with every client in every
round: plain SGD, the mean weighted by numbers of examples, the same batches in the same order.
They take turns, round by round, so that one computes at a time and what else the machine does hits
all alike; the first round is not counted. Quote ratios, not seconds.

With --check dropout is off and everything is in fp32; after two rounds every tool's parameters are
compared with the hand-written loop's, and the exit code is 1 where one is further away than 1e-4,
or than a hundredth of what the rounds changed.

A tool whose environment cannot be made is left out, and the table says why.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.environments import LeftOut, python_of
from benchmarks.peer_results import differences, draw, movement, params_of, summarise, table
from benchmarks.turns import Player, Running, take_turns
from benchmarks.workload import measured_on, model_of
from fedtune.config import TrialConfig
from fedtune.errors import BadInput
from fedtune.machine import available_cores, has_bf16
from fedtune.trial.federation import Federation
from fedtune.trial.inputs import open_examples
from fedtune.trial.prepare import prepare

ROUNDS = Path(__file__).parent / "rounds"
#: In --check: a tool whose parameters differ by more does something else.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Peer:
    """A program of `benchmarks/rounds`, in the environment of that name, or in this one."""

    program: str
    environment: str | None = None
    bf16: bool = False


PEERS: Mapping[str, Peer] = {
    "fedtune": Peer("ours.py", bf16=has_bf16("cpu")),
    "fedtune-fp32": Peer("ours.py"),
    "plain": Peer("plain.py"),
    "plain-bf16": Peer("plain.py", bf16=True),
    "trainer": Peer("hf_trainer.py", "trainer"),
    "flower": Peer("flower.py", "flower"),
    "pfl": Peer("pfl_research.py", "pfl"),
}


# The work folder


def write_work(folder: Path, model: str, asked: argparse.Namespace) -> None:
    """Write model, texts, partition and batches for all peers into ``folder``."""
    federation = Federation(
        prepare(
            TrialConfig(
                model=model,
                dataset=asked.dataset,
                clients=asked.clients,
                train_examples=asked.examples,
                max_length=asked.max_length,
                local_epochs=asked.local_epochs,
                batch_size=asked.batch_size,
                learning_rate=asked.learning_rate,
                threads=asked.threads,
                precision="fp32",
                device="cpu",
            )
        )
    )
    tokens, examples = open_examples(federation.trial)
    federation.save(folder / "model")
    plan = {
        "num_rounds": asked.all_rounds,
        "batch_size": asked.batch_size,
        "learning_rate": asked.learning_rate,
        "threads": asked.threads,
        "dropout": not asked.check,
        "pad_token_id": tokens.pad_token_id,
        "num_classes": examples.num_classes,
        "recipe": asdict(federation.recipe),
    }
    (folder / "plan.json").write_text(json.dumps(plan, indent=1))
    np.savez(
        folder / "arrays.npz",
        token_ids=examples.train.token_ids,
        offsets=examples.train.offsets,
        labels=examples.train.labels,
        **partition_arrays(federation, asked.all_rounds),
    )


def partition_arrays(federation: Federation, rounds: int) -> dict[str, np.ndarray]:
    """Each client's texts, and those of every batch, in the order round, client, step."""
    clients, recipe = federation.clients, federation.recipe
    sizes = [len(examples) for examples in clients]
    batches = [
        examples[positions].numpy()
        for round_num in range(1, rounds + 1)
        for client_id, examples in enumerate(clients)
        for positions in recipe.batches(len(examples), round_num, client_id)
    ]
    return {
        "clients": torch.cat(clients).numpy(),
        "sizes": np.array(sizes),
        "steps": np.array([recipe.steps(size) for size in sizes]),
        "batches": np.concatenate(batches),
        "batch_offsets": np.cumsum([0, *map(len, batches)]),
    }


# The peers


def players_of(
    asked: argparse.Namespace, work: Path, say: Callable[[str], None]
) -> tuple[list[Player], dict[str, str]]:
    """The processes of all peers, and why some have none."""
    players, left_out = [], {}
    for name in asked.names:
        peer = PEERS[name]
        try:
            python = python_of(peer.environment, asked.venvs, say)
        except LeftOut as reason:
            left_out[name] = str(reason)
            continue
        precision = "bf16" if peer.bf16 and not asked.check else "fp32"
        files = [ROUNDS / peer.program, work, params_of(work, name)]
        command = [str(python), *map(str, files), "--precision", precision]
        players.append(Player(name, command, environment_variables(asked.threads)))
    return players, left_out


def environment_variables(threads: int) -> dict[str, str]:
    """What every peer finds: its threads, no GPU, no network, no telemetry, no Ray but its own."""
    return {
        "PYTHONPATH": str(ROUNDS),
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": "local",
        "CUDA_VISIBLE_DEVICES": "",  # the comparison is of processors, and some would take a GPU
    }


# The command


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command's options, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        default="mini-bert",
        help="what fedtune takes, or LAYERSxWIDTH for a BERT of random weights",
    )
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5, help="that are counted")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--local-epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s")
    parser.add_argument("--venvs", type=Path, default=Path(".venvs"))
    parser.add_argument("--patience", type=float, default=3600, help="seconds to wait for a peer")
    parser.add_argument("--check", action="store_true", help="compare parameters, not times")
    parser.add_argument("--out", type=Path, help="the numbers as JSON")
    parser.add_argument("--figure", type=Path, help="the times as SVG")
    asked = parser.parse_args(arguments)
    asked.names = asked.peers.split(",")
    unknown = set(asked.names) - set(PEERS)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    if asked.check:
        asked.names = [name for name in asked.names if name != "plain-bf16"]
        asked.names = list(dict.fromkeys(["plain", *asked.names]))
    asked.all_rounds = 2 if asked.check else asked.rounds + 1
    return asked


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Run what was asked for; gives the exit code."""
    asked = parse(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    command = f"python -m benchmarks.peers {shlex.join(given)}"
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        work = Path(folder)
        try:
            with model_of(asked.model) as model:
                write_work(work, model, asked)
        except BadInput as bad:
            say(str(bad))
            return 2
        players, missing = players_of(asked, work, say)
        finished, left_out = take_turns(players, asked.all_rounds, work, asked.patience)
        left_out = missing | left_out
        results: dict[str, Any] = {
            "command": command,
            "hardware": measured_on(asked.threads, "cpu"),
            "left_out": left_out,
        }
        if asked.check:
            code = report_check(work, finished, results, say)
        else:
            code = report_times(finished, asked, results, say)
    for name, reason in left_out.items():
        say(f"{name} is left out: {reason}")
    say(f"\n{results['hardware']}\n`{command}`")
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(results, indent=1) + "\n")
    return code


def report_check(
    work: Path, finished: Sequence[Running], results: dict[str, Any], say: Callable[[str], None]
) -> int:
    """Print how far the peers are from the plain loop; 1 where one is too far."""
    if all(running.name != "plain" for running in finished):
        say("The plain loop did not finish, so there is nothing to compare with.")
        return 1
    results["differences"] = differences(work, finished)
    results["movement"] = movement(work)
    say("| peer | version | largest difference to plain |\n|---|---|---|")
    for running in finished:
        say(f"| {running.name} | {running.version} | {results['differences'][running.name]:.1e} |")
    allowed = min(TOLERANCE, results["movement"] / 100)
    say(
        f"\nThe two rounds moved the parameters by up to {results['movement']:.1e}; "
        f"a difference of {allowed:.1e} is allowed."
    )
    return int(max(results["differences"].values()) > allowed)


def report_times(
    finished: Sequence[Running],
    asked: argparse.Namespace,
    results: dict[str, Any],
    say: Callable[[str], None],
) -> int:
    """Print the table and draw the figure; 1 where no peer finished."""
    results["peers"] = summarise(finished, asked)
    what = f"{asked.model}, {asked.examples} texts of {asked.dataset}, K = {asked.clients}"
    say(f"{what}, E = {asked.local_epochs}; median of {asked.rounds} rounds\n")
    for line in table(results["peers"]):
        say(line)
    if asked.figure and finished:
        draw(results["peers"], what, asked.figure)
    return int(not finished)


if __name__ == "__main__":
    sys.exit(main())
