"""From a work folder to a finished model directory: start, train, save in half precision."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from .balance import balance_embeddings
from .recipe import STAGES
from .students import Student, new_albert, new_bert, new_distilbert
from .teacher import TARGET_WIDTH
from .train import run_stages

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def _teacher_vectors(work: Path, teacher: Path) -> NDArray[np.float32]:
    """The teacher's token embeddings of our pieces, (8000, 384)."""
    ids = json.loads((work / "tokenizer" / "teacher_ids.json").read_text())
    weights = load_file(teacher / "model.safetensors")
    table = weights["embeddings.word_embeddings.weight"].float().numpy()
    vectors: NDArray[np.float32] = table[ids]
    return vectors


def _trained_bert(work: Path, teacher: Path) -> Student:
    """mini-bert as its last stage left it; it must have been built before mini-distilbert."""
    student = Student(new_bert(_teacher_vectors(work, teacher)), TARGET_WIDTH)
    path = work / "mini-bert" / f"{STAGES['mini-bert'][-1].name}.pt"
    if not path.exists():
        raise SystemExit("mini-distilbert learns from mini-bert: run the command mini-bert first")
    student.load_state_dict(torch.load(path, weights_only=True)["student"])
    return student.eval().requires_grad_(False)


def build(name: str, work: Path, teacher: Path) -> None:
    """Train the miniature `name` (or go on with it) and save it to `work/export/name`."""
    torch.manual_seed(0)
    larger: Student | None = None
    if name == "mini-distilbert":
        larger = _trained_bert(work, teacher)
        student = Student(new_distilbert(larger.model), TARGET_WIDTH)
        # Same views as mini-bert's (first position, mean): the second projection fits at once.
        student.projections.load_state_dict(larger.projections.state_dict())
    else:
        new = new_bert if name == "mini-bert" else new_albert
        student = Student(new(_teacher_vectors(work, teacher)), TARGET_WIDTH)
    run_stages(student, STAGES[name], work, work / name, larger)
    export(student, work, work / "export" / name)


def export(student: Student, work: Path, out: Path) -> None:
    """Save weights (fp16), configuration and tokenizer to `out`; replaces what was there.

    The embeddings are rescaled for plain SGD, see `balance`; the student itself stays as it is.
    Half precision costs nothing here: the largest change of a weight is 2^-11 of it.
    """
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model = student.model
    single = {key: value.clone() for key, value in model.state_dict().items()}
    balance_embeddings(model)
    model.half().save_pretrained(partial)
    model.float().load_state_dict(single)
    (partial / "model.safetensors").chmod(0o644)  # written readable by its owner alone
    for file in _TOKENIZER_FILES:
        shutil.copy(work / "tokenizer" / file, partial / file)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
