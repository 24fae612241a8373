"""Bad input: exit code 2, a line per fault with field, value and what is allowed, nothing begun."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import LEARNS, Done, call, in_process_of_its_own, options, toy_run

from fedtune.machine import available_cores

TOO_MANY_THREADS = available_cores() + 1


@dataclass(frozen=True)
class Case:
    """Arguments (``{bert}`` and ``{here}`` are filled in), and lines that have to be answered.

    A line is given by the pieces it has to have: the field, its value, and what is allowed.
    """

    name: str
    args: Sequence[str]
    lines: Sequence[Sequence[str]]
    arrange: Callable[[Path, Path], None] | None = None


def run_case(name: str, /, *lines: Sequence[str], **settings: object) -> Case:
    """A `fedtune run` on `toy` with settings changed (None leaves one out)."""
    values = {"model": "{bert}", "dataset": "toy", "clients": 4, **LEARNS, **settings}
    given = {field: value for field, value in values.items() if value is not None}
    return Case(name, ["run", *options(**given)], lines)


def sweep_case(name: str, text: str, *lines: Sequence[str], args: Sequence[str] = ()) -> Case:
    """A `fedtune sweep` of a file with ``text``."""

    def arrange(here: Path, bert: Path) -> None:
        (here / "grid.yaml").write_text(text.replace("{bert}", str(bert)))

    return Case(name, ["sweep", "grid.yaml", *args], lines, arrange)


#: 321 letters that amount to a hundred million values.
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


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


def a_file(here: Path, bert: Path) -> None:
    (here / "notes.txt").write_text("hello\n")


def damaged_yaml(here: Path, bert: Path) -> None:
    (here / "grid.yaml").write_text("axes: {clients: [1, 2\n")


def missing_config(here: Path, bert: Path) -> None:
    (here / "empty").mkdir()


GRID = "axes: {{model: ['{{bert}}'], dataset: [toy], clients: [2]{axes}}}\n{rest}"


def grid(rest: str = "", axes: str = "") -> str:
    return GRID.format(rest=rest, axes=axes)


CASES = [
    # The command line
    Case("no settings", ["run"], [["model", "missing"], ["dataset", "missing"], ["clients"]]),
    Case("unknown command", ["runn"], [["runn"]]),
    Case(
        "unknown option",
        [*toy_run("{bert}"), "--learning-rat", "1"],
        [["--learning-rat", "--learning-rate"]],
    ),
    Case(
        "unknown key in --set",
        [*toy_run("{bert}"), "--set", "learningrate=1"],
        [["learningrate", "did you mean 'learning_rate'"]],
    ),
    Case("--set without a value", [*toy_run("{bert}"), "--set", "seed"], [["--set='seed'", "KEY"]]),
    Case("option without a value", ["run", "--model"], [["--model"]]),
    run_case("word for a number", ["clients='many'", "integer of at least 1"], clients="many"),
    run_case("fraction for a count", ["clients='2.5'", "integer of at least 1"], clients=2.5),
    run_case("a hole in a list", ["clients=''", "integer of at least 1"], clients="2,,4"),
    run_case(
        "several that are wrong in a list", ["clients='0'"], ["clients='2.5'"], clients="0,4,2.5"
    ),
    run_case(
        "a value that is wrong twice in a list",
        ["learning_rate='0'", "above 0"],
        ["learning_rate='x'", "above 0"],
        learning_rate="0,0.1,x,0",
    ),
    run_case(
        "lists with faults of settings, combinations and the name",
        ["local_epochs='0'"],
        ["batch_size='b'"],
        ["max_rounds=2", "at least budget_rounds, which is 5"],
        ["max_rounds=3", "at least budget_rounds, which is 5"],
        ["name='a/b'"],
        ["tracking_uri='foo://bar'"],
        local_epochs="1,0",
        batch_size="8,b",
        budget_rounds=5,
        max_rounds="2,3,9",
        name="a/b",
        tracking_uri="foo://bar",
    ),
    run_case("two values for one setting", ["seed='2'", "'1' is given"], seed=1, set="seed=2"),
    Case(
        "one key of --set twice",
        [*toy_run("{bert}"), "--set", "seed=1", "--set", "seed=2"],
        [["seed='2'", "'1' is given for it too; keep one"]],
    ),
    *(
        Case(f"a blank {name}", [*toy_run("{bert}"), f"--{name}", " "], [[f"{field}=' '", "blank"]])
        for name, field in (
            *(("store", "store"), ("name", "name"), ("address", "address")),
            ("tracking-uri", "tracking_uri"),
        )
    ),
    Case(
        "a cluster without Ray",
        [*toy_run("{bert}"), "--address", "auto", "--no-ray"],
        [["address='auto'", "--no-ray", "keep one"]],
    ),
    run_case("no clients", ["clients='0'", "integer of at least 1"], clients=0),
    run_case("negative seed", ["seed='-1'", "at least 0"], seed=-1),
    run_case("unknown choice", ["client_optimizer='lion'", "'adamw'"], client_optimizer="lion"),
    run_case("unknown strategy", ["strategy='fedsgd'", "'fedavg'"], strategy="fedsgd"),
    run_case("unknown partition", ["partition='by-hand'", "'iid'"], partition="by-hand"),
    run_case("unknown optimiser", ["server_optimizer='sgd'", "'yogi'"], server_optimizer="sgd"),
    run_case("no truth value", ["drop_last='perhaps'", "true or false"], drop_last="perhaps"),
    run_case("bad sweep name", ["name='a/b'", "letters"], name="a/b"),
    # Clients that differ
    run_case("alpha of 0", ["partition_alpha='0'", "above 0"], partition_alpha=0),
    run_case("negative alpha", ["partition_alpha='-1'", "above 0"], partition_alpha=-1),
    run_case("infinite alpha", ["partition_alpha='inf'", "above 0"], partition_alpha="inf"),
    run_case(
        "alpha with which no draw is found",
        ["partition='dirichlet-per-class'", "partition_alpha 0.001", "raise partition_alpha"],
        partition="dirichlet-per-class",
        partition_alpha=0.001,
        clients=40,
    ),
    *(
        run_case(
            f"{partition}: more for each of the clients than there is",
            [f"{field}=100", "at most 64: 4 clients share 256 examples"],
            partition=partition,
            **{field: 100},
        )
        for partition, field in (
            ("quantity", "min_client_examples"),
            ("dirichlet-per-class", "min_client_examples"),
            ("shards", "shards_per_client"),
            ("fixed-per-client", "examples_per_client"),
        )
    ),
    run_case("no shards", ["shards_per_client='0'", "at least 1"], shards_per_client=0),
    run_case(
        "no number of examples for each client",
        ["examples_per_client='none'", "missing"],
        partition="fixed-per-client",
    ),
    run_case("a cohort of nobody", ["participation=0.1", "4 clients is nobody"], participation=0.1),
    run_case("no cohort", ["participation='0'", "above 0"], participation=0),
    run_case("more than everybody", ["participation='2'", "at most 1"], participation=2),
    run_case(
        "SCAFFOLD with AdamW",
        ["strategy='scaffold'", "plain SGD", "client_optimizer is adamw"],
        strategy="scaffold",
        client_optimizer="adamw",
    ),
    run_case(
        "SCAFFOLD with momentum",
        ["strategy='scaffold'", "momentum is 0.9"],
        strategy="scaffold",
        momentum=0.9,
    ),
    run_case(
        "FedNova with decay",
        ["strategy='fednova'", "weight_decay is 0.1"],
        strategy="fednova",
        weight_decay=0.1,
    ),
    run_case(
        "SCAFFOLD from heads of their own",
        ["strategy='scaffold'", "head_init=per_client", "began elsewhere"],
        strategy="scaffold",
        head_init="per_client",
    ),
    run_case(
        "two optimisers of the server",
        ["server_optimizer='yogi'", "strategy=fedadam is fedavg with server_optimizer=adam"],
        strategy="fedadam",
        server_optimizer="yogi",
    ),
    run_case(
        "nothing to distil on",
        ["strategy='feddf'", "there are none", "distill_examples", "distill_dataset"],
        strategy="feddf",
    ),
    run_case("nothing for one-shot", ["strategy='one-shot'", "are none"], strategy="one-shot"),
    run_case(
        "two places to distil from",
        ["distill_dataset='imdb'", "40 texts aside already", "keep one of the two"],
        strategy="feddf",
        distill_examples=40,
        distill_dataset="imdb",
    ),
    run_case(
        "more to distil on than there is",
        ["distill_examples=300", "less than the 256 examples"],
        strategy="feddf",
        distill_examples=300,
    ),
    run_case(
        "less left than is to be trained on",
        ["train_examples=64", "at most 56", "200 for distillation"],
        train_examples=64,
        distill_examples=200,
    ),
    run_case(
        "texts that are not there",
        ["distill_dataset='no/such/file.csv'", "there is no such file"],
        strategy="one-shot",
        distill_dataset="no/such/file.csv",
    ),
    run_case(
        "texts by a slip of the pen",
        ["distill_dataset='imbd'", "did you mean 'imdb'"],
        strategy="feddf",
        distill_dataset="imbd",
    ),
    run_case(
        "distilling on what is trained on",
        ["distill_dataset='toy'", "is what is trained on", "distill_examples"],
        strategy="feddf",
        distill_dataset="toy",
    ),
    run_case(
        "distilling at no rate",
        ["distill_learning_rate='0'", "'auto' or a number above 0"],
        strategy="feddf",
        distill_examples=40,
        distill_learning_rate=0,
    ),
    run_case(
        "distilling in no step",
        ["distill_steps='0'", "'auto' or an integer of at least 1"],
        strategy="feddf",
        distill_examples=40,
        distill_steps=0,
    ),
    run_case(
        "no epoch of the only round",
        ["one_shot_epochs='0'", "'auto' or an integer of at least 1"],
        strategy="one-shot",
        distill_examples=40,
        one_shot_epochs=0,
    ),
    run_case(
        "one-shot with nobody",
        ["participation=0.1", "of 4 clients is nobody"],
        strategy="one-shot",
        distill_examples=40,
        participation=0.1,
    ),
    run_case("negative mu", ["prox_mu='-1'", "at least 0"], strategy="fedprox", prox_mu=-1),
    run_case("server rate of 0", ["server_learning_rate='0'", "above 0"], server_learning_rate=0),
    run_case("server momentum of 1", ["server_momentum='1'", "below 1"], server_momentum=1),
    run_case("beta 2 of 1", ["server_beta2='1'", "below 1"], server_beta2=1),
    run_case("tau of 0", ["server_tau='0'", "above 0"], server_tau=0),
    run_case("AFL without a step", ["afl_step_size='0'", "above 0"], afl_step_size=0),
    # Numbers
    run_case("rate of 0", ["learning_rate='0'", "above 0"], learning_rate=0),
    run_case("negative rate", ["learning_rate='-1e-3'", "above 0"], learning_rate="-1e-3"),
    run_case("rate that is no number", ["learning_rate='nan'", "above 0"], learning_rate="nan"),
    run_case("infinite rate", ["learning_rate='inf'", "above 0"], learning_rate="inf"),
    run_case("momentum of 1", ["momentum='1'", "below 1"], momentum=1),
    run_case("budget of 0", ["budget_rounds='0'", "at least 1"], budget_rounds=0),
    run_case("fraction above 1", ["target_fraction='1.5'", "at most 1"], target_fraction=1.5),
    run_case("target of 0", ["target_accuracy='0'", "above 0"], target_accuracy=0),
    run_case("two tokens", ["max_length='2'", "at least 3"], max_length=2),
    run_case("threads of 0", ["threads='0'", "at least 1"], threads=0),
    # Combinations
    run_case(
        "cap below budget",
        ["max_rounds=2", "at least budget_rounds, which is 5"],
        max_rounds=2,
        budget_rounds=5,
    ),
    run_case(
        "cap below the data set's own budget",
        ["max_rounds=1", "at least budget_rounds, which is 3 for toy"],
        max_rounds=1,
    ),
    run_case(
        "more clients than examples asked for",
        ["clients=32", "at most train_examples, which is 16"],
        clients=32,
        train_examples=16,
    ),
    run_case("more clients than there are examples", ["clients=1000", "256"], clients=1000),
    run_case(
        "several faults, each on its own line",
        ["learning_rate='0'"],
        ["budget_rounds='0'"],
        ["stop_on='tset'", "'validation'"],
        ["partition='dirichlett'", "'iid'"],
        learning_rate=0,
        budget_rounds=0,
        stop_on="tset",
        partition="dirichlett",
    ),
    run_case(
        "validation accuracy without validation examples",
        ["stop_on='validation'", "validation_examples of at least 1"],
        stop_on="validation",
    ),
    run_case(
        "incomplete batches are all there is",
        ["drop_last=True", "4 examples per client", "batch of 8"],
        drop_last="true",
        clients=64,
    ),
    run_case("precision", ["precision='fp16'", "bf16"], precision="fp16"),
    run_case("more tokens than positions", ["max_length=64", "at most 32"], max_length=64),
    run_case("more training examples than there are", ["train_examples=300"], train_examples=300),
    run_case("more test examples than there are", ["test_examples=999", "128"], test_examples=999),
    run_case("all examples set aside", ["validation_examples=256"], validation_examples=256),
    run_case(
        "a draw without a class", ["train_examples=1", "'cooking'"], train_examples=1, clients=1
    ),
    run_case("absent device", ["device='cuda:99'", "'auto' or 'cpu'"], device="cuda:99"),
    run_case("unknown device", ["device='tpu'", "'cuda:N'"], device="tpu"),
    run_case(
        "more threads than cores",
        [f"threads={TOO_MANY_THREADS}", f"at most {TOO_MANY_THREADS - 1}"],
        threads=TOO_MANY_THREADS,
    ),
    Case(
        "more threads than cores, without Ray",
        [*toy_run("{bert}", threads=TOO_MANY_THREADS), "--no-ray"],
        [[f"threads={TOO_MANY_THREADS}", f"at most {TOO_MANY_THREADS - 1}"]],
    ),
    Case(
        "more threads than cores, asked for a dry run",
        [*toy_run("{bert}", threads=TOO_MANY_THREADS), "--dry-run"],
        [[f"threads={TOO_MANY_THREADS}"]],
    ),
    # Where things go
    Case(
        "store that is a file",
        [*toy_run("{bert}"), "--store", "{here}/notes.txt"],
        [["store=", "notes.txt", "no folder that can be written to"]],
        a_file,
    ),
    Case(
        "tracking in a folder",
        [*toy_run("{bert}"), "--tracking-uri", "./mlruns"],
        [["tracking_uri='./mlruns'", "sqlite:///mlflow.db"]],
    ),
    Case(
        "unknown kind of tracking store",
        [*toy_run("{bert}"), "--tracking-uri", "foo://bar"],
        [["tracking_uri='foo://bar'", "allowed are"]],
    ),
    # Models and data sets
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
    # Sweep files
    Case("absent sweep file", ["sweep", "absent.yaml"], [["config='absent.yaml'", "no such file"]]),
    Case(
        "YAML that is cut off",
        ["sweep", "grid.yaml"],
        [["grid.yaml: is not valid YAML: line 2, column 1: expected ',' or ']'"]],
        damaged_yaml,
    ),
    Case("a name close to that of a shipped file", ["sweep", "smok"], [["did you mean 'smoke'"]]),
    sweep_case("no mapping", "- 1\n- 2\n", ["grid.yaml", "no mapping", "axes"]),
    sweep_case("key that stands twice", grid("set: {seed: 1, seed: 2}\n"), ["'seed' stands twice"]),
    sweep_case(
        "unknown top-level keys",
        grid("axis: {}\nlearning_rate: 0.1\n"),
        ["axis", "did you mean 'axes'"],
        ["learning_rate", "under 'set'"],
    ),
    sweep_case("axis that is no list", grid(axes=", seed: 1"), ["axes.seed=1", "list"]),
    sweep_case("axis without values", grid(axes=", seed: []"), ["axes.seed=[]", "at least one"]),
    sweep_case("axes that are no mapping", "axes: [clients]\n", ["axes=", "mapping"]),
    sweep_case("settings that are no mapping", grid("set: []\n"), ["set=[]", "mapping"]),
    sweep_case(
        "numbers that are strings",
        grid("set: {max_rounds: '10', learning_rate: '2e-5'}\n", axes=", seed: ['0']"),
        ["axes.seed[0]='0'", "integer of at least 0"],
        ["set.max_rounds='10'", "integer of at least 1"],
        ["set.learning_rate='2e-5'", "number above 0"],
    ),
    sweep_case("truth value for a number", grid("set: {seed: true}\n"), ["set.seed=True"]),
    sweep_case("setting that is empty", grid("set: {seed: }\n"), ["set.seed", "at least 0"]),
    sweep_case(
        "unknown settings",
        grid("set: {learning_rat: 1}\n", axes=", client: [1]"),
        ["axes.client[0]", "did you mean 'clients'"],
        ["set.learning_rat", "did you mean 'learning_rate'"],
    ),
    sweep_case("axis that is set too", grid("set: {clients: 2}\n"), ["set.clients=2", "axis"]),
    sweep_case("override without when", grid("overrides: [{set: {seed: 1}}]\n"), ["overrides[0]="]),
    sweep_case(
        "override of an unknown setting",
        grid("overrides: [{when: {clients: 2}, set: {sede: 1}}]\n"),
        ["overrides[0].set.sede", "did you mean 'seed'"],
    ),
    sweep_case("overrides that are no list", grid("overrides: {}\n"), ["overrides={}", "list"]),
    sweep_case("bad name in the file", grid("name: 'my sweep'\n"), ["name='my sweep'", "letters"]),
    sweep_case("empty file", "", ["grid.yaml", "no mapping"]),
    sweep_case(
        "override that gives a bad combination",
        grid("set: {budget_rounds: 2}\noverrides: [{when: {clients: 2}, set: {max_rounds: 1}}]\n"),
        ["max_rounds=1", "at least budget_rounds, which is 2"],
    ),
    sweep_case(
        "grid of 32 million points",
        grid(axes=f", seed: {list(range(4000))}, data_seed: {list(range(8000))}"),
        ["axes: make 32,000,000 combinations", "allowed are 20,000", "several sweeps"],
    ),
    sweep_case("few letters that stand for millions", BOMB, ["aliases stand for 123,456,797 val"]),
    sweep_case("alias of itself", grid("set: &a [*a]\n"), ["holds an alias of itself"]),
    sweep_case("nested too deeply", "axes: " + "[" * 50_000, ["nested too deeply"]),
    sweep_case("nested too deeply without brackets", "- " * 5_000, ["nested too deeply"]),
    sweep_case("number of 5,000 digits", grid(f"set: {{seed: {'9' * 5000}}}\n"), ["5000 digits"]),
    sweep_case("number that would hang", grid(f"set: {{max_rounds: 1{'0' * 30}}}\n"), ["at most"]),
    sweep_case("day that is none", grid("set: {seed: 2026-02-30}\n"), ["not valid YAML", "day"]),
    sweep_case(
        "command line on top of a file", grid(), ["seed='x'", "at least 0"], args=["--seed", "x"]
    ),
    # Numbers that would hang
    *(
        run_case(f"{field} of {number}", [f"{field}={number}", "at most"], **{field: number})
        for number in (10**9, 10**30)
        for field in ("local_epochs", "budget_rounds", "max_rounds", "max_length", "threads")
    ),
    *(
        run_case(f"{field} of {10**30}", [f"{field}={10**30}", "at most"], **{field: 10**30})
        for field in ("clients", "train_examples", "validation_examples", "test_examples")
    ),
    *(
        run_case(f"{field} of {10**30}", [f"{field}={10**30}", "at most"], **{field: 10**30})
        for field in ("batch_size", "eval_every", "seed", "data_seed")
    ),
    run_case("more clients than texts", [f"clients={10**9}", "at most", "256"], clients=10**9),
    run_case(
        "more texts than there are",
        [f"train_examples={10**9}", "at most 256"],
        [f"test_examples={10**9}", "at most 128"],
        train_examples=10**9,
        test_examples=10**9,
    ),
    run_case("option of 5,000 digits", ["seed='999", "integer of at least 0"], seed="9" * 5000),
    run_case(
        "grid of 64 million points on the command line",
        ["axes: make 64,000,000 combinations", "allowed are 20,000"],
        clients=",".join(map(str, range(1, 401))),
        seed=",".join(map(str, range(400))),
        data_seed=",".join(map(str, range(400))),
    ),
    # Other commands
    Case("status of an empty store", ["status"], [["store='trials'", "no sweep yet"]]),
    Case("sync of an empty store", ["sync"], [["store='trials'", "no sweep yet"]]),
    Case(
        "tokens into a folder that holds other things",
        ["tokens", "--model", "{bert}", "--dataset", "toy", "--out", "{here}"],
        [["out=", "holds other things"]],
        a_file,
    ),
    Case(
        "tokens that are cut too short",
        ["tokens", "--model", "{bert}", "--dataset", "toy", "--out", "made", "--max-length", "2"],
        [["max_length='2'", "at least 3"]],
    ),
]


def nothing_but(done: Done) -> None:
    assert done.code == 2, done.everything
    assert "Traceback" not in done.everything
    assert done.out == ""


def assert_answered(done: Done, lines: Sequence[Sequence[str]]) -> None:
    nothing_but(done)
    given = [line for line in done.err.splitlines() if line.startswith(("fedtune: ", "Error: "))]
    assert len(given) == len(lines), done.everything
    for pieces in lines:
        found = [line for line in given if all(piece in line for piece in pieces)]
        assert len(found) == 1, f"{pieces} in {done.everything}"
        given.remove(found[0])


def contents(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_answered_with_a_line_per_fault_and_nothing_is_written(
    case: Case, bert: str, tmp_path: Path
) -> None:
    if case.arrange:
        case.arrange(tmp_path, Path(bert))
    before = contents(tmp_path)
    args = [arg.replace("{bert}", bert).replace("{here}", str(tmp_path)) for arg in case.args]

    done = call(*args, folder=tmp_path)

    assert_answered(done, case.lines)
    assert contents(tmp_path) == before


def test_case_names_are_unique_and_there_are_enough_of_them() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 30


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--clients", "0"], ["clients='0'", "integer of at least 1"]),
        (["--max-rounds", "1"], ["max_rounds=1", "which is 3 for toy"]),
    ],
)
def test_the_same_holds_for_the_command_itself(
    args: list[str], line: list[str], bert: str, tmp_path: Path
) -> None:
    done = in_process_of_its_own(*toy_run(bert), *args, folder=tmp_path)

    assert_answered(done, [line])
    assert not contents(tmp_path)


def test_a_hub_that_does_not_answer_is_noticed_before_the_libraries_retry(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the port of `discard`: closed
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))

    done = in_process_of_its_own(*toy_run(bert), "--dataset", "some/data", folder=tmp_path)

    assert_answered(done, [["dataset='some/data'", "cannot be reached", "$FEDTUNE_DATA"]])


def test_an_unknown_sweep_is_answered_with_those_there_are(tmp_path: Path) -> None:
    store = tmp_path / "trials"
    (store / "sweeps").mkdir(parents=True)
    (store / "sweeps" / "monday.yaml").write_text("name: monday\naxes: []\ntrials: []\n")

    for name in ("status", "sync"):
        done = call(name, "mnoday", folder=tmp_path)

        assert_answered(done, [["sweep='mnoday'", "did you mean 'monday'"]])
    assert not (tmp_path / "mlflow.db").exists()
