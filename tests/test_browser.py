"""The pages of MLflow that a launch points to, opened in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import call, mlflow_server, new_database, toy_run

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install the package `chromium`"),
]


def page(url: str, profile: Path) -> str:
    """The document at ``url`` after its scripts have run, as HTML.

    In a window that is high enough for all charts: MLflow draws those only that can be seen.
    """
    assert CHROMIUM is not None
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync "
        "--window-size=1600,9000 --virtual-time-budget=60000 --dump-dom"
    )
    done = subprocess.run(
        [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", url],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def test_both_pages_show_the_curves_of_all_trials_by_name(bert: str, tmp_path: Path) -> None:
    new_database(tmp_path)
    with mlflow_server(tmp_path / "mlflow.db", tmp_path) as address:
        launch = [*toy_run(bert, "1,4"), "--no-ray", "--tracking-uri", address]
        done = call(*launch, folder=tmp_path)
        assert done.code == 0, done.everything
        urls = dict(re.findall(r"^  (.+): (http\S+)$", done.out, re.M))
        assert set(urls) == {"accuracy per round", "every metric"}

        for what, url in urls.items():
            assert url.startswith(address)
            shown = page(url, tmp_path / "profile")

            assert "js-plotly-plot" in shown, f"no plot in {what}"
            assert "test/accuracy" in shown, what
            for name in ("K001 bert toy s0", "K004 bert toy s0"):
                assert name in shown, f"{name} in {what}"
                if what == "every metric":  # the legend of the chart of this very metric
                    assert f"{name} (test/accuracy)" in shown
