"""A generator for operations that are called without one. Imports PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class drawing_from(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Random operations of this thread on the CPU draw from ``generator``.

    PyTorch's own generator belongs to the whole process: whatever another thread draws is missing
    here. Every operation costs some microseconds more.
    """

    def __init__(self, generator: torch.Generator):
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = generator

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is None and _is_on_cpu(args, kwargs):
            if any(argument.name == "generator" for argument in func._schema.arguments):
                kwargs["generator"] = self.generator
            elif (other := _with_generator(func)) is not None:
                func, kwargs["generator"] = other, self.generator
        return func(*args, **kwargs)


def _is_on_cpu(args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether an operation computes there: by its first tensor, or by the device it is told."""
    tensor = next((value for value in args if isinstance(value, torch.Tensor)), None)
    device = tensor.device if tensor is not None else kwargs.get("device")
    return device is None or torch.device(device).type == "cpu"


def _with_generator(func: Any) -> Any:
    """The form of ``torch.rand`` and the like that takes a generator; None for any other."""
    name = func._overloadname
    wanted = "generator" if name == "default" else f"{name}_generator"
    return getattr(func.overloadpacket, wanted, None)
