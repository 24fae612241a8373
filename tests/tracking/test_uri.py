"""Where MLflow tracks, before MLflow is asked."""

from __future__ import annotations

import pytest

from fedtune.errors import BadInput
from fedtune.tracking.uri import resolve_uri


@pytest.mark.parametrize("uri", ["databricks", "databricks://profile", "http://host:5000"])
def test_a_server_is_taken_as_it_is_named(uri: str) -> None:
    assert resolve_uri(uri) == uri


@pytest.mark.parametrize("uri", ["mlruns", "file:///mlruns", "databricks/mlruns", "ftp://host"])
def test_what_mlflow_cannot_track_in_is_refused(uri: str) -> None:
    with pytest.raises(BadInput, match="tracking_uri"):
        resolve_uri(uri)
