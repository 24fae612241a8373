"""Every command that a page shows: run as written where that is quick, else said why not.

The commands of a page run one after another in a folder of its own, as a reader would give them,
each in this process (``support.call``) and without Ray, which other tests start. What is small is
what the names stand for: with ``$FEDTUNE_DATA`` the data sets are sixty short texts, the models of
the hub are the miniatures, and where nothing is said trials are compared after one round. How fast
this machine is, is not measured for every plan.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import yaml
from pages import PAGES, ROOT, Block, Command, blocks, commands, named
from support import call, new_database

from fedtune.commands.cli import cli
from fedtune.config import FIELDS
from fedtune.cost import speed
from fedtune.data import bbc_news, toy
from fedtune.models.zoo import find_model
from fedtune.paths import expanded
from fedtune.plan.sweepfile import read_sweep_file
from fedtune.run import session
from fedtune.trial import settling

# The classification. A block or a line that is nowhere here is run; a command word that is nowhere
# known fails the test. Every entry has to meet something, so that none outlives what it was for.

#: Blocks that are no commands, by the beginning of their first line.
SHOWN = {
    "Sweep mini-bert-bbc-news": "what `make demo` printed",
    "reviews.csv: 800 training": "what such a command prints",
    "dirichlet, partition_alpha 0.1:": "what such a command prints",
    "fedtune: clients='0'": "an error message; tests/commands/test_bad_input.py makes it",
    "tags.`fedtune.sweep` LIKE": "a filter for MLflow's page; test_the_filter_that_a_page_shows",
}

#: Lines that are planned and not run (`--dry-run` is added): they would take minutes.
PLANNED = {
    "fedtune run --model mini-bert,mini-distilbert": "24 trials",
    "fedtune run --model bert,albert,distilbert": "18 trials",
    "fedtune sweep my-sweep.yaml": "27 trials",
    "fedtune sweep experiments/bbc-clients.yaml": "54 trials",
    "fedtune run --model mini-distilbert": "two trials of 32 clients; the line above runs such",
}

#: Lines whose words are read and checked, and that is all.
READ = {
    "--address": "needs a Ray cluster; tests/run/test_ray.py and test_slurm.py have one",
    "--device cuda": "needs a GPU",
    "FIRST_MACHINE": "a machine of the reader's",
    "mlflow run": "tests/test_mlproject.py runs the project",
    "mlflow ui": "serves until it is ended; tests/test_browser.py looks at it",
    "mlflow server": "serves until it is ended; tests/tracking run against one",
    "python docs/examples/": "tests/run/test_tune_scripts.py runs them",
    "make demo": "four minutes: test_make_demo_in_a_clone, by `make test-slow`",
    "make install": "it makes the environment that the tests run in",
    "make test": "this is it",
    "make check": "continuous integration runs it",
    "make docs": "test_site.py builds the site, test_tutorial.py executes the notebook",
    "pre-commit install": "changes the reader's clone",
    "source .venv/bin/activate": "the tests run in that environment",
    "iconv ": "a program of the system; tests/data/test_csv_files.py runs such a line",
    "nyu-mll/glue": "needs the hub; tests/data/test_configurations.py reads such a set",
    "ray ": "changes the machine: it starts a cluster; test_slurm.py runs such lines",
    "export RAY_AUTH_MODE=token": "a line of the shell's own",
    "sbatch ": "needs Slurm; test_slurm.py runs the scripts with a stand-in for it",
    "rsync ": "needs another machine",
    "mkdir -p trials": "tests/plan/test_plan.py unpacks the same archive",
    "tar -xzf docs/results": "tests/plan/test_plan.py unpacks the same archive",
    "fedtune sweep mini-study": "162 trials of 2,048 texts each",
    "fedtune sweep heterogeneity-rates": "25 trials of 1,024 texts each",
    "python -m tools.server_rates": "tests/tools/test_server_rates.py runs it",
    "python -m tools.collapse": "tests/tools/test_collapse.py runs it",
    "python -m tools.step_law": "tests/tools/test_step_law.py runs it",
    "fedtune sync starve-causal": "a hundred trials; the line below is as good",
    "fedtune sync mini-study": "162 trials: tests/test_same_tables.py does this with six",
    "fedtune report mini-study": "162 trials: tests/test_same_tables.py does this with six",
}

#: Blocks of Python that are compiled and not run, by a line of theirs.
COMPILED = {
    'AutoModel.from_pretrained("old-model")': "a model of the reader's",
}

#: A comparison of two quick trials.
QUICK = "run --model mini-bert --dataset bbc-news --clients 2 --budget-rounds 1 --max-rounds 1"

#: What a reader of a page has run before.
BEFORE = {
    "docs/how-to/troubleshooting.md": QUICK,
    "docs/how-to/sweep-files.md": f"{QUICK} --name my-sweep",  # in place of the 27 trials
}

#: Options in sentences that are of other programs.
FOREIGN = {"--env-manager", "--backend-store-uri"}

SHELL = ("fedtune", "mlflow", "make", "python", "ray", "pre-commit", "rsync", "sbatch", "export")
SHELL += ("source", "mkdir", "tar", "iconv")


def treatment(text: str, table: dict[str, str]) -> str | None:
    """The first entry of a table that is part of ``text``."""
    return next((key for key in table if key in text), None)


def is_shell(block: Block) -> bool:
    """A block without a language that begins with a command, or with a variable set for one."""
    word = block.first_line.split(" ")[0]
    return not block.info and (word in SHELL or word.partition("=")[0].isupper())


BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL_BLOCKS = [block for block in BLOCKS if is_shell(block)]
COMMANDS = [command for block in SHELL_BLOCKS for command in commands(block)]
PROJECT: dict[str, Any] = yaml.safe_load((ROOT / "MLproject").read_text())


def test_every_block_is_classified() -> None:
    unknown = [
        f"{block.place}: {block.first_line}"
        for block in BLOCKS
        if not is_shell(block)
        and block.info not in ("python", "yaml")
        and not treatment(block.first_line, SHOWN)
    ]
    assert not unknown, "run them, or say in SHOWN what they are"
    foreign = [str(c) for c in COMMANDS if c.words[0] != "fedtune" and not treatment(c.text, READ)]
    assert not foreign, "only fedtune's own commands are run here; say in READ who runs these"


def test_no_entry_of_the_tables_is_left_over() -> None:
    lines = [command.text for command in COMMANDS]
    for table in (PLANNED, READ):
        met = {treatment(line, table) for line in lines}
        assert set(table) <= met, set(table) - met
    assert set(SHOWN) <= {treatment(block.first_line, SHOWN) for block in BLOCKS}
    for line in COMPILED:
        assert any(line in block.text for block in BLOCKS)


# What can be read


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command)[:70])
def test_every_command_that_the_pages_show_can_be_given(command: Command) -> None:
    words = list(command.words)
    if words[0] == "fedtune":
        cli.commands[words[1]].make_context(words[1], words[2:])
    elif words[:2] == ["mlflow", "run"]:
        entry = words[words.index("-e") + 1] if "-e" in words else "main"
        parameters = PROJECT["entry_points"][entry]["parameters"]
        given = [words[i + 1].split("=")[0] for i, word in enumerate(words) if word == "-P"]
        assert set(given) <= set(parameters) | set(FIELDS)
    elif words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(words[1:]) <= set(targets)
    elif words[0] == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file()
    elif words[0] == "python":
        module = ROOT / words[2].replace(".", "/")
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()
    elif words[0] == "sbatch":
        script = next(word for word in words if word.endswith(".sh"))
        asked = words[words.index(script) + 1 :]
        cli.commands[asked[0]].make_context(asked[0], asked[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_named_in_a_sentence_exists(page: Path) -> None:
    options = {
        name: {spelling for param in command.params for spelling in param.opts} | {"--help"}
        for name, command in cli.commands.items()
    }
    every = set().union(*options.values())
    for text in named(page):
        words = text.split()
        if words[0] == "fedtune" and len(words) > 1 and words[1].isalpha():
            assert words[1] in options, f"{page.name}: {text}"
            every_word = options[words[1]]
        else:
            every_word = every
        asked = {word.partition("=")[0] for word in words if word.startswith("--")}
        if words[0] in ("fedtune", *asked):
            assert asked <= every_word | FOREIGN, f"{page.name}: {text}"


def test_the_readme_shows_commands() -> None:
    assert sum(command.page == "README.md" for command in COMMANDS) >= 10


# What is run


def small(examples: list[tuple[str, int]], names: list[str], count: int) -> list[dict[str, Any]]:
    """Equally many short texts of every class."""
    rows: list[dict[str, Any]] = []
    for label, name in enumerate(names):
        texts = [text for text, found in examples if found == label]
        rows += [{"text": " ".join(t.split()[:12]), "label": name} for t in texts[:count]]
    return rows


def write_folder(folder: Path, rows: list[dict[str, Any]], label: str = "label") -> None:
    import pandas

    table = pandas.DataFrame(rows).rename(columns={"label": label})
    folder.mkdir(parents=True)
    table.iloc[::3].to_csv(folder / "test.csv", index=False)
    table.drop(table.index[::3]).to_csv(folder / "train.csv", index=False)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``$FEDTUNE_DATA``: small data under the names that the pages use."""
    folder = tmp_path_factory.mktemp("names")
    news = small(bbc_news.load()[0], list(bbc_news.TOPICS), 12)
    reviews = small(toy.load()[0], list(toy.LABEL_NAMES), 30)
    write_folder(folder / "bbc-news", news)
    whose = [{"author": f"author {i % 5}", "party": f"party {i % 5 % 2}"} for i in range(60)]
    write_folder(folder / "sotu", [row | who for row, who in zip(news, whose, strict=True)])
    for name in ("imdb", "reviews"):
        write_folder(folder / name, reviews)
    for name in ("ag_news_14k", "yelp_23k"):
        write_folder(folder / name, news)
    for name in ("bert", "albert", "distilbert"):
        (folder / name).symlink_to(find_model(f"mini-{name}").directory)
    return folder


