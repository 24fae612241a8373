"""One federated round in fedtune and in other tools: the same texts, batches, model and averaging.

    python -m benchmarks.peers --model mini-bert --clients 32        (or: --shape 4x128)
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
import os
import platform
import re
import select
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedtune.config import BadInput, TrialConfig
from fedtune.models.classifier import quiet_transformers
from fedtune.models.zoo import TOKENIZER_FILES, find_model
from fedtune.trial.federation import Federation
from fedtune.trial.prepare import available_cores, has_bf16, open_examples, prepare

#: What each environment has, besides the PyTorch, transformers and NumPy that run here.
ENVIRONMENTS: Mapping[str, tuple[str, ...]] = {
    "trainer": ("accelerate==1.15.0",),
    "flower": ("flwr[simulation]==1.41.0",),
    "pfl": ("pfl[pytorch]==0.6.0",),
}
SAME_AS_HERE = ("torch", "transformers", "numpy")
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


class LeftOut(Exception):
    """A peer cannot take part, or not any more; the message says why."""


# The work folder


def write_work(folder: Path, asked: argparse.Namespace) -> None:
    """Write model, texts, partition and batches for all peers into ``folder``."""
    federation = Federation(
        prepare(
            TrialConfig(
                model=str(random_bert(asked.shape, folder / "shape"))
                if asked.shape
                else asked.model,
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


def random_bert(size: str, folder: Path) -> Path:
    """A BERT of ``size`` (LAYERSxWIDTH) with random weights and mini-bert's tokenizer."""
    from transformers import AutoConfig, AutoModel

    layers, width = map(int, size.split("x"))
    source = find_model("mini-bert").directory
    with quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(
            source,
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=max(width // 64, 1),
            intermediate_size=4 * width,
            dtype=torch.float32,
        )
        AutoModel.from_config(config).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    return folder


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


# Environments


def python_of(environment: str | None, venvs: Path, say: Callable[[str], None]) -> Path:
    """The interpreter that has the packages of ``environment``, made where it is missing.

    Raises LeftOut where that is not possible.
    """
    here = Path(sys.executable)
    if environment is None:
        return here
    wanted = (*ENVIRONMENTS[environment], *(f"{n}=={public_version(n)}" for n in SAME_AS_HERE))
    folder = (venvs / environment).absolute()
    for python in (here, folder / "bin" / "python"):
        if python.exists() and has_packages(python, wanted):
            return python
    say(f"Installing {' '.join(wanted)} into {venvs / environment} (minutes, once) ...")
    python = folder / "bin" / "python"
    run([str(here), "-m", "venv", str(folder)])
    run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
    return python


def public_version(package: str) -> str:
    """The version that runs here, without what a build adds to it."""
    return version(package).partition("+")[0]


def has_packages(python: Path, wanted: Iterable[str]) -> bool:
    """Has that interpreter exactly those versions?"""
    names = dict(requirement.split("==") for requirement in wanted)
    names = {name.partition("[")[0]: number for name, number in names.items()}
    program = (
        "import sys; from importlib.metadata import version; "
        "print(*[version(name).partition('+')[0] for name in sys.argv[1:]])"
    )
    found = subprocess.run([python, "-c", program, *names], capture_output=True, text=True)
    return found.stdout.split() == list(names.values())


def run(command: Sequence[str]) -> None:
    """Run to the end; LeftOut with what it complained of where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LeftOut(f"its environment could not be made: {reason_in(done.stderr)}")


def reason_in(text: str) -> str:
    """The last line of ``text`` that names an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|[\w.]*(Error|Exception)):", line)]
    return (errors or lines or ["it said nothing"])[-1][:200]


# Processes that take turns


@dataclass
class Running:
    """A started peer, and what is known of it so far; ``seconds`` are of all rounds."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    params: Path
    patience_s: float
    started_s: float = 0.0
    version: str = ""
    peak_mb: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def ask(self, question: str, answer: str) -> float:
        """Say ``question``; gives the number after the word ``answer`` in the reply."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has gone; `expect` says why
            print(question, file=self.process.stdin, flush=True)
        return float(self.expect(answer))

    def expect(self, word: str) -> str:
        """What comes after ``word`` in the next line; LeftOut where there is none.

        A peer never says two lines in a row, so nothing waits in a buffer that `select` cannot see.
        """
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], self.patience_s)[0]:
            raise LeftOut(f"silent for {self.patience_s:.0f} s")
        first, _, rest = self.process.stdout.readline().strip().partition(" ")
        if first != word:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            raise LeftOut(f"it failed: {reason_in(self.log.read_text(errors='replace'))}")
        return rest

    def one_round(self) -> None:
        """Let it compute one round."""
        self.seconds.append(self.ask("go", "done"))

    def end(self) -> None:
        """All rounds are done: let it save its parameters and end."""
        self.peak_mb = self.ask("end", "peak")


