"""A model's parameters as one vector.

Federation is arithmetic on whole models: load the server's, take the difference, add to a sum. With
every parameter a view into one flat fp32 buffer each of these is a single vector operation instead
of one for each of a transformer's hundreds of tensors, and so is the optimiser's step.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedtune.data.batches import Batch
from fedtune.federated.graphs import StepGraphs
from fedtune.models.forward import Forward, PackedForward, Precision, forward_of


class FlatModel:
    """A model whose trainable parameters, and their gradients, are views into two flat buffers.

    ``parameters`` is an ``nn.Parameter`` of shape (num_parameters,), fp32, and ``parameters.grad``
    a buffer of the same shape, so an optimiser over ``[parameters]`` trains the whole model. Tied
    weights are one parameter and are counted once. ``forward`` computes the scores of a batch, with
    matrix products in ``precision``.

    Raises ValueError for a parameter that is not fp32: a step of 2e-5 vanishes in half precision.
    """

    def __init__(self, model: nn.Module, precision: Precision = "fp32"):
        self.model: Any = model
        self.forward: Forward = forward_of(model, precision)
        trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        for name, parameter in trainable:
            if parameter.dtype != torch.float32:
                raise ValueError(f"{name} is {parameter.dtype}; parameters are trained in float32")
        self.slices: dict[str, slice] = {}
        total = 0
        for name, parameter in trainable:
            self.slices[name] = slice(total, total + parameter.numel())
            total += parameter.numel()
        device = trainable[0][1].device
        self.parameters = nn.Parameter(torch.empty(total, device=device))
        self.parameters.grad = torch.zeros(total, device=device)
        for name, parameter in trainable:
            view = self.parameters.data[self.slices[name]].view_as(parameter)
            view.copy_(parameter.data)
            parameter.data = view
            # Autograd adds into a gradient that is already there, so the view stays in place.
            parameter.grad = self.parameters.grad[self.slices[name]].view_as(parameter)

        is_graphed = device.type == "cuda" and isinstance(self.forward, PackedForward)
        self._graphs = StepGraphs(device) if is_graphed else None

    def add_gradient(self, batch: Batch, draws: torch.Generator | None = None) -> Tensor:
        """Add the gradient of the batch's mean loss to that of the parameters; gives the loss, ().

        ``draws`` is what dropout draws from, on a CPU. The loss is there until the next call.
        """
        if self._graphs is not None and batch.labels.dim() == 1:
            return self._graphs.run(batch, self._gradient)
        return self._gradient(batch, draws)

    @property
    def is_recorded(self) -> bool:
        """Are steps recorded, once their shape has occurred often enough?"""
        return self._graphs is not None

    def drop_graphs(self) -> None:
        """Give back what recorded steps hold of a GPU's memory; they can be recorded again."""
        if self._graphs is not None:
            self._graphs = StepGraphs(self.parameters.device)

    def _gradient(self, batch: Batch, draws: torch.Generator | None = None) -> Tensor:
        loss = cross_entropy(self.forward(batch, draws), batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @property
    def num_parameters(self) -> int:
        return self.parameters.numel()

    @property
    def values(self) -> Tensor:
        """The parameters as a plain tensor, (num_parameters,) fp32; writing to it changes the
        model.
        """
        return self.parameters.data

    def buffers_digest(self) -> str:
        """A hash of the model's buffers: what training could change besides the parameters."""
        digest = hashlib.sha256()
        for name, buffer in self.model.named_buffers():
            digest.update(name.encode())
            digest.update(buffer.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def digest(values: Tensor) -> str:
    """16 hex digits that tell two parameter vectors apart, bit by bit."""
    return hashlib.sha256(values.detach().cpu().numpy().data).hexdigest()[:16]