@pytest.fixture
def desk(
    tmp_path: Path, names: Path, two_figures: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder as a reader has it: a clone's files, tables of their own, a home with data."""
    for name in ("experiments", "docs", "MLproject"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("data", "home/data"):
        (tmp_path / folder).mkdir(parents=True)
        for source in names.iterdir():
            (tmp_path / folder / source.name).symlink_to(source)
    shutil.copytree(names / "reviews", tmp_path / "reviews")
    rows = (names / "reviews" / "train.csv").read_text()
    (tmp_path / "reviews.csv").write_text(rows)
    (tmp_path / "texts.csv").write_text(rows.replace("text,label", "text,author", 1))
    lines = rows.splitlines()
    authors = ["author", *(f"author {number % 5}" for number in range(len(lines) - 1))]
    letters = [f"{line},{author}" for line, author in zip(lines, authors, strict=True)]
    (tmp_path / "letters.csv").write_text("\n".join(letters) + "\n")
    (tmp_path / "columns.csv").write_text(rows.replace("text,label", "body,kind", 1))
    pair = {"premise": "a text", "hypothesis": "another", "label": 0}
    lines = [json.dumps(pair | {"label": row % 2}) for row in range(40)]
    (tmp_path / "nli.jsonl").write_text("\n".join(lines))
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text('1,"A title","a description"\n2,"B","another"\n')
    shutil.copytree(find_model("mini-bert").directory, tmp_path / "models" / "mine")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEDTUNE_DATA", str(names))
    monkeypatch.setattr("fedtune.commands.cli._console", lambda: session.Console(width=160))
    monkeypatch.setattr(settling, "default_budget", lambda dataset: 1)
    monkeypatch.setattr(speed, "measure", lambda *_: (64.0, 256.0))
    _without_ray(monkeypatch)
    new_database(tmp_path)
    with contextlib.chdir(tmp_path), matplotlib.rc_context({"backend": "agg"}):
        yield tmp_path


def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials run in this process, as with ``--no-ray``."""
    asked = session.Options

    def options(**values: Any) -> session.Options:
        return asked(**{**values, "use_ray": False})

    monkeypatch.setattr(session, "Options", options)


def run_command(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for name, value in command.environment:
            patch.setenv(name, str(expanded(value)))  # as a shell does
        words = list(command.words[1:])
        if treatment(command.text, PLANNED) and "--dry-run" not in words:
            words.append("--dry-run")
        done = call(*words, folder=folder)
    assert done.code == 0, f"{command}\n{done.everything}"


def run_python(block: Block) -> None:
    program = compile(block.text, block.place, "exec")
    if not any(line in block.text for line in COMPILED):
        exec(program, {"__name__": "__main__"})


def write_yaml(block: Block, folder: Path) -> None:
    """A sweep file is written under the name that its first line gives it, and read."""
    named = re.match(r"# ([\w/.-]+\.yaml)", block.first_line)
    if named is None:
        assert list(yaml.safe_load_all(block.text))
        return
    path = folder / named[1]
    if path.exists():  # one that ships: the page has it as it is, but for its comment
        assert yaml.safe_load(block.text) == yaml.safe_load(path.read_text())
        return
    path.write_text(block.text)
    assert read_sweep_file(path).configs()


RUN_PAGES = sorted({block.page for block in BLOCKS if block.info or is_shell(block)})


@pytest.mark.parametrize("page", RUN_PAGES)
def test_the_commands_of_a_page_run_one_after_another(
    page: str, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page in BEFORE:
        done = call(*shlex.split(BEFORE[page]), folder=desk)
        assert done.code == 0, done.everything
    for block in blocks(ROOT / page):
        if block.info == "python":
            run_python(block)
        elif block.info == "yaml":
            write_yaml(block, desk)
        elif is_shell(block):
            for command in commands(block):
                if command.words[0] == "fedtune" and not treatment(command.text, READ):
                    run_command(command, desk, monkeypatch)


def test_the_filter_that_a_page_shows_finds_the_trials_of_two_sweeps(desk: Path) -> None:
    from mlflow import MlflowClient

    for name in ("mini-bert-bbc-news", "mini-bert-bbc-news-local_epochs-1", "another"):
        done = call(*shlex.split(QUICK), "--name", name, folder=desk)
        assert done.code == 0, done.everything
    (block,) = (block for block in BLOCKS if "fedtune.sweep` LIKE" in block.first_line)
    client = MlflowClient(f"sqlite:///{desk}/mlflow.db")
    found = client.get_experiment_by_name("fedtune")
    assert found is not None
    runs = client.search_runs([found.experiment_id], block.text.strip())
    assert len(runs) == 4, "two trials of each of two sweeps"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_make_demo_in_a_clone(tmp_path: Path) -> None:
    """As the README's first screen has it, but for the installation: this environment stands in."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    (clone / ".venv").symlink_to(sys.prefix)
    # Make is told that the environment is as old as it gets, or it would install into this one.
    made = subprocess.run(
        ["make", "--old-file=.venv/installed", "demo"],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
        timeout=1700,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "Spread over 32 clients, mini-bert" in made.stdout
    assert len(list((clone / "trials").glob("*/rounds.jsonl"))) == 2