@contextmanager
def started(name: str, python: Path, work: Path, asked: argparse.Namespace) -> Iterator[Running]:
    """Start a peer and wait until it is ready; it is gone afterwards."""
    peer = PEERS[name]
    precision = "bf16" if peer.bf16 and not asked.check else "fp32"
    log, params = work / f"{name}.log", work / f"{name}.npz"
    program = [str(python), str(ROUNDS / peer.program), str(work), str(params)]
    begin = time.perf_counter()
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*program, "--precision", precision],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment_variables(asked.threads),
            start_new_session=True,
        )
    try:
        running = Running(name, process, log, params, asked.patience)
        running.version = running.expect("ready")
        running.started_s = time.perf_counter() - begin
        yield running
    finally:
        stop(process)


def environment_variables(threads: int) -> dict[str, str]:
    """The environment of every peer: its threads, no network, no telemetry, no Ray but its own."""
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return own | {
        "PYTHONPATH": str(ROUNDS),
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def stop(process: subprocess.Popen[str]) -> None:
    """Close the talk; a peer that is done ends by itself, any other is made to."""
    for end in (process.stdin, process.stdout):
        if end is not None:
            with suppress(BrokenPipeError):
                end.close()
    for way_out in (None, signal.SIGTERM, signal.SIGKILL):
        with suppress(subprocess.TimeoutExpired, ProcessLookupError):
            if way_out is not None:
                os.killpg(process.pid, way_out)
            process.wait(30)
            return


def take_turns(
    names: Sequence[str], work: Path, asked: argparse.Namespace, say: Callable[[str], None]
) -> tuple[list[Running], dict[str, str]]:
    """All rounds of all peers; gives those that finished, and why the others did not."""
    playing: list[Running] = []
    left_out: dict[str, str] = {}
    with ExitStack() as processes:

        def attempt(name: str, action: Callable[[], Any]) -> Any:
            try:
                return action()
            except LeftOut as reason:
                left_out[name] = str(reason)
                return None

        for name in names:
            python = attempt(name, lambda n=name: python_of(PEERS[n].environment, asked.venvs, say))
            if python is not None:
                peer = started(name, python, work, asked)
                running = attempt(name, lambda p=peer: processes.enter_context(p))
                playing += [running] if running else []
        for turn in range(asked.all_rounds):
            first = turn % max(len(playing), 1)  # nobody is always the one after the slowest
            for running in playing[first:] + playing[:first]:
                if running.name not in left_out:
                    attempt(running.name, running.one_round)
        for running in playing:
            if running.name not in left_out:
                attempt(running.name, running.end)
    return [running for running in playing if running.name not in left_out], left_out


# What comes out


def summarise(finished: Sequence[Running], asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Each peer's numbers; ratios are to fedtune, or to the first peer where fedtune is missing."""
    timed = {running.name: running.seconds[1:] for running in finished}
    base = timed["fedtune"] if "fedtune" in timed else next(iter(timed.values()), [])
    numbers: dict[str, dict[str, Any]] = {}
    for running in finished:
        seconds = timed[running.name]
        ratios = [own / reference for own, reference in zip(seconds, base, strict=True)]
        median = statistics.median(seconds)
        numbers[running.name] = {
            "version": running.version,
            "median_s": median,
            "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
            "examples_per_s": asked.examples * asked.local_epochs / median,
            "start_up_s": running.started_s,
            "first_round_s": running.seconds[0],
            "seconds": seconds,
            "peak_mb": running.peak_mb,
        }
    return numbers


def table(numbers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The lines of the Markdown table."""
    base = "fedtune" if "fedtune" in numbers else next(iter(numbers), "")
    yield (
        f"| peer | version | median s a round | ratio to {base} (min to max) | examples/s "
        "| start-up s | first round s | peak MB |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name, of in numbers.items():
        ratio = of["ratio"]
        yield (
            f"| {name} | {of['version']} | {of['median_s']:.2f} "
            f"| {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}) "
            f"| {of['examples_per_s']:.0f} | {of['start_up_s']:.1f} | {of['first_round_s']:.2f} "
            f"| {of['peak_mb']:.0f} |"
        )


def differences(finished: Sequence[Running]) -> dict[str, float]:
    """The largest absolute difference of each peer's parameters to those of the plain loop.

    Infinite where a parameter is missing or not finite.
    """
    plain = next(running for running in finished if running.name == "plain")
    expected = parameters(plain.params)
    found: dict[str, float] = {}
    for running in finished:
        theirs = parameters(running.params)
        if set(expected) - set(theirs):
            found[running.name] = float("inf")
            continue
        largest = max(float(np.abs(theirs[name] - expected[name]).max()) for name in expected)
        found[running.name] = largest if np.isfinite(largest) else float("inf")
    return found


def parameters(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def movement(work: Path, finished: Sequence[Running]) -> float:
    """How far the rounds moved the plain loop's parameters at most: what a difference is beside."""
    from safetensors.numpy import load_file

    before = load_file(work / "model" / "model.safetensors")
    plain = next(running for running in finished if running.name == "plain")
    after = parameters(plain.params)
    return max(float(np.abs(after[name] - before[name]).max()) for name in before if name in after)


def machine(threads: int) -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "threads": threads,
        "bf16": has_bf16("cpu"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def cpu_model() -> str:
    """The processor's name, as far as the system tells it."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_machine(facts: Mapping[str, Any]) -> str:
    """The machine in one line."""
    return (
        f"{facts['cpu']}{' with bf16' if facts['bf16'] else ''}, {facts['cores']} cores, "
        f"threads {facts['threads']}, Python {facts['python']}, PyTorch {facts['torch']}, "
        f"{facts['date']}"
    )


def draw(numbers: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """A bar for each peer, labelled with its seconds and its ratio to fedtune, as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = list(numbers)[::-1]
    seconds = [numbers[name]["median_s"] for name in names]
    # Blue and grey differ in brightness too, so that they do in print and for every eye.
    colours = ["#0072B2" if name.startswith("fedtune") else "#9A9A9A" for name in names]
    figure = Figure(figsize=(7, 0.9 + 0.42 * len(names)), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    bars = axes.barh(names, seconds, color=colours, height=0.7)
    labels = [
        f"{numbers[name]['median_s']:.2f} s  (× {numbers[name]['ratio']['median']:.2f})"
        for name in names
    ]
    axes.bar_label(bars, labels, padding=4)
    axes.set_xlim(0, 1.3 * max(seconds))
    axes.set_xlabel("median seconds a round; less is better")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})


# The command


def shape(text: str) -> str:
    """``text`` where it is LAYERSxWIDTH, with a width that heads of 64 or one head can share."""
    if re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        width = int(text.partition("x")[2])
        if width < 64 or width % 64 == 0:
            return text
    raise argparse.ArgumentTypeError(f"{text!r} is not like 4x128, the width a multiple of 64")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command's options, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mini-bert", help="what fedtune takes")
    parser.add_argument(
        "--shape", type=shape, help="LAYERSxWIDTH of a BERT of random weights, in its place"
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
            write_work(work, asked)
        except BadInput as bad:
            say(str(bad))
            return 2
        finished, left_out = take_turns(asked.names, work, asked, say)
        results: dict[str, Any] = {
            "command": command,
            "machine": machine(asked.threads),
            "left_out": left_out,
        }
        if asked.check:
            code = report_check(work, finished, results, say)
        else:
            code = report_times(finished, asked, results, say)
    for name, reason in left_out.items():
        say(f"{name} is left out: {reason}")
    say(f"\n{describe_machine(results['machine'])}\n`{command}`")
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
    results["differences"] = differences(finished)
    results["movement"] = movement(work, finished)
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
    what = (
        f"{'BERT ' + asked.shape if asked.shape else asked.model}, {asked.examples} texts of "
        f"{asked.dataset}, K = {asked.clients}"
    )
    say(f"{what}, E = {asked.local_epochs}; median of {asked.rounds} rounds\n")
    for line in table(results["peers"]):
        say(line)
    if asked.figure and finished:
        draw(results["peers"], what, asked.figure)
    return int(not finished)


if __name__ == "__main__":
    sys.exit(main())
