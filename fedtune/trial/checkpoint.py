"""A model as a Hugging Face directory, and back into the model that wrote it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedtune.data.tokenizer import TOKENIZER_FILES
from fedtune.federated.flat import FlatModel, digest
from fedtune.federated.strategy import Memory, Server
from fedtune.models.classifier import quiet_transformers
from fedtune.paths import follow_umask
from fedtune.trial.device import DEVICE_ERRORS

#: What the server keeps between rounds. Its name is none that transformers looks for.
_MEMORY = "server_memory.safetensors"


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


def write_memory(memory: Memory, directory: Path) -> None:
    """Write what the server keeps between rounds beside its model; nothing where that is empty."""
    from safetensors.torch import save_file

    if memory:
        path = directory / _MEMORY
        save_file({name: t.to("cpu").contiguous() for name, t in memory.items()}, path)
        follow_umask(directory)


def read_memory(memory: Memory, directory: Path) -> dict[str, torch.Tensor]:
    """What :func:`write_memory` wrote, on the devices and in the types that ``memory`` has.

    ValueError where it cannot be read, or is another strategy's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = directory / _MEMORY
    if not memory:
        return {}
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    shapes = {name: (t.shape, t.dtype) for name, t in memory.items()}
    if shapes != {name: (t.shape, t.dtype) for name, t in found.items()}:
        raise ValueError(f"{path} does not hold what this trial's strategy keeps")
    return {name: tensor.to(memory[name].device) for name, tensor in found.items()}


def digests(server: Server) -> dict[str, str]:
    """What a record says of the server: of its model, and of what is kept where something is."""
    told = {"params_digest": digest(server.params)}
    if server.memory:
        whole = hashlib.sha256()
        for name, tensor in sorted(server.memory.items()):
            whole.update(f"/{name}/{tensor.dtype}/".encode())
            whole.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
        told["memory_digest"] = whole.hexdigest()[:16]
    return told


def _state(flat: FlatModel) -> dict[str, torch.Tensor]:
    """The model's parameters by name, each tied one once, and the buffers that belong to a file."""
    state = {name: p.data for name, p in flat.model.named_parameters()}
    saved = flat.model.state_dict().keys()
    return state | {name: b for name, b in flat.model.named_buffers() if name in saved}


def _read(directory: Path, model: Any, names: set[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a checkpoint under the names that they have in ``model``."""
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    for path in sorted(directory.glob("model*.safetensors")):
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
