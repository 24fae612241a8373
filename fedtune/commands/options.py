"""Every setting as an option of the command line, and what was given for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import click

from fedtune.config import FIELDS, TrialConfig, allowed, parse_text
from fedtune.errors import BadInput, Fault

#: Fields that take a comma list on the command line, and so span a grid.
LISTS = ("model", "dataset", "clients", "seed")


def settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for every field of TrialConfig, in both spellings."""
    for field in reversed(FIELDS):
        info = TrialConfig.model_fields[field]
        default = "" if info.is_required() else f"  [default: {str(info.default).lower()}]"
        lists = "; a comma list makes a grid" if field in LISTS else ""
        spellings = dict.fromkeys((f"--{field.replace('_', '-')}", f"--{field}"))
        command = click.option(
            *spellings,
            field,
            metavar=_metavar(field),
            help=f"{info.description}{lists}{default}",
        )(command)
    return command


def _metavar(field: str) -> str:
    text = allowed(field)
    words = re.findall(r"'([^']+)'", text) or re.findall("true|false", text)
    if not re.sub(r"'[^']+'|true|false|,|\bor\b|\s", "", text):
        return "|".join(words)
    return "NUMBER" if re.search("number|integer", text) else "TEXT"


def read_settings(
    options: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, list[Any]], list[Fault]]:
    """Options and ``--set`` pairs as (single values, axes, faults)."""
    values: dict[str, Any] = {}
    axes: dict[str, list[Any]] = {}
    faults: list[Fault] = []
    texts = [(f, options[f]) for f in FIELDS if options.get(f) is not None]
    for pair in options["pairs"]:
        if not pair.strip():
            continue
        key, equals, text = pair.partition("=")
        if not equals:
            faults.append(Fault("--set", pair, "allowed is KEY=VALUE"))
            continue
        texts.append((key.strip().replace("-", "_"), text))
    for field, text in texts:
        try:
            if field in LISTS:
                axes[field] = _read_list(field, text)
            else:
                values[field] = parse_text(field, text)
        except BadInput as bad:
            faults += bad.faults
    return values, axes, faults


def _read_list(field: str, text: str) -> list[Any]:
    """The values of a comma list, each once. Raises BadInput with every one that is wrong."""
    values: dict[Any, None] = {}
    faults: list[Fault] = []
    for part in text.split(","):
        try:
            values[parse_text(field, part)] = None
        except BadInput as bad:
            faults += bad.faults
    if faults:
        raise BadInput(faults)
    return list(values)
