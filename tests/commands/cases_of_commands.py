"""Bad input on the command line: words, lists, where things go, other commands."""

from __future__ import annotations

from cases import Case, a_file, run_case
from support import toy_run

COMMANDS = [
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
