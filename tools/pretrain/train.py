"""The training loop: AdamW, warm-up and linear decay per stage, resumable checkpoints."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .batches import Corpus, make, schedule
from .objectives import Weights, evaluate, loss_terms, weighted
from .students import Student

_SAVE_EVERY = 200  # steps: about a minute on two cores
_LOG_EVERY = 100


@dataclass(frozen=True)
class Stage:
    """A stretch of training with one loss: `steps` batches of at most `tokens` tokens.

    `masked`: whether inputs are masked. `pair_share`: the share of steps whose inputs are pairs
    for the order task. `dropout`: whether the model's own dropout is on. The rate rises over 5 %
    of the steps to `peak_rate`, then falls to 0.
    """

    name: str
    steps: int
    weights: Weights
    masked: bool
    pair_share: float = 0.0
    dropout: bool = True
    tokens: int = 8192
    peak_rate: float = 1e-3

    def rate(self, step: int) -> float:
        """Learning rate of AdamW at `step` of this stage."""
        warm_up = max(1, self.steps // 20)
        return self.peak_rate * min((step + 1) / warm_up, (self.steps - step) / self.steps)


def _optimizer(student: Student) -> torch.optim.AdamW:
    decayed = [p for p in student.parameters() if p.ndim >= 2]
    others = [p for p in student.parameters() if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": 0.01},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def _save(
    path: Path, student: Student, optimizer: torch.optim.AdamW, step: int, stage: Stage
) -> None:
    partial = path.with_suffix(".partial")
    state = {
        "student": student.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "stage": repr(stage),
    }
    torch.save(state, partial)
    partial.replace(path)


def run_stage(
    student: Student,
    stage: Stage,
    seed: int,
    work: Path,
    out: Path,
    larger: Student | None,
) -> None:
    """Train `student` through `stage`, from its last checkpoint in `out` where there is one.

    A finished stage is only loaded. `out/STAGE.json` gets the held-out figures at its end.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, figures = out / f"{stage.name}.pt", out / f"{stage.name}.json"
    optimizer = _optimizer(student)
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["stage"] != repr(stage):
            raise SystemExit(
                f"{checkpoint} is of another recipe ({state['stage']}); move it away to begin anew"
            )
        student.load_state_dict(state["student"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    if start == stage.steps and figures.exists():
        return
    corpus = Corpus.load(work, held_out=False)
    task = {"bert": "next", "albert": "swap"}.get(student.kind)
    student.train(stage.dropout)
    began, seen, logged = time.monotonic(), 0, dict[str, float]()
    for step, rows in schedule(corpus, seed, start, stage.tokens):
        if step >= stage.steps:
            break
        # Everything random in a step comes from its number: resuming changes nothing.
        torch.manual_seed(seed * 1_000_003 + step)
        paired = np.random.default_rng([seed, step, 1]).random() < stage.pair_share
        key = [seed, step, 2]
        batch = make(corpus, rows, task if paired else None, key, masked=stage.masked)
        for group in optimizer.param_groups:
            group["lr"] = stage.rate(step)
        with torch.autocast("cpu", torch.bfloat16):  # the heads; the encoder rounds by itself
            terms = loss_terms(student, batch, stage.weights, larger)
        optimizer.zero_grad()
        weighted(terms, stage.weights).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        seen += len(batch.ids)
        for name, term in terms.items():
            logged[name] = 0.95 * logged.get(name, term.item()) + 0.05 * term.item()
        if (step + 1) % _LOG_EVERY == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in logged.items())
            speed = seen / (time.monotonic() - began)
            print(
                f"{stage.name} {step + 1}/{stage.steps} {shown} {speed:.0f} tok/s",
                flush=True,
            )
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == stage.steps:
            _save(checkpoint, student, optimizer, step + 1, stage)
    measured = evaluate(student, Corpus.load(work, held_out=True))
    figures.write_text(json.dumps(measured, indent=1))
    print(stage.name, "held out:", measured, flush=True)


def run_stages(
    student: Student,
    stages: Sequence[Stage],
    work: Path,
    out: Path,
    larger: Student | None = None,
) -> None:
    """Run `stages` in turn, each with its own order of passages."""
    for index, stage in enumerate(stages):
        run_stage(student, stage, seed=index + 1, work=work, out=out, larger=larger)
