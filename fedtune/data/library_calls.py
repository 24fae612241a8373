"""How the `datasets` library is called: quietly, and with its errors as lines of bad input."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from fedtune.errors import BadInput, readable

#: What libraries say of ordinary faults, and what that means.
_IN_OTHER_WORDS = {
    "corresponds to no data": "has no rows",
    "BatchSize must be greater than 0": "has no rows",
    "Multiple matches for FieldRef": "has two columns of one name; rename one of them",
    "same data file format for all splits": (
        "has splits in files of different formats; allowed is one of parquet, csv and json for all"
    ),
}


@contextlib.contextmanager
def told_apart(dataset: str, needed: str) -> Iterator[None]:
    """Make a line of bad input of whatever is raised over files that cannot be read.

    Of any kind: what a library does with a file that is damaged, or with an odd card, is not
    foreseen by it either (AttributeError, RuntimeError, RecursionError have been seen).
    """
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        root = error.__cause__ or error
        if isinstance(root, PermissionError):
            with readable("dataset", dataset):
                raise root from None
        for words, message in _IN_OTHER_WORDS.items():
            if words in str(root):
                raise BadInput.of("dataset", dataset, message) from error
        reason = " ".join(f"{type(root).__name__}: {root}".split())[:300]
        raise BadInput.of("dataset", dataset, f"cannot be read ({reason}); {needed}") from error


@contextlib.contextmanager
def quiet(show_progress: bool) -> Iterator[None]:
    """Keep `datasets` from printing, and from reporting the use of local folders to its makers."""
    import datasets

    hub_log = logging.getLogger("huggingface_hub")  # says so when a README has no metadata
    verbosity, hub_level = datasets.logging.get_verbosity(), hub_log.level
    bars_were_on = not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what cannot be read is told in an error
    hub_log.setLevel(logging.ERROR)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    if not show_progress:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        hub_log.setLevel(hub_level)
        if bars_were_on:
            datasets.enable_progress_bars()
