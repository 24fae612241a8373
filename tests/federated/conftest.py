"""Models without dropout, so that nothing but the algorithm moves them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def without_dropout(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models with every dropout rate of their configuration at 0."""
    folder = tmp_path_factory.mktemp("without dropout")
    for source in tiny.iterdir():
        made = Path(shutil.copytree(source, folder / source.name))
        config = json.loads((made / "config.json").read_text())
        rates = [key for key in config if "dropout" in key]
        assert rates
        config |= dict.fromkeys([*rates, "classifier_dropout_prob", "seq_classif_dropout"], 0.0)
        (made / "config.json").write_text(json.dumps(config))
    return folder
