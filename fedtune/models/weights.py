"""Which files have a model's weights, and what these hold, by their headers: names and shapes."""

from __future__ import annotations

import json
import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedtune.errors import BadInput, first_line
from fedtune.paths import states

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # where the weights are in several files: which

Shape = tuple[int, ...]

#: Types of numbers that become fp32 parameters as they are.
_TRAINABLE = ("F64", "F32", "F16", "BF16")


def named_files(directory: Path) -> set[str]:
    """The names of the files that transformers takes the weights from, be they there or not.

    ``config.json`` may name the file or the index; ``model.safetensors`` comes before an index.
    """
    asked = _read_json(directory / "config.json", "transformers_weights")
    if not isinstance(asked, str):
        asked = WEIGHTS if (directory / WEIGHTS).is_file() else INDEX
    if not asked.endswith(".index.json") or leads_out(asked):
        return {asked}
    shards = _read_json(directory / asked, "weight_map")
    # An index that is damaged leads to no weights.
    return set(map(str, shards.values())) if isinstance(shards, dict) and shards else {WEIGHTS}


def _read_json(path: Path, key: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))[key] if path.is_file() else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def leads_out(name: str) -> bool:
    """Is what a model calls so outside of its directory?"""
    path = Path(os.path.normpath(name))
    return path.is_absolute() or os.pardir in path.parts


def weight_files(directory: Path) -> list[Path]:
    """Every file in the directory that may hold weights, sorted: those beside its ``config.json``
    and those that are named there or in an index, which may lie in folders below.
    """
    named = [directory / name for name in named_files(directory) if not leads_out(name)]
    return sorted({*directory.glob("*.safetensors"), *(file for file in named if file.is_file())})


def shapes(directory: Path) -> dict[str, Shape]:
    """The shape of every tensor in the directory's safetensors files, by its name.

    Raises BadInput (field ``model``) where a file is damaged, cut short or cannot be read.
    """
    found: dict[str, Shape] = {}
    for path in weight_files(directory):
        try:
            found |= _header(str(path), states([path]))
        except BadInput:
            raise
        except Exception as error:  # safetensors has one of its own beside the system's
            why = f"{path.name} cannot be read: {first_line(error)[:200]}; copy it once more"
            raise BadInput.of("model", str(directory), why) from None
    return found


def num_parameters(directory: str | Path) -> int:
    """Parameters in the files: with a head that will be replaced, without the new one."""
    return sum(map(math.prod, shapes(Path(directory)).values()))


@lru_cache(maxsize=64)
def _header(path: str, state: object) -> dict[str, Shape]:
    from safetensors import safe_open

    found: dict[str, Shape] = {}
    with safe_open(path, "numpy") as file:
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            found[name], kind = tuple(part.get_shape()), part.get_dtype()
            if name.endswith("weight") and kind not in _TRAINABLE:
                raise BadInput.of(
                    "model",
                    path,
                    f"{name} is of type {kind}, as quantised weights are, and cannot be trained; "
                    f"allowed are {', '.join(_TRAINABLE)}",
                )
    return found
