"""Bad input about clients that differ, and about strategies."""

from __future__ import annotations

from cases import run_case

CLIENTS = [
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
    *(
        run_case(
            f"{strategy} with {field}",
            [f"strategy='{strategy}'", "plain SGD", f"{field} is {value}"],
            strategy=strategy,
            **{field: value},
        )
        for strategy, field, value in (
            ("scaffold", "client_optimizer", "adamw"),
            ("scaffold", "momentum", 0.9),
            ("fednova", "weight_decay", 0.1),
        )
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
    *(
        run_case(
            f"{strategy} with {field} of 0",
            [f"{field}='0'", f"'auto' or {allowed}"],
            strategy=strategy,
            distill_examples=40,
            **{field: 0},
        )
        for strategy, field, allowed in (
            ("feddf", "distill_learning_rate", "a number above 0"),
            ("feddf", "distill_steps", "an integer of at least 1"),
            ("one-shot", "one_shot_epochs", "an integer of at least 1"),
        )
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
]
