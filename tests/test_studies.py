"""The sweep files of the paper's studies: what they ask for, and that they run, on small things."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import call

from fedtune.data import toy
from fedtune.plan.sweepfile import SweepSpec, read_sweep_file

EXPERIMENTS = Path(__file__).parents[1] / "experiments"

#: What stands for the hub's models and data sets here.
MODELS = {
    "google-bert/bert-base-cased": "bert",
    "albert/albert-base-v1": "albert",
    "distilbert/distilbert-base-cased": "distilbert",
}
DATASETS = ("stanfordnlp/imdb", "fancyzhx/ag_news", "Yelp/yelp_review_full")


def spec_of(name: str) -> SweepSpec:
    return read_sweep_file(EXPERIMENTS / f"{name}.yaml")


@pytest.mark.parametrize("name", ["paper", "paper-code"])
def test_the_grid_is_the_papers(name: str) -> None:
    """Section 3.3 and 3.4: three models x three data sets x K = 1 to 32, budgets 100, 100, 50."""
    configs = spec_of(name).configs()
    assert len(configs) == 54
    assert {config.model for config in configs} == set(MODELS)
    assert {config.clients for config in configs} == {1, 2, 4, 8, 16, 32}
    for config in configs:
        is_yelp = "yelp" in config.dataset
        assert (config.budget_rounds, config.max_rounds) == ((50, 100) if is_yelp else (100, 200))
        assert (config.batch_size, config.local_epochs, config.max_length) == (32, 2, 128)
        assert (config.learning_rate, config.momentum, config.weight_decay) == (2e-5, 0, 0)
        assert (config.client_optimizer, config.strategy, config.partition) == (
            "sgd",
            "fedavg",
            "iid",
        )
        assert (config.stop, config.target_fraction) == ("budget-then-target", 0.9)
        assert (config.train_examples, config.test_examples) == ("all", "all")


def test_the_authors_code_differs_where_the_file_says() -> None:
    text, code = spec_of("paper").configs()[0], spec_of("paper-code").configs()
    for config in code:
        changed = {k for k, v in config.model_dump().items() if v != getattr(text, k)}
        assert changed - {"model", "dataset", "clients", "budget_rounds", "max_rounds"} == {
            *("attention_mask", "shuffle", "drop_last"),
            *(["head_init"] if config.num_clients > 1 else []),
            *(["text_column"] if config.dataset == "ag_news_columns" else []),
        }
        if config.dataset == "ag_news_columns":
            assert config.text_column == "description"


@pytest.fixture
def here(name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the sweep file ``name``, its names replaced by those of small local copies."""
    text = (EXPERIMENTS / f"{name}.yaml").read_text()
    for hub_id, model in MODELS.items():
        text = text.replace(hub_id, str(tiny / model))
    data = tmp_path / "data"
    for start, dataset in enumerate((*DATASETS, "ag_news_columns")):  # other texts in each
        folder = data / dataset.rpartition("/")[2]
        folder.mkdir(parents=True)
        for split, examples in zip(("train", "test"), toy.load(), strict=True):
            rows = [f"{label + 1},a title,{text}" for text, label in examples[start : start + 64]]
            column = "description" if dataset == "ag_news_columns" else "text"
            (folder / f"{split}.csv").write_text("\n".join([f"label,title,{column}", *rows]) + "\n")
        text = text.replace(dataset, folder.name)
    (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.setenv("FEDTUNE_DATA", str(data))
    return tmp_path


#: Short enough for these models and this test; everything else is the file's.
SHORT = ["--budget-rounds", "1", "--max-rounds", "1", "--max-length", "32", "--no-ray"]


@pytest.mark.parametrize("name", ["paper", pytest.param("paper-code", marks=pytest.mark.slow)])
def test_the_papers_studies_resolve_dry_run_and_run_a_round(
    name: str, here: Path, tiny: Path
) -> None:
    dry = call("sweep", f"{name}.yaml", "--batch-size", "2", *SHORT, "--dry-run", folder=here)
    assert dry.code == 0, dry.everything
    assert "54 trials" in dry.out
    assert not (here / "trials").exists()
    # One of the models: test_mlproject.py runs the two others by these files.
    few = ["--batch-size", "2", "--clients", "1,32", "--model", str(tiny / "albert")]
    ran = call("sweep", f"{name}.yaml", *few, *SHORT, folder=here)
    assert ran.code == 0, ran.everything
    logs = [*(here / "trials").glob("*/rounds.jsonl")]
    assert len(logs) == 3 * 2
    for log in logs:
        rounds = [json.loads(line)["round"] for line in log.read_text().splitlines()]
        assert rounds == [0, 1]


#: The blocks of the experiment on the collapse: their trials, and what varies in each.
BLOCKS = {
    "causal": (80, {"model", "clients", "batch_size"}),
    "phase": (240, {"model", "clients", "learning_rate"}),
    "heads": (40, {"model", "clients", "head"}),
    "client-heads": (20, {"model", "clients"}),
    "phase-imdb": (48, {"model", "clients", "learning_rate"}),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_of_the_collapse_have_one_setting_in_common(block: str) -> None:
    number, varies = BLOCKS[block]
    spec = spec_of(f"starve/{block}")
    configs = spec.configs()
    assert len(configs) == number
    assert not spec.unused_overrides()
    values = [config.model_dump() for config in configs]
    differ = {name for name in values[0] if len({str(each[name]) for each in values}) > 1}
    assert differ == varies | {"seed", "data_seed"}
    for config in configs:
        assert config.seed == config.data_seed
        assert (config.precision, config.threads, config.device) == ("fp32", 1, "cpu")
        assert (config.train_examples, config.test_examples) == (2048, 2000)
        assert (config.budget_rounds, config.max_rounds) == (8, 16)
        assert (config.eval_steps, config.stop) == ("geometric", "budget-then-target")
    assert spec.name == f"starve-{block}"


def test_the_control_takes_the_steps_of_federated_averaging() -> None:
    """K clients with batches of 8 beside one client with batches of 8 K: rounds end together."""
    configs = spec_of("starve/causal").configs()
    found = {(config.clients, config.batch_size) for config in configs}
    assert found == {(1, 64), (1, 256), (8, 8), (32, 8)}
    for clients in (8, 32):
        federated = 2 * (2048 // clients // 8)
        assert federated == 2 * (2048 // (8 * clients))


def test_the_heterogeneity_study_is_every_strategy_at_every_skew_on_one_baseline() -> None:
    spec = spec_of("heterogeneity")
    configs = spec.configs()
    assert not spec.unused_overrides()
    assert not spec.settings_without_effect()
    assert len(configs) == 3 * 5 * 2 * 3
    spreads = {
        "iid" if c.partition == "iid" else f"{c.partition} {c.partition_alpha}" for c in configs
    }
    assert spreads == {"iid", "dirichlet 1.0", "dirichlet 0.1"}
    assert len({config.baseline() for config in configs}) == 3, "one for each seed"
    settings = {
        (c.called("strategy"), c.called("prox_mu"), c.called("server_learning_rate"))
        for c in configs
    }
    assert settings == {
        ("fedavg", "", ""),
        ("fedprox", 0.01, ""),
        ("scaffold", "", ""),
        ("fedavgm", "", 0.3),
        ("fedadam", "", 0.01),
    }
    rates = spec_of("heterogeneity-rates").configs()
    assert not {config.seed for config in rates} & {config.seed for config in configs}
    tried = {
        (c.called("strategy"), c.called("prox_mu"), c.called("server_learning_rate")) for c in rates
    }
    assert settings <= tried
    assert {config.stop_on for config in rates} == {"validation"}
    assert len(rates) == 24
