"""Models and data sets that cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from cases import Case, a_file, run_case
from support import call, toy_run


def csv(here: Path, **splits: Sequence[tuple[str, str]]) -> None:
    folder = here / "texts"
    folder.mkdir()
    for split, rows in splits.items():
        lines = ["text,label", *(f"{text},{label}" for text, label in rows)]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def missing_class(here: Path, bert: Path) -> None:
    csv(here, train=[("rain", "a"), ("snow", "b")] * 8, test=[("soup", "c"), ("rain", "a")])


def not_safetensors(here: Path, bert: Path) -> None:
    shutil.copytree(bert, here / "pickled")
    (here / "pickled" / "model.safetensors").rename(here / "pickled" / "pytorch_model.bin")


def foreign_tokens(here: Path, bert: Path) -> None:
    shutil.copytree(bert, here / "other")
    path = here / "other" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"]["thunder"] = len(tokenizer["model"]["vocab"])
    path.write_text(json.dumps(tokenizer))
    made = ["--model", str(here / "other"), "--dataset", "toy", "--max-length", "32"]
    assert call("tokens", *made, "--out", "made", folder=here).code == 0


def missing_config(here: Path, bert: Path) -> None:
    (here / "empty").mkdir()


INPUTS = [
    run_case(
        "misspelt model", ["model='mini-bret'", "did you mean 'mini-bert'"], model="mini-bret"
    ),
    run_case("misspelt data set", ["dataset='bbc-nws'", "'bbc-news'"], dataset="bbc-nws"),
    run_case("absent model directory", ["model='./nowhere'", "no such"], model="./nowhere"),
    run_case("absent data directory", ["dataset='./nowhere'", "no such"], dataset="./nowhere"),
    Case(
        "model and data set both absent",
        toy_run("./nobody", dataset="./nowhere"),
        [["model='./nobody'"], ["dataset='./nowhere'"]],
    ),
    run_case("hub model offline", ["model='some/model'", "cannot be reached"], model="some/model"),
    run_case("hub data offline", ["dataset='some/data'", "cannot be reached"], dataset="some/data"),
    Case(
        "weights that are no safetensors",
        toy_run("pickled"),
        [["model='pickled'", "no safetensors", "save_pretrained"]],
        not_safetensors,
    ),
    Case("directory that is no model", toy_run("empty"), [["model='empty'"]], missing_config),
    Case(
        "class without a training example",
        [*toy_run("{bert}"), "--dataset", "{here}/texts"],
        [["dataset=", "no example of class 'c'"]],
        missing_class,
    ),
    Case(
        "a file for a data set",
        [*toy_run("{bert}"), "--dataset", "{here}/notes.txt"],
        [["dataset=", "is a file"]],
        a_file,
    ),
    run_case("absent column", ["text_column='txet'", "did you mean 'text'"], text_column="txet"),
    Case(
        "tokens of another tokenizer",
        [*toy_run("{bert}"), "--dataset", "{here}/made"],
        [["dataset=", "another tokenizer", "fedtune tokens"]],
        foreign_tokens,
    ),
]
