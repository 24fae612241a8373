"""What a model's weights hold, by their headers: nothing is read but names and shapes."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

from fedtune.errors import BadInput, first_line
from fedtune.paths import states

Shape = tuple[int, ...]

#: Types of numbers that become fp32 parameters as they are.
_TRAINABLE = ("F64", "F32", "F16", "BF16")


def shapes(directory: Path) -> dict[str, Shape]:
    """The shape of every tensor in the directory's safetensors files, by its name.

    Raises BadInput (field ``model``) where a file is damaged, cut short or cannot be read.
    """
    found: dict[str, Shape] = {}
    for path in sorted(directory.glob("*.safetensors")):
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
