"""The pages of MLflow that a launch points to, opened in a real browser with a fresh profile."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support import call, mlflow_server, new_database, sweep_run, toy_run

from fedtune.tracking.names import NOTE, run_url
from fedtune.tracking.projection import Projection

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install the package `chromium`"),
]

TRIALS = ("K001 bert toy s0", "K004 bert toy s0")


@pytest.fixture(scope="module")
def server(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow that has a launch of K = 1 and 4."""
    folder = tmp_path_factory.mktemp("browser")
    new_database(folder)
    with mlflow_server(folder / "mlflow.db", folder) as address:
        done = call(*toy_run(bert, "1,4"), "--no-ray", "--tracking-uri", address, folder=folder)
        assert done.code == 0, done.everything
        yield address


def page(url: str, profile: Path) -> str:
    """The document at ``url`` after its scripts have run, as HTML.

    In a high window: MLflow draws only the charts that can be seen.
    """
    assert CHROMIUM is not None
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync "
        "--window-size=1600,3000 --virtual-time-budget=60000 --dump-dom"
    )
    done = subprocess.run(
        [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", url],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def assert_for_training(shown: str) -> None:
    """The page is in MLflow's view for model training, whose menu has no judges and prompts."""
    assert "Model registry" in shown
    assert "Judges" not in shown


def urls_of(address: str) -> dict[str, str]:
    urls = Projection(address, "bert-toy", inherit=False).urls()
    assert set(urls) == {"charts", "table"}
    assert all(url.startswith(f"{address}/#/experiments/") for url in urls.values())
    return urls


def test_the_charts_of_all_trials_begin_with_the_accuracy(server: str, tmp_path: Path) -> None:
    shown = page(urls_of(server)["charts"], tmp_path / "profile")

    assert_for_training(shown)
    assert "js-plotly-plot" in shown
    for name in TRIALS:
        assert f"{name} (test/accuracy)" in shown, "in the legend of the chart of this very metric"
    charts = shown.partition('data-testid="experiment-view-compare-runs-chart-area"')[2]
    first = dict.fromkeys(re.findall(r">((?:[a-z]+)/[a-z_]+)<", charts))
    assert list(first)[:3] == ["test/accuracy", "test/loss", "train/loss"]


def test_the_table_has_the_trials_by_their_number_of_clients_and_what_they_amount_to(
    server: str, tmp_path: Path
) -> None:
    shown = page(urls_of(server)["table"], tmp_path / "profile")

    assert_for_training(shown)
    places = [shown.find(name) for name in TRIALS]
    assert 0 < places[0] < places[1]
    for column in ("summary/final_accuracy", "summary/rounds_to_target", "fedtune.outcome"):
        assert column in shown


def test_the_page_of_the_sweep_shows_table_axes_data_and_source(
    server: str, tmp_path: Path
) -> None:
    run = sweep_run(MlflowClient(server), "bert-toy")
    shown = page(run_url(server, run.info.experiment_id, run.info.run_id), tmp_path / "profile")

    assert_for_training(shown)
    told = ("accuracy at budget", "1,4", "toy (", "fedtune run", "by_clients/final_accuracy_median")
    assert [text for text in told if text not in shown] == []
    links = re.findall(r"\]\((#[^)]+)\)", run.data.tags[NOTE])
    assert len(links) == 2
    for link in links:
        assert f'href="{link.replace("&", "&amp;")}"' in shown
