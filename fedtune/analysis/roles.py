"""Which model or data set of the paper a name stands for, by which all are ordered."""

from __future__ import annotations

import re

_ROLES = {
    "distilbert": re.compile(r"(mini-|tiny-)?distilbert([-_.].*)?"),
    "albert": re.compile(r"(mini-|tiny-)?albert([-_.].*)?"),
    "bert": re.compile(r"(mini-|tiny-)?bert([-_.].*)?"),
    "imdb": re.compile(r"imdb([-_.].*)?"),
    "yelp": re.compile(r"yelp([-_.].*)?"),
    "ag-news": re.compile(r"ag[-_]?news([-_.].*)?"),
}

#: What the paper calls them.
TITLES = {
    "bert": "BERT",
    "albert": "ALBERT",
    "distilbert": "DistilBERT",
    "ag-news": "AG News",
    "imdb": "IMDB",
    "yelp": "Yelp",
}


def role_of(name: str) -> str | None:
    """Which model or data set of the paper a name stands for: ``mini-bert`` for ``bert``."""
    tail = name.rstrip("/").split("/")[-1].lower()
    return next((role for role, pattern in _ROLES.items() if pattern.fullmatch(tail)), None)
