"""Bad numbers, and settings that do not go together."""

from __future__ import annotations

from cases import Case, run_case
from support import toy_run

from fedtune.machine import available_cores

TOO_MANY_THREADS = available_cores() + 1


SETTINGS = [
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
    # Numbers that would hang
    *(
        run_case(f"{field} of {number}", [f"{field}={number}", "at most"], **{field: number})
        for number in (10**9, 10**30)
        for field in ("local_epochs", "budget_rounds", "max_rounds", "max_length", "threads")
    ),
    *(
        run_case(f"{field} of {10**30}", [f"{field}={10**30}", "at most"], **{field: 10**30})
        for field in (
            *("clients", "train_examples", "validation_examples", "test_examples"),
            *("batch_size", "eval_every", "seed", "data_seed"),
        )
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
]
