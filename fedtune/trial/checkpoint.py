"""A model as a Hugging Face directory, and back into the model that wrote it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fedtune.data.tokenizer import TOKENIZER_FILES
from fedtune.federated.flat import FlatModel
from fedtune.models.classifier import quiet_transformers
from fedtune.paths import follow_umask
from fedtune.trial.device import DEVICE_ERRORS


def write(flat: FlatModel, model_dir: Path, directory: Path) -> None:
    """Write the model as it is, with the tokenizer that ``model_dir`` has."""
    # Copies, because safetensors refuses tensors that are views into one buffer.
    state = {name: t.to("cpu", copy=True) for name, t in _state(flat).items()}
    with quiet_transformers():
        flat.model.save_pretrained(directory, state_dict=state)
    for name in TOKENIZER_FILES:
        source = model_dir / name
        if source.is_file():
            shutil.copyfile(source, directory / name)
    follow_umask(directory)


def read(flat: FlatModel, directory: Path) -> None:
    """Take parameters and buffers from the directory; ValueError where it cannot be read.

    What the device itself raises (DEVICE_ERRORS) is let through.
    """
    from safetensors import SafetensorError

    try:
        state = _state(flat)
        for name, tensor in _read(directory, flat.model, set(state)):
            state[name].copy_(tensor)
    except DEVICE_ERRORS:
        raise
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{directory} cannot be read ({error})") from error


def _state(flat: FlatModel) -> dict[str, torch.Tensor]:
    """The model's parameters by name, each tied one once, and the buffers that belong to a file."""
    state = {name: p.data for name, p in flat.model.named_parameters()}
    saved = flat.model.state_dict().keys()
    return state | {name: b for name, b in flat.model.named_buffers() if name in saved}


def _read(directory: Path, model: Any, names: set[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a checkpoint under the names that they have in ``model``."""
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        found |= load_file(path)
    if found.keys() <= names:
        yield from found.items()
        return
    # Files have experts one by one that transformers joins when it loads them.
    with quiet_transformers():
        loaded = type(model).from_pretrained(
            directory, config=model.config, dtype=torch.float32, local_files_only=True
        )
    yield from ((name, tensor) for name, tensor in loaded.state_dict().items() if name in names)
