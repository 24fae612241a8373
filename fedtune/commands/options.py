"""Every setting as an option of the command line, and what was given for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from fedtune.commands import completion
from fedtune.commands.help import GroupedCommand, Option
from fedtune.config import FIELDS, GROUPS, PLACES, TrialConfig, allowed, comma_is_value, parse_text
from fedtune.errors import BadInput, Fault
from fedtune.paths import exists

#: What a field that has to be given is shown with, where it is missing.
_FOR_EXAMPLE = {"model": "mini-bert", "dataset": "bbc-news", "clients": "8,32"}

_LONGEST_METAVAR = 25


def settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for every field of TrialConfig, in the groups of :data:`fedtune.config.GROUPS`."""
    grouped = [(group, field) for group, fields in GROUPS.items() for field in fields]
    left = [field for field in FIELDS if field not in {field for _, field in grouped}]
    for group, field in reversed([*grouped, *(("Other settings", field) for field in left)]):
        info = TrialConfig.model_fields[field]
        default = "" if info.is_required() else f"  [default: {str(info.default).lower()}]"
        metavar, choices = _metavar(field)
        command = click.option(
            f"--{field.replace('_', '-')}",
            field,
            cls=Option,
            group=group,
            metavar=metavar,
            help=f"{info.description}{choices}{default}",
            shell_complete=completion.of_field(field),
        )(command)
    return command


def _metavar(field: str) -> tuple[str, str]:
    """What stands for a field's value, and its words where they are too many to stand there."""
    text = allowed(field)
    words = re.findall(r"'([^']+)'", text) or re.findall("true|false", text)
    if not re.sub(r"'[^']+'|true|false|,|\bor\b|\s", "", text):
        metavar = "|".join(words)
        return (metavar, "") if len(metavar) <= _LONGEST_METAVAR else ("WORD", f"; {text}")
    return ("NUMBER" if re.search("number|integer", text) else "TEXT"), ""


class SettingsCommand(GroupedCommand):
    """A command with settings: a word that stands where no argument may stand is explained."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        ctx.allow_extra_args = True
        stray = super().parse_args(ctx, args)
        if stray and not ctx.resilient_parsing:
            ctx.fail(f"{stray[0]!r} belongs to no option{_meant(stray[0], given)}")
        return stray


def _meant(word: str, given: Sequence[str]) -> str:
    """What ``word`` among the arguments ``given`` may have been meant as."""
    from fedtune.data.lookup import NAMES as DATASETS
    from fedtune.models.short_names import NAMES as MODELS

    position = given.index(word) if word in given else 0
    before = given[position - 1] if position else ""
    if before.endswith(",") or word.startswith(","):
        return f"; a comma list has no spaces: {before}{word}"
    if before.startswith("--") and word.lower() in ("true", "false"):
        return f"; {before} takes no value"
    parts = word.split(",")
    option = word.replace("_", "-")
    meant = None
    if set(parts) <= MODELS.keys():
        meant = f"--model {word}"
    elif set(parts) <= DATASETS.keys():
        meant = f"--dataset {word}"
    elif all(part.isdigit() for part in parts):
        meant = f"--clients {word}"
    elif "=" in word:
        meant = f"--set {word}"
    elif option.replace("-", "_") in FIELDS:
        meant = f"--{option}"
    elif word.endswith((".yaml", ".yml")):
        meant = f"fedtune sweep {word}"
    elif exists(word):
        meant = f"--model {word} or --dataset {word}"
    return f"; did you mean {meant}?" if meant else "; settings are given as --NAME VALUE"


def read_settings(
    options: Mapping[str, Any], *, require: bool = False
) -> tuple[dict[str, list[Any]], list[Fault]]:
    """Options and ``--set`` pairs as (the values of each setting, faults).

    A setting with several values is an axis of a grid. ``require`` those that have no default.
    """
    texts = {field: options[field] for field in FIELDS if options.get(field) is not None}
    faults: list[Fault] = []
    for pair in options["pairs"]:
        if not pair.strip():
            continue
        key, equals, text = pair.partition("=")
        field = key.strip().replace("-", "_")
        if not equals:
            faults.append(Fault("--set", pair, "allowed is KEY=VALUE"))
        elif texts.setdefault(field, text) != text:
            faults.append(Fault(field, text, f"{texts[field]!r} is given for it too; keep one"))
    values: dict[str, list[Any]] = {}
    for field, text in texts.items():
        try:
            values[field] = _read_list(field, text)
        except BadInput as bad:
            faults += bad.faults
    for field in FIELDS if require else ():
        if TrialConfig.model_fields[field].is_required() and field not in texts:
            example = f"--{field} {_FOR_EXAMPLE[field]}"
            message = f"missing; allowed is {allowed(field)}, for example {example}"
            faults.append(Fault(field, None, message))
    return values, faults


def _read_list(field: str, text: str) -> list[Any]:
    """The values of a comma list, each once. Raises BadInput with every one that is wrong, once."""
    values: dict[Any, None] = {}
    faults: dict[Fault, None] = {}
    for part in _parts(field, text):
        try:
            values[parse_text(field, part)] = None
        except BadInput as bad:
            faults |= dict.fromkeys(bad.faults)
    if faults:
        raise BadInput(faults)
    return list(values)


def _parts(field: str, text: str) -> list[str]:
    """The parts of a comma list. What exists as a path is one part, whatever commas it has."""
    if field in FIELDS and comma_is_value(field):
        return [text]
    words, parts = text.split(","), []
    while words:
        length = len(words) if field in PLACES else 1
        while length > 1 and not exists(",".join(words[:length]).strip()):
            length -= 1
        parts.append(",".join(words[:length]))
        words = words[length:]
    return parts
